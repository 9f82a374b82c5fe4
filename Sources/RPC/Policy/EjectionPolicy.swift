/// When an endpoint that fails is left out of the rotation: consecutive failures, as in Envoy's outlier detection.
public struct EjectionPolicy: Sendable, Hashable {
    /// Failures in a row (to connect, or UNAVAILABLE answers) that eject an endpoint; 5.
    public var consecutiveFailures = 5
    /// Time of the first ejection; 10 s. The nth in a row lasts n times as long.
    public var baseTime: Duration = .seconds(10)
    /// Longest ejection; 5 min.
    public var maximumTime: Duration = .seconds(300)

    /// The defaults.
    public init() {}
}
