/// Time to wait before the next attempt to connect: exponential with jitter, as in gRPC's connection backoff.
public struct Backoff: Sendable, Hashable {
    /// Wait after the first failure; 100 ms.
    public var initial: Duration = .milliseconds(100)
    /// Longest wait before jitter; 30 s.
    public var maximum: Duration = .seconds(30)
    /// Factor from one wait to the next, in percent; 160.
    public var growthPercent = 160
    /// Jitter around each wait, in percent; 20.
    public var jitterPercent = 20

    /// The defaults.
    public init() {}

    /// The wait after `failures` failures in a row.
    ///
    /// - Parameter random: Uniform in 0..<1, so that tests can choose it.
    public func delay(afterFailures failures: Int, random: Double) -> Duration {
        guard failures > 0 else { return .zero }
        var wait = initial
        for _ in 1..<max(2, failures) where failures > 1 && wait < maximum {
            wait = min(wait * growthPercent / 100, maximum)
        }
        let spread = Double(jitterPercent) / 100
        return min(wait, maximum) * (1 - spread + 2 * spread * random)
    }
}
