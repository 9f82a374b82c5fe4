package import Metrics
package import NIOCore
import Synchronization

/// A ``CircuitBreaker`` before something that several threads call, with its metrics: `rpc.breaker.state{breaker}` (0 closed,
/// 1 half-open, 2 open), `rpc.breaker.transitions{breaker,to}`, `rpc.breaker.rejected{breaker}`.
package final class DependencyBreaker: Sendable {
    /// What it says of itself.
    package struct Status: Sendable, Hashable {
        package var name: String
        package var state: CircuitBreaker.State
        package var failureRatePercent: Int
        package var slowCallRatePercent: Int
        /// Calls refused, and times that it opened, since the start.
        package var rejected: Int
        package var opened: Int
        /// Until it tries again; nil unless it refuses calls now.
        package var retryAfter: Duration?
    }

    private struct State {
        var breaker: CircuitBreaker
        var rejected = 0
        var opened = 0
    }

    package let name: String
    private let clock: @Sendable () -> NIODeadline
    private let onTransition: @Sendable (CircuitBreaker.State) -> Void
    private let state: Mutex<State>
    private let stateGauge: Gauge
    private let rejections: Counter
    private let transitions: [CircuitBreaker.State: Counter]

    /// - Parameters:
    ///   - name: As in the metrics.
    ///   - onTransition: Told the state it goes to, with no lock held.
    package init(
        name: String,
        policy: CircuitBreaker.Policy,
        metrics: (any MetricsFactory)? = nil,
        clock: @escaping @Sendable () -> NIODeadline = { .now() },
        onTransition: @escaping @Sendable (CircuitBreaker.State) -> Void = { _ in }
    ) {
        let factory = metrics ?? MetricsSystem.factory
        self.name = name
        self.clock = clock
        self.onTransition = onTransition
        state = Mutex(State(breaker: CircuitBreaker(policy)))
        let label = ("breaker", name)
        stateGauge = Gauge(label: "rpc.breaker.state", dimensions: [label], factory: factory)
        rejections = Counter(label: "rpc.breaker.rejected", dimensions: [label], factory: factory)
        transitions = Dictionary(
            uniqueKeysWithValues: CircuitBreaker.State.allCases.map {
                let dimensions = [label, ("to", $0.rawValue)]
                return ($0, Counter(label: "rpc.breaker.transitions", dimensions: dimensions, factory: factory))
            }
        )
        stateGauge.record(0)
    }

    /// The time to wait where a call is refused now, which is counted as refused; nil where it may be asked for.
    package func refusal() -> Duration? {
        let now = clock()
        let wait = state.withLock { state in
            let wait = state.breaker.wait(at: now)
            if wait != nil { state.rejected += 1 }
            return wait
        }
        if wait != nil { rejections.increment() }
        return wait
    }

    package func admit() -> CircuitBreaker.Decision {
        let now = clock()
        let decision = change { state in
            let decision = state.breaker.admit(at: now)
            if case .rejected = decision { state.rejected += 1 }
            return decision
        }
        if case .rejected = decision { rejections.increment() }
        return decision
    }

    package func record(_ outcome: CircuitBreaker.Outcome, took time: Duration, permit: CircuitBreaker.Permit) {
        let now = clock()
        change { $0.breaker.record(outcome, took: time, permit: permit, at: now) }
    }

    /// As ``CircuitBreaker/foundAway(at:)``.
    package func foundAway() {
        let now = clock()
        change { $0.breaker.foundAway(at: now) }
    }

    package var status: Status {
        let now = clock()
        return state.withLock { state in
            Status(
                name: name,
                state: state.breaker.state,
                failureRatePercent: state.breaker.failureRatePercent,
                slowCallRatePercent: state.breaker.slowCallRatePercent,
                rejected: state.rejected,
                opened: state.opened,
                retryAfter: state.breaker.wait(at: now)
            )
        }
    }

    private func change<R: Sendable>(_ body: (inout sending State) -> R) -> R {
        let (result, new) = state.withLock { state -> (R, CircuitBreaker.State?) in
            let old = state.breaker.state
            let result = body(&state)
            let new = state.breaker.state
            if new == .open, old != .open { state.opened += 1 }
            return (result, new == old ? nil : new)
        }
        guard let new else { return result }
        stateGauge.record(new == .closed ? 0 : new == .halfOpen ? 1 : 2)
        transitions[new]?.increment()
        onTransition(new)
        return result
    }
}
