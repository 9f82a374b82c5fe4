import ArgumentParser
import CohortAPI
import SwiftProtobuf

struct AttributesCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "attributes",
        abstract: "The attributes that customers may have.",
        subcommands: [Declare.self, List.self]
    )

    struct Declare: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "declare",
            abstract: "Declare an attribute and its type, for good."
        )

        @Argument(help: "Its name: lower-case letters, digits and _.") var name: String
        @Argument(help: "bool, int64, double, string, timestamp or string_list.") var type: AttributeTypeName
        @ParentCommand var root: Cohortctl

        func run() async throws {
            let request = DeclareAttributeRequest.with {
                $0.name = name
                $0.type = type.type
            }
            try await root.session.withClient { client in
                let answer = try await CohortClient(client).customers.declareAttribute(
                    request,
                    options: root.session.callOptions
                )
                try root.session.show(answer) { "declared \(name) \(type.rawValue) [sequence \(answer.sequence)]" }
            }
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(commandName: "list", abstract: "All declared attributes.")

        @ParentCommand var root: Cohortctl

        func run() async throws {
            try await root.session.withClient { client in
                let answer = try await CohortClient(client).customers.listAttributes(
                    .init(),
                    options: root.session.callOptions
                )
                try root.session.show(answer) {
                    var table = Table(["ATTRIBUTE", "TYPE"])
                    for attribute in answer.attributes {
                        table.add([attribute.name, AttributeTypeName(attribute.type)?.rawValue ?? "?"])
                    }
                    return table.text
                }
            }
        }
    }
}

/// The words for attribute types on the command line and in YAML files.
enum AttributeTypeName: String, CaseIterable, ExpressibleByArgument {
    case bool
    case int64
    case double
    case string
    case timestamp
    case stringList = "string_list"

    init?(_ type: AttributeType) {
        guard let name = Self.allCases.first(where: { $0.type == type }) else { return nil }
        self = name
    }

    var type: AttributeType {
        switch self {
        case .bool: .bool
        case .int64: .int64
        case .double: .double
        case .string: .string
        case .timestamp: .timestamp
        case .stringList: .stringList
        }
    }
}
