import CEL
import Synchronization

/// A rule of one version of a cohort, ready to run.
final class CompiledRule: Sendable {
    let cohort: CohortNumber
    let version: UInt32
    let program: Program
    /// What evaluating it was seen to cost.
    let costs = RuleCosts()
    /// The cohorts that the rule reads by `in_cohort`, ascending.
    let references: [CohortNumber]
    /// Whether the rule reads other cohorts.
    let hasReferences: Bool
    /// Whether the rule reads attributes.
    let readsAttributes: Bool
    /// One bit for each attribute slot that the rule reads.
    private let reads: [UInt64]

    init(cohort: CohortNumber, version: UInt32, program: Program) {
        self.cohort = cohort
        self.version = version
        self.program = program
        references = Set(program.lookups.map { CohortNumber($0.number) }).sorted()
        hasReferences = !references.isEmpty
        readsAttributes = !program.slots.isEmpty
        var reads: [UInt64] = []
        for slot in program.slots {
            while reads.count <= slot >> 6 { reads.append(0) }
            reads[slot >> 6] |= 1 << UInt64(slot & 63)
        }
        self.reads = reads
    }

    /// The attributes that the rule reads and the customer has, as CEL text.
    func attributes(of record: CustomerRecord) -> [String: String] {
        var result: [String: String] = [:]
        for (slot, name) in zip(program.slots, program.attributes) {
            result[name] = record.attribute(slot)?.value?.celText
        }
        return result
    }

    func reads(_ slot: Int) -> Bool {
        slot >> 6 < reads.count && reads[slot >> 6] & (1 << UInt64(slot & 63)) != 0
    }
}

/// What a sample of a rule's evaluations cost, in CEL cost units. All copies of the rule share it.
final class RuleCosts: Sendable {
    private let units = Atomic<UInt64>(0)
    private let samples = Atomic<UInt64>(0)

    func add(_ cost: Int) {
        units.wrappingAdd(UInt64(clamping: cost), ordering: .relaxed)
        samples.wrappingAdd(1, ordering: .relaxed)
    }

    /// Mean cost, and of how many evaluations; 0 of none.
    var mean: (units: Double, samples: UInt64) {
        let count = samples.load(ordering: .relaxed)
        return count == 0 ? (0, 0) : (Double(units.load(ordering: .relaxed)) / Double(count), count)
    }
}

/// The rules of all serving cohorts.
struct RuleSet: Sendable {
    private var environment: Environment
    /// By cohort number; `nil` for lists and archived cohorts.
    private(set) var rules: [CompiledRule?] = []
    /// Those that there are, each after those that it reads, else in order of number.
    private(set) var active: [CompiledRule] = []

    init() { environment = Self.environment(of: []) }

    /// Lets rules compiled from now on see these attributes. Compiled rules stay valid: slots are only added.
    mutating func declare(_ attributes: [AttributeDeclaration]) { environment = Self.environment(of: attributes) }

    /// Compiles `source` as the rule of a version of a cohort.
    ///
    /// - Parameter catalog: the cohorts that the rule may read.
    func compile(
        _ source: String,
        cohort: CohortRecord,
        version: UInt32,
        _ catalog: CatalogState
    ) throws(DomainError) -> CompiledRule {
        do throws(CompilationError) {
            let program = try environment.compile(source) { (_, id) throws(LookupRefusal) in
                // Itself is known to itself, so that the refusal can say what is wrong: a circle.
                id == cohort.id ? Int(cohort.number) : Int(try catalog.referable(id))
            }
            return CompiledRule(cohort: cohort.number, version: version, program: program)
        } catch {
            let message = error.suggestion.map { "\(error.message); \($0)" } ?? error.message
            throw .ruleRejected(
                RuleRejection(
                    cohort: cohort.id,
                    line: error.line,
                    column: error.column,
                    message: message,
                    rendered: error.rendered
                )
            )
        }
    }

    mutating func set(_ rule: CompiledRule?, for cohort: CohortNumber) {
        while rules.count <= Int(cohort) { rules.append(nil) }
        rules[Int(cohort)] = rule
        active = CohortDependencies(rules).ordered()
    }

    func rule(of cohort: CohortNumber) -> CompiledRule? {
        Int(cohort) < rules.count ? rules[Int(cohort)] : nil
    }

    private static func environment(of attributes: [AttributeDeclaration]) -> Environment {
        let fields = attributes.map { RecordSchema.Field(name: $0.name, type: $0.type.celType) }
        return Environment(
            record: RecordSchema(name: "Customer", fields: fields),
            named: "customer",
            lookups: [LookupDeclaration(name: "in_cohort")]
        )
    }
}

extension CatalogState {
    /// The number of a cohort that a rule refers to.
    fileprivate func referable(_ id: String) throws(LookupRefusal) -> CohortNumber {
        guard let number = numbers[id] else {
            let shown = String(id.prefix(64))
            let live = cohorts.lazy.filter { $0.state != .archived }.map(\.id)
            throw LookupRefusal(
                "there is no cohort '\(shown)'",
                suggestion: NearestName.find(shown, among: live).map { "did you mean '\($0)'?" }
            )
        }
        switch cohorts[Int(number)].state {
        case .active: break
        case .archived: throw LookupRefusal("cohort '\(id)' is archived", suggestion: "refer to one that serves")
        case .building: throw LookupRefusal("cohort '\(id)' is being built", suggestion: "try again once it serves")
        }
        return number
    }
}

/// Runs rules over customers: the one evaluator, for live writes, builds and explanations alike. One for each thread.
final class Classifier {
    private var values: UnsafeMutableBufferPointer<Value>
    /// By cohort number. What a rule does not read may be stale.
    private var memberships: UnsafeMutableBufferPointer<LookupValue>
    /// Slots that are not absent.
    private var filled: [Int] = []
    /// Evaluations up to the next one whose cost is taken. A prime number apart, so that the sample does not fall in step
    /// with the number of rules.
    private var untilSample = 1

    static let sampleDistance = 257

    init() {
        values = .allocate(capacity: 64)
        values.initialize(repeating: .absent)
        memberships = .allocate(capacity: 64)
        memberships.initialize(repeating: .unknown)
    }

    deinit {
        values.deinitialize()
        values.deallocate()
        memberships.deallocate()
    }

    /// Takes the attributes of the customer that the next evaluations are about.
    ///
    /// - Parameter slots: how many attributes are declared.
    func load(_ attributes: [StoredAttribute], slots: Int) {
        // A build beside the committer may meet attributes that were declared since it began.
        let slots = max(slots, (attributes.last?.slot ?? -1) + 1)
        if slots > values.count {
            values.deinitialize()
            values.deallocate()
            values = .allocate(capacity: max(slots, values.count * 2))
            values.initialize(repeating: .absent)
        } else {
            for slot in filled { values[slot] = .absent }
        }
        filled.removeAll(keepingCapacity: true)
        for attribute in attributes {
            guard let value = attribute.value else { continue }
            values[attribute.slot] = value.celValue
            filled.append(attribute.slot)
        }
    }

    /// What the rule alone says of the customer.
    ///
    /// - Parameter membership: what the customer is in the cohorts that the rule reads, overrides included.
    @inline(__always)
    func evaluate(_ rule: CompiledRule, membership: (CohortNumber) -> Membership) -> Membership {
        if rule.hasReferences { read(rule.references, membership) }
        let lookups = UnsafeBufferPointer(memberships)
        untilSample -= 1
        if untilSample == 0 {
            untilSample = Self.sampleDistance
            rule.costs.add(rule.program.cost(UnsafeBufferPointer(values), lookups: lookups))
        }
        return switch rule.program.evaluate(UnsafeBufferPointer(values), lookups: lookups) {
        case .match: .in
        case .noMatch: .out
        case .error: .unknown
        }
    }

    /// Why the rule cannot be decided for the customer; `nil` if it can.
    func failure(of rule: CompiledRule, membership: (CohortNumber) -> Membership) -> String? {
        error(of: rule, membership: membership)?.description
    }

    func error(of rule: CompiledRule, membership: (CohortNumber) -> Membership) -> EvaluationError? {
        read(rule.references, membership)
        let lookups = UnsafeBufferPointer(memberships)
        guard case .error(let error) = rule.program.evaluate(UnsafeBufferPointer(values), lookups: lookups) else {
            return nil
        }
        return error
    }

    /// The value of every part of the rule for the customer.
    func explain(_ rule: CompiledRule, membership: (CohortNumber) -> Membership) -> Explanation {
        read(rule.references, membership)
        return rule.program.explain(Array(values), lookups: Array(memberships))
    }

    private func read(_ cohorts: [CohortNumber], _ membership: (CohortNumber) -> Membership) {
        if let last = cohorts.last, Int(last) >= memberships.count {
            let larger = UnsafeMutableBufferPointer<LookupValue>.allocate(
                capacity: max(Int(last) + 1, memberships.count * 2)
            )
            larger.initialize(repeating: .unknown)
            memberships.deallocate()
            memberships = larger
        }
        for cohort in cohorts {
            memberships[Int(cohort)] =
                switch membership(cohort) {
                case .in: .yes
                case .out: .no
                case .unknown: .unknown
                }
        }
    }
}

extension AttributeType {
    fileprivate var celType: ValueType {
        switch self {
        case .bool: .bool
        case .int64: .int
        case .double: .double
        case .string: .string
        case .timestamp: .timestamp
        case .stringList: .list(.string)
        }
    }
}

extension AttributeValue {
    /// As CEL writes it: `5200.5`, `"PAID"`.
    var celText: String { celValue.description }

    fileprivate var celValue: Value {
        switch self {
        case .bool(let value): .bool(value)
        case .int64(let value): .int(value)
        case .double(let value): .double(value)
        case .string(let value): .string(value)
        case .timestamp(let value):
            CEL.Timestamp(seconds: value.seconds, nanoseconds: value.nanoseconds).map { .timestamp($0) } ?? .absent
        case .stringList(let values): .list(values.map { .string($0) })
        }
    }
}
