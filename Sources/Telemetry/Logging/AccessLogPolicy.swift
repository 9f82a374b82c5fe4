/// Which calls get a line, and how many lines a second there may be of those that callers have brought on themselves.
package struct AccessLogPolicy: Sendable {
    /// Calls that take longer get a line, in nanoseconds.
    package var slow: Int64
    /// Chooses of the other calls.
    package var sampler: Sampler
    /// Most lines in a second for failures that are the caller's.
    package var failuresPerSecond: Int

    /// - Parameters:
    ///   - slow: In nanoseconds.
    ///   - ratio: The part of the calls that neither fail nor are slow which get a line, 0 to 1.
    package init(slow: Int64 = 1_000_000_000, ratio: Double = 0, failuresPerSecond: Int = 100) {
        self.slow = slow
        sampler = Sampler(ratio: ratio)
        self.failuresPerSecond = failuresPerSecond
    }

    package enum Reason: String, Sendable { case failed, slow, sampled }
}

/// How many lines a second are left.
package struct LineBudget: Sendable {
    private let limit: Int
    private var second: UInt64 = 0
    private var used = 0
    private var suppressed: UInt64 = 0

    package init(limit: Int) { self.limit = limit }

    /// Takes a line out of the budget of this second. Nil where none is left; else how many were suppressed since the last one.
    package mutating func take(at second: UInt64) -> UInt64? {
        // A clock that goes back gets no new budget.
        if second > self.second {
            self.second = second
            used = 0
        }
        guard used < limit else {
            suppressed += 1
            return nil
        }
        used += 1
        defer { suppressed = 0 }
        return suppressed
    }
}
