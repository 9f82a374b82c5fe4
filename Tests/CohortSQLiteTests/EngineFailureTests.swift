import Foundation
import Synchronization
import Testing

@testable import CohortCore
@testable import CohortSQLite

private final class Counter: Sendable {
    private let count = Mutex(0)
    var value: Int { count.withLock { $0 } }
    func increment() { count.withLock { $0 += 1 } }
}

/// What the engine does when parts of the store fail while it runs, and what it finds afterwards.
@Suite("Engine failures")
struct EngineFailureTests {
    private func put(_ engine: Engine, _ id: String) async throws {
        _ = try await engine.put(
            CustomerPut(customerID: id, attributes: [(name: "daily_spend", value: .double(1))]),
            context: tester
        )
    }

    private func create(_ engine: Engine, _ id: String, kind: CohortKind = .rule) async throws -> CohortChangeResult {
        try await engine.createCohort(
            CohortDefinition(id: id, kind: kind, rule: kind == .rule ? "true" : nil, failPolicy: .unknown),
            context: tester
        )
    }

    @Test("A stop ends though the tables cannot be written and the committer waits for room; the log keeps all")
    func stopWithoutTables() async throws {
        let memory = MemoryStore()
        let store = FaultyStore(memory)
        var configuration = EngineConfiguration()
        configuration.materializeInterval = 1
        configuration.maximumPendingBytes = 1
        configuration.groupRows = 1
        let engine = try await started(store, configuration: configuration)
        try await blocking { engine.materialize() }
        store.set { $0.apply = true }
        let acknowledged = Counter()
        let writes = (0..<8).map { i in
            Task { [self] in
                try await put(engine, "c\(i)")
                acknowledged.increment()
            }
        }
        // The one that is being written, and the one that fills what memory there is; the others wait.
        #expect(try await eventually { acknowledged.value == 2 && engine.status.queueDepth > 0 })
        let stopped = Counter()
        Thread.detachNewThread {
            engine.shutdown()
            stopped.increment()
        }
        let ended = try await eventually { stopped.value > 0 }
        #expect(ended)
        guard ended else { return }
        for write in writes { try await write.value }
        let again = try await started(memory)
        #expect(again.status.customers == 8)
        try await blocking { again.shutdown() }
    }

    /// An engine's store with 20 bulk changes in its tables that no record has taken in, and no log behind them.
    private func unfolded() async throws -> MemoryStore {
        let store = MemoryStore()
        var configuration = EngineConfiguration()
        configuration.bulkThreshold = 4
        configuration.maximumBulkChanges = 1_000
        let engine = try await started(store, configuration: configuration)
        for i in 0..<10 { try await put(engine, "c\(i)") }
        for i in 0..<20 { _ = try await create(engine, "R\(i)") }
        try await blocking { engine.shutdown() }
        return store
    }

    @Test("A failing fold pass stops neither the tables nor itself for good")
    func failingFold() async throws {
        let store = FaultyStore(try await unfolded())
        // The walk over all customers would meet the planted fault as well.
        let configuration = EngineConfiguration.byHand
        // Loading the index takes one scan; the fold pass that is due then fails.
        store.set { $0.scansLeft = 1 }
        let engine = try await started(store, configuration: configuration)
        #expect(try await eventually { engine.status.problem == "folding: planted: no scan" })
        for i in 0..<5 { try await put(engine, "later\(i)") }
        #expect(try await eventually { engine.status.appliedSequence == engine.status.sequence })
        #expect(engine.status.problem == "folding: planted: no scan")
        #expect(engine.shared.published.withLock { $0.bulks.count } >= 20)
        store.set { $0.scansLeft = nil }
        #expect(try await eventually { engine.shared.published.withLock { $0.bulks.isEmpty } })
        #expect(try await eventually { engine.status.problem.isEmpty })
        try await blocking { engine.shutdown() }
    }

    @Test("Folding right after a start, with nothing to replay, keeps all customers")
    func foldAfterStart() async throws {
        let store = try await unfolded()
        var configuration = EngineConfiguration()
        configuration.materializeInterval = 1
        let engine = try await started(store, configuration: configuration)
        #expect(try await eventually { engine.shared.published.withLock { $0.bulks.isEmpty } })
        try await blocking { engine.shutdown() }
        let again = try await started(store, configuration: configuration)
        #expect(again.status.customers == 10)
        for i in 0..<10 {
            let found = try await again.cohortsWaiting(ofCustomer: "c\(i)", deadline: .far)
            #expect(found.memberships.count == 20)
        }
        try await put(again, "new")
        #expect(again.status.customers == 11)
        try await blocking { again.shutdown() }
    }

    @Test("More cohorts than are allowed by now still start, from tables and from the log", arguments: [false, true])
    func loweredCohorts(tablesFail: Bool) async throws {
        let memory = MemoryStore()
        let store = FaultyStore(memory)
        let engine = try await started(store)
        store.set { $0.apply = tablesFail }
        for i in 0..<5 { _ = try await create(engine, "R\(i)") }
        try await put(engine, "ann")
        try await blocking { engine.shutdown() }
        var configuration = EngineConfiguration()
        configuration.maximumCohorts = 2
        let again = try await started(memory, configuration: configuration)
        #expect(try await again.cohortsWaiting(ofCustomer: "ann", deadline: .far).memberships.count == 5)
        guard case .resourceExhausted = await domainError({ try await self.create(again, "MORE") }) else {
            Issue.record("a sixth cohort was taken")
            return
        }
        try await blocking { again.shutdown() }
    }

    @Test("A log that contradicts what was written is told, and the engine can be stopped")
    func contradiction() async throws {
        let memory = MemoryStore()
        let store = FaultyStore(memory)
        let states = Mutex<[EngineState]>([])
        let engine = try await started(store, stateChanged: { state in states.withLock { $0.append(state) } })
        store.set {
            $0.appendsLost = 1
            $0.lastSequence = 1_000
        }
        guard case .dataLoss = await domainError({ try await self.put(engine, "ann") }) else {
            Issue.record("not refused")
            return
        }
        #expect(engine.status.state == .failed)
        #expect(states.withLock { $0 } == [.serving, .storeUnavailable, .failed])
        try await blocking { engine.shutdown() }
        #expect(engine.status.state == .stopped)
        // The store has been given back, or it would be refused.
        let again = try await started(memory)
        try await blocking { again.shutdown() }
    }

    @Test(
        "Changing overrides or a list changes when the cohort was updated, also after a replay",
        arguments: [false, true]
    )
    func assignmentsUpdate(list: Bool) async throws {
        let memory = MemoryStore()
        let store = FaultyStore(memory)
        let clock = Mutex(Timestamp(seconds: 1_700_000_000)!)
        let engine = try await started(store, now: { clock.withLock { $0 } })
        store.set { $0.apply = true }
        try await put(engine, "ann")
        let created = try await create(engine, "ONE", kind: list ? .list : .rule)
        clock.withLock { $0 = Timestamp(seconds: 1_700_000_100)! }
        let later = clock.withLock { $0 }
        if list {
            _ = try await engine.changeList(cohort: "ONE", add: ["ann"], remove: [], context: tester)
        } else {
            _ = try await engine.setOverrides(
                cohort: "ONE",
                include: [],
                exclude: ["ann"],
                clear: [],
                context: tester
            )
        }
        let view = try engine.cohort("ONE")
        #expect(
            view.updatedAt == later && view.createdAt == created.cohort.createdAt && view.updatedAt != view.createdAt
        )
        try await blocking { engine.shutdown() }
        // First from the log, then from the tables.
        for _ in 0..<2 {
            let again = try await started(memory)
            #expect(try again.cohort("ONE").updatedAt == later)
            try await blocking { again.shutdown() }
        }
    }

    @Test("Threads that evaluate rules have room for the frames of a debug build")
    func stacks() async throws {
        let deep = Counter()
        let dive: @Sendable () -> Void = {
            // On too small a stack this ends the process.
            if Self.dive(from: nil) > 0 { deep.increment() }
        }
        try await blocking {
            Worker(name: "test", dive).join()
            Worker.perform(iterations: 3, threads: 2) { _ in dive() }
        }
        #expect(deep.value == 4)
    }

    /// Calls itself until seven MiB of the stack are in use.
    @inline(never)
    private static func dive(from top: UInt?) -> Int {
        var below = 0
        return withUnsafeMutablePointer(to: &below) { pointer in
            let here = UInt(bitPattern: pointer)
            let top = top ?? here
            guard top - here < 7 << 20 else { return 1 }
            pointer.pointee = dive(from: top)
            return pointer.pointee + 1
        }
    }
}
