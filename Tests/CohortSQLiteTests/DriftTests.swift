import Foundation
import Synchronization
import Testing

@testable import CohortCore
@testable import CohortSQLite

@Suite("Drift walk")
struct DriftTests {
    private static let message = "memberships differ from what attributes, overrides and lists say"

    private let clock = ManualClock()
    private let events = EventLog()
    private let directory = TemporaryDirectory()

    /// 300 customers, half of them in BIG.
    private func engine(_ change: (inout EngineConfiguration) -> Void = { _ in }) async throws -> Engine {
        var configuration = EngineConfiguration.byHand
        configuration.driftRate = 1_000_000
        change(&configuration)
        let engine = Engine(
            store: SQLiteStore(directory: directory.path),
            configuration: configuration,
            environment: EngineEnvironment(now: { [clock] in clock.now }, log: { [events] in events.add($0) })
        )
        try await blocking { try engine.start() }
        try await engine.rule("BIG", "customer.daily_spend >= 150.0")
        let rows = (0..<300).map {
            CustomerPut(customerID: "c\($0)", attributes: [("daily_spend", .double(Double($0)))])
        }
        _ = try await engine.put(batch: rows, context: tester)
        return engine
    }

    @Test("A walk over sound memberships reports the customers and no difference, and the next comes a period later")
    func sound() async throws {
        let engine = try await engine()
        try await engine.upkeepNow()
        var drift = engine.status.upkeep.drift
        let first = try #require(drift.completed)
        #expect(first.customers == 300 && first.differences == 0 && first.completedAt == clock.now)
        #expect(drift.current == nil && drift.customersChecked == 300)
        clock.advance(86_399)
        try await engine.upkeepNow()
        #expect(engine.status.upkeep.drift.completed == first)
        clock.advance(1)
        try await engine.upkeepNow()
        drift = engine.status.upkeep.drift
        #expect(drift.completed?.startedAt == clock.now && drift.customersChecked == 600)
        #expect(events.count(Self.message) == 0)
        try await engine.stop()
    }

    @Test("A flipped bit of the index and a changed record are each reported, and logged once a walk")
    func planted() async throws {
        let engine = try await engine()
        try await blocking { engine.materialize() }
        let number = try #require(engine.shared.published.withLock { $0.catalog.numbers["BIG"] })
        engine.shared.index.set(try #require(engine.ordinal(of: "c7")), number, .in)
        try plantRecord(engine, "c200", cohort: number)
        try await engine.upkeepNow()
        let walk = try #require(engine.status.upkeep.drift.completed)
        #expect(walk.customers == 300)
        let found = Set(
            walk.samples.map { "\($0.customer) \($0.expected) \($0.indexed) \($0.recorded.map { "\($0)" } ?? "")" }
        )
        #expect(found == ["c7 out in out", "c200 in in out"], "\(found)")
        #expect(walk.differences == 2)
        #expect(engine.status.upkeep.drift.differences == 2)
        #expect(events.count(Self.message) == 1)
        clock.advance(86_400)
        try await engine.upkeepNow()
        #expect(events.count(Self.message) == 2)
        try await engine.stop()
    }

    @Test("A bit of an erased customer is reported")
    func ghost() async throws {
        let engine = try await engine()
        let ordinal = try #require(engine.ordinal(of: "c9"))
        _ = try await engine.erase(customer: "c9", context: tester)
        try await blocking { engine.materialize() }
        let number = try #require(engine.shared.published.withLock { $0.catalog.numbers["BIG"] })
        engine.shared.index.set(ordinal, number, .unknown)
        try await engine.upkeepNow()
        let walk = try #require(engine.status.upkeep.drift.completed)
        #expect(walk.samples.map(\.customer) == ["#\(ordinal)"] && walk.customers == 299)
        try await engine.stop()
    }

    /// Takes a customer's memberships out of the record in the tables.
    private func plantRecord(_ engine: Engine, _ id: String, cohort: CohortNumber) throws {
        let ordinal = try #require(engine.ordinal(of: id))
        var record: CustomerRecord?
        try engine.shared.store.readCustomers([ordinal]) { (_, bytes) throws(StoreError) in
            record = try? CustomerRecord(decoding: bytes)
        }
        var changed = try #require(record)
        #expect(changed.intervals.contains { $0.cohort == cohort })
        changed.intervals = []
        let figures = engine.shared.figures.withLock { $0 }
        try engine.shared.store.apply(
            MaterializedBatch(
                appliedSequence: figures.appliedSequence,
                appliedTime: figures.appliedTime,
                nextOrdinal: figures.nextOrdinal,
                customers: [(ordinal, .update(record: changed.encoded()))],
                attributes: [],
                cohorts: [],
                assignments: [],
                closed: [],
                bulks: [],
                foldedThrough: nil
            )
        )
    }

    @Test("The walk keeps to its rate, goes on where it was, and shows how far it is")
    func rate() async throws {
        let engine = try await engine { $0.driftRate = 64 }
        try await engine.upkeepNow()
        #expect(engine.status.upkeep.drift.current?.customers == 64)
        try await engine.upkeepNow()
        #expect(engine.status.upkeep.drift.current?.customers == 64)
        clock.advance(2)
        try await engine.upkeepNow()
        #expect(engine.status.upkeep.drift.current?.customers == 192)
        // However long it slept, it makes up for ten seconds at most.
        clock.advance(3_600)
        try await engine.upkeepNow()
        #expect(engine.status.upkeep.drift.completed?.customers == 300)
        try await engine.stop()
    }

    @Test("A step with no time left still goes on by one slice, and the walk by the seconds ends at the end")
    func steps() async throws {
        let engine = try await engine { $0.driftStep = .zero }
        try await engine.upkeepNow()
        #expect(engine.status.upkeep.drift.completed?.customers == 300)
        let report = try await engine.audit()
        #expect(report.customers == 300 && report.differences == 0)
        try await engine.stop()
    }

    @Test("A walk that cannot read the store says so, and goes on when it can")
    func unreadable() async throws {
        let store = FaultyStore(MemoryStore())
        var configuration = EngineConfiguration.byHand
        configuration.driftRate = 1_000_000
        let engine = try await started(store, configuration: configuration, now: { [clock] in clock.now })
        try await engine.set("a", spend: 1)
        try await blocking { engine.materialize() }
        store.set { $0.scansLeft = 0 }
        try await blocking { engine.upkeep() }
        #expect(engine.status.problem == "upkeep: planted: no scan")
        #expect(engine.status.upkeep.drift.completed == nil)
        // The others go on.
        #expect(engine.status.upkeep.log.firstTime != nil)
        store.set { $0.scansLeft = nil }
        try await blocking { engine.upkeep() }
        #expect(engine.status.upkeep.drift.completed == nil)
        clock.advance(Upkeep.failurePause)
        try await blocking { engine.upkeep() }
        #expect(engine.status.problem == "" && engine.status.upkeep.drift.completed?.customers == 1)
        try await engine.stop()
    }

    @Test("Without a period there is no walk")
    func off() async throws {
        let engine = try await engine { $0.driftPeriod = nil }
        try await engine.upkeepNow()
        #expect(engine.status.upkeep.drift == DriftStatus())
        try await engine.stop()
    }
}
