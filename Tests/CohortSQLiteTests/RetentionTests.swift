import Foundation
import GRDB
import Synchronization
import Testing

@testable import CohortCore
@testable import CohortSQLite

@Suite("Retention")
struct RetentionTests {
    private let clock = ManualClock()
    private let directory = TemporaryDirectory()

    private func engine(
        _ store: (any Store)? = nil,
        _ change: (inout EngineConfiguration) -> Void = { _ in }
    ) async throws -> Engine {
        var configuration = EngineConfiguration.byHand
        configuration.driftPeriod = nil
        configuration.logRetentionAge = 100
        configuration.logRetentionBytes = nil
        change(&configuration)
        return try await started(
            store ?? SQLiteStore(directory: directory.path),
            configuration: configuration,
            now: { [clock] in clock.now }
        )
    }

    private func put(_ engine: Engine, _ numbers: Range<Int>) async throws {
        for i in numbers { try await engine.set("c\(i)", spend: Double(i)) }
    }

    private func count(_ sql: String, file: String) throws -> Int {
        let queue = try DatabaseQueue(path: directory.path + "/" + file)
        defer { try? queue.close() }
        return try queue.read { try Int.fetchOne($0, sql: sql) ?? -1 }
    }

    @Test("Entries go when they are old enough, the last stays, and a restart finds everything", arguments: [3, 1_000])
    func age(batch: Int) async throws {
        var engine = try await engine { $0.retentionBatchRows = batch }
        try await engine.rule("BIG", "customer.daily_spend >= 5.0")
        try await put(engine, 0..<10)
        try await engine.upkeepNow()
        #expect(engine.status.upkeep.log.firstSequence == 1)
        clock.advance(60)
        try await put(engine, 10..<20)
        clock.advance(41)
        try await engine.upkeepNow()
        // Two attributes, one cohort and ten customers are older than 100 seconds.
        #expect(engine.status.upkeep.log.firstSequence == 14)
        #expect(engine.status.upkeep.log.entriesDeleted == 13)
        #expect(try engine.shared.store.readLog(from: 0, limit: 100).map(\.sequence) == Array(14...23))
        clock.advance(10_000)
        try await engine.upkeepNow()
        #expect(engine.status.upkeep.log.firstSequence == 23)
        try await engine.stop()
        engine = try await self.engine()
        #expect(engine.status.sequence == 23 && engine.status.customers == 20)
        #expect(engine.status.upkeep.log.firstSequence == 23)
        try await put(engine, 20..<21)
        guard case .answer(let big) = try engine.countMembers(cohort: "BIG") else {
            Issue.record("no count")
            return
        }
        #expect(big.members == 16 && big.sequence == 24)
        #expect(try await engine.audit().differences == 0)
        try await engine.stop()
    }

    @Test("What the tables do not hold stays in the log however old it is, and is replayed")
    func neverPastApplied() async throws {
        let store = FaultyStore(SQLiteStore(directory: directory.path))
        var engine = try await engine(store)
        try await put(engine, 0..<10)
        try await engine.upkeepNow()
        store.set { $0.apply = true }
        try await put(engine, 10..<20)
        clock.advance(1_000)
        try await blocking { [engine] in engine.upkeep() }
        #expect(engine.status.appliedSequence == 12)
        #expect(engine.status.upkeep.log.firstSequence == 13)
        try await engine.stop()
        engine = try await self.engine()
        #expect(engine.status.customers == 20)
        try await engine.stop()
    }

    @Test("The store itself deletes and rewrites nothing that the tables have not been secured for")
    func onlySecured() async throws {
        let engine = try await engine()
        try await put(engine, 0..<10)
        try await blocking { engine.materialize() }
        let upkeep = engine.shared.store.upkeep
        let rows = try engine.shared.store.readLog(from: 0, limit: 100)
        #expect(try upkeep.deleteEntries(through: 5) == 0)
        try upkeep.rewriteEntries([LogRow(sequence: 5, time: rows[4].time, payload: [1])])
        #expect(try engine.shared.store.readLog(from: 0, limit: 100) == rows)
        #expect(try upkeep.secureTables() == 12)
        #expect(try upkeep.deleteEntries(through: 5) == 5)
        #expect(try upkeep.deleteEntries(through: .max) == 6)
        try await engine.stop()
    }

    @Test("With more bytes than allowed the oldest entries go, and the file becomes smaller")
    func bytes() async throws {
        let limit: UInt64 = 1 << 20
        let engine = try await engine {
            $0.logRetentionAge = nil
            $0.logRetentionBytes = limit
            $0.logSlackBytes = 0
        }
        let text = String(repeating: "x", count: 1_000)
        for round in 0..<20 {
            let rows = (0..<200).map {
                CustomerPut(
                    customerID: "c\($0)",
                    attributes: [(name: "user_type", value: AttributeValue.string(text + "\(round)"))]
                )
            }
            _ = try await engine.put(batch: rows, context: tester)
        }
        let before = engine.shared.store.upkeep.sizes
        #expect(before.logUsedBytes > 4 << 20)
        try await engine.upkeepNow()
        let after = engine.shared.store.upkeep.sizes
        #expect(after.logUsedBytes <= limit && after.logUsedBytes > limit / 2)
        #expect(engine.status.upkeep.log.firstSequence > 2_000)
        try await engine.stop()
        let size = try FileManager.default.attributesOfItem(atPath: directory.path + "/log.db")[.size] as? Int
        #expect(try #require(size) < 3 * Int(limit) / 2)
        #expect(try count("SELECT count(*) FROM entries", file: "log.db") > 500)
    }

    @Test("With neither limit the log is kept whole")
    func forever() async throws {
        let engine = try await engine { $0.logRetentionAge = nil }
        try await put(engine, 0..<10)
        clock.advance(1_000_000_000)
        try await engine.upkeepNow()
        #expect(engine.status.upkeep.log.firstSequence == 1 && engine.status.upkeep.log.firstTime != nil)
        try await engine.stop()
    }

    @Test("Tables that are lost behind a shortened log are refused, with what to do")
    func lostTables() async throws {
        let engine = try await engine()
        try await put(engine, 0..<10)
        clock.advance(1_000)
        try await engine.upkeepNow()
        try await engine.stop()
        for file in ["cohort.db", "cohort.db-wal", "cohort.db-shm"] {
            try? FileManager.default.removeItem(atPath: directory.path + "/" + file)
        }
        let again = Engine(store: SQLiteStore(directory: directory.path), configuration: .byHand)
        let error = await domainError { try await blocking { try again.start() } }
        guard case .failedPrecondition("START_REFUSED", let message) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(message.contains("begins at 12") && message.contains("retention") && message.contains("backup"))
    }

    @Test("Sets of bulk changes go once their entry has and every record has taken them in")
    func bulkChanges() async throws {
        let engine = try await engine {
            $0.bulkThreshold = 4
            $0.maximumBulkChanges = 2
        }
        try await put(engine, 0..<10)
        for i in 0..<2 { try await engine.rule("R\(i)", "true") }
        clock.advance(1_000)
        try await engine.upkeepNow()
        let sql = "SELECT count(*) FROM bulk_changes"
        // Not folded yet, so they are needed, though their entries have gone.
        #expect(engine.status.upkeep.log.firstSequence == 14)
        #expect(try count(sql, file: "cohort.db") == 2)
        try await engine.rule("R2", "true")
        // The newest may not be in the tables yet when folding begins.
        #expect(try await eventually { engine.shared.published.withLock { $0.bulks.count <= 1 } })
        clock.advance(1_000)
        try await engine.upkeepNow()
        // The last entry stays, and so does what it refers to.
        #expect(try count(sql, file: "cohort.db") == 1)
        try await engine.stop()
        let again = try await self.engine()
        #expect(try await again.audit().differences == 0)
        try await again.stop()
    }

    @Test("History goes by its own age; what goes on stays")
    func history() async throws {
        let engine = try await engine { $0.historyRetentionAge = 1_000 }
        try await engine.rule("BIG", "customer.daily_spend >= 5.0")
        try await engine.set("a", spend: 9)
        try await engine.set("a", spend: 1)
        clock.advance(600)
        try await engine.set("a", spend: 9)
        try await engine.set("a", spend: 1)
        try await engine.set("a", spend: 9)
        try await engine.upkeepNow()
        let sql = "SELECT count(*) FROM intervals"
        #expect(try count(sql, file: "cohort.db") == 2)
        clock.advance(600)
        try await engine.upkeepNow()
        #expect(try count(sql, file: "cohort.db") == 2, "looked at every 1,000 seconds here")
        clock.advance(400)
        try await engine.upkeepNow()
        #expect(try count(sql, file: "cohort.db") == 1)
        #expect(engine.status.upkeep.intervalsDeleted == 1)
        clock.advance(1_000)
        try await engine.upkeepNow()
        #expect(try count(sql, file: "cohort.db") == 0)
        guard case .answer(let answer) = try engine.checkMembership(customer: "a", cohort: "BIG") else {
            Issue.record("no answer")
            return
        }
        #expect(answer.membership == .in)
        try await engine.stop()
    }

    @Test("New log files give space back, and both files wipe what is deleted")
    func pragmas() async throws {
        let engine = try await engine()
        let store = try #require(engine.shared.store as? SQLiteStore)
        let log = try store.opened().log
        #expect(try log.access { try Int.fetchOne($0, sql: "PRAGMA auto_vacuum") } == 2)
        #expect(try log.access { try Int.fetchOne($0, sql: "PRAGMA secure_delete") } == 1)
        let pool = try store.opened().tables.pool
        #expect(try await pool.write { try Int.fetchOne($0, sql: "PRAGMA secure_delete") } == 1)
        try await engine.stop()
    }
}
