package import NIOCore

/// Which connection a call takes, which to open, which endpoint to leave out. Reads no clock and draws no random number.
///
/// A slot is one place for a connection; each endpoint has as many as the configuration says. Calls go round robin over the
/// slots that are ready. Every slot that is not ready is connected as soon as calls are made, after its backoff.
package struct ConnectionPoolStateMachine: ~Copyable {
    private enum Phase {
        case idle
        case connecting
        case ready
        case waiting(until: NIODeadline)
    }

    private struct Slot {
        let endpoint: Int
        var phase = Phase.idle
        var failures = 0
    }

    private var slots: [Slot]
    private var breakers: [CircuitBreaker]
    private var next = 0
    private let backoff: Backoff

    package init(endpoints: Int, connectionsPerEndpoint: Int, backoff: Backoff, breaker: CircuitBreaker.Policy) {
        // Endpoints alternate, so that round robin spreads over them first.
        slots = (0..<max(1, connectionsPerEndpoint)).flatMap { _ in (0..<endpoints).map { Slot(endpoint: $0) } }
        breakers = Array(repeating: CircuitBreaker(breaker), count: endpoints)
        self.backoff = backoff
    }

    package enum Decision: Sendable, Hashable {
        /// Use the connection of this slot.
        case use(Int)
        /// None is ready; one may be soon.
        case wait
        /// None is ready and none is being made; the earliest attempt is at this time.
        case unavailable(until: NIODeadline)
        /// Every endpoint that is ready has failed too often, and nothing else is being connected.
        case broken(retryAfter: Duration)
    }

    /// Chooses for one call, and says which slots to connect.
    package mutating func pick(now: NIODeadline) -> (decision: Decision, connect: [Int]) {
        let connect = slotsToConnect(now: now)
        let all = (0..<slots.count).map { (next + $0) % slots.count }
        let ready = all.filter { if case .ready = slots[$0].phase { true } else { false } }
        if let slot = ready.first(where: { breakers[slots[$0].endpoint].wait(at: now) == nil }) {
            next = (slot + 1) % slots.count
            return (.use(slot), connect)
        }
        var earliest: NIODeadline?
        for slot in slots {
            switch slot.phase {
            case .connecting, .idle: if breakers[slot.endpoint].wait(at: now) == nil { return (.wait, connect) }
            case .ready: break
            case .waiting(let until): earliest = min(earliest ?? until, until)
            }
        }
        // All are left out: a server that is tried now and then is found well before its time, where it is the only one too.
        // To call them all as if nothing were, as Envoy does below its panic threshold, would keep down what comes up.
        if let slot = ready.first(where: { breakers[slots[$0].endpoint].probeWait(at: now) == nil }) {
            next = (slot + 1) % slots.count
            return (.use(slot), connect)
        }
        let retryAfter = ready.compactMap { breakers[slots[$0].endpoint].probeWait(at: now) }.min()
        if let retryAfter { return (.broken(retryAfter: retryAfter), connect) }
        // Being connected, but its breaker is open: who waits for it would be refused then.
        guard let earliest else { return (.wait, connect) }
        return (.unavailable(until: earliest), connect)
    }

    private mutating func slotsToConnect(now: NIODeadline) -> [Int] {
        var connect: [Int] = []
        for index in slots.indices {
            switch slots[index].phase {
            case .idle: break
            case .waiting(let until) where until <= now: break
            default: continue
            }
            slots[index].phase = .connecting
            connect.append(index)
        }
        return connect
    }

    package func endpoint(of slot: Int) -> Int { slots[slot].endpoint }

    /// The state of an endpoint's breaker.
    package func breakerState(_ endpoint: Int) -> CircuitBreaker.State { breakers[endpoint].state }

    /// Counts a call on a slot that ``pick(now:)`` chose; nil where its endpoint takes none any more.
    package mutating func admit(_ slot: Int, now: NIODeadline) -> CircuitBreaker.Permit? {
        guard case .admitted(let permit) = breakers[slots[slot].endpoint].admitProbe(at: now) else { return nil }
        return permit
    }

    package mutating func connected(_ slot: Int) {
        slots[slot].phase = .ready
        slots[slot].failures = 0
    }

    /// - Parameter random: Uniform in 0..<1.
    package mutating func connectFailed(_ slot: Int, now: NIODeadline, random: Double) {
        slots[slot].failures += 1
        let wait = backoff.delay(afterFailures: slots[slot].failures, random: random)
        slots[slot].phase = .waiting(until: now + TimeAmount(clamping: wait))
    }

    /// The slot's connection takes no more calls.
    package mutating func lost(_ slot: Int) {
        if case .ready = slots[slot].phase { slots[slot].phase = .idle }
    }

    /// How a call on the endpoint ended. Attempts to connect do not count: they have their backoff.
    package mutating func record(
        _ outcome: CircuitBreaker.Outcome,
        took time: Duration,
        permit: CircuitBreaker.Permit,
        on endpoint: Int,
        now: NIODeadline
    ) {
        breakers[endpoint].record(outcome, took: time, permit: permit, at: now)
    }
}
