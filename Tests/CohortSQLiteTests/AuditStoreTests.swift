import CrashTesting
import Foundation
import GRDB
import Testing

@testable import CohortCore
@testable import CohortSQLite

@Suite("The audit chain in the store")
struct AuditStoreTests {
    private let clock = ManualClock()
    private let directory = TemporaryDirectory()

    private func engine(
        _ store: (any Store)? = nil,
        _ change: (inout EngineConfiguration) -> Void = { _ in }
    ) async throws -> Engine {
        var configuration = EngineConfiguration.byHand
        configuration.driftPeriod = nil
        configuration.logRetentionAge = nil
        configuration.logRetentionBytes = nil
        configuration.scrubDelay = 3_600
        change(&configuration)
        return try await started(
            store ?? SQLiteStore(directory: directory.path),
            configuration: configuration,
            now: { [clock] in clock.now }
        )
    }

    /// Edits the file as somebody would who has it: beside a running server, too.
    private func edit(_ sql: String) throws {
        var configuration = Configuration()
        configuration.busyMode = .timeout(5)
        let queue = try DatabaseQueue(path: directory.path + "/log.db", configuration: configuration)
        try queue.write { try $0.execute(sql: sql) }
        try queue.close()
    }

    private func call(_ method: String, customer: String? = nil, kind: AuditEvent.Kind = .administration) -> AuditedCall
    {
        AuditedCall(kind: kind, principal: "p", method: "s/" + method, peer: "127.0.0.1", customerID: customer)
    }

    private func note(_ engine: Engine, _ method: String, customer: String? = nil) async throws {
        try await engine.noteDurably(call(method, customer: customer), deadline: .far)
    }

    private func prepare(_ engine: Engine) async throws {
        try await engine.rule("BIG", "customer.daily_spend >= 5.0")
        for i in 0..<10 { try await engine.set("c\(i)", spend: Double(i)) }
        for i in 0..<4 { try await note(engine, "M\(i)") }
        _ = try await engine.put(
            batch: (0..<20).map {
                CustomerPut(customerID: "c\($0)", attributes: [(name: "daily_spend", value: .double(7))])
            },
            context: tester
        )
    }

    private func kinds(_ engine: Engine, known: AuditHead? = nil) async throws -> [AuditFinding.Kind] {
        try await engine.verdict(known: known).findings.map(\.kind)
    }

    @Test(
        "What was changed, removed or put in beside a running server is found",
        arguments: [
            ("UPDATE audit SET payload = payload || x'00' WHERE position = 16", AuditFinding.Kind.changed),
            ("UPDATE audit SET seconds = seconds - 1 WHERE position = 5", .changed),
            ("UPDATE audit SET kind = 5 WHERE kind = 16 AND position > 14", .changed),
            ("UPDATE audit SET mac = zeroblob(32) WHERE position = 7", .changed),
            ("UPDATE audit SET nanoseconds = -5, payload = 'text' WHERE position = 7", .changed),
            ("DELETE FROM audit WHERE position = 16", .removed),
            ("DELETE FROM audit WHERE position BETWEEN 3 AND 7", .removed),
            ("DELETE FROM audit WHERE position = 1", .removed),
            ("DELETE FROM audit WHERE position = (SELECT max(position) FROM audit)", .truncated),
            ("DELETE FROM audit", .truncated),
            ("UPDATE entries SET payload = x'00' WHERE sequence = 8", .entryChanged),
            ("UPDATE entries SET seconds = seconds + 1 WHERE sequence = 8", .entryChanged),
            ("DELETE FROM entries WHERE sequence = 8", .entryRemoved),
            ("INSERT INTO entries VALUES (1000, 0, 0, x'00')", .entryUnaccounted),
            (
                "DELETE FROM audit WHERE position = 16; INSERT INTO audit_gaps VALUES (16, 16, x'', x'', 0, 0, x'')",
                .keyUnknown
            ),
            (
                """
                DELETE FROM audit WHERE position = 16; INSERT INTO audit_gaps SELECT 16, 16, mac, mac, 0, key, mac
                FROM audit WHERE position = 15
                """, .retentionChanged
            ),
            ("INSERT INTO audit_floor SELECT 1, 3, 3, key, mac FROM audit WHERE position = 3", .retentionChanged),
            (
                "INSERT INTO audit_seals SELECT 8, mac, key, mac FROM audit WHERE position = 3; "
                    + "UPDATE entries SET payload = x'00' WHERE sequence = 8", .entryChanged
            ),
        ]
    )
    func tampering(sql: String, expected: AuditFinding.Kind) async throws {
        let engine = try await engine()
        try await prepare(engine)
        #expect(try await kinds(engine) == [])
        try edit(sql)
        let verdict = try await engine.verdict()
        #expect(verdict.findings.contains { $0.kind == expected }, "\(verdict.findings)")
        #expect(engine.status.problem.contains("findings in the audit"))
        #expect(engine.status.audit.upkeep.verification?.findings == verdict.findingCount)
        try await engine.stop()
    }

    @Test("Rows cut off while the server was stopped are found by the head that was logged")
    func truncatedWhileStopped() async throws {
        var engine = try await engine()
        try await prepare(engine)
        try await note(engine, "LAST")
        try await engine.stop()
        let again = try await self.engine()
        let head = try #require(again.status.audit.head)
        #expect(try await kinds(again, known: head) == [])
        try await again.stop()
        try edit("DELETE FROM audit WHERE position > \(head.position - 2) AND kind <> 3")
        engine = try await self.engine()
        #expect(try await kinds(engine) == [])
        #expect(try await kinds(engine, known: head) == [.truncated])
        for i in 0..<3 { try await note(engine, "AGAIN\(i)") }
        #expect(try await kinds(engine, known: head) == [.headDiffers])
        try await engine.stop()
    }

    @Test("Entries that the chain does not know are told of at start")
    func unaccounted() async throws {
        var engine = try await engine()
        try await prepare(engine)
        try await engine.stop()
        try edit("DELETE FROM audit WHERE position >= (SELECT max(position) FROM audit WHERE kind = 3)")
        let events = EventLog()
        engine = Engine(
            store: SQLiteStore(directory: directory.path),
            configuration: .byHand,
            environment: EngineEnvironment(now: { [clock] in clock.now }, log: { events.add($0) })
        )
        try await blocking { [engine] in try engine.start() }
        #expect(engine.status.problem.contains("audit chain does not know"))
        #expect(events.count("the change log holds entries that the audit chain does not know") == 1)
        #expect(events.count("audit head") == 1)
        #expect(try await kinds(engine).contains(.entryUnaccounted))
        try await engine.stop()
        #expect(events.count("audit head") == 2)
    }

    @Test("Retention and scrubbing leave a chain that verifies, and what is changed after them is found")
    func retentionAndScrub() async throws {
        let engine = try await engine {
            $0.logRetentionAge = 100
            $0.auditRetentionAge = 1_000
            $0.retentionBatchRows = 3
            $0.scrubDelay = 50
        }
        try await prepare(engine)
        let marker = "MARKER-ID"
        try await engine.set(marker, spend: 6)
        _ = try await engine.erase(customer: marker, context: tester)
        let early = try #require(engine.status.audit.head)
        clock.advance(90)
        try await engine.set("late", spend: 1)
        try await note(engine, "LATE")
        // The log's retention: rows of data changes go, the others stay.
        clock.advance(20)
        try await engine.upkeepNow()
        #expect(engine.status.upkeep.log.entriesDeleted == 34)
        #expect(try await kinds(engine, known: early) == [])
        var verdict = try await engine.verdict()
        #expect(verdict.rowsChecked < verdict.head!.position && verdict.entriesChecked == 1)
        // Their own.
        clock.advance(2_000)
        for i in 0..<3 { try await engine.set("later\(i)", spend: 1) }
        try await engine.upkeepNow()
        #expect(engine.status.audit.upkeep.rowsDeleted == 6)
        verdict = try await engine.verdict(known: early)
        #expect(verdict.findings == [] && verdict.headIsRemoved)
        // The scrub: an erasure whose entries are still there.
        try await engine.set(marker, spend: 6)
        try await engine.set("other", spend: 6)
        _ = try await engine.erase(customer: marker, context: tester)
        let rewritten = engine.status.upkeep.scrub.entriesRewritten
        clock.advance(60)
        try await engine.upkeepNow()
        #expect(engine.status.upkeep.scrub.entriesRewritten > rewritten)
        #expect(try await kinds(engine) == [])
        try edit(
            "UPDATE entries SET payload = payload || x'00' WHERE sequence IN (SELECT sequence FROM audit_seals LIMIT 1)"
        )
        #expect(try await kinds(engine) == [.entryChanged])
        try await note(engine, "AFTER")
        try edit("DELETE FROM audit WHERE position = (SELECT max(position) - 1 FROM audit)")
        #expect(try await kinds(engine).contains(.removed))
        try await engine.stop()
    }

    @Test("A row or entry that was changed leaves a mark when retention removes it")
    func retentionHidesNothing() async throws {
        for sql in [
            "UPDATE audit SET payload = payload || x'00' WHERE kind = 16",
            // Made to look old, so that retention takes it at once.
            "UPDATE entries SET seconds = 0 WHERE sequence <= 9",
            "UPDATE audit SET key = 5 WHERE kind = 3 AND position < 10",
        ] {
            let directory = TemporaryDirectory()
            let engine = try await engine(SQLiteStore(directory: directory.path)) {
                $0.logRetentionAge = 100
                $0.auditRetentionAge = 100
            }
            try await prepare(engine)
            let queue = try DatabaseQueue(path: directory.path + "/log.db")
            try await queue.write { try $0.execute(sql: sql) }
            try queue.close()
            clock.advance(1_000)
            try await engine.set("late", spend: 1)
            try await engine.upkeepNow()
            #expect(engine.status.upkeep.log.entriesDeleted > 20)
            #expect(try await kinds(engine).contains(.unsoundRemoved), "\(sql)")
            try await engine.stop()
        }
    }

    @Test("A log of before the chain is taken over, and the chain says from where on")
    func format1() async throws {
        var engine = try await engine()
        try await prepare(engine)
        let last = engine.status.sequence
        try await engine.stop()
        try edit(
            """
            DROP TABLE audit; DROP TABLE audit_gaps; DROP TABLE audit_floor; DROP TABLE audit_seals;
            DELETE FROM meta WHERE key LIKE 'audit%'; UPDATE meta SET value = 1 WHERE key = 'format';
            """
        )
        engine = try await self.engine { $0.logRetentionAge = 100 }
        #expect(engine.status.problem.isEmpty)
        try await engine.set("later", spend: 1)
        var verdict = try await engine.verdict()
        #expect(verdict.findings == [] && verdict.unchained == last && verdict.entriesChecked == 1)
        let items = try await engine.items(AuditQuery(limit: 1_000))
        #expect(items.count { $0.kind == .dataChange } == Int(last) + 1)
        #expect(items.first { $0.kind == .start }?.sequence == last)
        // Entries of before the chain go too.
        clock.advance(1_000)
        try await engine.set("latest", spend: 1)
        try await engine.upkeepNow()
        #expect(engine.status.upkeep.log.firstSequence == last + 2)
        verdict = try await engine.verdict()
        #expect(verdict.findings == [] && verdict.unchained == last)
        try await engine.stop()
        engine = try await self.engine()
        try edit("UPDATE entries SET payload = x'00' WHERE sequence = \(last + 2)")
        #expect(try await kinds(engine) == [.entryChanged])
        try await engine.stop()
    }

    @Test("Another key takes over with a row that says so; the earlier one is needed for what it made")
    func keyChange() async throws {
        let keyring = AuditKeyring.forTests(1)
        let engine = try await engine(SQLiteStore(directory: directory.path, audit: keyring))
        try await prepare(engine)
        let (first, second) = (keyring.keys.current, AuditKeyring.forTests(2).keys.current)
        keyring.replace(AuditKeys(earlier: [first], current: second))
        engine.auditKeysChanged()
        try await note(engine, "M", customer: "c1")
        try await engine.set("later", spend: 1)
        #expect(engine.status.audit.keyID == second.id)
        #expect(try await engine.items(AuditQuery(limit: 100)).count { $0.kind == .keyChanged } == 1)
        #expect(try await kinds(engine) == [])
        keyring.replace(AuditKeys(current: second))
        #expect(try await kinds(engine) == [.keyUnknown])
        try await engine.stop()
        let wrong = try await self.engine(SQLiteStore(directory: directory.path, audit: .forTests(3)))
        #expect(try await kinds(wrong).contains(.keyUnknown))
        try await wrong.stop()
    }

    @Test("A reading is in the audit that it returns, and holds no customer's id")
    func readIsNoted() async throws {
        let engine = try await engine()
        try await prepare(engine)
        engine.note(call("DENIED", customer: "c3", kind: .denial))
        engine.note(call("DENIED", customer: "c3", kind: .denial))
        try await engine.noteDurably(call("ListAuditRows", customer: "c3", kind: .read), deadline: .far)
        let items = try await engine.items(AuditQuery(limit: 10))
        #expect(items[0].kind == .read && items[0].method == "s/ListAuditRows" && items[0].customer.count == 16)
        #expect(items[1].kind == .denial && items[1].count == 2 && items[1].customer == items[0].customer)
        try await engine.stop()
        let again = try await self.engine()
        let ids = try await again.items(AuditQuery(limit: 1_000)).map { "\($0)" }
        #expect(!ids.contains { $0.contains("\"c3\"") })
        try await again.stop()
    }

    @Test("Rows are found by time, caller, method, outcome, kind and customer, from either end")
    func queries() async throws {
        let engine = try await engine()
        try await prepare(engine)
        let before = clock.now
        clock.advance(10)
        let erased = try await engine.erase(customer: "c4", context: tester)
        var erasure = call("EraseCustomer", customer: "c4")
        erasure.sequence = erased.sequence
        try await engine.noteDurably(erasure, deadline: .far)
        clock.advance(10)
        try await engine.set("c4", spend: 9)
        var failed = call("ArchiveCohort")
        (failed.outcome, failed.reason, failed.cohort) = (5, "NOT_FOUND", "BIG")
        try await engine.noteDurably(failed, deadline: .far)
        func found(_ change: (inout AuditQuery) -> Void) async throws -> [AuditItem] {
            var query = AuditQuery(limit: 1_000)
            change(&query)
            let newest = try await engine.items(query)
            query.isOldestFirst = true
            #expect(try await engine.items(query) == newest.reversed())
            query.limit = 3
            #expect(try await engine.items(query) == Array(newest.reversed().prefix(3)))
            return newest
        }
        #expect(try await found { $0.outcome = 5 }.map(\.cohort) == ["BIG"])
        #expect(try await found { $0.method = "ArchiveCohort" }.map(\.reason) == ["NOT_FOUND"])
        #expect(try await found { $0.method = "s/EraseCustomer" }.map(\.sequence) == [erased.sequence])
        #expect(try await found { $0.principal = "tester" }.allSatisfy { $0.kind == .dataChange })
        #expect(try await found { $0.principal = "tester" }.count == 32)
        #expect(try await found { $0.kinds = [.administration] }.count == 6)
        #expect(try await found { $0.since = clock.now }.map(\.kind) == [.administration, .dataChange])
        #expect(
            try await found {
                $0.since = before.advanced(bySeconds: 1)
                $0.until = clock.now
            }.map(\.change) == ["", "customer_erased"]
        )
        // Under its ordinal of before the erasure, and under the one of now; no other customer's.
        let changes = ["customer_put", "", "customer_erased", "customer_put", "customer_put"]
        #expect(try await found { $0.customerID = "c4" }.map(\.change) == changes)
        let hash = try await found { $0.method = "EraseCustomer" }[0].customer
        #expect(try await found { $0.customerHash = hash }.map(\.change) == Array(changes.dropFirst()))
        #expect(try await found { $0.customerID = "nobody" } == [])
        for limit in [0, 100_001] {
            let error = await domainError { try engine.listAudit(AuditQuery(limit: limit)) }
            #expect("\(String(describing: error))".contains("limit"))
        }
        try await engine.stop()
    }

    @Test("While the store does not answer rows wait, what has no room is counted, and a reading is not answered")
    func storeDown() async throws {
        let store = FaultyStore(MemoryStore())
        let engine = try await engine(store) { $0.maximumAuditRows = 5 }
        store.set { $0.audit = true }
        for i in 0..<50 { engine.note(call("M\(i)")) }
        #expect(engine.status.audit.lost >= 40)
        let error = await domainError {
            try await engine.noteDurably(call("READ"), deadline: .now + .milliseconds(50))
        }
        #expect(error != nil)
        store.set { $0.audit = false }
        let lost = engine.status.audit.lost
        try await engine.stop()
        let again = try await self.engine(store)
        let items = try await again.items(AuditQuery(limit: 100))
        #expect(items.filter { $0.kind == .rowsLost }.reduce(0) { $0 + $1.count } == lost)
        #expect(UInt64(items.count { $0.kind == .administration }) + lost == 51)
        #expect(try await kinds(again) == [])
        try await again.stop()
    }

    @Test("One verification at a time; the next may begin once it is let go of")
    func oneAtATime() async throws {
        let engine = try await engine()
        try await prepare(engine)
        var running: AuditVerification? = try engine.verifyAudit()
        #expect(engine.status.audit.isVerifying)
        let error = await domainError { try engine.verifyAudit() }
        guard case .resourceExhausted("audit_verifications", _, _)? = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        _ = running
        running = nil
        #expect(try await kinds(engine) == [])
        try await engine.stop()
    }

    @Test("A verification beside commits, retention and scrubbing finds nothing")
    func besideWriters() async throws {
        let engine = try await engine {
            $0.logRetentionAge = 10
            $0.auditRetentionAge = 30
            $0.scrubDelay = 5
            $0.groupRows = 5
        }
        for round in 0..<30 {
            let verification = Task { try await engine.verdict() }
            for i in 0..<20 {
                try await engine.set("c\(i)", spend: Double(round))
                if i % 5 == 0 { engine.note(call("M\(i)")) }
            }
            _ = try await engine.erase(customer: "c\(round % 20)", context: tester)
            clock.advance(3)
            try await engine.upkeepNow()
            #expect(try await verification.value.findings == [])
        }
        #expect(engine.status.upkeep.scrub.entriesRewritten > 0 && engine.status.upkeep.log.entriesDeleted > 0)
        #expect(engine.status.audit.upkeep.rowsDeleted > 0)
        #expect(try await kinds(engine) == [])
        try await engine.stop()
    }

    @Test("An hour after the last one a head is logged again, with a row only if something was written since")
    func hourlyHead() async throws {
        let events = EventLog()
        var configuration = EngineConfiguration.byHand
        configuration.driftPeriod = nil
        let engine = Engine(
            store: MemoryStore(),
            configuration: configuration,
            environment: EngineEnvironment(now: { [clock] in clock.now }, log: { events.add($0) })
        )
        try await blocking { try engine.start() }
        try await engine.upkeepNow()
        #expect(events.count("audit head") == 1)
        clock.advance(3_600)
        try await engine.upkeepNow()
        #expect(events.count("audit head") == 2)
        let head = try #require(engine.status.audit.head)
        clock.advance(3_600)
        try await engine.upkeepNow()
        #expect(events.count("audit head") == 3 && engine.status.audit.head == head)
        try await engine.set("c", spend: 1)
        clock.advance(3_600)
        try await engine.upkeepNow()
        #expect(events.count("audit head") == 4 && engine.status.audit.head?.position == head.position + 2)
        try await engine.stop()
    }
}
