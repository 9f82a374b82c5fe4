@testable import CohortCore

/// What the engine should hold, computed in the most naive way: everything from scratch, whenever asked.
struct Model {
    struct Cohort {
        var rule: ModelRule?
        var version: UInt32 = 1
        var archived = false
        var include: Set<String> = []
        var exclude: Set<String> = []
        var listed: Set<String> = []

        /// What is assigned, each with its kind.
        var assigned: Set<String> {
            Set(include.map { "include \($0)" } + exclude.map { "exclude \($0)" } + listed.map { "listed \($0)" })
        }

        mutating func change(_ mode: UploadMode, _ customers: Set<String>) {
            switch mode {
            case .listAdd: listed.formUnion(customers)
            case .listRemove: listed.subtract(customers)
            case .listReplace: listed = customers
            case .include, .exclude, .clear:
                include.subtract(customers)
                exclude.subtract(customers)
                if mode == .include { include.formUnion(customers) }
                if mode == .exclude { exclude.formUnion(customers) }
            }
        }
        /// What readers rely on: never archived, nor changed but from rule to rule on purpose.
        var isFixed = false
    }

    typealias Attributes = [String: (value: AttributeValue?, time: Int64)]

    var sequence: UInt64 = 2
    /// Customers that were ever created.
    var ordinals = 0
    var customers: [String: Attributes] = [:]
    /// Ids in order of ordinal.
    var order: [String] = []
    var cohorts: [String: Cohort] = [:]
    var cohortOrder: [String] = []
    /// Changes that need approval, by number.
    var requests: [UInt64: Request] = [:]
    /// Whether the guarded cohort requires approval, and how many versions it has had.
    var isGuarded = false
    var guardedVersions: UInt32 = 0

    func values(of customer: String) -> [String: AttributeValue] {
        (customers[customer] ?? [:]).compactMapValues(\.value)
    }

    func membership(_ customer: String, _ cohort: String) -> (Membership, Reason) {
        guard customers[customer] != nil, let cohort = cohorts[cohort] else { return (.out, .customerNotFound) }
        if cohort.include.contains(customer) { return (.in, .overrideInclude) }
        if cohort.exclude.contains(customer) { return (.out, .overrideExclude) }
        guard let rule = cohort.rule else {
            return cohort.listed.contains(customer) ? (.in, .listed) : (.out, .notListed)
        }
        switch rule.evaluate(values(of: customer), { membership(customer, $0).0 }) {
        case true?: return (.in, .ruleMatch)
        case false?: return (.out, .ruleNoMatch)
        case nil: return (.unknown, .ruleError)
        }
    }

    var liveCohorts: [String] { cohortOrder.filter { cohorts[$0]?.archived == false } }

    /// Those that random rules may read.
    var readable: [String] { liveCohorts.filter { $0 != Self.guarded && $0 != Self.guardedReader } }

    /// Those that random operations may change.
    var changeable: [String] { liveCohorts.filter { cohorts[$0]?.isFixed == false } }

    func members(_ cohort: String, _ state: Membership) -> [String] {
        order.filter { membership($0, cohort).0 == state }
    }

    mutating func put(_ id: String, _ attributes: [(String, AttributeValue?)], time: Int64?, now: Int64) -> PutResult {
        let before = Dictionary(uniqueKeysWithValues: liveCohorts.map { ($0, membership(id, $0).0) })
        let isNew = customers[id] == nil
        var stored = customers[id] ?? [:]
        var (changed, stale) = (0, 0)
        for (name, value) in attributes {
            let next = time ?? now
            if let old = stored[name] {
                if next < old.time {
                    stale += 1
                } else if old.value != value || (time != nil && next > old.time) {
                    stored[name] = (value, next)
                    changed += 1
                }
            } else if value != nil || time != nil {
                stored[name] = (value, next)
                changed += 1
            }
        }
        if !isNew, changed == 0 {
            let allStale = !attributes.isEmpty && stale == attributes.count
            return PutResult(sequence: sequence, outcome: allStale ? .stale : .unchanged)
        }
        if isNew {
            order.append(id)
            ordinals += 1
        }
        customers[id] = stored
        sequence += 1
        var result = PutResult(sequence: sequence, outcome: isNew ? .created : .updated)
        for cohort in liveCohorts {
            let (old, new) = (before[cohort] ?? .out, membership(id, cohort).0)
            guard old != new else { continue }
            if new == .in { result.entered.append(cohort) }
            if old == .in { result.left.append(cohort) }
            if new == .unknown { result.newlyUnknown.append(cohort) }
        }
        return result
    }

    /// The live cohorts whose rules read `cohort` themselves.
    func readers(of cohort: String) -> [String] {
        liveCohorts.filter { cohorts[$0]?.rule?.references.contains(cohort) ?? false }
    }

    /// Whether `cohort` is `start` or reaches it by references.
    func reaches(_ start: String, from cohort: String) -> Bool {
        cohort == start || (cohorts[cohort]?.rule?.references ?? []).contains { reaches(start, from: $0) }
    }

    /// References on the longest way down from a cohort.
    func depth(_ cohort: String) -> Int {
        (cohorts[cohort]?.rule?.references ?? []).map { depth($0) + 1 }.max() ?? 0
    }

    /// What the engine should say to this rule for this cohort: the code of a refusal, or `nil`.
    func refusal(of rule: ModelRule, for cohort: String, depthLimit: Int) -> String? {
        if rule.references.contains(where: { reaches(cohort, from: $0) }) { return "COHORT_CYCLE" }
        var after = self
        after.cohorts[cohort, default: Cohort()].rule = rule
        let through = after.liveCohorts.filter { after.reaches(cohort, from: $0) } + [cohort]
        // Chains that do not go through the cohort are as they were.
        return !rule.references.isEmpty && through.contains { after.depth($0) > depthLimit } ? "COHORT_DEPTH" : nil
    }

    mutating func erase(_ id: String) {
        customers[id] = nil
        order.removeAll { $0 == id }
        for cohort in cohortOrder {
            cohorts[cohort]?.include.remove(id)
            cohorts[cohort]?.exclude.remove(id)
            cohorts[cohort]?.listed.remove(id)
        }
        sequence += 1
    }
}

/// A rule in CEL and the same in Swift, with CEL's errors: `nil` is an error.
struct ModelRule {
    typealias Evaluate = (_ values: [String: AttributeValue], _ standing: (String) -> Membership) -> Bool?

    let source: String
    /// The cohorts that it reads.
    let references: Set<String>
    let evaluate: Evaluate

    init(source: String, references: Set<String> = [], evaluate: @escaping Evaluate) {
        self.source = source
        self.references = references
        self.evaluate = evaluate
    }

    init(source: String, evaluate: @escaping ([String: AttributeValue]) -> Bool?) {
        self.init(source: source) { values, _ in evaluate(values) }
    }

    /// Some rule, which may read some of `cohorts`.
    static func random(_ random: inout SeededGenerator, reading cohorts: [String]) -> ModelRule {
        guard let first = cohorts.randomElement(using: &random), Int.random(in: 0..<5, using: &random) < 3 else {
            return plain(&random)
        }
        func read(_ id: String) -> ModelRule {
            ModelRule(source: "in_cohort('\(id)')", references: [id]) { _, standing in
                switch standing(id) {
                case .in: true
                case .out: false
                case .unknown: nil
                }
            }
        }
        let a = read(first)
        let b =
            Bool.random(using: &random)
            ? plain(&random) : read(cohorts.randomElement(using: &random) ?? first)
        switch Int.random(in: 0..<5, using: &random) {
        case 0: return a
        case 1: return a.negated
        case 2: return a.negated.joined(b, "&&", decisive: false)
        case 3: return a.joined(b, "||", decisive: true)
        default: return b.joined(a, "&&", decisive: false)
        }
    }

    private var negated: ModelRule {
        ModelRule(source: "!(\(source))", references: references) { [evaluate] in evaluate($0, $1).map { !$0 } }
    }

    /// `&&` or `||`: what decides decides whatever the other is, then errors count.
    private func joined(_ other: ModelRule, _ symbol: String, decisive: Bool) -> ModelRule {
        ModelRule(
            source: "(\(source)) \(symbol) (\(other.source))",
            references: references.union(other.references)
        ) { [evaluate] values, standing in
            let both = [evaluate(values, standing), other.evaluate(values, standing)]
            if both.contains(decisive) { return decisive }
            return both.contains(nil) ? nil : !decisive
        }
    }

    private static func plain(_ random: inout SeededGenerator) -> ModelRule {
        let limit = Int.random(in: 0...10, using: &random)
        func spend(_ values: [String: AttributeValue]) -> Bool? {
            guard case .double(let value)? = values["daily_spend"] else { return nil }
            return value > Double(limit)
        }
        func paid(_ values: [String: AttributeValue]) -> Bool? {
            guard case .string(let value)? = values["user_type"] else { return nil }
            return value == "PAID"
        }
        switch Int.random(in: 0..<8, using: &random) {
        case 0: return ModelRule(source: "customer.daily_spend > \(limit).0", evaluate: spend)
        case 1:
            return ModelRule(source: "has(customer.daily_spend) && customer.daily_spend > \(limit).0") {
                spend($0) ?? false
            }
        case 2:
            return ModelRule(source: "customer.user_type == 'PAID' || customer.daily_spend > \(limit).0") { values in
                switch (paid(values), spend(values)) {
                case (true?, _), (_, true?): true
                case (nil, _), (_, nil): nil
                default: false
                }
            }
        case 3:
            return ModelRule(source: "customer.user_type == 'PAID' && customer.daily_spend > \(limit).0") { values in
                switch (paid(values), spend(values)) {
                case (false?, _), (_, false?): false
                case (nil, _), (_, nil): nil
                default: true
                }
            }
        case 4:
            return ModelRule(source: "customer.score >= \(limit)") { values in
                guard case .int64(let value)? = values["score"] else { return nil }
                return value >= limit
            }
        case 5:
            return ModelRule(source: "'t\(limit % 3)' in customer.tags") { values in
                guard case .stringList(let value)? = values["tags"] else { return nil }
                return value.contains("t\(limit % 3)")
            }
        case 6:
            return ModelRule(source: "customer.?active.orValue(\(limit > 5))") { values in
                guard case .bool(let value)? = values["active"] else { return limit > 5 }
                return value
            }
        default: return ModelRule(source: limit > 5 ? "true" : "false") { _ in limit > 5 }
        }
    }
}
