import CrashTesting
import Foundation
import Synchronization
import Testing

@testable import CohortCore
@testable import CohortSQLite

/// Random operations, restarts, lost tables and killed processes against a naive model, with readers all the time: the
/// engine may differ at no sequence.
@Suite("Against a model")
struct ModelTests {
    static let longRun = ProcessInfo.processInfo.environment["COHORT_LONG"] == "1"

    @Test("Random operations over SQLite", arguments: 0..<(longRun ? 50 : 3))
    func sqlite(seed: Int) async throws {
        let directory = TemporaryDirectory()
        let run = ModelRun(
            seed: UInt64(seed),
            operations: Self.longRun ? 10_000 : 1_500,
            directory: directory.path,
            kills: Self.longRun ? 20 : 5
        ) {
            SQLiteStore(directory: directory.path)
        }
        run.buildsBeside = true
        try await run.run()
    }

    @Test("Random operations over the memory store", arguments: 100..<(longRun ? 150 : 106))
    func memory(seed: Int) async throws {
        let store = MemoryStore()
        let run = ModelRun(seed: UInt64(seed), operations: Self.longRun ? 10_000 : 1_500) { store }
        run.buildsBeside = true
        try await run.run()
    }
}

extension PutResult {
    /// Cohorts in order of id: the engine has them in order of dependency.
    fileprivate var inOrder: PutResult {
        var result = self
        result.entered.sort()
        result.left.sort()
        result.newlyUnknown.sort()
        return result
    }
}

final class ModelClock: Sendable {
    private let value = Mutex<Int64>(1_700_000_000)

    var seconds: Int64 { value.withLock { $0 } }
    func advance(_ seconds: Int64) { value.withLock { $0 += seconds } }
}

/// One seed's run.
final class ModelRun {
    var random: SeededGenerator
    /// Of sizes that the operations do not hang on.
    private var sizes: SeededGenerator
    /// Of approvals, so that the other operations are the same without them.
    var approvals: SeededGenerator
    private let operations: Int
    /// Where a killed worker finds the store; `nil` for a store that no other process can open.
    let directory: String?
    private let kills: Int
    private let makeStore: () -> any Store
    /// Whether rules are built beside the writes, as over many customers.
    var buildsBeside = false
    /// The model at each sequence since the last `open`, where they are kept.
    var history: [UInt64: Model]?
    var model = Model() {
        didSet { if history != nil, history?[model.sequence] == nil { history?[model.sequence] = model } }
    }
    var store: FaultyStore
    var engine: Engine
    var readers: InvariantReaders?
    /// Answers that readers have checked, and those that compared two counts.
    var checks = (all: 0, flips: 0)
    var lastName = 0
    var refusals: [String: Int] = [:]
    let clock = ModelClock()
    static let depthLimit = 4

    init(
        seed: UInt64,
        operations: Int,
        directory: String? = nil,
        kills: Int = 0,
        makeStore: @escaping () -> any Store
    ) {
        random = SeededGenerator(state: seed)
        sizes = SeededGenerator(state: ~seed)
        approvals = SeededGenerator(state: seed ^ 0x5555)
        self.operations = operations
        self.directory = directory
        self.kills = kills
        self.makeStore = makeStore
        store = FaultyStore(makeStore())
        engine = Engine(store: store)
    }

    func run() async throws {
        try await open()
        try await declare()
        do {
            for step in 0..<operations {
                try await self.step()
                if step % 100 == 99 { try await compare() }
                if kills > 0, step % (operations / kills) == operations / kills - 1 {
                    try await kill()
                    try await compare()
                }
            }
            try await reopen(losingTables: false)
            try await compare()
        } catch {
            try await close()
            throw error
        }
        try await close()
        #expect(checks.all > 0 && checks.flips > 0)
        // A run of this length meets approvals, circles and cohorts in use; else it would show nothing about them.
        #expect(model.requests.values.contains { $0.state == .approved })
        #expect(refusals["COHORT_CYCLE"] != nil && refusals["COHORT_IN_USE"] != nil, "\(refusals)")
    }

    /// Attributes, and the cohorts that the readers watch.
    func declare() async throws {
        for (name, type) in [
            ("score", AttributeType.int64), ("tags", .stringList), ("active", .bool),
        ] {
            _ = try await engine.declareAttribute(name: name, type: type, context: tester)
            model.sequence += 1
        }
        for (id, rule) in ModelRule.invariants {
            let definition = CohortDefinition(id: id, kind: .rule, rule: rule.source)
            _ = try await engine.createCohort(definition, context: tester)
            model.cohorts[id] = Model.Cohort(rule: rule, isFixed: true)
            model.cohortOrder.append(id)
            model.sequence += 1
        }
        watch()
    }

    /// Ends readers and engine.
    func close() async throws {
        let (engine, readers) = (engine, readers)
        self.readers = nil
        let violations = try await blocking {
            let violations = readers?.stop() ?? []
            engine.shutdown()
            return violations
        }
        #expect(violations.isEmpty, "\(violations)")
        checks.all += readers?.checks.all ?? 0
        checks.flips += readers?.checks.flips ?? 0
    }

    /// Has threads ask the engine as long as it is open.
    func watch() {
        guard model.cohorts[InvariantCohorts.flip] != nil else { return }
        readers = InvariantReaders(engine, customers: (0..<60).map { "customer-\($0)" })
    }

    func open() async throws {
        var configuration = EngineConfiguration()
        configuration.groupRows = Int.random(in: 1...50, using: &random)
        configuration.publishSlice = Int.random(in: 1...8, using: &random)
        configuration.materializeRows = Int.random(in: 1...60, using: &random)
        configuration.materializeInterval = Int.random(in: 1...20, using: &random)
        configuration.bulkThreshold = Int.random(in: 0...10, using: &random)
        configuration.maximumBulkChanges = Int.random(in: 0...12, using: &random)
        configuration.loadThreads = Int.random(in: 1...3, using: &random)
        configuration.maximumCohortDepth = Self.depthLimit
        if buildsBeside { configuration.buildSwitchCustomers = Int.random(in: 0...20, using: &sizes) }
        store = FaultyStore(makeStore())
        engine = try await started(store, configuration: configuration) { [clock] in
            Timestamp(seconds: clock.seconds)!
        }
        watch()
    }

    /// Stops and starts; with tables lost, all that was committed since is in the log alone.
    func reopen(losingTables: Bool) async throws {
        if losingTables { store.set { $0.apply = true } }
        try await close()
        try await open()
    }

    // MARK: Operations

    func step() async throws {
        clock.advance(Int64.random(in: 0...2, using: &random))
        if Int.random(in: 0..<25, using: &approvals) == 0 { try await approval() }
        switch Int.random(in: 0..<100, using: &random) {
        case 0..<70: try await put()
        case 70..<76: try await erase()
        case 76..<80: try await createCohort()
        case 80..<83: try await updateRule()
        case 83..<85: try await flip()
        case 85..<91: try await setOverrides()
        case 91..<94: try await changeList()
        case 94..<96: try await upload()
        case 96: try await archive()
        case 97: try await reopen(losingTables: true)
        case 98: try await reopen(losingTables: false)
        default: store.set { $0.apply.toggle() }
        }
    }

    private func put() async throws {
        var rows: [CustomerPut] = []
        var expected: [PutResult] = []
        let now = clock.seconds
        for _ in 0..<Int.random(in: 1...12, using: &random) {
            let id = customer()
            let attributes = randomAttributes()
            let time = Bool.random(using: &random) ? nil : now - Int64.random(in: -20...100, using: &random)
            rows.append(
                CustomerPut(
                    customerID: id,
                    attributes: attributes.map { (name: $0.0, value: $0.1) },
                    eventTime: time.flatMap { Timestamp(seconds: $0) }
                )
            )
            expected.append(model.put(id, attributes, time: time, now: now))
        }
        let results = try await engine.put(batch: rows, context: tester)
        #expect(try results.map { try $0.get().inOrder } == expected.map(\.inOrder))
    }

    private func erase() async throws {
        let id = customer()
        let known = model.customers[id] != nil
        let error = await domainError { try await self.engine.erase(customer: id, context: tester) }
        if known { model.erase(id) }
        #expect((error == nil) == known)
    }

    private func createCohort() async throws {
        guard model.changeable.count < 12 else { return }
        lastName += 1
        let id = "C\(lastName)"
        let rule =
            Int.random(in: 0..<4, using: &random) == 0
            ? nil : ModelRule.random(&random, reading: model.readable)
        if let rule, let code = model.refusal(of: rule, for: id, depthLimit: Self.depthLimit) {
            let definition = CohortDefinition(id: id, kind: .rule, rule: rule.source)
            try await expectRefusal(code) { try await self.engine.createCohort(definition, context: tester) }
            return
        }
        let result = try await engine.createCohort(
            CohortDefinition(id: id, kind: rule == nil ? .list : .rule, rule: rule?.source),
            context: tester
        )
        model.cohorts[id] = Model.Cohort(rule: rule)
        model.cohortOrder.append(id)
        // Announced first, where it is built beside the writes.
        let isAnnounced = rule != nil && model.ordinals > engine.configuration.buildSwitchCustomers
        model.sequence += isAnnounced ? 2 : 1
        #expect(result.sequence == model.sequence)
        #expect(result.entered == UInt64(model.members(id, .in).count))
    }

    private func updateRule() async throws {
        guard let id = model.changeable.filter({ model.cohorts[$0]?.rule != nil }).randomElement(using: &random)
        else { return }
        let rule = ModelRule.random(&random, reading: model.readable)
        let isNew = rule.source != model.cohorts[id]?.rule?.source
        if isNew, let code = model.refusal(of: rule, for: id, depthLimit: Self.depthLimit) {
            refusals[code, default: 0] += 1
            try await expectRefusal(code) {
                try await self.engine.updateRule(cohort: id, rule: rule.source, context: tester)
            }
            return
        }
        try await update(id, rule)
    }

    /// Everyone enters, or everyone leaves, at one sequence.
    private func flip() async throws {
        let rule = model.cohorts[InvariantCohorts.flip]?.rule?.source == "true" ? "false" : "true"
        try await update(InvariantCohorts.flip, ModelRule(source: rule) { _ in rule == "true" })
    }

    private func update(_ id: String, _ rule: ModelRule) async throws {
        let before = Set(model.members(id, .in))
        let changes = rule.source != model.cohorts[id]?.rule?.source
        model.cohorts[id]?.rule = rule
        if changes {
            model.cohorts[id]?.version += 1
            model.sequence += 1
        }
        let result = try await engine.updateRule(cohort: id, rule: rule.source, context: tester)
        let after = Set(model.members(id, .in))
        #expect(result.sequence == model.sequence && result.changed == changes)
        #expect(result.entered == UInt64(after.subtracting(before).count))
        #expect(result.left == UInt64(before.subtracting(after).count))
    }

    private func setOverrides() async throws {
        guard let id = model.changeable.randomElement(using: &random), !model.order.isEmpty else { return }
        var pool = model.order.shuffled(using: &random)
        func take() -> [String] {
            let taken = Array(pool.prefix(Int.random(in: 0...6, using: &random)))
            pool.removeFirst(taken.count)
            return taken
        }
        let (include, exclude, clear) = (take(), take(), take())
        let old = model.cohorts[id] ?? Model.Cohort()
        model.cohorts[id]?.include.formUnion(include)
        model.cohorts[id]?.include.subtract(exclude + clear)
        model.cohorts[id]?.exclude.formUnion(exclude)
        model.cohorts[id]?.exclude.subtract(include + clear)
        let changed = old.include != model.cohorts[id]?.include || old.exclude != model.cohorts[id]?.exclude
        if changed { model.sequence += 1 }
        let result = try await engine.setOverrides(
            cohort: id,
            include: include,
            exclude: exclude,
            clear: clear,
            context: tester
        )
        #expect(result.changed == changed && result.sequence == model.sequence)
    }

    private func changeList() async throws {
        guard let id = model.liveCohorts.filter({ model.cohorts[$0]?.rule == nil }).randomElement(using: &random)
        else { return }
        var pool = (model.order + ["ghost1", "ghost2"]).shuffled(using: &random)
        let add = Array(pool.prefix(Int.random(in: 0...10, using: &random)))
        pool.removeFirst(add.count)
        let remove = Array(pool.prefix(Int.random(in: 0...10, using: &random)))
        let old = model.cohorts[id]?.listed ?? []
        let known = add.filter { model.customers[$0] != nil }
        model.cohorts[id]?.listed.formUnion(known)
        model.cohorts[id]?.listed.subtract(remove)
        let new = model.cohorts[id]?.listed ?? []
        if old != new { model.sequence += 1 }
        let result = try await engine.changeList(cohort: id, add: add, remove: remove, context: tester)
        #expect(result.sequence == model.sequence)
        #expect(result.added == UInt64(new.subtracting(old).count))
        #expect(result.removed == UInt64(old.subtracting(new).count))
    }

    /// An upload in two parts with writes in between, now and then given up.
    private func upload() async throws {
        guard let id = model.changeable.randomElement(using: &random), let cohort = model.cohorts[id] else { return }
        let modes = UploadMode.allCases.filter { cohort.rule == nil || !$0.concernsList }
        let mode = try #require(modes.randomElement(using: &random))
        let upload = try engine.upload(cohort: id, mode: mode)
        let pool = model.order + ["ghost1", "ghost2", "bad\n"]
        var named: Set<String> = []
        var (received, known, unknown, invalid): ([String], UInt64, [UploadedID], [UploadedID]) = ([], 0, [], [])
        var erased: Set<String> = []
        for part in 0..<2 {
            let ids = (0..<Int.random(in: 0...20, using: &random)).compactMap { _ in pool.randomElement(using: &random)
            }
            for (i, customer) in ids.enumerated() {
                let place = UploadedID(position: UInt64(received.count + i), id: customer)
                if model.customers[customer] != nil {
                    known += 1
                    named.insert(customer)
                } else if customer == "bad\n" {
                    invalid.append(place)
                } else {
                    unknown.append(place)
                }
            }
            received += ids
            try upload.add(ids)
            guard part == 0 else { continue }
            for _ in 0..<Int.random(in: 0...3, using: &random) {
                let before = Set(model.order)
                try await erase()
                erased.formUnion(before.subtracting(model.order).intersection(named))
            }
            named.subtract(erased)
            try await put()
        }
        if Int.random(in: 0..<6, using: &random) == 0 { return }
        let old = model.cohorts[id] ?? Model.Cohort()
        model.cohorts[id]?.change(mode, named)
        let new = model.cohorts[id] ?? Model.Cohort()
        if old.listed != new.listed || old.include != new.include || old.exclude != new.exclude { model.sequence += 1 }
        let receipt = try await upload.commit(context: tester)
        let (before, after) = (old.assigned, new.assigned)
        #expect(receipt.sequence == model.sequence && receipt.received == UInt64(received.count))
        #expect(receipt.unknown.samples == unknown && receipt.unknown.count == UInt64(unknown.count))
        #expect(receipt.invalid.samples == invalid && receipt.erased == UInt64(erased.count))
        #expect(receipt.added == UInt64(after.subtracting(before).count))
        #expect(receipt.removed == UInt64(before.subtracting(after).count))
        #expect(receipt.alreadyPresent == (mode.removes ? 0 : known - receipt.erased - receipt.added))
        #expect(receipt.notPresent == (mode.removes ? known - receipt.erased - receipt.removed : 0))
    }

    private func archive() async throws {
        guard model.changeable.count > 6, let id = model.changeable.randomElement(using: &random) else { return }
        if !model.readers(of: id).isEmpty {
            refusals["COHORT_IN_USE", default: 0] += 1
            return try await expectRefusal("COHORT_IN_USE") {
                try await self.engine.archive(cohort: id, context: tester)
            }
        }
        model.cohorts[id]?.archived = true
        model.sequence += 1
        let result = try await engine.archive(cohort: id, context: tester)
        #expect(result.sequence == model.sequence)
    }

    private func expectRefusal(_ code: String, _ body: () async throws -> some Any) async throws {
        guard case .failedPrecondition(code, _)? = await domainError(body) else {
            Issue.record("\(code) expected")
            return
        }
    }

    func customer() -> String { "customer-\(Int.random(in: 0..<60, using: &random))" }

    func randomAttributes() -> [(String, AttributeValue?)] {
        var result: [(String, AttributeValue?)] = []
        for name in ["daily_spend", "user_type", "score", "tags", "active"].shuffled(using: &random)
            .prefix(Int.random(in: 0...4, using: &random))
        {
            let value: AttributeValue? =
                if Int.random(in: 0..<5, using: &random) == 0 {
                    nil
                } else {
                    switch name {
                    case "daily_spend": .double(Double(Int.random(in: 0...12, using: &random)))
                    case "user_type": .string(["PAID", "FREE"].randomElement(using: &random)!)
                    case "score": .int64(Int64.random(in: 0...12, using: &random))
                    case "tags":
                        .stringList((0..<Int.random(in: 0...3, using: &random)).map { "t\($0)" })
                    default: .bool(Bool.random(using: &random))
                    }
                }
            result.append((name, value))
        }
        return result
    }

    // MARK: Comparison

    func compare() async throws {
        try compareApprovals()
        let verdict = try await engine.verdict()
        #expect(verdict.findings == [] && verdict.entriesChecked > 0)
        let audit = try await engine.audit()
        #expect(audit.differences == 0, "\(audit.samples)")
        #expect(audit.customers == UInt64(model.customers.count))
        #expect(engine.status.sequence == model.sequence)
        #expect(engine.status.customers == UInt64(model.customers.count))
        for cohort in model.liveCohorts {
            for state in [Membership.in, .unknown] {
                let snapshot = try await engine.members(cohort: cohort, state: state, deadline: .far)
                #expect(snapshot.nextPage(limit: 1_000) == model.members(cohort, state), "\(cohort) \(state)")
            }
            let count = try await engine.countMembersWaiting(cohort: cohort, deadline: .far)
            #expect(count.members == UInt64(model.members(cohort, .in).count))
            #expect(count.unknown == UInt64(model.members(cohort, .unknown).count))
            let view = engine.catalog.cohort(cohort)
            #expect(view?.includeCount == UInt64(model.cohorts[cohort]?.include.count ?? 0))
            #expect(view?.excludeCount == UInt64(model.cohorts[cohort]?.exclude.count ?? 0))
            #expect(view?.version == model.cohorts[cohort]?.version)
        }
        for id in (0..<60).map({ "customer-\($0)" }) {
            let found = try await engine.cohortsWaiting(ofCustomer: id, deadline: .far)
            let expected = model.liveCohorts.compactMap { cohort -> CohortMembership? in
                let membership = model.membership(id, cohort).0
                return membership == .out
                    ? nil
                    : CohortMembership(
                        cohort: cohort,
                        membership: membership,
                        version: model.cohorts[cohort]?.version ?? 0
                    )
            }
            #expect(found.memberships == expected && found.found == (model.customers[id] != nil))
            for cohort in model.liveCohorts {
                let answer = try await engine.checkMembershipWaiting(
                    customer: id,
                    cohort: cohort,
                    includeSince: true,
                    deadline: .far
                )
                #expect((answer.membership, answer.reason) == model.membership(id, cohort), "\(id) \(cohort)")
                #expect(answer.detail.isEmpty == (answer.reason != .ruleError))
                #expect((answer.since == nil) == (answer.membership == .out))
            }
            guard let attributes = model.customers[id] else { continue }
            let view = try await engine.customer(id: id, deadline: .far)
            #expect(
                Dictionary(uniqueKeysWithValues: view.attributes.map { ($0.name, $0.value) })
                    == attributes.compactMapValues(\.value)
            )
            for attribute in view.attributes {
                #expect(attribute.eventTime.seconds == attributes[attribute.name]?.time)
            }
        }
    }
}
