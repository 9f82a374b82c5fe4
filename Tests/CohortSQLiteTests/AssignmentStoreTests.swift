import Foundation
import GRDB
import Testing

@testable import CohortCore
@testable import CohortSQLite

/// Overrides and lists in the SQLite store: staged before the log speaks of them, kept as chunks of bitmaps.
@Suite("Assignments in the SQLite store")
struct AssignmentStoreTests {
    private static let customers = 2_000

    private func fill(_ engine: Engine) async throws {
        for start in stride(from: 0, to: Self.customers, by: 1_000) {
            let rows = (start..<start + 1_000).map {
                CustomerPut(customerID: "c\($0)", attributes: [("daily_spend", .double(Double($0 % 100)))])
            }
            _ = try await engine.put(batch: rows, context: tester)
        }
        _ = try await engine.createCohort(CohortDefinition(id: "LIST", kind: .list, rule: nil), context: tester)
        _ = try await engine.createCohort(
            CohortDefinition(id: "BIG", kind: .rule, rule: "customer.daily_spend > 49.0"),
            context: tester
        )
    }

    private func upload(
        _ engine: Engine,
        _ cohort: String,
        _ mode: UploadMode,
        _ range: some Sequence<Int>
    ) async throws -> UploadReceipt {
        let upload = try engine.upload(cohort: cohort, mode: mode)
        try upload.add(range.map { "c\($0)" })
        return try await upload.commit(context: tester)
    }

    private func query(_ path: String, _ sql: String) throws -> Int64 {
        let queue = try DatabaseQueue(path: path + "/cohort.db")
        defer { try? queue.close() }
        return try queue.read { try Int64.fetchOne($0, sql: sql) ?? -1 }
    }

    private func execute(_ path: String, _ file: String, _ sql: String) throws {
        let queue = try DatabaseQueue(path: path + "/" + file)
        try queue.write { try $0.execute(sql: sql) }
        try queue.close()
    }

    /// What `changes` makes of lists and overrides.
    private func check(_ engine: Engine) async throws {
        #expect(try await engine.countMembersWaiting(cohort: "LIST", deadline: .far).members == 1_999 - 100)
        let big = engine.catalog.cohort("BIG")
        #expect(big?.includeCount == 1_200 && big?.excludeCount == 299 && big?.members == 1_200 + 250)
        #expect(try await engine.audit().differences == 0)
    }

    private func change(_ engine: Engine) async throws {
        _ = try await upload(engine, "LIST", .listReplace, 0..<2_000)
        _ = try await upload(engine, "LIST", .listRemove, 100..<200)
        _ = try await upload(engine, "BIG", .include, 0..<1_500)
        _ = try await upload(engine, "BIG", .exclude, 1_200..<1_500)
        _ = try await engine.erase(customer: "c1300", context: tester)
        // A small change and a large one of the same kind.
        _ = try await engine.setOverrides(cohort: "BIG", include: ["c1600"], exclude: [], clear: [], context: tester)
        _ = try await upload(engine, "BIG", .include, 1_501..<1_600)
        _ = try await upload(engine, "BIG", .clear, 1_500...1_600)
    }

    private var configuration: EngineConfiguration {
        var configuration = EngineConfiguration()
        configuration.bulkThreshold = 50
        return configuration
    }

    @Test("Uploads are there after a restart, from the tables and from the log alone", arguments: [false, true])
    func restart(tablesFail: Bool) async throws {
        let directory = TemporaryDirectory()
        let store = FaultyStore(SQLiteStore(directory: directory.path))
        let engine = try await started(store, configuration: configuration)
        try await fill(engine)
        try await blocking { engine.materialize() }
        store.set { $0.apply = tablesFail }
        try await change(engine)
        try await check(engine)
        let sequence = engine.status.sequence
        try await blocking { engine.shutdown() }
        let staged = try query(directory.path, "SELECT count(*) FROM assignment_changes")
        #expect(tablesFail ? staged == 6 : staged == 0)
        // The second start finds everything in the tables.
        for _ in 0..<2 {
            let again = try await started(SQLiteStore(directory: directory.path), configuration: configuration)
            #expect(again.status.sequence == sequence)
            try await check(again)
            try await blocking { again.shutdown() }
            #expect(try query(directory.path, "SELECT count(*) FROM assignment_changes") == 0)
        }
    }

    @Test("Staged for an entry that the log did not take: nothing changed, and it is dropped at the next start")
    func orphan() async throws {
        let directory = TemporaryDirectory()
        let store = FaultyStore(SQLiteStore(directory: directory.path))
        let engine = try await started(store, configuration: configuration)
        try await fill(engine)
        let sequence = engine.status.sequence
        store.set { $0.appendsLost = 1 }
        guard case .unavailable = await domainError({ try await upload(engine, "LIST", .listReplace, 0..<900) }) else {
            Issue.record("not refused")
            return
        }
        #expect(engine.status.sequence == sequence)
        #expect(try await engine.countMembersWaiting(cohort: "LIST", deadline: .far).members == 0)
        #expect(try query(directory.path, "SELECT count(*) FROM assignment_changes") == 1)
        try await blocking { engine.shutdown() }
        let again = try await started(SQLiteStore(directory: directory.path), configuration: configuration)
        #expect(try query(directory.path, "SELECT count(*) FROM assignment_changes") == 0)
        #expect(try await again.countMembersWaiting(cohort: "LIST", deadline: .far).members == 0)
        // The number is used again, for something else.
        let next = try await upload(again, "LIST", .listAdd, 0..<60)
        #expect(next.sequence == sequence + 1 && next.added == 60)
        try await blocking { again.shutdown() }
    }

    @Test("An upload that the log took, though it said otherwise, took effect once")
    func unconfirmed() async throws {
        let directory = TemporaryDirectory()
        let store = FaultyStore(SQLiteStore(directory: directory.path))
        let engine = try await started(store, configuration: configuration)
        try await fill(engine)
        store.set { $0.appendsUnconfirmed = 1 }
        #expect(try await upload(engine, "LIST", .listReplace, 0..<900).added == 900)
        try await blocking { engine.shutdown() }
        let again = try await started(SQLiteStore(directory: directory.path), configuration: configuration)
        #expect(try await again.countMembersWaiting(cohort: "LIST", deadline: .far).members == 900)
        try await blocking { again.shutdown() }
    }

    @Test(
        "What is missing or damaged is noticed at the start",
        arguments: [
            ("DELETE FROM assignment_changes", "assignment change"),
            ("UPDATE assignment_changes SET sets = CAST(sets || X'FF' AS BLOB)", "checksum"),
            ("UPDATE assignment_changes SET cohort = 1", "is not the one of the log"),
            ("UPDATE assignment_chunks SET bits = X'00' || bits", "assignments of cohort 0"),
            ("UPDATE assignment_chunks SET kind = 1", "assignments of cohort 0"),
        ]
    )
    func damage(sql: String, word: String) async throws {
        let directory = TemporaryDirectory()
        let store = FaultyStore(SQLiteStore(directory: directory.path))
        let engine = try await started(store, configuration: configuration)
        try await fill(engine)
        _ = try await upload(engine, "LIST", .listAdd, 0..<500)
        try await blocking { engine.materialize() }
        store.set { $0.apply = true }
        _ = try await upload(engine, "LIST", .listAdd, 500..<1_000)
        try await blocking { engine.shutdown() }
        try execute(directory.path, "cohort.db", sql)
        let again = Engine(store: SQLiteStore(directory: directory.path), configuration: configuration)
        let error = await domainError { try await blocking { try again.start() } }
        guard case .dataLoss(let message) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(message.contains(word))
    }

    @Test("Archiving drops lists and overrides, erasing takes the customer out of all of them")
    func dropped() async throws {
        let directory = TemporaryDirectory()
        let engine = try await started(SQLiteStore(directory: directory.path), configuration: configuration)
        try await fill(engine)
        _ = try await upload(engine, "LIST", .listAdd, 0..<2)
        _ = try await upload(engine, "BIG", .include, 0..<1_000)
        try await blocking { engine.materialize() }
        #expect(try query(directory.path, "SELECT count(*) FROM assignment_chunks") == 2)
        for id in ["c0", "c1"] { _ = try await engine.erase(customer: id, context: tester) }
        try await blocking { engine.materialize() }
        // The list is empty now.
        #expect(try query(directory.path, "SELECT count(*) FROM assignment_chunks") == 1)
        _ = try await engine.archive(cohort: "BIG", context: tester)
        try await blocking { engine.shutdown() }
        #expect(try query(directory.path, "SELECT count(*) FROM assignment_chunks") == 0)
    }

    @Test("A store of format 1 is taken over with its lists and overrides")
    func adoption() async throws {
        let directory = TemporaryDirectory()
        let engine = try await started(SQLiteStore(directory: directory.path))
        try await fill(engine)
        try await blocking { engine.shutdown() }
        try execute(
            directory.path,
            "cohort.db",
            """
            DROP TABLE assignment_chunks; DROP TABLE assignment_changes;
            CREATE TABLE old AS SELECT cohort, number, rule, sequence, created_seconds, created_nanoseconds, principal
                FROM versions;
            DROP TABLE versions;
            CREATE TABLE versions (
                cohort INTEGER NOT NULL, number INTEGER NOT NULL, rule TEXT, sequence INTEGER NOT NULL,
                created_seconds INTEGER NOT NULL, created_nanoseconds INTEGER NOT NULL, principal TEXT NOT NULL,
                PRIMARY KEY (cohort, number)
            ) WITHOUT ROWID;
            INSERT INTO versions SELECT * FROM old;
            DROP TABLE old;
            CREATE TABLE assignments (
                cohort INTEGER NOT NULL, kind INTEGER NOT NULL, ordinal INTEGER NOT NULL,
                PRIMARY KEY (cohort, kind, ordinal)
            ) WITHOUT ROWID;
            CREATE INDEX assignments_by_ordinal ON assignments (ordinal);
            INSERT INTO assignments SELECT 0, 3, ordinal FROM customers WHERE ordinal < 700;
            INSERT INTO assignments VALUES (1, 1, 5), (1, 2, 6);
            UPDATE meta SET value = 1 WHERE key = 'format';
            """
        )
        for _ in 0..<2 {
            let again = try await started(SQLiteStore(directory: directory.path))
            #expect(again.shared.index.bitmaps[0].listed.members == Array(0..<700))
            let big = again.catalog.cohort("BIG")
            #expect(big?.includeCount == 1 && big?.excludeCount == 1)
            #expect(try again.versions(ofCohort: "BIG").map(\.state) == [.active])
            try await blocking { again.shutdown() }
        }
        #expect(try query(directory.path, "SELECT value FROM meta WHERE key = 'format'") == 4)
        #expect(try query(directory.path, "SELECT count(*) FROM sqlite_master WHERE name LIKE 'assignments%'") == 0)
    }

    @Test("Chunks are a set over all ordinals", arguments: 0..<4)
    func chunks(seed: Int) throws {
        var random = SeededGenerator(state: UInt64(seed))
        let directory = TemporaryDirectory()
        let store = SQLiteStore(directory: directory.path)
        _ = try store.open()
        defer { store.close() }
        var expected: Set<Assignment> = []
        for step in 1...30 {
            var batch = MaterializedBatch(
                appliedSequence: UInt64(step),
                appliedTime: .epoch,
                nextOrdinal: 0,
                customers: [],
                attributes: [],
                cohorts: [],
                assignments: [],
                closed: [],
                bulks: [],
                foldedThrough: nil
            )
            let erased = Set(expected.filter { _ in Int.random(in: 0..<20, using: &random) == 0 }.map(\.ordinal))
            batch.customers = erased.sorted().map { ($0, .delete) }
            expected = expected.filter { !erased.contains($0.ordinal) }
            for cohort in 0..<CohortNumber(3) {
                let kind = AssignmentKind.allCases.randomElement(using: &random)!
                let (added, removed) = (ChunkedBitmap(), ChunkedBitmap())
                for _ in 0..<100 {
                    let ordinal =
                        Ordinal.random(in: 0..<5, using: &random) << 16
                        | Ordinal.random(in: 0..<400, using: &random)
                    if erased.contains(ordinal) || added.contains(ordinal) || removed.contains(ordinal) { continue }
                    let assignment = Assignment(cohort: cohort, kind: kind, ordinal: ordinal, present: true)
                    if Bool.random(using: &random) {
                        added.insert(ordinal)
                        expected.insert(assignment)
                    } else {
                        removed.insert(ordinal)
                        expected.remove(assignment)
                    }
                }
                batch.assignments.append(
                    AssignmentDelta(cohort: cohort, kind: kind, added: added, removed: removed)
                )
            }
            try store.apply(batch)
            var found: Set<Assignment> = []
            try store.scanAssignments { found.insert($0) }
            #expect(found == expected)
        }
    }
}
