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
        /// What readers rely on: never archived, nor changed but from rule to rule on purpose.
        var isFixed = false
    }

    typealias Attributes = [String: (value: AttributeValue?, time: Int64)]

    var sequence: UInt64 = 2
    var customers: [String: Attributes] = [:]
    /// Ids in order of ordinal.
    var order: [String] = []
    var cohorts: [String: Cohort] = [:]
    var cohortOrder: [String] = []

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
        switch rule.evaluate(values(of: customer)) {
        case true?: return (.in, .ruleMatch)
        case false?: return (.out, .ruleNoMatch)
        case nil: return (.unknown, .ruleError)
        }
    }

    var liveCohorts: [String] { cohortOrder.filter { cohorts[$0]?.archived == false } }

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
        if isNew { order.append(id) }
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
    let source: String
    let evaluate: ([String: AttributeValue]) -> Bool?

    static func random(_ random: inout SeededGenerator) -> ModelRule {
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
