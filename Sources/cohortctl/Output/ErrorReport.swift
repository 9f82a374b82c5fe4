import Foundation
import RPC

/// What a person reads on standard error when a command fails.
struct ErrorReport {
    private let lines: [String]

    init(_ error: RPCError) {
        var lines = ["error: \(error.message) (\(error.code))"]
        // Of a failure on this side, as of a handshake; the server sends none.
        if let cause = error.cause { lines.append("  cause: \(cause)") }
        let violations = error.badRequest?.fieldViolations ?? []
        if let rendered = error.errorInfo?.metadata["rendered"], !rendered.isEmpty {
            lines.append(rendered)
        } else {
            for violation in violations where !error.message.contains(violation.description_p) {
                lines.append("  \(violation.field): \(violation.description_p)")
            }
        }
        if let reason = error.errorInfo?.reason, !reason.isEmpty { lines.append("  reason: \(reason)") }
        if let delay = error.retryDelay { lines.append("  try again in \(delay / .seconds(1)) s") }
        self.lines = lines
    }

    init(_ failure: CommandFailure) {
        lines = ["error: \(failure.message)"]
    }

    /// Writes it to standard error.
    func write() {
        for line in lines { writeError(line) }
    }
}
