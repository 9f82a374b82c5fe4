/// Little's law (1961): the calls in flight are the rate times the mean latency. Where a step breaks it, one of the three
/// was measured wrongly, or the step was not steady.
struct LittlesLaw: Codable, Sendable, Hashable {
    /// The mean number of calls in flight, as counted. A call is in flight from when it is due.
    var counted: Double
    /// Calls ended a second times their mean latency.
    var expected: Double

    /// How far the two may be apart.
    static let tolerance = 0.1

    init(_ result: LoadResult) {
        counted = result.meanInFlight
        let rate = result.duration > 0 ? Double(result.latency.count) / result.duration : 0
        expected = rate * result.latency.mean / 1_000
    }

    /// In proportion to what is expected.
    var deviation: Double {
        expected > 0 ? (counted - expected).magnitude / expected : counted == 0 ? 0 : .infinity
    }

    var holds: Bool { deviation <= Self.tolerance }
}
