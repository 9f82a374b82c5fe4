import ArgumentParser
import CohortAPI
import Foundation
import SwiftProtobuf

struct CustomersCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "customers",
        abstract: "Put, look at, erase and import customers.",
        subcommands: [Put.self, Get.self, Erase.self, EraseMembers.self, Import.self]
    )

    struct Put: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "put",
            abstract: "Merge attributes into a customer, who is created when new."
        )

        @Argument(help: "The customer's id.") var customer: String
        @Argument(
            help: ArgumentHelp(
                "Attributes; 'name=' with nothing behind it deletes one, --empty-string sets an empty text.",
                valueName: "name=value"
            )
        )
        var attributes: [String]
        @Option(help: "When this became true at its source: RFC 3339 or a date. The server's time when absent.")
        var eventTime: String?
        @Flag(help: "'name=' sets a string attribute to the empty text instead of deleting it.")
        var emptyString = false
        @ParentCommand var root: Cohortctl

        func run() async throws {
            try await root.session.withClient { client in
                let customers = CohortClient(client).customers
                let declared = try await customers.listAttributes(.init(), options: root.session.callOptions)
                let request = try request(declared.attributes)
                let answer = try await customers.putCustomer(request, options: root.session.callOptions)
                try root.session.show(answer) { Self.text(answer) }
            }
        }

        private func request(_ declared: [ListAttributesResponse.Attribute]) throws -> PutCustomerRequest {
            var request = PutCustomerRequest()
            request.customerID = customer
            if let eventTime {
                switch AttributeText.parseTime(eventTime) {
                case .success(let time): request.eventTime = time
                case .failure(let fault): throw CommandFailure.usage("--event-time: \(fault.text)")
                }
            }
            for pair in attributes {
                guard let equals = pair.firstIndex(of: "=") else {
                    throw CommandFailure.usage("'\(pair)' is no attribute; write NAME=VALUE")
                }
                let name = String(pair[..<equals])
                let text = String(pair[pair.index(after: equals)...])
                // The server knows best what is wrong with a name it has not; let it say so.
                let type = declared.first { $0.name == name }?.type ?? .string
                if text.isEmpty && !(emptyString && type == .string) {
                    request.attributes[name] = .with { $0.nullValue = .nullValue }
                    continue
                }
                switch AttributeText.parse(text, as: type) {
                case .success(let value): request.attributes[name] = value
                case .failure(let fault): throw CommandFailure.failed("\(name): \(fault.text)")
                }
            }
            return request
        }

        private static func text(_ answer: PutCustomerResponse) -> String {
            let outcome =
                switch answer.outcome {
                case .created: "created"
                case .updated: "updated"
                case .unchanged: "unchanged"
                case .stale: "stale: what is stored is newer"
                case .unspecified, .UNRECOGNIZED: "?"
                }
            var text = outcome
            if !answer.entered.isEmpty { text += "; entered \(answer.entered.joined(separator: ", "))" }
            if !answer.left.isEmpty { text += "; left \(answer.left.joined(separator: ", "))" }
            return text + " [sequence \(answer.sequence)]"
        }
    }

    struct Get: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "get",
            abstract: "A customer's attributes and cohorts."
        )

        @Argument(help: "The customer's id.") var customer: String
        @ParentCommand var root: Cohortctl

        func run() async throws {
            let request = GetCustomerRequest.with { $0.customerID = customer }
            try await root.session.withClient { client in
                let answer = try await CohortClient(client).customers.getCustomer(
                    request,
                    options: root.session.callOptions
                )
                try root.session.show(answer) {
                    var attributes = Table(["ATTRIBUTE", "VALUE", "SINCE"])
                    for (name, attribute) in answer.attributes.sorted(by: { $0.key < $1.key }) {
                        attributes.add([name, attribute.value.text, attribute.eventTime.text])
                    }
                    var cohorts = Table(["COHORT", "STATE"])
                    for cohort in answer.cohorts { cohorts.add([cohort.cohortID, cohort.membership.text]) }
                    return attributes.text + "\n\n" + cohorts.text
                }
            }
        }
    }

    struct Erase: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "erase",
            abstract: "Remove a customer with all attributes, overrides and memberships."
        )

        @Argument(help: "The customer's id.") var customer: String
        @ParentCommand var root: Cohortctl

        func run() async throws {
            let request = EraseCustomerRequest.with { $0.customerID = customer }
            try await root.session.withClient { client in
                let answer = try await CohortClient(client).customers.eraseCustomer(
                    request,
                    options: root.session.callOptions
                )
                try root.session.show(answer) {
                    let left = answer.left.isEmpty ? "" : "; left \(answer.left.joined(separator: ", "))"
                    return "erased\(left) [sequence \(answer.sequence)]"
                }
            }
        }
    }
}

extension AttributeValue {
    /// As `customers put` takes it.
    var text: String {
        switch kind {
        case .boolValue(let value): String(value)
        case .int64Value(let value): String(value)
        case .doubleValue(let value): String(value)
        case .stringValue(let value): value
        case .timestampValue(let value): value.text
        case .stringListValue(let list): list.values.joined(separator: ";")
        case .nullValue, nil: ""
        }
    }
}
