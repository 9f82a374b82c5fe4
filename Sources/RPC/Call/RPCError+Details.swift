public import SwiftProtobuf

extension RPCError {
    /// This error with one more detail.
    public func adding(_ detail: some Message) -> RPCError {
        var copy = self
        // Packing fails only for proto2 messages that lack required fields; such a detail is left out.
        if let packed = try? Google_Protobuf_Any(message: detail) { copy.details.append(packed) }
        return copy
    }

    /// The first detail of type `D`, if there is one that can be decoded.
    public func detail<D: Message>(_ type: D.Type = D.self) -> D? {
        for packed in details where packed.isA(D.self) {
            if let detail = try? D(unpackingAny: packed) { return detail }
        }
        return nil
    }

    /// This error with a `google.rpc.ErrorInfo`.
    ///
    /// - Parameters:
    ///   - reason: `UPPER_SNAKE_CASE`, unique within the domain.
    ///   - domain: Who defines the reason, for example the service's host name.
    ///   - metadata: Further facts about this occurrence.
    public func withErrorInfo(reason: String, domain: String, metadata: [String: String] = [:]) -> RPCError {
        adding(
            Google_Rpc_ErrorInfo.with {
                $0.reason = reason
                $0.domain = domain
                $0.metadata = metadata
            }
        )
    }

    /// This error with a `google.rpc.BadRequest` of one violation, or one more in it.
    ///
    /// - Parameters:
    ///   - field: Path of the field in the request, for example `attributes[3].name`.
    ///   - description: What is wrong with it and what to do.
    public func withBadRequest(field: String, description: String) -> RPCError {
        var copy = self
        var bad = detail(Google_Rpc_BadRequest.self) ?? Google_Rpc_BadRequest()
        copy.details.removeAll { $0.isA(Google_Rpc_BadRequest.self) }
        bad.fieldViolations.append(
            .with {
                $0.field = field
                $0.description_p = description
            }
        )
        return copy.adding(bad)
    }

    /// This error with a `google.rpc.RetryInfo`: the least time to wait before another attempt.
    public func withRetryInfo(delay: Duration) -> RPCError {
        let (seconds, attoseconds) = delay.components
        return adding(
            Google_Rpc_RetryInfo.with {
                $0.retryDelay = .init(seconds: seconds, nanos: Int32(attoseconds / 1_000_000_000))
            }
        )
    }

    /// This error with a `google.rpc.QuotaFailure` of one violation.
    ///
    /// - Parameters:
    ///   - subject: What the quota is counted on, for example `client:billing`.
    ///   - description: What was exceeded and what to do.
    public func withQuotaFailure(subject: String, description: String) -> RPCError {
        adding(
            Google_Rpc_QuotaFailure.with {
                $0.violations = [
                    .with {
                        $0.subject = subject
                        $0.description_p = description
                    }
                ]
            }
        )
    }

    /// The `ErrorInfo`, if there is one.
    public var errorInfo: Google_Rpc_ErrorInfo? { detail() }
    /// The `BadRequest`, if there is one.
    public var badRequest: Google_Rpc_BadRequest? { detail() }
    /// The `QuotaFailure`, if there is one.
    public var quotaFailure: Google_Rpc_QuotaFailure? { detail() }
    /// The least time to wait before another attempt, if the server said.
    public var retryDelay: Duration? {
        guard let info: Google_Rpc_RetryInfo = detail(), info.hasRetryDelay else { return nil }
        return .seconds(info.retryDelay.seconds) + .nanoseconds(Int64(info.retryDelay.nanos))
    }
}

extension RPCError {
    /// The error as it is sent: code, message and details.
    package var status: Google_Rpc_Status {
        .with {
            $0.code = Int32(code.rawValue)
            $0.message = message
            $0.details = details
        }
    }

    package init(status: Google_Rpc_Status, metadata: Metadata = Metadata()) {
        self.init(
            code: Code(rawValue: Int(status.code)),
            message: status.message,
            details: status.details,
            metadata: metadata
        )
    }

    /// Any error as an RPCError; one that is not is UNKNOWN and keeps what it was as its cause, which is not sent.
    public init(wrapping error: any Error) {
        switch error {
        case let error as RPCError: self = error
        case is CancellationError: self = RPCError(.cancelled, "the call was cancelled", cause: error)
        default: self = RPCError(.unknown, "the server failed to handle the call", cause: error)
        }
    }
}
