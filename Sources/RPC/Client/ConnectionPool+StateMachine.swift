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

    private struct Health {
        var consecutiveFailures = 0
        var ejections = 0
        var ejectedUntil: NIODeadline?
    }

    private var slots: [Slot]
    private var health: [Health]
    private var next = 0
    private let backoff: Backoff
    private let ejection: EjectionPolicy

    package init(endpoints: Int, connectionsPerEndpoint: Int, backoff: Backoff, ejection: EjectionPolicy) {
        // Endpoints alternate, so that round robin spreads over them first.
        slots = (0..<max(1, connectionsPerEndpoint)).flatMap { _ in (0..<endpoints).map { Slot(endpoint: $0) } }
        health = Array(repeating: Health(), count: endpoints)
        self.backoff = backoff
        self.ejection = ejection
    }

    package enum Decision: Sendable, Hashable {
        /// Use the connection of this slot.
        case use(Int)
        /// None is ready; one may be soon.
        case wait
        /// None is ready and none is being made; the earliest attempt is at this time.
        case unavailable(until: NIODeadline)
    }

    /// Chooses for one call, and says which slots to connect.
    package mutating func pick(now: NIODeadline) -> (decision: Decision, connect: [Int]) {
        let connect = slotsToConnect(now: now)
        let all = (0..<slots.count).map { (next + $0) % slots.count }
        let ready = all.filter { if case .ready = slots[$0].phase { true } else { false } }
        // If every endpoint that is ready is ejected, an ejected one is better than none.
        if let slot = ready.first(where: { !isEjected(slots[$0].endpoint, now: now) }) ?? ready.first {
            next = (slot + 1) % slots.count
            return (.use(slot), connect)
        }
        var earliest: NIODeadline?
        for slot in slots {
            switch slot.phase {
            case .connecting, .idle, .ready: return (.wait, connect)
            case .waiting(let until): earliest = min(earliest ?? until, until)
            }
        }
        return (.unavailable(until: earliest ?? now), connect)
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

    package func isEjected(_ endpoint: Int, now: NIODeadline) -> Bool {
        health[endpoint].ejectedUntil.map { $0 > now } ?? false
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
        failed(slots[slot].endpoint, now: now)
    }

    /// The slot's connection takes no more calls.
    package mutating func lost(_ slot: Int) {
        if case .ready = slots[slot].phase { slots[slot].phase = .idle }
    }

    /// A call on the endpoint was answered, with whatever but UNAVAILABLE.
    package mutating func succeeded(_ endpoint: Int) {
        health[endpoint] = Health()
    }

    /// A call on the endpoint, or an attempt to connect to it, failed as unavailable.
    package mutating func failed(_ endpoint: Int, now: NIODeadline) {
        health[endpoint].consecutiveFailures += 1
        guard health[endpoint].consecutiveFailures >= ejection.consecutiveFailures, !isEjected(endpoint, now: now)
        else {
            return
        }
        health[endpoint].consecutiveFailures = 0
        health[endpoint].ejections += 1
        let time = min(ejection.baseTime * health[endpoint].ejections, ejection.maximumTime)
        health[endpoint].ejectedUntil = now + TimeAmount(clamping: time)
    }
}
