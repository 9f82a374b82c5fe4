import Foundation
import GRDB
import Testing

@testable import CohortCore
@testable import CohortSQLite

@Suite("Scrubbing after erasures")
struct ErasureScrubTests {
    private let clock = ManualClock()
    private let directory = TemporaryDirectory()

    private func engine(
        _ path: String? = nil,
        _ change: (inout EngineConfiguration) -> Void = { _ in }
    ) async throws -> Engine {
        var configuration = EngineConfiguration.byHand
        configuration.driftPeriod = nil
        configuration.scrubDelay = 3_600
        change(&configuration)
        return try await started(
            SQLiteStore(directory: path ?? directory.path),
            configuration: configuration,
            now: { [clock] in clock.now }
        )
    }

    private func prepare(_ engine: Engine) async throws {
        try await engine.rule("PAID", "customer.user_type.startsWith(\"p\")")
        try await engine.rule("BIG", "customer.daily_spend >= 5.0")
        _ = try await engine.createCohort(CohortDefinition(id: "LIST", kind: .list, rule: nil), context: tester)
        for i in 0..<50 { try await engine.set("c\(i)", spend: Double(i)) }
    }

    @Test("After the pass no file of the store holds the id or a value of an erased customer")
    func nothingIsLeft() async throws {
        let id = "MARKER-ID-7f3a"
        let values = (0..<4).map { "pMARKER-VALUE-\($0)-91bc" }
        let engine = try await engine()
        try await prepare(engine)
        for value in values {
            try await engine.set(id, [(name: "user_type", value: .string(value)), ("daily_spend", .double(1))])
            try await engine.set(id, spend: 9)
        }
        let ordinal = try #require(engine.ordinal(of: id))
        _ = try await engine.changeList(cohort: "LIST", add: [id, "c1"], remove: [], context: tester)
        _ = try await engine.setOverrides(
            cohort: "BIG",
            include: ["c2"],
            exclude: [id],
            clear: [],
            context: tester
        )
        for i in 50..<60 { try await engine.set("c\(i)", spend: Double(i)) }
        _ = try await engine.erase(customer: id, context: tester)
        try await engine.upkeepNow()
        // The control: until the pass they are there, and the status says that something is to be done.
        for marker in [id] + values {
            #expect(try !files(in: directory.path, containing: marker).isEmpty, "\(marker)")
        }
        #expect(engine.status.upkeep.scrub.pending == 1 && engine.status.upkeep.scrub.oldest == clock.now)
        let before = try engine.shared.store.readLog(from: 0, limit: 1_000)
        clock.advance(3_600)
        try await engine.upkeepNow()
        #expect(engine.status.upkeep.scrub.pending == 0 && engine.status.upkeep.scrub.completedAt == clock.now)
        let after = try engine.shared.store.readLog(from: 0, limit: 1_000)
        #expect(after.map(\.sequence) == before.map(\.sequence) && after.map(\.time) == before.map(\.time))
        var kinds: [String] = []
        for (old, new) in zip(before, after) where old != new {
            let entry = try new.decoded()
            #expect(!entry.transitions.contains { $0.ordinal == ordinal })
            #expect(entry.principal == tester.principal)
            switch entry.change {
            case .customerPutScrubbed(let scrubbed, let isNew):
                #expect(scrubbed == ordinal)
                kinds.append(isNew ? "new" : "put")
            case .assignmentsChanged(let assignments):
                #expect(assignments.count == 1 && assignments[0].ordinal != ordinal)
                kinds.append("assignments")
            case .customerErased(ordinal): kinds.append("erased")
            default: Issue.record("\(entry)")
            }
        }
        #expect(kinds == ["new"] + Array(repeating: "put", count: 7) + ["assignments", "assignments", "erased"])
        #expect(engine.status.upkeep.scrub.entriesRewritten == UInt64(kinds.count))
        try await engine.stop()
        for marker in [id, "MARKER"] + values {
            #expect(try files(in: directory.path, containing: marker) == [], "\(marker)")
        }
        let again = try await self.engine()
        #expect(again.status.customers == 60)
        #expect(try await again.audit().differences == 0)
        try await again.stop()
    }

    @Test("An erasure that a stop overtakes is scrubbed after the next start, and its history is gone")
    func restart() async throws {
        var engine = try await engine()
        try await prepare(engine)
        try await engine.set("MARKER", spend: 9)
        try await engine.set("MARKER", spend: 1)
        let ordinal = try #require(engine.ordinal(of: "MARKER"))
        _ = try await engine.erase(customer: "MARKER", context: tester)
        // Came and went between two batches of the tables.
        try await engine.stop()
        clock.advance(4_000)
        engine = try await self.engine()
        #expect(try !files(in: directory.path, containing: "MARKER").isEmpty)
        let closed = "SELECT count(*) FROM intervals WHERE ordinal = \(ordinal)"
        #expect(try await number(closed, engine) > 0)
        try await engine.upkeepNow()
        #expect(try await number(closed, engine) == 0)
        #expect(try files(in: directory.path, containing: "MARKER") == [])
        try await engine.stop()
    }

    private func number(_ sql: String, _ engine: Engine) async throws -> Int {
        let store = try #require(engine.shared.store as? SQLiteStore)
        return try await store.opened().tables.pool.read { try Int.fetchOne($0, sql: sql) ?? -1 }
    }

    @Test(
        "Nothing is left of erased customers whose rows were moved between pages, nor of entries that retention deleted"
    )
    func residue() async throws {
        var generator = SeededGenerator(state: 11)
        let engine = try await engine {
            $0.logRetentionAge = 1_000
            $0.retentionBatchRows = 37
        }
        let count = 1_500
        func write(_ numbers: [Int]) async throws {
            let rows = numbers.map { number in
                let filler = String(repeating: "y", count: Int.random(in: 20...400, using: &generator))
                return CustomerPut(
                    customerID: "MARK\(10_000 + number)",
                    attributes: [(name: "user_type", value: AttributeValue.string("VALUE\(10_000 + number)\(filler)"))]
                )
            }
            _ = try await engine.put(batch: rows, context: tester)
        }
        for start in stride(from: 0, to: count, by: 500) { try await write(Array(start..<(start + 500))) }
        for _ in 0..<8 {
            try await write((0..<800).map { _ in Int.random(in: 0..<count, using: &generator) })
            clock.advance(150)
            try await engine.upkeepNow()
        }
        let erased = Array(Array(0..<count).shuffled(using: &generator).prefix(200))
        for number in erased { _ = try await engine.erase(customer: "MARK\(10_000 + number)", context: tester) }
        try await engine.upkeepNow()
        #expect(engine.status.upkeep.scrub.pending == 200 && engine.status.upkeep.log.firstSequence > 1)
        clock.advance(3_600)
        // Entries are deleted in the middle of the pass as well.
        try await engine.upkeepNow()
        #expect(engine.status.upkeep.scrub.pending == 0)
        try await engine.stop()
        var contents = Data()
        for name in try FileManager.default.contentsOfDirectory(atPath: directory.path) {
            contents.append(try Data(contentsOf: URL(fileURLWithPath: directory.path + "/" + name)))
        }
        let left = erased.filter {
            contents.range(of: Data("MARK\(10_000 + $0)".utf8)) != nil
                || contents.range(of: Data("VALUE\(10_000 + $0)".utf8)) != nil
        }
        #expect(left.isEmpty, "\(left.count) of 200")
        let again = try await self.engine()
        #expect(again.status.customers == UInt64(count - 200))
        try await again.stop()
    }

    @Test("A scrubbed log replayed over older tables comes to the same")
    func replay() async throws {
        let path = directory.path
        let old = TemporaryDirectory()
        var engine = try await engine { $0.bulkThreshold = 4 }
        try await prepare(engine)
        try await engine.set("known", [(name: "daily_spend", value: .double(9)), ("user_type", .string("p"))])
        try await engine.stop()
        try FileManager.default.copyItem(atPath: path, toPath: old.path)

        engine = try await self.engine { $0.bulkThreshold = 4 }
        try await engine.set("known", spend: 1)
        try await engine.set("later", [(name: "daily_spend", value: .double(9)), ("user_type", .string("p"))])
        // Sets that name both.
        try await engine.rule("ALL", "true")
        try await engine.set("later", spend: 3)
        _ = try await engine.changeList(cohort: "LIST", add: ["known", "later", "c3"], remove: [], context: tester)
        for id in ["known", "later"] { _ = try await engine.erase(customer: id, context: tester) }
        try await engine.set("new", spend: 7)
        clock.advance(3_600)
        try await engine.upkeepNow()
        #expect(engine.status.upkeep.scrub.pending == 0)
        let expected = try await state(engine)
        try await engine.stop()

        // The staged sets are in the tables alone: they come from the newer ones.
        try await carryBulks(from: path, to: old.path)
        for file in ["cohort.db", "cohort.db-wal", "cohort.db-shm"] {
            try? FileManager.default.removeItem(atPath: path + "/" + file)
        }
        try FileManager.default.copyItem(atPath: old.path + "/cohort.db", toPath: path + "/cohort.db")
        engine = try await self.engine { $0.bulkThreshold = 4 }
        #expect(try await state(engine) == expected)
        let audit = try await engine.audit()
        #expect(audit.differences == 0, "\(audit.samples)")
        try await engine.upkeepNow()
        // They are in the backlog once more, and done at once.
        #expect(engine.status.upkeep.scrub.completedAt == clock.now && engine.status.upkeep.scrub.pending == 0)
        try await engine.set("newer", spend: 7)
        let (known, newer) = (engine.ordinal(of: "new"), engine.ordinal(of: "newer"))
        #expect(try #require(newer) == #require(known) + 1)
        try await engine.stop()
    }

    private func carryBulks(from: String, to: String) async throws {
        let queue = try DatabaseQueue(path: to + "/cohort.db")
        try await queue.writeWithoutTransaction { db in
            try db.execute(sql: "ATTACH ? AS newer", arguments: [from + "/cohort.db"])
            try db.execute(
                sql: """
                    INSERT INTO bulk_changes (stage, cohort, version, cause, sets)
                    SELECT stage, cohort, version, cause, sets FROM newer.bulk_changes
                    WHERE stage NOT IN (SELECT stage FROM bulk_changes)
                    """
            )
        }
        try queue.close()
    }

    /// Everything that reads are answered from.
    private func state(_ engine: Engine) async throws -> [String] {
        var lines = ["\(engine.status.sequence) \(engine.status.customers)"]
        for cohort in engine.catalog.cohorts {
            let members = try await engine.members(cohort: cohort.id, deadline: .far)
            lines.append("\(cohort.id) \(members.nextPage(limit: 1_000)) \(cohort.unknown)")
        }
        return lines
    }

    @Test("Slices cover every neighbourhood, overlap, and stay within the ordinals")
    func slices() {
        let slices = ErasureScrub.slices([0, 5, 3_000, .max])
        for ordinal in [0, 5, 1_029, 1_976, 3_000, 4_024, .max - 1_024, .max] as [Ordinal] {
            #expect(slices.contains { $0.contains(ordinal) }, "\(ordinal)")
        }
        for ordinal in [1_030, 1_975, 4_025, .max - 1_025] as [Ordinal] {
            #expect(!slices.contains { $0.contains(ordinal) }, "\(ordinal)")
        }
        // A page that begins in one of two neighbours ends in it.
        for first in 1_976...(3_800 as Ordinal) {
            #expect(slices.contains { $0.contains(first) && $0.contains(first + 192) })
        }
        #expect(ErasureScrub.slices([]).isEmpty)
    }
}
