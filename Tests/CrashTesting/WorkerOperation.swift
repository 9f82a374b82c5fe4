package import CohortCore

/// An operation that a test hands to the worker process, a line of JSON each.
package struct WorkerOperation: Codable, Sendable {
    package enum Value: Codable, Sendable {
        case none, double(Double), string(String), int(Int64), list([String]), bool(Bool)

        package init(_ value: AttributeValue?) {
            self =
                switch value {
                case .double(let value)?: .double(value)
                case .string(let value)?: .string(value)
                case .int64(let value)?: .int(value)
                case .stringList(let value)?: .list(value)
                case .bool(let value)?: .bool(value)
                case .timestamp?, nil: .none
                }
        }

        package var attribute: AttributeValue? {
            switch self {
            case .none: nil
            case .double(let value): .double(value)
            case .string(let value): .string(value)
            case .int(let value): .int64(value)
            case .list(let value): .stringList(value)
            case .bool(let value): .bool(value)
            }
        }
    }

    package struct Attribute: Codable, Sendable {
        package var name: String
        package var value: Value

        package init(name: String, value: Value) {
            self.name = name
            self.value = value
        }
    }

    package struct Row: Codable, Sendable {
        package var customer: String
        package var attributes: [Attribute]
        /// Seconds; `nil` for the worker's clock.
        package var eventTime: Int64?

        package init(customer: String, attributes: [Attribute], eventTime: Int64?) {
            self.customer = customer
            self.attributes = attributes
            self.eventTime = eventTime
        }
    }

    package enum Change: Codable, Sendable {
        case put([Row])
        case erase(String)
        /// A list if there is no rule.
        case create(cohort: String, rule: String?)
        case update(cohort: String, rule: String)
        case override(cohort: String, include: [String], exclude: [String], clear: [String])
        case list(cohort: String, add: [String], remove: [String])
        case archive(String)
    }

    /// The principal of its log entries.
    package var name: String
    package var change: Change

    package init(name: String, change: Change) {
        self.name = name
        self.change = change
    }
}

/// What the worker says of an operation, once the engine has answered, or of the readers beside it.
package struct WorkerReport: Codable, Sendable {
    /// Of the operation; empty for a violation alone.
    package var name = ""
    /// Of each row of a put, or of the one change.
    package var sequences: [UInt64] = []
    /// `PutOutcome` of each row of a put.
    package var outcomes: [UInt8] = []
    /// Whether anything but a put changed something.
    package var changed = false
    package var error: String?
    /// How many answers the readers have checked so far.
    package var checks = 0
    /// What a reader has seen that must not be.
    package var violation: String?

    package init() {}
}

extension WorkerOperation {
    /// Has the engine do it, and tells what came of it.
    package func run(on engine: Engine) async -> WorkerReport {
        var report = WorkerReport()
        report.name = name
        do {
            try await run(on: engine, &report)
        } catch {
            report.error = "\(error)"
        }
        return report
    }

    private func run(on engine: Engine, _ report: inout WorkerReport) async throws {
        let context = WriteContext(principal: name, method: "crash")
        func note(_ result: CohortChangeResult) {
            report.sequences = [result.sequence]
            report.changed = result.changed
        }
        switch change {
        case .put(let rows):
            let puts = rows.map { row in
                CustomerPut(
                    customerID: row.customer,
                    attributes: row.attributes.map { ($0.name, $0.value.attribute) },
                    eventTime: row.eventTime.flatMap { Timestamp(seconds: $0) }
                )
            }
            let results = try await engine.put(batch: puts, context: context).map { try $0.get() }
            report.sequences = results.map(\.sequence)
            report.outcomes = results.map(\.outcome.rawValue)
        case .erase(let customer):
            report.sequences = [try await engine.erase(customer: customer, context: context).sequence]
            report.changed = true
        case .create(let cohort, let rule):
            let definition = CohortDefinition(id: cohort, kind: rule == nil ? .list : .rule, rule: rule)
            note(try await engine.createCohort(definition, context: context))
        case .update(let cohort, let rule):
            note(try await engine.updateRule(cohort: cohort, rule: rule, context: context))
        case .override(let cohort, let include, let exclude, let clear):
            note(
                try await engine.setOverrides(
                    cohort: cohort,
                    include: include,
                    exclude: exclude,
                    clear: clear,
                    context: context
                )
            )
        case .list(let cohort, let add, let remove):
            let result = try await engine.changeList(cohort: cohort, add: add, remove: remove, context: context)
            report.sequences = [result.sequence]
            report.changed = result.added + result.removed > 0
        case .archive(let cohort):
            note(try await engine.archive(cohort: cohort, context: context))
        }
    }
}
