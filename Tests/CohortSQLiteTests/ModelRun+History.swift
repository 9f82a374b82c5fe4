import Testing

@testable import CohortCore
@testable import CohortSQLite

/// Reads of the past against the model as it was then.
extension ModelRun {
    /// Compares what the engine says of some points of the past, and of every customer's whole history, with the models that
    /// were kept at each sequence.
    func compareHistory(points: Int) async throws {
        guard let history else { return }
        let last = model.sequence
        let rows = try engine.shared.store.readLog(from: 0, limit: Int(last))
        #expect(rows.count == Int(last), "the log is whole, so that each sequence has its time")
        let created = createdSequences(history)
        let past = try await pastIntervals()
        for _ in 0..<points {
            let sequence = UInt64.random(in: 0...last, using: &random)
            let byTime = Bool.random(using: &random)
            let time = sequence > 0 ? rows[Int(sequence) - 1].time : .epoch
            // At a time everything of that time has happened.
            let effective = byTime ? UInt64(rows.lastIndex { $0.time <= time }.map { $0 + 1 } ?? 0) : sequence
            let point: PastPoint = byTime ? .time(time) : .sequence(sequence)
            let then = history[effective] ?? Model()
            for cohort in model.liveCohorts {
                try await compare(point, effective, then, cohort, created)
            }
            for customer in (0..<60).map({ "customer-\($0)" }) {
                // Whoever was erased since is somebody else.
                guard let intervals = past[customer], created[customer] ?? .max <= effective else { continue }
                for cohort in model.cohortOrder {
                    let held = intervals.filter { interval in
                        interval.cohort == cohort && interval.entered.sequence <= effective
                            && effective < interval.left?.sequence ?? .max
                    }
                    let isThere = then.cohorts[cohort].map { !$0.archived } ?? false
                    let expected = isThere ? then.membership(customer, cohort).0 : .out
                    #expect(
                        held.map(\.membership) == (expected == .out ? [] : [expected]),
                        "history of \(customer) in \(cohort) at \(effective) of \(last)"
                    )
                }
            }
        }
    }

    private func compare(
        _ point: PastPoint,
        _ effective: UInt64,
        _ then: Model,
        _ cohort: String,
        _ created: [String: UInt64]
    ) async throws {
        guard let standing = then.cohorts[cohort] else {
            let error = await domainError {
                try await engine.countMembers(cohort: cohort, at: point, deadline: .far)
            }
            guard case .outOfRange(code: "COHORT_NOT_CREATED", _, _)? = error else {
                Issue.record("\(cohort) at \(point): \(String(describing: error))")
                return
            }
            return
        }
        func expected(_ state: Membership) -> [String] {
            // In order of ordinal, as today.
            model.order.filter { created[$0] ?? .max <= effective && then.membership($0, cohort).0 == state }
        }
        for state in [Membership.in, .unknown] {
            let snapshot = try await engine.members(cohort: cohort, state: state, at: point, deadline: .far)
            #expect(snapshot.nextPage(limit: 1_000) == expected(state), "\(cohort) \(state) at \(point)")
            #expect(snapshot.sequence == effective && snapshot.cohortVersion == standing.version)
        }
        let count = try await engine.countMembers(cohort: cohort, at: point, deadline: .far)
        #expect(count.members == UInt64(expected(.in).count) && count.unknown == UInt64(expected(.unknown).count))
        for customer in (0..<60).map({ "customer-\($0)" }) {
            let answer = try await engine.checkMembership(
                customer: customer,
                cohort: cohort,
                at: point,
                includeSince: true,
                deadline: .far
            )
            let isKnown = created[customer] ?? .max <= effective
            let membership = isKnown ? then.membership(customer, cohort).0 : .out
            #expect(answer.membership == membership, "\(customer) in \(cohort) at \(point)")
            #expect((answer.reason == .customerNotFound) == !isKnown)
            #expect((answer.reason == .ruleError) == (membership == .unknown))
            #expect((answer.since == nil) == (membership == .out))
            #expect(answer.sequence == effective && answer.cohortVersion == standing.version)
        }
    }

    /// When those who are there now were created: an id may have been of somebody else before.
    private func createdSequences(_ history: [UInt64: Model]) -> [String: UInt64] {
        var created: [String: UInt64] = [:]
        for sequence in history.keys.sorted() {
            let customers = history[sequence]?.customers ?? [:]
            for id in created.keys where customers[id] == nil { created[id] = nil }
            for id in customers.keys where created[id] == nil { created[id] = sequence }
        }
        return created
    }

    private func pastIntervals() async throws -> [String: [CohortCore.MembershipInterval]] {
        var result: [String: [CohortCore.MembershipInterval]] = [:]
        for id in (0..<60).map({ "customer-\($0)" }) {
            guard model.customers[id] != nil else {
                let error = await domainError { try await engine.history(HistoryRequest(customer: id), deadline: .far) }
                #expect(error == .notFound(resourceType: "customer", name: id, suggestion: nil))
                continue
            }
            let history = try await engine.history(HistoryRequest(customer: id, limit: 10_000), deadline: .far)
            #expect(!history.isTruncated && history.completeSince == nil && history.sequence == model.sequence)
            let order = history.intervals.map(\.entered.sequence)
            #expect(order == order.sorted(by: >))
            result[id] = history.intervals
        }
        return result
    }
}

/// The past as a model kept it, with restarts, lost tables, small pending sets and bulk changes that records have not taken
/// in.
@Suite("The past, against a model")
struct HistoryModelTests {
    @Test("Over SQLite", arguments: 200..<(ModelTests.longRun ? 230 : 202))
    func sqlite(seed: Int) async throws {
        let directory = TemporaryDirectory()
        try await run(seed) { SQLiteStore(directory: directory.path) }
    }

    @Test("Over the memory store", arguments: 300..<(ModelTests.longRun ? 350 : 303))
    func memory(seed: Int) async throws {
        let store = MemoryStore()
        try await run(seed) { store }
    }

    private func run(_ seed: Int, _ makeStore: @escaping () -> any Store) async throws {
        let run = ModelRun(seed: UInt64(seed), operations: 0, makeStore: makeStore)
        run.history = [:]
        try await run.open()
        do {
            try await run.declare()
            for step in 0..<(ModelTests.longRun ? 2_000 : 300) {
                try await run.step()
                if step % 75 == 74 { try await run.compareHistory(points: 2) }
            }
            try await run.reopen(losingTables: true)
            try await run.compareHistory(points: 4)
        } catch {
            try await run.close()
            throw error
        }
        try await run.close()
    }
}
