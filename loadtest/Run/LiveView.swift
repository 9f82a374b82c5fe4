import Foundation
import Synchronization

/// How a run is going, on standard error: one line that is written anew each second on a terminal, lines elsewhere.
final class LiveView: Sendable {
    private let isTerminal: Bool
    private let every: Int
    private let duration: Double
    private let seen = Mutex(0)

    /// - Parameter duration: Of the run, in seconds. Lines are at most about sixty.
    init(duration: Double) {
        isTerminal = isatty(STDERR_FILENO) == 1 && ProcessInfo.processInfo.environment["TERM"] != "dumb"
        self.duration = duration
        every = isTerminal ? 1 : max(1, Int((duration / 60).rounded(.up)))
    }

    func show(_ interval: LoadResult.Interval, inFlight: Int) {
        let count = seen.withLock { count in
            count += 1
            return count
        }
        guard count % every == 0 else { return }
        let line = Self.line(interval, inFlight: inFlight, of: duration)
        write(isTerminal ? "\r\u{1B}[K\(line)" : line + "\n")
    }

    /// Leaves the line as it is.
    func end() {
        if isTerminal, seen.withLock({ $0 }) > 0 { write("\n") }
    }

    static func line(_ interval: LoadResult.Interval, inFlight: Int, of duration: Double) -> String {
        let latency = interval.latency
        let times =
            latency.count == 0
            ? "no answer"
            : "p50 \(Format.milliseconds(latency.p50))  p99 \(Format.milliseconds(latency.p99))  "
                + "p99.9 \(Format.milliseconds(latency.p999))"
        return "\(Int(interval.at.rounded()) + 1)/\(Int(duration.rounded(.up))) s  \(interval.sent)/s sent  "
            + "\(interval.answered)/s answered  \(inFlight) in flight  \(times)  \(interval.errors) errors"
    }

    private func write(_ text: String) { FileHandle.standardError.write(Data(text.utf8)) }
}
