import CrashTesting
import Foundation
import GRDB
import Testing

@testable import CohortCore
@testable import CohortSQLite

@Suite("SQLite store")
struct SQLiteStoreTests {
    private func put(_ engine: Engine, _ id: String, _ spend: Double) async throws -> PutResult {
        try await engine.put(
            CustomerPut(customerID: id, attributes: [("daily_spend", .double(spend))]),
            context: tester
        )
    }

    private func fill(_ path: String, customers: Int = 50) async throws -> UInt64 {
        let engine = try await started(SQLiteStore(directory: path))
        _ = try await engine.createCohort(
            CohortDefinition(id: "BIG", kind: .rule, rule: "customer.daily_spend > 10.0"),
            context: tester
        )
        let rows = (0..<customers).map {
            CustomerPut(customerID: "c\($0)", attributes: [("daily_spend", .double(Double($0)))])
        }
        _ = try await engine.put(batch: rows, context: tester)
        let sequence = engine.status.sequence
        try await blocking { engine.shutdown() }
        return sequence
    }

    private func execute(_ path: String, _ file: String, _ sql: String) throws {
        let queue = try DatabaseQueue(path: path + "/" + file)
        try queue.write { try $0.execute(sql: sql) }
        try queue.close()
    }

    /// How starting fails.
    private func refusal(_ path: String) async throws -> DomainError? {
        let engine = Engine(store: SQLiteStore(directory: path))
        do {
            try await blocking { try engine.start() }
            try await blocking { engine.shutdown() }
            return nil
        } catch {
            #expect(engine.status.state == .failed && !engine.status.problem.isEmpty)
            return error as? DomainError
        }
    }

    private func isRefused(_ error: DomainError?, mentioning word: String) -> Bool {
        guard case .failedPrecondition("START_REFUSED", let message) = error else { return false }
        return message.contains(word)
    }

    private func isDataLoss(_ error: DomainError?, mentioning word: String) -> Bool {
        guard case .dataLoss(let message) = error else { return false }
        return message.contains(word)
    }

    @Test("A second process is kept out while the first is there")
    func lock() async throws {
        let directory = TemporaryDirectory()
        let engine = try await started(SQLiteStore(directory: directory.path))
        let error = try await refusal(directory.path)
        #expect(isRefused(error, mentioning: "\(getpid())"))
        try await blocking { engine.shutdown() }
        #expect(try await refusal(directory.path) == nil)
    }

    @Test("A log that ends before the tables is refused")
    func logLost() async throws {
        let directory = TemporaryDirectory()
        let sequence = try await fill(directory.path)
        try execute(directory.path, "log.db", "DELETE FROM entries WHERE sequence > \(sequence - 3)")
        #expect(isRefused(try await refusal(directory.path), mentioning: "ends at \(sequence - 3)"))
        for file in ["log.db", "log.db-wal", "log.db-shm"] {
            try? FileManager.default.removeItem(atPath: directory.path + "/" + file)
        }
        #expect(isRefused(try await refusal(directory.path), mentioning: "ends at 0"))
    }

    @Test("A gap in the log's tail is refused")
    func logGap() async throws {
        let directory = TemporaryDirectory()
        let sequence = try await fill(directory.path)
        try execute(directory.path, "cohort.db", "UPDATE meta SET value = \(sequence) WHERE key = 'applied_sequence'")
        try execute(
            directory.path,
            "log.db",
            "INSERT INTO entries SELECT \(sequence + 2), seconds, nanoseconds, payload FROM entries WHERE sequence = 5"
        )
        #expect(isRefused(try await refusal(directory.path), mentioning: "gap"))
        try execute(directory.path, "log.db", "DELETE FROM entries WHERE sequence <= \(sequence)")
        #expect(isRefused(try await refusal(directory.path), mentioning: "begins at \(sequence + 2)"))
    }

    @Test("Files of two stores are not mixed")
    func mixed() async throws {
        let (one, two) = (TemporaryDirectory(), TemporaryDirectory())
        _ = try await fill(one.path)
        _ = try await fill(two.path)
        try FileManager.default.removeItem(atPath: one.path + "/log.db")
        try FileManager.default.copyItem(atPath: two.path + "/log.db", toPath: one.path + "/log.db")
        #expect(isRefused(try await refusal(one.path), mentioning: "belongs to the other"))
    }

    @Test("Lost tables come back from a whole log")
    func tablesLost() async throws {
        let directory = TemporaryDirectory()
        let sequence = try await fill(directory.path)
        for file in ["cohort.db", "cohort.db-wal", "cohort.db-shm"] {
            try? FileManager.default.removeItem(atPath: directory.path + "/" + file)
        }
        let engine = try await started(SQLiteStore(directory: directory.path))
        #expect(engine.status.sequence == sequence && engine.status.customers == 50)
        let count = try await engine.countMembersWaiting(cohort: "BIG", deadline: .far)
        #expect(count.members == 39)
        try await blocking { engine.shutdown() }
    }

    @Test("A file of a later format is refused")
    func laterFormat() async throws {
        let directory = TemporaryDirectory()
        _ = try await fill(directory.path)
        try execute(directory.path, "cohort.db", "UPDATE meta SET value = 5 WHERE key = 'format'")
        #expect(isRefused(try await refusal(directory.path), mentioning: "format 5"))
    }

    @Test(
        "A damaged row or entry is noticed",
        arguments: [
            ("cohort.db", "UPDATE customers SET id = 'c999' WHERE ordinal = 7"),
            ("cohort.db", "UPDATE customers SET record = X'00' || record WHERE ordinal = 7"),
            (
                "cohort.db",
                "UPDATE customers SET record = (SELECT record FROM customers WHERE ordinal = 8) WHERE ordinal = 7"
            ),
            (
                "log.db",
                "UPDATE entries SET payload = substr(payload, 1, 9) || X'FF' || substr(payload, 11) WHERE sequence = 30"
            ),
            ("log.db", "UPDATE entries SET seconds = seconds + 1 WHERE sequence = 30"),
        ]
    )
    func damage(file: String, sql: String) async throws {
        let directory = TemporaryDirectory()
        _ = try await fill(directory.path)
        if file == "log.db" {
            // The tables go back to nothing, so that the whole log is replayed.
            for file in ["cohort.db", "cohort.db-wal", "cohort.db-shm"] {
                try? FileManager.default.removeItem(atPath: directory.path + "/" + file)
            }
        }
        try execute(directory.path, file, sql)
        #expect(isDataLoss(try await refusal(directory.path), mentioning: file == "log.db" ? "entry 30" : "customer 7"))
    }

    @Test("A put that the log did not take is refused, one that it took is acknowledged")
    func failedAppends() async throws {
        let directory = TemporaryDirectory()
        let store = FaultyStore(SQLiteStore(directory: directory.path))
        let engine = try await started(store)
        store.set {
            $0.appendsLost = 1
            $0.recoveries = 2
        }
        let error = await domainError { try await self.put(engine, "lost", 1) }
        guard case .unavailable(UnavailableReason.storeUnavailable, let message, _) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(message.contains("Nothing was written"))
        #expect(try await put(engine, "next", 1).sequence == 3)
        store.set {
            $0.appendsUnconfirmed = 1
            $0.recoveries = 1
        }
        #expect(try await put(engine, "kept", 1).sequence == 4)
        #expect(try await put(engine, "after", 1).sequence == 5)
        #expect(engine.status.state == .serving && engine.status.problem.isEmpty && engine.status.customers == 3)
        try await blocking { engine.shutdown() }
        let again = try await started(SQLiteStore(directory: directory.path))
        #expect(again.status.sequence == 5 && again.status.customers == 3)
        try await blocking { again.shutdown() }
    }

    @Test("Tables that cannot be written are a problem that is shown, and no write waits for them")
    func failingTables() async throws {
        let store = FaultyStore(MemoryStore())
        var configuration = EngineConfiguration()
        configuration.materializeInterval = 1
        let engine = try await started(store, configuration: configuration)
        store.set { $0.apply = true }
        for i in 0..<20 { _ = try await put(engine, "c\(i)", 1) }
        while engine.status.problem.isEmpty { await Task.yield() }
        #expect(engine.status.problem == "tables: planted: no tables")
        #expect(try await put(engine, "more", 1).outcome == .created)
        #expect(engine.status.appliedSequence < engine.status.sequence && engine.status.state == .serving)
        store.set { $0.apply = false }
        try await blocking { engine.materialize() }
        #expect(engine.status.problem.isEmpty && engine.status.appliedSequence == engine.status.sequence)
        try await blocking { engine.shutdown() }
    }

    @Test("A stop while the store does not answer says that the outcome is not known")
    func stopWithoutStore() async throws {
        let store = FaultyStore(MemoryStore())
        let engine = try await started(store)
        store.set {
            $0.appendsUnconfirmed = 1
            $0.recoveries = .max
        }
        async let first = domainError { try await self.put(engine, "a", 1) }
        while engine.status.state == .serving { await Task.yield() }
        #expect(engine.status.state == .storeUnavailable && !engine.status.problem.isEmpty)
        // Reads go on.
        #expect(try await engine.cohortsWaiting(ofCustomer: "a", deadline: .far).found == false)
        try await blocking { engine.shutdown() }
        guard case .unavailable(UnavailableReason.storeUnavailable, let message, _) = await first else {
            Issue.record("no answer")
            return
        }
        #expect(message.contains("not known"))
    }

    @Test("What was staged for an entry that never came is dropped at the next start")
    func orphanedStage() async throws {
        let directory = TemporaryDirectory()
        let sequence = try await fill(directory.path)
        let store = SQLiteStore(directory: directory.path)
        _ = try store.open()
        let sets = ChunkedBitmap()
        sets.insert(1)
        let change = BulkChange(
            stage: sequence + 1,
            cohort: 0,
            version: 2,
            cause: .rule,
            toIn: sets,
            toOut: ChunkedBitmap(),
            toUnknown: ChunkedBitmap()
        )
        try store.stage([change])
        #expect(try store.loadBulk(change.reference).toIn.members == [1])
        store.close()
        _ = try store.open()
        #expect(throws: StoreError.self) { try store.loadBulk(change.reference) }
        store.close()
    }

    @Test("Parts staged for one entry stay together: dropped, replaced and kept as one")
    func stagedParts() async throws {
        let directory = TemporaryDirectory()
        let sequence = try await fill(directory.path)
        let store = SQLiteStore(directory: directory.path)
        func parts(of sequence: UInt64, _ count: Int) -> [BulkChange] {
            (0..<count).map { part in
                let sets = ChunkedBitmap()
                sets.insert(Ordinal(part))
                return BulkChange(
                    stage: BulkChange.stage(sequence: sequence, part: part),
                    cohort: CohortNumber(part),
                    version: 2,
                    cause: part == 0 ? .rule : .cohort,
                    toIn: sets,
                    toOut: ChunkedBitmap(),
                    toUnknown: ChunkedBitmap()
                )
            }
        }
        _ = try store.open()
        // Of an entry that the log has, though the tables do not say so yet; and of one that never came.
        let (kept, orphaned) = (parts(of: sequence, 3), parts(of: sequence + 1, 3))
        try store.stage(kept)
        try store.stage(orphaned)
        for change in kept + orphaned { #expect(try store.loadBulk(change.reference).toIn.members.count == 1) }
        // A second try with fewer parts leaves nothing of the first.
        try store.stage(parts(of: sequence + 1, 1))
        #expect(try store.loadBulk(orphaned[0].reference).toIn.members == [0])
        #expect(throws: StoreError.self) { try store.loadBulk(orphaned[2].reference) }
        store.close()
        _ = try store.open()
        for change in kept { #expect(try store.loadBulk(change.reference).toIn.members.count == 1) }
        #expect(throws: StoreError.self) { try store.loadBulk(orphaned[0].reference) }
        store.close()
    }

    @Test("The log is synced on every commit")
    func durability() async throws {
        let directory = TemporaryDirectory()
        _ = try await fill(directory.path, customers: 1)
        // The setting belongs to a connection: what counts is that opening one without it is refused.
        let log = try LogFile(directory: directory.path, keyring: .forTests())
        #expect(try log.synchronousSetting() == 2)
        log.close()
    }

    @Test("Memberships that are over are kept with both ends")
    func closedIntervals() async throws {
        let directory = TemporaryDirectory()
        let engine = try await started(SQLiteStore(directory: directory.path))
        _ = try await engine.createCohort(
            CohortDefinition(id: "BIG", kind: .rule, rule: "customer.daily_spend > 10.0"),
            context: tester
        )
        let entered = try await put(engine, "a", 20)
        let left = try await put(engine, "a", 5)
        try await blocking { engine.shutdown() }
        let queue = try DatabaseQueue(path: directory.path + "/cohort.db")
        let rows = try queue.read { db in
            try Row.fetchAll(
                db,
                sql: "SELECT ordinal, cohort, membership, began_sequence, ended_sequence, ended_cause FROM intervals"
            )
        }
        let found = rows.map { row in Array(row.databaseValues).map { Int64.fromDatabaseValue($0) ?? -1 } }
        let cause = Int64(TransitionCause.attribute.rawValue)
        #expect(found == [[0, 0, 1, Int64(entered.sequence), Int64(left.sequence), cause]])
    }
}
