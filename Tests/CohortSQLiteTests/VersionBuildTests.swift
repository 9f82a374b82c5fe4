import Synchronization
import Testing

@testable import CohortCore
@testable import CohortSQLite

/// New rules built beside the writes, over the real store.
@Suite("Versions built beside the writes")
struct VersionBuildTests {
    private final class Flag: Sendable {
        private let value = Atomic<Bool>(false)
        var isSet: Bool { value.load(ordering: .relaxed) }
        func set() { value.store(true, ordering: .relaxed) }
    }

    private static var configuration: EngineConfiguration {
        var configuration = EngineConfiguration()
        configuration.buildSwitchCustomers = 0
        configuration.bulkThreshold = 4
        configuration.materializeRows = 20
        configuration.materializeInterval = 5
        return configuration
    }

    private static func put(_ engine: Engine, _ ids: Range<Int>, _ spend: (Int) -> Double?) async throws {
        let rows = ids.map {
            CustomerPut(customerID: "c\($0)", attributes: [("daily_spend", spend($0).map { .double($0) })])
        }
        for start in stride(from: 0, to: rows.count, by: 1_000) {
            let part = Array(rows[start..<min(start + 1_000, rows.count)])
            for result in try await engine.put(batch: part, context: tester) { _ = try result.get() }
        }
    }

    private static func members(_ engine: Engine, _ cohort: String, _ state: Membership = .in) async throws -> Set<
        String
    > {
        let snapshot = try await engine.members(cohort: cohort, state: state, deadline: .far)
        var all: Set<String> = []
        while true {
            let page = snapshot.nextPage(limit: 1_000)
            if page.isEmpty { return all }
            all.formUnion(page)
        }
    }

    private static func rule(_ id: String, _ source: String) -> CohortDefinition {
        CohortDefinition(id: id, kind: .rule, rule: source)
    }

    @Test("A draft, its publication and a revert, and what is known of them after a restart")
    func life() async throws {
        let directory = TemporaryDirectory()
        var engine = try await started(SQLiteStore(directory: directory.path), configuration: Self.configuration)
        try await Self.put(engine, 0..<100) { Double($0) }
        let author = WriteContext(principal: "author", method: "test")
        _ = try await engine.createCohort(Self.rule("BIG", "customer.daily_spend > 50.0"), context: tester)
        let draft = try await engine.draft(
            cohort: "BIG",
            rule: "customer.daily_spend > 90.0",
            note: "fewer",
            context: author
        )
        #expect(draft.version.version.number == 2 && draft.version.state == .draft)
        #expect(try await Self.members(engine, "BIG").count == 49)
        let other = try await engine.draft(cohort: "BIG", rule: "customer.daily_spend > 1.0", context: author)
        _ = try await engine.discard(cohort: "BIG", version: other.version.version.number, context: author)
        let published = try await engine.publish(cohort: "BIG", version: 2, context: tester)
        #expect(published.left == 40 && published.entered == 0 && published.cohort.version == 2)
        #expect(try await Self.members(engine, "BIG").count == 9)
        let reverted = try await engine.revert(cohort: "BIG", note: "too few", context: tester)
        #expect(reverted.cohort.version == 4 && reverted.entered == 40)

        for _ in 0..<2 {
            let versions = try engine.versions(ofCohort: "BIG")
            #expect(versions.map(\.version.number) == [4, 3, 2, 1])
            #expect(versions.map(\.state) == [.active, .discarded, .retired, .retired])
            #expect(versions[0].version.revertsTo == 1 && versions[0].version.note == "too few")
            #expect(versions[0].version.rule == "customer.daily_spend > 50.0")
            #expect(versions[2].version.note == "fewer" && versions[2].version.created.principal == "author")
            #expect(versions[2].version.published?.sequence == published.sequence)
            #expect(versions[2].version.published?.principal == "tester")
            #expect(versions[1].version.published == nil)
            try await stop(engine)
            engine = try await started(SQLiteStore(directory: directory.path), configuration: Self.configuration)
        }
        #expect(try await engine.audit().differences == 0)
        try await stop(engine)
    }

    @Test("What cannot be published, discarded or reverted is refused by its reason")
    func refusals() async throws {
        var configuration = Self.configuration
        configuration.maximumDrafts = 2
        configuration.maximumVersions = 4
        let engine = try await started(MemoryStore(), configuration: configuration)
        _ = try await engine.createCohort(Self.rule("BIG", "customer.daily_spend > 50.0"), context: tester)
        _ = try await engine.createCohort(CohortDefinition(id: "LIST", kind: .list, rule: nil), context: tester)
        func code(_ body: () async throws -> some Any) async -> String {
            switch await domainError(body) {
            case .failedPrecondition(let code, _): code
            case .resourceExhausted(let limit, _, _): limit
            case .notFound(let type, _, _): "no \(type)"
            case .invalidArgument(let violations): violations[0].field
            case .ruleRejected: "rule"
            case let other: "\(other as Any)"
            }
        }
        func draft(_ rule: String = "true", note: String = "") async -> String {
            await code { try await engine.draft(cohort: "BIG", rule: rule, note: note, context: tester) }
        }
        func publish(_ version: UInt32) async -> String {
            await code { try await engine.publish(cohort: "BIG", version: version, context: tester) }
        }
        #expect(
            await code { try await engine.draft(cohort: "LIST", rule: "true", context: tester) } == "NOT_A_RULE_COHORT"
        )
        #expect(await code { try await engine.revert(cohort: "LIST", context: tester) } == "NOT_A_RULE_COHORT")
        #expect(await draft("in_cohort('BIG')") == "COHORT_CYCLE")
        #expect(await draft("customer.daily_spent > 1.0") == "rule")
        #expect(await draft(note: String(repeating: "x", count: 1_025)) == "note")
        #expect(await publish(2) == "no version")
        #expect(await publish(1) == "VERSION_ACTIVE")
        #expect(await code { try await engine.revert(cohort: "BIG", context: tester) } == "NOTHING_TO_REVERT")
        #expect(await code { try await engine.revert(cohort: "BIG", version: 1, context: tester) } == "VERSION_ACTIVE")
        _ = try await engine.draft(cohort: "BIG", rule: "true", context: tester)
        _ = try await engine.draft(cohort: "BIG", rule: "false", context: tester)
        #expect(await draft() == "maximum_drafts")
        #expect(
            await code { try await engine.revert(cohort: "BIG", version: 2, context: tester) } == "VERSION_NEVER_SERVED"
        )
        _ = try await engine.discard(cohort: "BIG", version: 3, context: tester)
        #expect(await publish(3) == "VERSION_DISCARDED")
        #expect(
            await code { try await engine.discard(cohort: "BIG", version: 3, context: tester) } == "VERSION_DISCARDED"
        )
        #expect(await code { try await engine.preview(cohort: "BIG", .version(3)) } == "VERSION_DISCARDED")
        #expect(await code { try await engine.preview(cohort: "BIG", .version(1), sample: 101) } == "sample_size")
        _ = try await engine.publish(cohort: "BIG", version: 2, context: tester)
        #expect(await publish(1) == "VERSION_RETIRED")
        _ = try await engine.draft(cohort: "BIG", rule: "true", context: tester)
        #expect(await draft() == "maximum_versions")
        #expect(
            await code { try await engine.updateRule(cohort: "BIG", rule: "false", context: tester) }
                == "maximum_versions"
        )
        try await stop(engine)
    }

    @Test("Writes go on during a build, reads have the old membership, and the new one takes them in", arguments: 0..<4)
    func writesMeanwhile(seed: Int) async throws {
        let directory = TemporaryDirectory()
        let store = FaultyStore(SQLiteStore(directory: directory.path))
        let engine = try await started(store, configuration: Self.configuration)
        try await Self.put(engine, 0..<500) { $0 % 7 == 0 ? nil : Double($0 % 100) }
        _ = try await engine.createCohort(Self.rule("BIG", "customer.daily_spend > 50.0"), context: tester)
        _ = try await engine.createCohort(Self.rule("SMALL", "!in_cohort('BIG')"), context: tester)
        _ = try await engine.createCohort(CohortDefinition(id: "LIST", kind: .list, rule: nil), context: tester)
        let before = try await Self.members(engine, "BIG")
        if seed % 2 == 0 { try await blocking { engine.materialize() } }

        let gate = Gate()
        store.set { $0.scanning = { gate.pass() } }
        let publish = Task {
            try await engine.updateRule(
                cohort: "BIG",
                rule: "customer.daily_spend <= 20.0 || in_cohort('LIST')",
                context: tester
            )
        }
        try await gate.untilHeld()
        // Everything that can move a membership, on customers old and new.
        try await Self.put(engine, 100..<200) { Double(($0 + seed) % 60) }
        try await Self.put(engine, 600..<700) { Double($0 % 60) }
        for id in 0..<30 { _ = try await engine.erase(customer: "c\(id)", context: tester) }
        _ = try await engine.setOverrides(
            cohort: "BIG",
            include: (200..<220).map { "c\($0)" },
            exclude: (220..<240).map { "c\($0)" },
            clear: [],
            context: tester
        )
        _ = try await engine.changeList(cohort: "LIST", add: (240..<300).map { "c\($0)" }, remove: [], context: tester)
        _ = try await engine.declareAttribute(name: "late", type: .double, context: tester)
        _ = try await engine.put(
            CustomerPut(customerID: "c300", attributes: [("late", .double(1)), ("daily_spend", .double(3))]),
            context: tester
        )
        let drafted = try await engine.draft(cohort: "BIG", rule: "true", context: tester)
        #expect(drafted.version.version.number == 2)
        #expect(
            try await Self.members(engine, "BIG").intersection((30..<100).map { "c\($0)" })
                == before.intersection((30..<100).map { "c\($0)" })
        )
        let build = try #require(engine.status.builds.first)
        #expect(build.cohort == "BIG" && build.phase == .scanning && build.total == 500)
        // Another change of rules waits for its turn.
        let second = Task { try await engine.createCohort(Self.rule("LATER", "in_cohort('BIG')"), context: tester) }
        while engine.status.builds.count < 2 { await Task.yield() }
        #expect(engine.status.builds[1].phase == .waiting)
        store.set { $0.scanning = nil }
        gate.open()

        let published = try await publish.value
        _ = try await second.value
        #expect(published.cohort.version == 3)
        let audit = try await engine.audit()
        #expect(audit.differences == 0, "\(audit.samples)")
        let big = try await Self.members(engine, "BIG")
        var expected: Set<String> = []
        for id in Array(30..<500) + Array(600..<700) {
            let spend: Double? =
                switch id {
                case 100..<200: Double((id + seed) % 60)
                case 600..<700: Double(id % 60)
                case 300: 3
                default: id % 7 == 0 ? nil : Double(id % 100)
                }
            let isIn =
                switch id {
                case 200..<220: true
                case 220..<240: false
                case 240..<300: true
                default: spend.map { $0 <= 20 } ?? false
                }
            if isIn { expected.insert("c\(id)") }
        }
        #expect(big == expected)
        #expect(try await Self.members(engine, "LATER") == big)
        #expect(try await Self.members(engine, "SMALL").isDisjoint(with: big))
        #expect(engine.status.builds.isEmpty)
        try await stop(engine)
    }

    @Test("A cohort being built is UNKNOWN (BUILDING), and a stop in the middle is made up for at the next start")
    func creationGoesOn() async throws {
        let directory = TemporaryDirectory()
        let store = FaultyStore(SQLiteStore(directory: directory.path))
        var engine = try await started(store, configuration: Self.configuration)
        try await Self.put(engine, 0..<100) { Double($0) }
        let gate = Gate()
        store.set { $0.scanning = { gate.pass() } }
        let creation = Task { [engine] in
            try await engine.createCohort(Self.rule("BIG", "customer.daily_spend > 50.0"), context: tester)
        }
        try await gate.untilHeld()
        let answer = try await engine.checkMembershipWaiting(customer: "c60", cohort: "BIG", deadline: .far)
        #expect(answer.membership == .unknown && answer.reason == .building && answer.member == nil)
        #expect(try engine.cohort("BIG").state == .building)
        #expect(try engine.versions(ofCohort: "BIG").map(\.state) == [.building])
        let reader = await domainError {
            try await engine.draft(cohort: "BIG", rule: "in_cohort('NOBODY')", context: tester)
        }
        guard case .ruleRejected = reader else { Issue.record("\(reader as Any)"); return }
        // What an override says holds at once when it serves.
        _ = try await engine.setOverrides(cohort: "BIG", include: ["c1"], exclude: ["c99"], clear: [], context: tester)
        let stopped = Task { [engine] in try await blocking { engine.shutdown() } }
        while !engine.shared.builds.isClosed { await Task.yield() }
        store.set { $0.scanning = nil }
        gate.open()
        try await stopped.value
        let error = await domainError { try await creation.value }
        guard case .unavailable = error else { Issue.record("\(error as Any)"); return }

        engine = try await started(SQLiteStore(directory: directory.path), configuration: Self.configuration)
        while try await engine.checkMembershipWaiting(customer: "c60", cohort: "BIG", deadline: .far).reason
            == .building
        {
            await Task.yield()
        }
        #expect(try await Self.members(engine, "BIG") == Set((51..<99).map { "c\($0)" } + ["c1"]))
        #expect(try await engine.audit().differences == 0)
        try await stop(engine)
    }

    @Test("A publish that a stop or a failing store breaks off leaves a draft, and nothing else")
    func publishDropped() async throws {
        let directory = TemporaryDirectory()
        let store = FaultyStore(SQLiteStore(directory: directory.path))
        var engine = try await started(store, configuration: Self.configuration)
        try await Self.put(engine, 0..<100) { Double($0) }
        _ = try await engine.createCohort(Self.rule("BIG", "customer.daily_spend > 50.0"), context: tester)
        _ = try await engine.draft(cohort: "BIG", rule: "customer.daily_spend > 90.0", context: tester)
        let sequence = engine.status.sequence
        store.set { $0.scansLeft = 0 }
        let failure = await domainError { try await engine.publish(cohort: "BIG", version: 2, context: tester) }
        guard case .unavailable = failure else { Issue.record("\(failure as Any)"); return }
        #expect(engine.status.sequence == sequence)
        let gate = Gate()
        store.set {
            $0.scansLeft = nil
            $0.scanning = { gate.pass() }
        }
        let publish = Task { [engine] in try await engine.publish(cohort: "BIG", version: 2, context: tester) }
        try await gate.untilHeld()
        #expect(try engine.versions(ofCohort: "BIG").map(\.state) == [.building, .active])
        let stopped = Task { [engine] in try await blocking { engine.shutdown() } }
        while !engine.shared.builds.isClosed { await Task.yield() }
        store.set { $0.scanning = nil }
        gate.open()
        try await stopped.value
        #expect(await domainError { try await publish.value } != nil)

        engine = try await started(SQLiteStore(directory: directory.path), configuration: Self.configuration)
        #expect(engine.status.sequence == sequence)
        #expect(try engine.versions(ofCohort: "BIG").map(\.state) == [.draft, .active])
        #expect(try await Self.members(engine, "BIG").count == 49)
        #expect(try await engine.publish(cohort: "BIG", version: 2, context: tester).left == 40)
        try await stop(engine)
    }

    @Test("A preview counts what the publish then does, also in the cohorts that depend on it", arguments: 0..<6)
    func preview(seed: Int) async throws {
        var configuration = Self.configuration
        if seed % 2 == 0 { configuration.buildSwitchCustomers = 4_000 }
        let engine = try await started(MemoryStore(), configuration: configuration)
        var random = SeededGenerator(state: UInt64(seed))
        try await Self.put(engine, 0..<400) { _ in
            Int.random(in: 0..<5, using: &random) == 0 ? nil : Double.random(in: 0...100, using: &random)
        }
        _ = try await engine.createCohort(
            Self.rule("BIG", "customer.?daily_spend.orValue(60.0) > 50.0"),
            context: tester
        )
        _ = try await engine.createCohort(Self.rule("READER", "!in_cohort('BIG')"), context: tester)
        _ = try await engine.createCohort(Self.rule("APART", "true"), context: tester)
        _ = try await engine.setOverrides(
            cohort: "BIG",
            include: ["c1", "c2"],
            exclude: ["c3", "c4"],
            clear: [],
            context: tester
        )
        let limit = Double.random(in: 20...80, using: &random)
        let draft = try await engine.draft(cohort: "BIG", rule: "customer.daily_spend > \(limit)", context: tester)
        let (sequence, old) = (engine.status.sequence, try await Self.members(engine, "BIG"))
        let preview = try await engine.preview(cohort: "BIG", .version(draft.version.version.number), sample: 5)
        #expect(preview.sequence == sequence && engine.status.sequence == sequence)
        #expect(try await Self.members(engine, "BIG") == old)
        let text = try await engine.preview(cohort: "BIG", .rule("customer.daily_spend > \(limit)"), sample: 5)
        #expect(text == preview)

        let readers = try await Self.members(engine, "READER")
        let published = try await engine.publish(cohort: "BIG", version: draft.version.version.number, context: tester)
        let new = try await Self.members(engine, "BIG")
        let unknown = try await Self.members(engine, "BIG", .unknown)
        let diff = try #require(preview.diffs.first)
        #expect(preview.diffs.map(\.cohort) == ["BIG", "READER"])
        #expect(diff.entering == published.entered && diff.leaving == published.left)
        #expect(diff.becomingUnknown == published.newlyUnknown)
        #expect(diff.membersBefore == UInt64(old.count) && diff.membersAfter == UInt64(new.count))
        #expect(diff.unknownBefore == 0 && diff.unknownAfter == UInt64(unknown.count))
        #expect(Set(diff.enteringSample.map(\.id)).isSubset(of: new.subtracting(old)))
        #expect(Set(diff.leavingSample.map(\.id)).isSubset(of: old.subtracting(new)))
        #expect(diff.leavingSample.count == min(5, Int(published.left)))
        #expect(diff.becomingUnknownSample.allSatisfy { $0.detail.contains("daily_spend") && $0.attributes.isEmpty })
        let out = diff.leavingSample.filter { $0.after == .out }
        #expect(out.allSatisfy { $0.attributes["daily_spend"] != nil })
        #expect(out.allSatisfy { $0.deciding == "customer.daily_spend > \(limit)" })
        #expect(preview.errors.map(\.attribute) == ["daily_spend"])
        #expect(preview.errors.map(\.customers) == [UInt64(unknown.count)])
        let newReaders = try await Self.members(engine, "READER")
        #expect(preview.diffs[1].entering == UInt64(newReaders.subtracting(readers).count))
        // UNKNOWN because the other cohort would be: told from what it would be, not from what it is.
        #expect(preview.diffs[1].becomingUnknownSample.allSatisfy { $0.detail.contains("in_cohort") })
        #expect(preview.diffs[1].becomingUnknownSample.count == 5)
        #expect(preview.diffs[1].leaving == UInt64(readers.subtracting(newReaders).count))
        let nothing = try await engine.preview(cohort: "BIG", .rule("customer.daily_spend > \(limit)"))
        #expect(nothing.diffs.count == 1 && nothing.diffs[0].entering == 0 && nothing.diffs[0].leaving == 0)
        try await stop(engine)
    }

    @Test("Rules change again and again while writers write as fast as they can", arguments: 0..<3)
    func underLoad(seed: Int) async throws {
        var configuration = Self.configuration
        configuration.buildSwitchCustomers = seed * 20
        configuration.bulkThreshold = 50
        let directory = TemporaryDirectory()
        let engine = try await started(SQLiteStore(directory: directory.path), configuration: configuration)
        try await Self.put(engine, 0..<2_000) { Double($0 % 100) }
        _ = try await engine.createCohort(Self.rule("BIG", "customer.daily_spend > 50.0"), context: tester)
        _ = try await engine.createCohort(Self.rule("SMALL", "!in_cohort('BIG')"), context: tester)
        let isDone = Flag()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for writer in 0..<3 {
                group.addTask {
                    var random = SeededGenerator(state: UInt64(seed * 10 + writer))
                    while !isDone.isSet {
                        let first = Int.random(in: 0..<2_500, using: &random)
                        let (a, b) = (random.next(), Int.random(in: 0..<20, using: &random))
                        try await Self.put(engine, first..<(first + 20)) { Double((UInt64($0) &+ a) % 100) }
                        if b == 0 {
                            _ = await domainError { try await engine.erase(customer: "c\(first)", context: tester) }
                        }
                    }
                }
            }
            group.addTask {
                // Two cohorts that are each other's opposite at every sequence, whatever the rule.
                var last: UInt64 = 0
                while !isDone.isSet {
                    let found = try await engine.cohortsWaiting(ofCustomer: "c\(last % 2_000)", deadline: .far)
                    #expect(!found.found || found.memberships.count == 1, "\(found)")
                    #expect(found.sequence >= last)
                    last = found.sequence
                }
            }
            for round in 0..<12 {
                let rule = round % 2 == 0 ? "customer.daily_spend > 20.0" : "customer.daily_spend > 80.0"
                _ = try await engine.updateRule(cohort: "BIG", rule: rule, context: tester)
            }
            isDone.set()
            try await group.waitForAll()
        }
        let audit = try await engine.audit()
        #expect(audit.differences == 0, "\(audit.samples)")
        try await stop(engine)
    }

    private func stop(_ engine: Engine) async throws { try await blocking { engine.shutdown() } }
}
