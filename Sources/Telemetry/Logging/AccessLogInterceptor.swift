package import Logging
import NIOCore
package import RPC
import Synchronization

/// Writes a line for calls that are worth one: all that fail, those that are slow, and a part of the rest.
///
/// Failures of the server (UNKNOWN, INTERNAL, DATA_LOSS) each get one. Those of callers are bounded per second, so that nobody
/// can fill a disk by being refused. A line holds no message of an error, for that may repeat what the caller has sent.
package struct AccessLogInterceptor: ServerInterceptor {
    private let shared: AccessLog
    private let method: String

    package init(_ shared: AccessLog) { self.init(shared, method: "_OTHER") }

    private init(_ shared: AccessLog, method: String) {
        self.shared = shared
        self.method = method
    }

    /// One that knows the method's name.
    package func specialized(for method: MethodDescriptor) -> (any ServerInterceptor)? { bound(to: method) }

    func bound(to method: MethodDescriptor) -> AccessLogInterceptor {
        AccessLogInterceptor(shared, method: method.fullName)
    }

    /// Every call passes.
    package func begin(_ call: ServerCall) throws(RPCError) -> InterceptDecision { .proceed }

    /// Writes the line.
    package func end(_ call: ServerCall, _ outcome: CallOutcome) {
        let duration = (call.ended() - call.receivedAt).nanoseconds
        guard let reason = shared.reason(call, outcome.code, duration) else { return }
        shared.write(call, outcome, method: method, duration: duration, reason)
    }
}

/// What the access lines of all methods share.
package final class AccessLog: Sendable {
    private let logger: Logger
    private let policy: AccessLogPolicy
    private let tracer: SpanTracer
    private let budget: Mutex<LineBudget>
    private let suppressedTotal = Atomic<UInt64>(0)

    package init(logger: Logger, policy: AccessLogPolicy, tracer: SpanTracer) {
        self.logger = logger
        self.policy = policy
        self.tracer = tracer
        budget = Mutex(LineBudget(limit: policy.failuresPerSecond))
    }

    /// Lines left out because there were too many in a second.
    package var suppressed: UInt64 { suppressedTotal.load(ordering: .relaxed) }

    @inline(__always)
    func reason(_ call: ServerCall, _ code: RPCError.Code, _ duration: Int64) -> AccessLogPolicy.Reason? {
        if code != .ok { return .failed }
        if duration > policy.slow { return .slow }
        return policy.sampler.chooses(call.receivedAt.uptimeNanoseconds, UInt64(call.id)) ? .sampled : nil
    }

    private static func isOfServer(_ code: RPCError.Code) -> Bool {
        code == .unknown || code == .internalError || code == .dataLoss
    }

    func write(
        _ call: ServerCall,
        _ outcome: CallOutcome,
        method: String,
        duration: Int64,
        _ reason: AccessLogPolicy.Reason
    ) {
        let isOfServer = Self.isOfServer(outcome.code)
        let level: Logger.Level = isOfServer ? .error : .info
        guard level >= logger.logLevel else { return }
        var suppressed: UInt64 = 0
        if reason == .failed, !isOfServer {
            let second = call.ended().uptimeNanoseconds / 1_000_000_000
            // Who finds the budget busy does without: no call waits for another one's line.
            guard let allowed = budget.withLockIfAvailable({ $0.take(at: second) }) ?? nil else {
                suppressedTotal.wrappingAdd(1, ordering: .relaxed)
                return
            }
            suppressed = allowed
        }
        let span = call.traced ?? tracer.span(of: call)
        // Whoever tells of the call after this one, tells of the same span.
        call.span = span
        var metadata: Logger.Metadata = [
            "rpc.method": .string(method),
            "rpc.response.status_code": "\(outcome.code)",
            "duration_us": "\(duration / 1000)",
            "peer": .string(call.peer.address),
            "request_bytes": "\(call.requestBytes)",
            "response_bytes": "\(outcome.responseBytes)",
            "request_id": .string(call.requestID),
            "trace_id": "\(span.context.traceID)",
            "span_id": "\(span.context.spanID)",
            "why": .string(reason.rawValue),
        ]
        if let principal = call.principal { metadata["principal"] = .string(principal.name) }
        if suppressed > 0 { metadata["suppressed"] = "\(suppressed)" }
        if let error = outcome.error {
            if let reason = error.errorInfo?.reason { metadata["reason"] = .string(reason) }
            if isOfServer, let cause = error.cause { metadata["cause"] = "\(type(of: cause))" }
        }
        logger.log(level: level, "call ended", metadata: metadata)
    }
}

extension ServerCall {
    private static let longestRequestID = 64

    /// What the caller calls the request in `x-request-id`, or a name made for it: 16 hexadecimal digits.
    var requestID: String {
        if let given = metadata["x-request-id"], (1...Self.longestRequestID).contains(given.utf8.count),
            given.utf8.allSatisfy(Self.isPlain)
        {
            return given
        }
        return "\(SpanID(Sampler.mixed(receivedAt.uptimeNanoseconds, UInt64(id))))"
    }

    /// A letter, a digit or one of `-`, `_` and `.`.
    private static func isPlain(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2d, 0x2e, 0x5f: true
        default: false
        }
    }
}
