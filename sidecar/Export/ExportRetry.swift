import Foundation
import RPC

/// Decides what becomes of a request to a collector: it was taken, it is tried again, or it is given up. A value: the time is
/// passed in.
///
/// As OTLP/HTTP says: 429, 502, 503 and 504 are tried again, not before `Retry-After`, and so is what found no collector at all
/// or no answer in time; every other status is final.
struct ExportRetry: Sendable {
    /// How a request ended.
    enum Outcome: Sendable, Equatable {
        /// An answer: its status, and its `Retry-After`.
        case status(Int, retryAfter: String?)
        /// No answer: no connection, or it broke, or it was too late.
        case none
    }

    enum Decision: Sendable, Equatable {
        case taken
        /// To be tried again; nothing is to be sent for so long.
        case again(after: Duration)
        /// Not to be tried again.
        case refused
    }

    /// Longest wait that a collector may ask for: beyond it the queue has changed anyway.
    static let longestWait = Duration.seconds(3_600)

    private let backoff: Backoff
    /// Requests in a row that are to be tried again.
    private(set) var failures = 0
    /// Whether the last wait is as long as the collector has asked for, and so not to be cut short.
    private(set) var isAsked = false

    init() {
        var backoff = Backoff()
        backoff.initial = .seconds(1)
        backoff.growthPercent = 200
        self.backoff = backoff
    }

    /// - Parameters:
    ///   - now: The wall clock, for a `Retry-After` that names a date.
    ///   - random: Uniform in 0..<1, so that tests can choose it.
    mutating func decide(_ outcome: Outcome, now: Date, random: Double) -> Decision {
        var asked = Duration.zero
        switch outcome {
        case .status(let status, _) where (200..<300).contains(status):
            failures = 0
            return .taken
        case .status(let status, let retryAfter) where [429, 502, 503, 504].contains(status):
            asked = retryAfter.flatMap { Self.wait($0, now: now) } ?? .zero
        case .status:
            failures = 0
            return .refused
        case .none: break
        }
        failures += 1
        isAsked = asked > .zero
        return .again(after: max(backoff.delay(afterFailures: failures, random: random), asked))
    }

    /// What a `Retry-After` asks for, which is a number of seconds or a date of HTTP (RFC 9110, 10.2.3); nil where it is neither.
    static func wait(_ text: String, now: Date) -> Duration? {
        let text = text.trimmingCharacters(in: .whitespaces)
        if !text.isEmpty, text.utf8.allSatisfy({ (0x30...0x39).contains($0) }) {
            return Int64(text).map { min(.seconds($0), longestWait) } ?? longestWait
        }
        let formatter = DateFormatter()
        formatter.locale = Locale(identifier: "en_US_POSIX")
        formatter.timeZone = TimeZone(identifier: "GMT")
        formatter.dateFormat = "EEE, dd MMM yyyy HH:mm:ss 'GMT'"
        guard let date = formatter.date(from: text) else { return nil }
        let seconds = min(max(0, date.timeIntervalSince(now)), Double(longestWait.components.seconds))
        return .milliseconds(Int64(seconds * 1_000))
    }
}
