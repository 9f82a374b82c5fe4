import Metrics

/// Metrics of a client: `rpc.client.retries`, `rpc.client.retries.throttled`, `rpc.client.breaker.rejected`,
/// `rpc.client.breaker.transitions{to}`.
final class ClientStatistics: Sendable {
    let retries: Counter
    let retriesThrottled: Counter
    let breakerRejected: Counter
    private let transitions: [CircuitBreaker.State: Counter]

    init(_ factory: (any MetricsFactory)?) {
        let factory = factory ?? MetricsSystem.factory
        retries = Counter(label: "rpc.client.retries", dimensions: [], factory: factory)
        retriesThrottled = Counter(label: "rpc.client.retries.throttled", dimensions: [], factory: factory)
        breakerRejected = Counter(label: "rpc.client.breaker.rejected", dimensions: [], factory: factory)
        transitions = Dictionary(
            uniqueKeysWithValues: CircuitBreaker.State.allCases.map {
                (
                    $0,
                    Counter(
                        label: "rpc.client.breaker.transitions",
                        dimensions: [("to", $0.rawValue)],
                        factory: factory
                    )
                )
            }
        )
    }

    func breaker(goesTo state: CircuitBreaker.State) { transitions[state]?.increment() }
}
