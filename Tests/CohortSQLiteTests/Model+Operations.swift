import CrashTesting

@testable import CohortCore

extension ModelRule {
    /// The cohorts that `InvariantReaders` watch.
    static var invariants: [(String, ModelRule)] {
        func isHigh(_ values: [String: AttributeValue]) -> Bool {
            guard case .double(let value)? = values["daily_spend"] else { return false }
            return value > 5
        }
        return [
            (InvariantCohorts.high, ModelRule(source: InvariantCohorts.highRule, evaluate: isHigh)),
            (InvariantCohorts.low, ModelRule(source: InvariantCohorts.lowRule) { !isHigh($0) }),
            (InvariantCohorts.everyone, ModelRule(source: "true") { _ in true }),
            (InvariantCohorts.flip, ModelRule(source: "true") { _ in true }),
        ]
    }
}

/// Operations that ran in another process, in the order that the log gives them.
extension Model {
    /// Does what an operation of the log did, and returns the results of its rows if it is a put.
    ///
    /// - Parameters:
    ///   - rules: those that the test has sent, by their source.
    ///   - now: seconds of the process's clock.
    mutating func apply(
        _ change: WorkerOperation.Change,
        rules: [String: ModelRule],
        now: Int64
    ) -> [PutResult] {
        switch change {
        case .put(let rows): return rows.map { put($0, now) }
        case .erase(let customer): erase(customer)
        case .create(let id, let rule):
            cohorts[id] = Cohort(rule: rule.flatMap { rules[$0] })
            cohortOrder.append(id)
            sequence += 1
        case .update(let id, let rule):
            cohorts[id]?.rule = rules[rule]
            cohorts[id]?.version += 1
            sequence += 1
        case .override(let id, let include, let exclude, let clear):
            cohorts[id]?.include.formUnion(include)
            cohorts[id]?.include.subtract(exclude + clear)
            cohorts[id]?.exclude.formUnion(exclude)
            cohorts[id]?.exclude.subtract(include + clear)
            sequence += 1
        case .list(let id, let add, let remove):
            cohorts[id]?.listed.formUnion(add.filter { customers[$0] != nil })
            cohorts[id]?.listed.subtract(remove)
            sequence += 1
        case .archive(let id):
            cohorts[id]?.archived = true
            sequence += 1
        }
        return []
    }

    private mutating func put(_ row: WorkerOperation.Row, _ now: Int64) -> PutResult {
        let attributes = row.attributes.map { ($0.name, $0.value.attribute) }
        return put(row.customer, attributes, time: row.eventTime, now: now)
    }
}
