import CohortAPI
import CohortCore
import CohortServices
import NIOCore
import RPC
import Synchronization
import Testing

/// The breaker of RPC as the engine's store has it: nothing may be lost in between. Time is passed in.
@Suite("Store circuit")
struct StoreCircuitTests {
    private final class Clock: Sendable {
        private let now = Mutex(NIODeadline.uptimeNanoseconds(1_000_000_000))
        var time: NIODeadline { now.withLock { $0 } }
        func advance(_ time: TimeAmount) { now.withLock { $0 = $0 + time } }
    }

    private func circuit(_ clock: Clock, trials: Int = 2) -> StoreCircuit {
        var policy = CircuitBreaker.Policy()
        policy.openTime = .seconds(30)
        policy.halfOpenPermits = trials
        return StoreCircuit(DependencyBreaker(name: "store_writes", policy: policy, clock: { clock.time }))
    }

    private func permit(_ circuit: StoreCircuit) -> UInt64? {
        guard case .admitted(let permit) = circuit.admit() else { return nil }
        return permit
    }

    @Test("Opens by failures in a row, refuses with the time that is left, and tells it")
    func opens() throws {
        let clock = Clock()
        let circuit = circuit(clock)
        for _ in 0..<5 { circuit.record(failed: true, took: .zero, permit: try #require(permit(circuit))) }
        guard case .refused(let wait) = circuit.admit() else {
            Issue.record("an open breaker admits")
            return
        }
        #expect(wait == .seconds(30))
        clock.advance(.seconds(10))
        #expect(circuit.refusal() == .seconds(20))
        let status = try #require(circuit.status)
        #expect(status.state == .open && status.name == "store_writes" && status.retryAfter == .seconds(20))
        #expect(status.rejected == 2 && status.opened == 1)
    }

    @Test("What was ignored neither opens nor closes it")
    func ignored() throws {
        let circuit = circuit(Clock())
        for _ in 0..<200 { circuit.record(failed: nil, took: .zero, permit: try #require(permit(circuit))) }
        #expect(circuit.status?.state == .closed && circuit.refusal() == nil)
    }

    @Test("Half open it admits its trials and no more; their successes close it, and a word of before counts nothing")
    func halfOpen() throws {
        let clock = Clock()
        let circuit = circuit(clock)
        let before = try #require(permit(circuit))
        for _ in 0..<5 { circuit.record(failed: true, took: .zero, permit: try #require(permit(circuit))) }
        clock.advance(.seconds(30))
        let trials = [try #require(permit(circuit)), try #require(permit(circuit))]
        #expect(permit(circuit) == nil && circuit.status?.state == .halfOpen)
        // Begun before it opened: says nothing of the store now.
        circuit.record(failed: true, took: .zero, permit: before)
        #expect(circuit.status?.state == .halfOpen)
        for trial in trials { circuit.record(failed: false, took: .zero, permit: trial) }
        #expect(circuit.status?.state == .closed && permit(circuit) != nil)
    }

    @Test("Found away it is open from now on, however long it was open already")
    func foundAway() throws {
        let clock = Clock()
        let circuit = circuit(clock)
        for _ in 0..<5 { circuit.record(failed: true, took: .zero, permit: try #require(permit(circuit))) }
        clock.advance(.seconds(29))
        circuit.foundAway()
        #expect(circuit.refusal() == .seconds(30))
        #expect(circuit.status?.state == .open)
    }
}
