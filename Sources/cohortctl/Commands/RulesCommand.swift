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
                daily_spend (double) and user_type (string) are always declared. Exit status: 0 the rule matches,
                1 it does not or fails, 2 it does not compile.
                """
        )

        @Argument(help: "A CEL expression over customer.<attribute>.") var rule: String
        @Argument(help: ArgumentHelp("Attributes of the customer.", valueName: "name=value"))
        var attributes: [String] = []

        func run() throws {
            let record = try RuleRecord(attributes)
            let environment = Environment(record: record.schema, named: "customer")
            let program: Program
            do { program = try environment.compile(rule) } catch {
                throw CommandFailure.usage("the rule does not compile\n\(error.rendered)")
            }
            let explanation = program.explain(record.values)
            print(explanation.rendered)
            print("reads \(program.attributes.joined(separator: ", ")); costs at most \(program.worstCaseCost) units")
            guard case .match = explanation.outcome else { throw ExitCode(1) }
        }
    }
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
