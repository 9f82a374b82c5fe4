public import NIOCore
import Synchronization

/// The Generic Cell Rate Algorithm (ITU-T I.371), as a virtual schedule: events at a steady rate with a burst allowed. One
/// number of state; time is passed in.
public struct GCRA: Sendable, Hashable {
    /// What is allowed.
    public struct Limit: Sendable, Hashable {
        /// Time between events at the steady rate, in nanoseconds; at least 1.
        public let interval: Int64
        /// Events that may come at once; at least 1.
        public let burst: Int
        /// How far ahead of the schedule an event may come, in nanoseconds.
        let tolerance: Int64

        /// A limit.
        ///
        /// - Parameters:
        ///   - rate: Events per second; more than 0, at most a thousand million.
        ///   - burst: Events that may come at once; at least 1.
        public init(perSecond rate: Double, burst: Int) {
            precondition(rate > 0 && burst > 0, "a limit lets something pass")
            interval = max(1, Int64(min(1e9 / rate, 1e18)))
            self.burst = burst
            let (product, overflow) = interval.multipliedReportingOverflow(by: Int64(burst - 1))
            // Half of the range is centuries, and leaves room to add to.
            tolerance = overflow ? .max / 2 : min(product, .max / 2)
        }
    }

    /// When the next event would be due at the steady rate, in nanoseconds of uptime.
    fileprivate var due: Int64 = .min

    /// As if nothing had happened yet.
    public init() {}

    fileprivate init(due: Int64) { self.due = due }

    /// Whether nothing that happened counts any more.
    public func isIdle(at now: NIODeadline) -> Bool { due <= Int64(clamping: now.uptimeNanoseconds) }

    /// Whether an event would be let pass now, without counting it; if not, the time to wait.
    public func wait(at now: NIODeadline, limit: Limit) -> Duration? {
        let now = Int64(clamping: now.uptimeNanoseconds)
        let wait = max(due, now) - limit.tolerance - now
        return wait > 0 ? .nanoseconds(wait) : nil
    }

    /// Counts an event if it is let pass; if not, the time to wait until one would be.
    public mutating func admit(at now: NIODeadline, limit: Limit) -> Duration? {
        if let wait = wait(at: now, limit: limit) { return wait }
        due = max(due, Int64(clamping: now.uptimeNanoseconds)) + limit.interval
        return nil
    }
}

/// A ``GCRA`` that threads share without a lock.
package final class SharedGCRA: Sendable {
    private let due = Atomic<Int64>(.min)

    package init() {}

    package func isIdle(at now: NIODeadline) -> Bool { GCRA(due: due.load(ordering: .relaxed)).isIdle(at: now) }

    /// As ``GCRA/admit(at:limit:)``.
    package func admit(at now: NIODeadline, limit: GCRA.Limit) -> Duration? {
        var seen = due.load(ordering: .relaxed)
        while true {
            var next = GCRA(due: seen)
            if let wait = next.admit(at: now, limit: limit) { return wait }
            let (exchanged, original) = due.weakCompareExchange(
                expected: seen,
                desired: next.due,
                ordering: .relaxed
            )
            if exchanged { return nil }
            seen = original
        }
    }
}
