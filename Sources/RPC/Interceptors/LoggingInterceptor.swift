public import Logging
import NIOCore

/// Logs every call when it ends: `debug` on success, `info` on a failure that is the caller's, `error` on one of the server's.
public struct LoggingInterceptor: ServerInterceptor {
    private let logger: Logger

    /// Logs to this logger.
    public init(logger: Logger) { self.logger = logger }

    /// Every call passes.
    public func begin(_ call: ServerCall) throws(RPCError) -> InterceptDecision { .proceed }

    /// Writes the line.
    public func end(_ call: ServerCall, _ outcome: CallOutcome) {
        let level = Self.level(outcome.code)
        guard level >= logger.logLevel else { return }
        var metadata: Logger.Metadata = [
            "rpc.method": "\(call.fullName)",
            "rpc.response.status_code": "\(outcome.code)",
            "duration_us": "\((NIODeadline.now() - call.receivedAt).nanoseconds / 1000)",
            "peer": "\(call.peer.address)",
        ]
        if let error = outcome.error {
            metadata["error"] = "\(error.message)"
            if let cause = error.cause { metadata["cause"] = "\(cause)" }
        }
        logger.log(level: level, "call ended", metadata: metadata)
    }

    private static func level(_ code: RPCError.Code) -> Logger.Level {
        switch code {
        case .ok: .debug
        case .unknown, .internalError, .dataLoss: .error
        default: .info
        }
    }
}
