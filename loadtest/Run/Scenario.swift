import RPC

/// What is asked of a server, how often and by whom: all that a load consists of but the server's address.
struct Scenario: Sendable {
    var name: String
    /// At least one, their weights over 0.
    var mix: [MixEntry]
    var profile: RateProfile
    /// Seconds before the measurement, at the rate with which it begins.
    var warmup: Double
    var arrivals: ArrivalSchedule.Process
    var population: Population
    var keys: KeyDistribution
    /// Cohorts asked about, each as often.
    var cohorts: [String]
    /// Connections, between which calls take turns.
    var connections: Int
    /// Watches of all cohorts that run throughout.
    var watches: Int
    var seed: UInt64

    static let maximumConnections = 10_000
    static let maximumWatches = 10_000

    /// One kind of call at one rate.
    init(
        _ operation: Operation = .checkMembership,
        rate: Double,
        duration: Double,
        population: Population
    ) {
        name = operation.rawValue
        mix = [MixEntry(operation)]
        profile = .constant(rate, for: duration)
        warmup = 1
        arrivals = .poisson
        self.population = population
        keys = .uniform
        cohorts = ["LOADTEST"]
        connections = 16
        watches = 0
        seed = 42
    }
}
