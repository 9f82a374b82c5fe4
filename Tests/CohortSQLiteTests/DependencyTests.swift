import Foundation
import Synchronization
import Testing

@testable import CohortCore
@testable import CohortSQLite

private final class Flag: Sendable {
    private let value = Mutex(false)

    var isSet: Bool { value.withLock { $0 } }
    func set() { value.withLock { $0 = true } }
}

/// Rules that read other cohorts.
@Suite("Cohorts that depend on cohorts")
struct DependencyTests {
    /// Everything one by one, and everything staged.
    static let thresholds = [1_024, 0]

    private func withEngine(
        _ store: any Store = MemoryStore(),
        _ change: (inout EngineConfiguration) -> Void = { _ in },
        _ body: (Engine) async throws -> Void
    ) async throws {
        var configuration = EngineConfiguration()
        configuration.materializeInterval = 5
        change(&configuration)
        let engine = try await started(store, configuration: configuration)
        do {
            try await body(engine)
        } catch {
            try await blocking { engine.shutdown() }
            throw error
        }
        try await blocking { engine.shutdown() }
    }

    @discardableResult
    private func create(
        _ engine: Engine,
        _ id: String,
        _ rule: String?,
        _ policy: FailPolicy = .unknown
    ) async throws -> CohortChangeResult {
        let kind: CohortKind = rule == nil ? .list : .rule
        return try await engine.createCohort(
            CohortDefinition(id: id, kind: kind, rule: rule, failPolicy: policy),
            context: tester
        )
    }

    @discardableResult
    private func put(_ engine: Engine, _ id: String, _ spend: Double?) async throws -> PutResult {
        try await engine.put(
            CustomerPut(customerID: id, attributes: [("daily_spend", spend.map { .double($0) })]),
            context: tester
        )
    }

    private func override(
        _ engine: Engine,
        _ cohort: String,
        include: [String] = [],
        exclude: [String] = [],
        clear: [String] = []
    ) async throws -> CohortChangeResult {
        try await engine.setOverrides(
            cohort: cohort,
            include: include,
            exclude: exclude,
            clear: clear,
            context: tester
        )
    }

    /// Cohorts that a customer is IN, and those it is UNKNOWN in with a question mark.
    private func cohorts(_ engine: Engine, _ id: String) async throws -> [String] {
        try await engine.cohortsWaiting(ofCustomer: id, deadline: .far).memberships
            .map { $0.cohort + ($0.membership == .unknown ? "?" : "") }
    }

    /// The causes of an entry's changes by cohort number, however it holds them.
    private func causes(_ store: some Store, _ sequence: UInt64) throws -> [CohortNumber: TransitionCause] {
        let entry = try #require(try store.readLog(from: sequence, limit: 1).first).decoded()
        #expect(entry.sequence == sequence)
        #expect(entry.transitions.isEmpty || entry.bulks.isEmpty)
        let all = entry.transitions.map { ($0.cohort, $0.cause) } + entry.bulks.map { ($0.cohort, $0.cause) }
        return Dictionary(all) { first, _ in first }
    }

    // MARK: Following

    @Test("Dependents follow in the same entry, whatever moved what they read", arguments: thresholds)
    func following(threshold: Int) async throws {
        let store = MemoryStore()
        try await withEngine(store) {
            $0.bulkThreshold = threshold
        } _: { engine in
            try await create(engine, "BIG", "customer.daily_spend > 10.0")  // 0
            try await create(engine, "LIST", nil)  // 1
            try await create(engine, "BOTH", "in_cohort('BIG') && in_cohort('LIST')")  // 2
            try await create(engine, "NEITHER", "!in_cohort('BIG') && !in_cohort(\"LIST\")")  // 3
            try await create(engine, "DEEP", "in_cohort('BOTH') || customer.daily_spend > 100.0")  // 4

            let created = try await put(engine, "a", 20)
            #expect(created.entered == ["BIG"])
            #expect(try await cohorts(engine, "a") == ["BIG"])

            let listed = try await engine.changeList(cohort: "LIST", add: ["a"], remove: [], context: tester)
            #expect(listed.sequence == created.sequence + 1)
            #expect(try await cohorts(engine, "a") == ["BIG", "LIST", "BOTH", "DEEP"])
            #expect(try causes(store, listed.sequence) == [1: .list, 2: .cohort, 4: .cohort])

            let poor = try await put(engine, "a", 5)
            #expect(poor.left == ["BIG", "BOTH", "DEEP"])
            #expect(try causes(store, poor.sequence) == [0: .attribute, 2: .cohort, 4: .attribute])

            let included = try await override(engine, "BIG", include: ["a"])
            #expect(included.sequence == poor.sequence + 1)
            #expect(try await cohorts(engine, "a") == ["BIG", "LIST", "BOTH", "DEEP"])
            #expect(try causes(store, included.sequence) == [0: .override, 2: .cohort, 4: .cohort])
            let cleared = try await override(engine, "BIG", clear: ["a"])
            #expect(try await cohorts(engine, "a") == ["LIST"])

            let updated = try await engine.updateRule(
                cohort: "BIG",
                rule: "customer.daily_spend > 1.0",
                context: tester
            )
            #expect(updated.sequence == cleared.sequence + 1 && updated.entered == 1)
            #expect(try causes(store, updated.sequence) == [0: .rule, 2: .cohort, 4: .cohort])
            #expect(try await cohorts(engine, "a") == ["BIG", "LIST", "BOTH", "DEEP"])

            // An override of a dependent decides before its rule.
            _ = try await override(engine, "BOTH", exclude: ["a"])
            #expect(try await cohorts(engine, "a") == ["BIG", "LIST"])
            _ = try await engine.changeList(cohort: "LIST", add: [], remove: ["a"], context: tester)
            _ = try await engine.changeList(cohort: "LIST", add: ["a"], remove: [], context: tester)
            #expect(try await cohorts(engine, "a") == ["BIG", "LIST"])

            let erased = try await engine.erase(customer: "a", context: tester)
            #expect(erased.left == ["BIG", "LIST"])
            let again = try await put(engine, "a", 0)
            #expect(again.outcome == .created && again.entered == ["NEITHER"])
            #expect(try await engine.audit().differences == 0)
        }
    }

    @Test("UNKNOWN is an error that && and || absorb; fail policies never feed rules", arguments: thresholds)
    func unknown(threshold: Int) async throws {
        try await withEngine(MemoryStore()) {
            $0.bulkThreshold = threshold
        } _: { engine in
            try await create(engine, "FRAUD", "customer.daily_spend > 10.0", .memberIn)
            try await create(engine, "SAFE", "!in_cohort('FRAUD')")
            try await create(engine, "PAID", "customer.user_type == 'PAID' || in_cohort('FRAUD')")
            try await put(engine, "a", nil)
            #expect(try await cohorts(engine, "a") == ["FRAUD?", "SAFE?", "PAID?"])
            let answer = try await engine.checkMembershipWaiting(customer: "a", cohort: "SAFE", deadline: .far)
            #expect(answer.reason == .ruleError && answer.member == nil)
            #expect(answer.detail == "1:2: in_cohort(\"FRAUD\") is unknown")
            _ = try await engine.put(
                CustomerPut(customerID: "a", attributes: [("user_type", .string("PAID"))]),
                context: tester
            )
            #expect(try await cohorts(engine, "a") == ["FRAUD?", "SAFE?", "PAID"])
            _ = try await override(engine, "FRAUD", exclude: ["a"])
            #expect(try await cohorts(engine, "a") == ["SAFE", "PAID"])
            #expect(try await engine.audit().differences == 0)
        }
    }

    @Test("All of it outlives restarts, from the log and from the tables", arguments: thresholds, [0, 16])
    func restarts(threshold: Int, kept: Int) async throws {
        let directory = TemporaryDirectory()
        func configure(_ configuration: inout EngineConfiguration) {
            configuration.bulkThreshold = threshold
            configuration.maximumBulkChanges = kept
        }
        var expected: [[String]] = []
        let ids = (0..<200).map { "c\($0)" }
        let store = FaultyStore(SQLiteStore(directory: directory.path))
        try await withEngine(store, configure) { engine in
            for (i, id) in ids.enumerated() { try await put(engine, id, i % 7 == 0 ? nil : Double(i)) }
            try await create(engine, "LATE", "customer.daily_spend >= 0.0")
            try await create(engine, "BIG", "customer.daily_spend > 100.0")
            try await create(engine, "LIST", nil)
            try await create(engine, "CHOSEN", "in_cohort('BIG') || in_cohort('LIST')")
            try await create(engine, "REST", "!in_cohort('CHOSEN')")
            await blockingMaterialize(engine)
            // From here on in the log alone.
            store.set { $0.apply = true }
            _ = try await engine.changeList(cohort: "LIST", add: Array(ids[0..<50]), remove: [], context: tester)
            _ = try await engine.updateRule(cohort: "BIG", rule: "customer.daily_spend > 50.0", context: tester)
            // A rule may read a cohort that was created after its own.
            _ = try await engine.updateRule(cohort: "LATE", rule: "in_cohort('REST')", context: tester)
            _ = try await override(engine, "BIG", include: ["c7"], exclude: ["c150"])
            try await put(engine, "c60", 1)
            _ = try await engine.updateRule(cohort: "BIG", rule: "customer.daily_spend > 60.0", context: tester)
            for id in ids { expected.append(try await cohorts(engine, id)) }
            #expect(Set(expected).count > 3)
            #expect(try await engine.audit().differences == 0)
        }
        for _ in 0..<3 {
            try await withEngine(SQLiteStore(directory: directory.path), configure) { engine in
                #expect(engine.status.problem.isEmpty)
                #expect(try await engine.audit().differences == 0)
                var found: [[String]] = []
                for id in ids { found.append(try await cohorts(engine, id)) }
                #expect(found == expected)
                await blockingMaterialize(engine)
                // What follows is followed as before.
                _ = try await engine.changeList(cohort: "LIST", add: ["c199"], remove: [], context: tester)
                _ = try await engine.changeList(cohort: "LIST", add: [], remove: ["c199"], context: tester)
            }
        }
    }

    private func blockingMaterialize(_ engine: Engine) async {
        try? await blocking { engine.materialize() }
    }

    // MARK: Refusals

    private func message(_ code: String, _ body: () async throws -> some Any) async -> String {
        switch await domainError(body) {
        case .failedPrecondition(code, let message): return message
        case let other: return "not refused with \(code): \(String(describing: other))"
        }
    }

    @Test("A reference to no cohort, or to an archived one, does not compile")
    func unknownReferences() async throws {
        try await withEngine { engine in
            try await create(engine, "FRAUD", nil)
            try await create(engine, "GONE", nil)
            _ = try await engine.archive(cohort: "GONE", context: tester)
            for (rule, column, words) in [
                ("true && !in_cohort('FRAUDS')", 20, "there is no cohort 'FRAUDS'; did you mean 'FRAUD'?"),
                ("in_cohort('GONE')", 11, "cohort 'GONE' is archived"),
                ("in_cohort(customer.user_type)", 0, "literal"), ("in_cohort('x y')", 11, "no cohort"),
            ] {
                guard case .ruleRejected(let rejection)? = await domainError({ try await create(engine, "X", rule) })
                else {
                    Issue.record("\(rule) was accepted")
                    continue
                }
                #expect(rejection.message.contains(words), "\(rejection.message)")
                #expect(column == 0 || rejection.column == column)
            }
        }
    }

    @Test("Circles are refused with the way they go")
    func circles() async throws {
        try await withEngine { engine in
            let own = await message("COHORT_CYCLE") { try await create(engine, "SELF", "in_cohort('SELF')") }
            #expect(own.contains("SELF -> SELF"))
            try await create(engine, "A", "true")
            try await create(engine, "B", "in_cohort('A')")
            try await create(engine, "C", "false || in_cohort('B')")
            let sequence = engine.status.sequence
            let circle = await message("COHORT_CYCLE") {
                try await engine.updateRule(cohort: "A", rule: "true || in_cohort('C')", context: tester)
            }
            #expect(circle.contains("A -> C -> B -> A"), "\(circle)")
            let itself = await message("COHORT_CYCLE") {
                try await engine.updateRule(cohort: "A", rule: "in_cohort('A')", context: tester)
            }
            #expect(itself.contains("A -> A"))
            #expect(engine.status.sequence == sequence && engine.catalog.cohort("A")?.version == 1)
        }
    }

    @Test("Chains are as long as the setting allows, from whichever end they grow", arguments: [8, 2, 0])
    func depth(limit: Int) async throws {
        #expect(EngineConfiguration().maximumCohortDepth == 8)
        try await withEngine(MemoryStore()) {
            $0.maximumCohortDepth = limit
        } _: { engine in
            try await create(engine, "D0", "true")
            try await create(engine, "BASE", "true")
            for i in 0..<limit { try await create(engine, "D\(i + 1)", "in_cohort('D\(i)')") }
            let chain = (0...limit).reversed().map { "D\($0)" }.joined(separator: " -> ")
            let above = await message("COHORT_DEPTH") { try await create(engine, "TOP", "in_cohort('D\(limit)')") }
            #expect(above.contains("TOP -> " + chain) && above.contains("at most \(limit)"), "\(above)")
            let below = await message("COHORT_DEPTH") {
                try await engine.updateRule(cohort: "D0", rule: "in_cohort('BASE')", context: tester)
            }
            #expect(below.contains(chain + " -> BASE"), "\(below)")
        }
    }

    @Test("A cohort in use is not archived, and who uses it is told")
    func inUse() async throws {
        try await withEngine { engine in
            try await create(engine, "BASE", "true")
            try await create(engine, "USER_A", "in_cohort('BASE')")
            try await create(engine, "USER_B", "true || in_cohort('BASE')")
            let refusal = await message("COHORT_IN_USE") { try await engine.archive(cohort: "BASE", context: tester) }
            #expect(refusal.contains("USER_A, USER_B"), "\(refusal)")
            _ = try await engine.archive(cohort: "USER_A", context: tester)
            _ = try await engine.updateRule(cohort: "USER_B", rule: "true", context: tester)
            #expect(try await engine.archive(cohort: "BASE", context: tester).changed)
        }
    }

    // MARK: Consistency

    @Test("No reader sees a dependent disagree with what it reads, at any sequence", arguments: thresholds)
    func agreement(threshold: Int) async throws {
        let directory = TemporaryDirectory()
        try await withEngine(SQLiteStore(directory: directory.path)) {
            $0.bulkThreshold = threshold
            $0.groupRows = 7
            $0.publishSlice = 2
        } _: { engine in
            try await create(engine, "A", "customer.daily_spend > 50.0")
            try await create(engine, "L", nil)
            try await create(engine, "SAME", "in_cohort('A') || in_cohort('L')")
            try await create(engine, "INVERSE", "!in_cohort('SAME')")
            let ids = (0..<100).map { "c\($0)" }
            for (i, id) in ids.enumerated() { try await put(engine, id, Double(i)) }
            let isOver = Flag()
            try await withThrowingTaskGroup(of: Int.self) { group in
                for reader in 0..<2 {
                    group.addTask {
                        var reads = 0
                        while !isOver.isSet {
                            if reader == 0 {
                                // All of these are empty as long as no half of a change is seen.
                                for wrong in [
                                    "(A or L) and not SAME", "SAME and not (A or L)", "SAME and INVERSE",
                                    "not SAME and not INVERSE",
                                ] {
                                    let found = try await engine.combine(wrong, deadline: .far)
                                    #expect(found.members.total == 0, "\(wrong) at \(found.members.sequence)")
                                }
                            } else {
                                let id = ids.randomElement() ?? ids[0]
                                let found = try await engine.cohortsWaiting(ofCustomer: id, deadline: .far)
                                let names = Set(found.memberships.map(\.cohort))
                                #expect((names.contains("A") || names.contains("L")) == names.contains("SAME"))
                                #expect(
                                    names.contains("SAME") != names.contains("INVERSE"),
                                    "\(id) at \(found.sequence)"
                                )
                            }
                            reads += 1
                            // The writer's task may need this thread to go on.
                            await Task.yield()
                        }
                        return reads
                    }
                }
                for round in 0..<30 {
                    _ = try await engine.updateRule(
                        cohort: "A",
                        rule: "customer.daily_spend > \(round % 2 == 0 ? 20 : 80).0",
                        context: tester
                    )
                    let part = Array(ids[(round * 3)..<(round * 3 + 10)])
                    _ = try await engine.changeList(
                        cohort: "L",
                        add: round % 2 == 0 ? part : [],
                        remove: round % 2 == 0 ? [] : part,
                        context: tester
                    )
                    _ = try await engine.put(
                        batch: part.map {
                            CustomerPut(
                                customerID: $0,
                                attributes: [("daily_spend", .double(Double(round * 37 % 100)))]
                            )
                        },
                        context: tester
                    )
                }
                isOver.set()
                for try await reads in group { #expect(reads > 0) }
            }
            #expect(try await engine.audit().differences == 0)
        }
    }

    // MARK: Combining

    @Test("Combinations over SQLite: counts, UNKNOWN apart, erased customers, cursors, a restart")
    func combinations() async throws {
        let directory = TemporaryDirectory()
        func ids(_ engine: Engine, _ expression: String, notMeansOut: Bool = false) async throws -> [String] {
            let found = try await engine.combine(expression, notMeansOut: notMeansOut, deadline: .far)
            var result: [String] = []
            while true {
                let page = found.members.nextPage(limit: 2)
                if page.isEmpty { break }
                result += page
            }
            #expect(found.members.total == UInt64(result.count))
            return result
        }
        try await withEngine(SQLiteStore(directory: directory.path)) { engine in
            try await create(engine, "RICH", "customer.daily_spend > 10.0")
            try await create(engine, "LIST", nil)
            for (id, spend) in [("a", 20.0), ("b", 5), ("c", nil), ("d", 30), ("e", 40), ("gone", 50)] {
                try await put(engine, id, spend)
            }
            _ = try await engine.changeList(cohort: "LIST", add: ["b", "c", "d"], remove: [], context: tester)
            _ = try await engine.erase(customer: "gone", context: tester)
        }
        try await withEngine(SQLiteStore(directory: directory.path)) { engine in
            #expect(try await ids(engine, "RICH") == ["a", "d", "e"])
            #expect(try await ids(engine, "RICH and not LIST") == ["a", "e"])
            #expect(try await ids(engine, "not RICH") == ["b", "c"], "UNKNOWN is not IN, and the erased are gone")
            #expect(try await ids(engine, "not RICH", notMeansOut: true) == ["b"])
            #expect(try await ids(engine, "not not RICH or LIST") == ["a", "b", "c", "d", "e"])
            #expect(try await ids(engine, "not RICH and not LIST") == [])
            let found = try await engine.combine("LIST and not RICH", deadline: .far)
            #expect(found.members.total == 2 && found.unknown == 1)
            #expect(found.members.sequence == engine.status.sequence)
            #expect(found.members.nextPage(limit: 1) == ["b"])
            // A cursor goes on behind its page, in a newer snapshot of the same expression however it is written.
            _ = try await engine.changeList(cohort: "LIST", add: [], remove: ["b"], context: tester)
            try await put(engine, "f", 1)
            _ = try await engine.changeList(cohort: "LIST", add: ["f"], remove: [], context: tester)
            let rest = try await engine.combine(
                "(LIST)  AND NOT RICH",
                cursor: found.members.cursor,
                deadline: .far
            )
            #expect(rest.members.nextPage(limit: 10) == ["c", "f"] && rest.members.sequence > found.members.sequence)
            let other = await domainError {
                try await engine.combine("LIST", cursor: found.members.cursor, deadline: .far)
            }
            guard case .invalidArgument(let violations)? = other, violations.first?.field == "cursor" else {
                Issue.record("the cursor of another expression is taken")
                return
            }
            // Erased while it is being read: left out of the pages.
            let all = try await engine.combine("RICH or not RICH", deadline: .far)
            _ = try await engine.erase(customer: "a", context: tester)
            #expect(all.members.nextPage(limit: 10) == ["b", "c", "d", "e", "f"])
            #expect(try await ids(engine, "RICH or not RICH") == ["b", "c", "d", "e", "f"])
            let missing = await domainError { try await engine.combine("RICH and LISTS", deadline: .far) }
            #expect(missing == .notFound(resourceType: "cohort", name: "LISTS", suggestion: "LIST"))
            _ = try await engine.archive(cohort: "LIST", context: tester)
            guard case .notFound? = await domainError({ try await engine.combine("LIST", deadline: .far) }) else {
                Issue.record("an archived cohort is combined")
                return
            }
        }
    }
}
