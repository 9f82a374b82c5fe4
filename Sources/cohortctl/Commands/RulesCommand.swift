import ArgumentParser
import CEL
import CohortAPI
import Foundation
import SwiftProtobuf

struct RulesCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rules",
        abstract: "Try rules without a server.",
        subcommands: [Test.self]
    )

    struct Test: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "test",
            abstract: "Evaluate a rule on attributes and explain the result.",
            discussion: """
                The type of an attribute is read off its value: true, 42, 4.2, 2026-03-01T00:00:00Z, a;b (a list), or
                else a text. NAME:TYPE=VALUE says the type, and NAME:TYPE alone declares an attribute that is absent.
                daily_spend (double) and user_type (string) are always declared. Of the cohorts that in_cohort() reads,
                the customer is IN those given by --in, UNKNOWN in those given by --unknown, and OUT of all others: there
                is no server to ask, nor one that knows which cohorts exist. Exit status: 0 the rule matches,
                1 it does not or fails, 2 it does not compile.
                """
        )

        @Argument(help: "A CEL expression over customer.<attribute>.") var rule: String
        @Argument(help: ArgumentHelp("Attributes of the customer.", valueName: "name=value"))
        var attributes: [String] = []
        @Option(name: .customLong("in"), help: "A cohort that the customer is IN; may be repeated.")
        var memberOf: [String] = []
        @Option(help: "A cohort in which the customer is UNKNOWN; may be repeated.") var unknown: [String] = []

        func run() throws {
            let record = try RuleRecord(attributes)
            let cohorts = try RuleCohorts(memberOf: memberOf, unknown: unknown)
            let environment = Environment(
                record: record.schema,
                named: "customer",
                lookups: [LookupDeclaration(name: "in_cohort")]
            )
            let program: Program
            do throws(CompilationError) {
                program = try environment.compile(rule) { (_, id) throws(LookupRefusal) in try cohorts.number(of: id) }
            } catch {
                throw CommandFailure.usage("the rule does not compile\n\(error.rendered)")
            }
            let explanation = program.explain(record.values, lookups: cohorts.values)
            print(explanation.rendered)
            if !program.lookups.isEmpty { print("takes the customer to be \(cohorts.text)") }
            print("reads \(program.attributes.joined(separator: ", ")); costs at most \(program.worstCaseCost) units")
            guard case .match = explanation.outcome else { throw ExitCode(1) }
        }
    }
}

/// What the command line says of a customer's cohorts. Each one that the rule reads gets a number.
final class RuleCohorts {
    private(set) var values: [LookupValue] = []
    private var ids: [String] = []
    private let given: [String: LookupValue]

    /// - Throws: ``CommandFailure`` for what is no id, and for an id that is given both ways.
    init(memberOf: [String], unknown: [String]) throws {
        var given: [String: LookupValue] = [:]
        for (ids, value, option) in [(memberOf, LookupValue.yes, "--in"), (unknown, .unknown, "--unknown")] {
            for id in ids {
                guard Self.isID(id) else {
                    throw CommandFailure.usage("\(option) '\(id)' is no cohort id; ids are as HIGH_VALUE")
                }
                guard given.updateValue(value, forKey: id) ?? value == value else {
                    throw CommandFailure.usage("'\(id)' is given by --in and by --unknown; give it once")
                }
            }
        }
        self.given = given
    }

    func number(of id: String) throws(LookupRefusal) -> Int {
        guard Self.isID(id) else { throw LookupRefusal("'\(id)' is no cohort id", suggestion: "ids are as HIGH_VALUE") }
        if let known = ids.firstIndex(of: id) { return known }
        ids.append(id)
        values.append(given[id] ?? .no)
        return ids.count - 1
    }

    /// One word for each cohort that the rule reads.
    var text: String {
        zip(ids, values).map { id, value in
            switch value {
            case .yes: "IN \(id)"
            case .no: "OUT of \(id)"
            case .unknown: "UNKNOWN in \(id)"
            }
        }.joined(separator: ", ")
    }

    private static func isID(_ id: String) -> Bool { id.wholeMatch(of: /[A-Z][A-Z0-9_]{0,62}/) != nil }
}

/// A customer as the command line describes it.
struct RuleRecord {
    private(set) var fields: [RecordSchema.Field] = []
    private(set) var values: [Value] = []

    var schema: RecordSchema { RecordSchema(name: "customer", fields: fields) }

    /// - Throws: ``CommandFailure`` naming the argument and what would be right.
    init(_ arguments: [String]) throws {
        for argument in arguments {
            let equals = argument.firstIndex(of: "=")
            let head = argument[..<(equals ?? argument.endIndex)].split(
                separator: ":",
                maxSplits: 1,
                omittingEmptySubsequences: false
            )
            let name = String(head[0])
            guard !name.isEmpty, head.count == 2 || equals != nil else {
                throw CommandFailure.usage("'\(argument)' is no attribute; write NAME=VALUE, or NAME:TYPE when absent")
            }
            let text = equals.map { String(argument[argument.index(after: $0)...]) }
            let type = try head.count == 2 ? Self.type(named: String(head[1])) : Self.guess(text ?? "")
            let value = try text.map { try Self.value($0, type, name) } ?? .absent
            guard !fields.contains(where: { $0.name == name }) else {
                throw CommandFailure.usage("'\(name)' is given twice; give it once")
            }
            fields.append(.init(name: name, type: Self.valueType(type)))
            values.append(value)
        }
        for (name, type) in [("daily_spend", ValueType.double), ("user_type", .string)]
        where !fields.contains(where: { $0.name == name }) {
            fields.append(.init(name: name, type: type))
            values.append(.absent)
        }
    }

    private static func type(named text: String) throws -> AttributeTypeName {
        guard let type = AttributeTypeName(rawValue: text) else {
            let names = AttributeTypeName.allCases.map(\.rawValue).joined(separator: ", ")
            throw CommandFailure.usage("'\(text)' is no type; there are \(names)")
        }
        return type
    }

    private static func guess(_ text: String) -> AttributeTypeName {
        if text == "true" || text == "false" { return .bool }
        if Int64(text) != nil { return .int64 }
        if Double(text)?.isFinite == true { return .double }
        if text.contains("T"), case .success = AttributeText.parseTime(text) { return .timestamp }
        return text.contains(";") ? .stringList : .string
    }

    private static func valueType(_ type: AttributeTypeName) -> ValueType {
        switch type {
        case .bool: .bool
        case .int64: .int
        case .double: .double
        case .string: .string
        case .timestamp: .timestamp
        case .stringList: .list(.string)
        }
    }

    private static func value(_ text: String, _ type: AttributeTypeName, _ name: String) throws -> Value {
        switch AttributeText.parse(text, as: type.type) {
        case .failure(let fault): throw CommandFailure.usage("\(name): \(fault.text)")
        case .success(let value):
            switch value.kind {
            case .boolValue(let value): return .bool(value)
            case .int64Value(let value): return .int(value)
            case .doubleValue(let value): return .double(value)
            case .stringValue(let value): return .string(value)
            case .timestampValue(let value):
                guard let time = CEL.Timestamp(seconds: value.seconds, nanoseconds: value.nanos) else { return .absent }
                return .timestamp(time)
            case .stringListValue(let list): return .list(list.values.map { .string($0) })
            case .nullValue, nil: return .absent
            }
        }
    }
}
