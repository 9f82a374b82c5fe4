import Foundation
import GRDB
import Testing

@testable import CohortCore
@testable import CohortSQLite

private let ann = WriteContext(principal: "ann", method: "test")
private let bob = WriteContext(principal: "bob", method: "test")

@Suite("Approvals over SQLite")
struct ApprovalStoreTests {
    /// A pending publish, a rejected archive, a pending erasure, and an approved one; the first of them pending.
    private func fill(_ engine: Engine) async throws -> [ChangeRequestView] {
        for i in 0..<20 { try await engine.set("C\(i)", spend: Double(i)) }
        for id in ["HIGH", "LOW"] {
            let sign = id == "HIGH" ? ">=" : "<"
            _ = try await engine.createCohort(
                CohortDefinition(
                    id: id,
                    kind: .rule,
                    rule: "customer.daily_spend \(sign) 10.0",
                    approvalRequired: true
                ),
                context: tester
            )
        }
        let archive = try #require(try await engine.archive(cohort: "HIGH", context: ann).pending?.request)
        _ = try await engine.reject(change: archive.number, note: "in use", context: bob)
        let low = MemberSelection(expected: 10, limit: 3)
        let erasure = try #require(
            try await engine.eraseMembers(cohort: "LOW", low, context: ann).pending?.request
        )
        _ = try await engine.approve(change: erasure.number, note: "they asked", context: bob)
        _ = try await engine.updateRule(cohort: "HIGH", rule: "customer.daily_spend > 15.0", note: "up", context: ann)
        _ = try await engine.eraseMembers(cohort: "LOW", MemberSelection(expected: 7), context: ann)
        _ = try await engine.draft(cohort: "LOW", rule: "true", context: ann)
        let requests = try engine.changeRequests(includingDecided: true).requests
        #expect(requests.map(\.request.state) == [.pending, .pending, .approved, .rejected])
        return requests
    }

    private func finish(_ engine: Engine, _ requests: [ChangeRequestView]) async throws {
        #expect(try engine.changeRequests(includingDecided: true).requests == requests)
        #expect(try engine.cohort("HIGH").approvalRequired && engine.cohort("LOW").approvalRequired)
        #expect(engine.status.approvals.pending == 2)
        let refusal = await domainError { try await engine.approve(change: requests[1].request.number, context: ann) }
        guard case .permissionDenied("APPROVAL_BY_AUTHOR", _) = refusal else {
            return #expect(Bool(false), "\(String(describing: refusal))")
        }
        let approved = try await engine.approve(change: requests[1].request.number, context: bob)
        #expect(approved.left == 6 && approved.cohort.version == 2)
        #expect(try await engine.approve(change: requests[0].request.number, context: bob).left == 7)
        #expect(engine.status.customers == 10)
    }

    @Test("What waits for approval is there after a stop, and can be approved")
    func restart() async throws {
        let directory = TemporaryDirectory()
        var engine = try await started(SQLiteStore(directory: directory.path), configuration: .byHand)
        let requests = try await fill(engine)
        try await engine.stop()
        engine = try await started(SQLiteStore(directory: directory.path), configuration: .byHand)
        try await finish(engine, requests)
        let decided = try engine.changeRequests(includingDecided: true).requests
        try await engine.stop()
        engine = try await started(SQLiteStore(directory: directory.path), configuration: .byHand)
        #expect(try engine.changeRequests(includingDecided: true).requests == decided)
        try await engine.stop()
    }

    @Test("The log alone gives the same as the tables", arguments: [false, true])
    func replay(_ wholeLog: Bool) async throws {
        let directory = TemporaryDirectory()
        let store = FaultyStore(SQLiteStore(directory: directory.path))
        var engine = try await started(store, configuration: .byHand)
        // As if the process were killed before anything came into the tables.
        if !wholeLog { store.set { $0.apply = true } }
        let requests = try await fill(engine)
        try await engine.stop()
        if wholeLog {
            for file in ["cohort.db", "cohort.db-wal", "cohort.db-shm"] {
                try? FileManager.default.removeItem(atPath: directory.path + "/" + file)
            }
        } else {
            #expect(try count(directory.path) == 0)
        }
        engine = try await started(SQLiteStore(directory: directory.path), configuration: .byHand)
        #expect(try engine.changeRequests(includingDecided: true).requests == requests)
        try await engine.stop()
        #expect(try count(directory.path) == 4, "replayed into the tables")
        engine = try await started(SQLiteStore(directory: directory.path), configuration: .byHand)
        try await finish(engine, requests)
        try await engine.stop()
    }

    @Test("A publish and its approval are one write: lost together, or kept together")
    func atomic() async throws {
        let directory = TemporaryDirectory()
        let store = FaultyStore(SQLiteStore(directory: directory.path))
        let engine = try await started(store, configuration: .byHand)
        let requests = try await fill(engine)
        let (number, sequence) = (requests[1].request.number, engine.status.sequence)
        store.set { $0.appendsLost = 1 }
        guard case .unavailable = await domainError({ try await engine.approve(change: number, context: bob) }) else {
            return #expect(Bool(false), "the append was lost")
        }
        #expect(try engine.changeRequests(includingDecided: true).requests == requests)
        #expect(try engine.cohort("HIGH").version == 1 && engine.status.sequence == sequence)
        // The power fails right behind the first append.
        store.set { ($0.appendsUnconfirmed, $0.appendsLeft) = (1, 1) }
        let approved = try await engine.approve(change: number, context: bob)
        #expect(approved.sequence == sequence + 1 && engine.status.sequence == sequence + 2)
        try await engine.stop()
        let again = try await started(SQLiteStore(directory: directory.path), configuration: .byHand)
        #expect(try again.cohort("HIGH").version == 2)
        #expect(try again.changeRequests(includingDecided: true).requests.dropFirst().first == approved.request)
        try await again.stop()
    }

    @Test("While an approved version is built, its change is neither rejected nor expires, and serves in the end")
    func duringBuild() async throws {
        let directory = TemporaryDirectory()
        let store = FaultyStore(SQLiteStore(directory: directory.path))
        var configuration = EngineConfiguration.byHand
        configuration.buildSwitchCustomers = 0
        configuration.approvalExpiry = 100
        let clock = ManualClock()
        let engine = try await started(store, configuration: configuration, now: { clock.now })
        for i in 0..<20 { try await engine.set("C\(i)", spend: Double(i)) }
        try await engine.rule("HIGH", "customer.daily_spend >= 10.0")

        // Approval comes to be required while a version is built without.
        var gate = Gate()
        store.set { [gate] in $0.scanning = { gate.pass() } }
        let early = Task {
            await domainError { try await engine.updateRule(cohort: "HIGH", rule: "true", context: ann) }
        }
        try await gate.untilHeld()
        store.set { $0.scanning = nil }
        #expect(try await engine.setApproval(cohort: "HIGH", required: true, context: ann).changed)
        gate.open()
        guard case .failedPrecondition("APPROVAL_REQUIRED", _) = await early.value else {
            return #expect(Bool(false), "it is required from then on")
        }
        #expect(try engine.cohort("HIGH").version == 1)

        let request = try #require(
            try await engine.updateRule(cohort: "HIGH", rule: "customer.daily_spend >= 15.0", context: ann).pending?
                .request
        )
        gate = Gate()
        store.set { [gate] in $0.scanning = { gate.pass() } }
        let approval = Task { try await engine.approve(change: request.number, context: bob) }
        try await gate.untilHeld()
        store.set { $0.scanning = nil }
        #expect(try engine.versions(ofCohort: "HIGH")[0].state == .building)
        guard
            case .failedPrecondition("CHANGE_BUILDING", _) = await domainError({
                try await engine.reject(change: request.number, context: ann)
            })
        else { return #expect(Bool(false), "it is too late to reject it") }
        clock.advance(200)
        try await blocking { engine.upkeep() }
        gate.open()
        #expect(try await approval.value.left == 5, "it was approved in time")
        #expect(try engine.changeRequests(includingDecided: true).requests.first?.request.state == .approved)
        try await engine.stop()
    }

    @Test("Those decided longest ago go from the tables as well")
    func dropped() async throws {
        let directory = TemporaryDirectory()
        let engine = try await started(SQLiteStore(directory: directory.path), configuration: .byHand)
        _ = try await engine.createCohort(
            CohortDefinition(id: "LIST", kind: .list, rule: nil, approvalRequired: true),
            context: tester
        )
        for _ in 0..<(ChangeRequests.decidedKept + 3) {
            let request = try #require(try await engine.archive(cohort: "LIST", context: ann).pending?.request)
            _ = try await engine.reject(change: request.number, context: ann)
        }
        let kept = try engine.changeRequests(includingDecided: true, limit: 5_000).requests
        #expect(kept.count == ChangeRequests.decidedKept)
        try await engine.stop()
        #expect(try count(directory.path) == ChangeRequests.decidedKept)
        let again = try await started(SQLiteStore(directory: directory.path), configuration: .byHand)
        #expect(try again.changeRequests(includingDecided: true, limit: 5_000).requests == kept)
        try await again.stop()
    }

    @Test("A store of format 3 is taken over: nothing needs approval, and drafts are drafts still")
    func adoption() async throws {
        let directory = TemporaryDirectory()
        var engine = try await started(SQLiteStore(directory: directory.path), configuration: .byHand)
        try await engine.rule("HIGH", "customer.daily_spend > 10.0")
        _ = try await engine.draft(cohort: "HIGH", rule: "true", note: "later", context: ann)
        try await engine.stop()
        try change(
            directory.path,
            """
            ALTER TABLE cohorts DROP COLUMN approval_required;
            DROP TABLE change_requests;
            UPDATE meta SET value = 3 WHERE key = 'format';
            """
        )
        for _ in 0..<2 {
            engine = try await started(SQLiteStore(directory: directory.path), configuration: .byHand)
            #expect(try engine.cohort("HIGH").approvalRequired == false)
            #expect(try engine.versions(ofCohort: "HIGH").map(\.state) == [.draft, .active])
            #expect(try engine.changeRequests(includingDecided: true).requests.isEmpty)
            try await engine.stop()
        }
        #expect(try query(directory.path, "SELECT value FROM meta WHERE key = 'format'") == 4)
        engine = try await started(SQLiteStore(directory: directory.path), configuration: .byHand)
        _ = try await engine.setApproval(cohort: "HIGH", required: true, context: ann)
        _ = try await engine.publish(cohort: "HIGH", version: 2, context: ann)
        try await engine.stop()
        engine = try await started(SQLiteStore(directory: directory.path), configuration: .byHand)
        #expect(try engine.changeRequests().requests.count == 1)
        try await engine.stop()
    }

    @Test("A damaged request is noticed at the start")
    func damaged() async throws {
        let directory = TemporaryDirectory()
        let engine = try await started(SQLiteStore(directory: directory.path), configuration: .byHand)
        _ = try await fill(engine)
        try await engine.stop()
        try change(directory.path, "UPDATE change_requests SET request = X'01' || request WHERE number % 2 IN (0, 1)")
        let refused = await domainError {
            try await started(SQLiteStore(directory: directory.path), configuration: .byHand)
        }
        guard case .dataLoss(let message) = refused else {
            return #expect(Bool(false), "\(String(describing: refused))")
        }
        #expect(message.contains("change request"))
    }

    private func count(_ path: String) throws -> Int { try query(path, "SELECT count(*) FROM change_requests") }

    private func query(_ path: String, _ sql: String) throws -> Int {
        let queue = try DatabaseQueue(path: path + "/cohort.db")
        defer { try? queue.close() }
        return try queue.read { try Int.fetchOne($0, sql: sql) ?? -1 }
    }

    private func change(_ path: String, _ sql: String) throws {
        let queue = try DatabaseQueue(path: path + "/cohort.db")
        try queue.write { try $0.execute(sql: sql) }
        try queue.close()
    }
}
