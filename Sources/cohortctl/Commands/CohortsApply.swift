import ArgumentParser
import CohortAPI
import Foundation
import RPC
import SwiftProtobuf
import Yams

extension CohortsCommand {
    struct Apply: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "apply",
            abstract: "Make attributes and cohorts what a YAML file says.",
            discussion: """
                Declares missing attributes, creates missing cohorts and gives changed rules to the others. What the
                file does not name stays. Applying the same file again changes nothing. See docs/examples/cohorts.yaml.
                """
        )

        @Argument(help: "The YAML file.") var file: String
        @ParentCommand var root: Cohortctl

        func run() async throws {
            let definitions = try CohortFile(path: file)
            try await root.session.withClient { client in
                try await apply(definitions, CohortClient(client))
            }
        }

        private func apply(_ file: CohortFile, _ client: CohortClient) async throws {
            let options = root.session.callOptions
            let declared = Set(
                try await client.customers.listAttributes(.init(), options: options).attributes.map(\.name)
            )
            for attribute in file.attributes ?? [] {
                // Also sent when it is declared: the server refuses another type.
                let answer = try await client.customers.declareAttribute(
                    .with {
                        $0.name = attribute.name
                        $0.type = attribute.type.type
                    },
                    options: options
                )
                if !declared.contains(attribute.name) {
                    report("declared \(attribute.name) \(attribute.type.rawValue)", answer.sequence)
                }
            }
            let present = try await client.cohorts.listCohorts(.init(), options: options).cohorts
            for cohort in file.cohorts ?? [] {
                try await apply(cohort, present.first { $0.cohortID == cohort.id }, client)
            }
        }

        private func apply(_ wanted: CohortFile.Entry, _ present: Cohort?, _ client: CohortClient) async throws {
            let options = root.session.callOptions
            guard let present else {
                let answer = try await client.cohorts.createCohort(wanted.creation, options: options)
                return report(
                    "created \(wanted.id): \(answer.cohort.members) members, \(answer.cohort.unknown) unknown",
                    answer.sequence
                )
            }
            guard present.kind == wanted.kind else {
                throw CommandFailure.failed(
                    "\(wanted.id) is a \(present.kind.text) cohort and stays one; archive it and choose another id"
                )
            }
            guard present.failPolicy == wanted.policy else {
                throw CommandFailure.failed(
                    "\(wanted.id) has the fail policy \(present.failPolicy.text) and keeps it; "
                        + "change the file, or archive it and choose another id"
                )
            }
            let switches = wanted.approvalRequired.map { $0 != present.approvalRequired } ?? false
            if switches { try await orPending(wanted.id) { try await setApproval(wanted, client) } }
            if let rule = wanted.rule, rule != present.rule {
                try await orPending(wanted.id) { try await update(wanted.id, rule, client) }
            } else if !switches {
                writeError("\(wanted.id) is as the file says")
            }
        }

        /// Applying the file again while a change waits for approval changes nothing.
        private func orPending(_ id: String, _ body: () async throws -> Void) async throws {
            do {
                try await body()
            } catch let error as RPCError where error.errorInfo?.reason == "CHANGE_PENDING" {
                writeError("\(id): \(error.message)")
            }
        }

        private func setApproval(_ wanted: CohortFile.Entry, _ client: CohortClient) async throws {
            let answer = try await client.cohorts.setApprovalRequired(
                .with {
                    $0.cohortID = wanted.id
                    $0.required = wanted.approvalRequired ?? false
                },
                options: root.session.callOptions
            )
            if answer.hasPendingChange { return print(answer.pendingChange.notice) }
            report(
                "\(wanted.id) requires \(answer.cohort.approvalRequired ? "approval" : "no approval")",
                answer.sequence
            )
        }

        private func update(_ id: String, _ rule: String, _ client: CohortClient) async throws {
            let answer = try await client.cohorts.updateCohortRule(
                .with {
                    $0.cohortID = id
                    $0.rule = rule
                },
                options: root.session.callOptions
            )
            if answer.hasPendingChange { return print(answer.pendingChange.notice) }
            report(
                "updated \(id) to version \(answer.cohort.version): \(answer.entered) entered, \(answer.left) left",
                answer.sequence
            )
        }

        private func report(_ text: String, _ sequence: UInt64) {
            print("\(text) [sequence \(sequence)]")
        }
    }
}

/// What `cohorts apply` reads.
struct CohortFile: Decodable {
    struct Attribute: Decodable {
        let name: String
        let type: AttributeTypeName

        init(from decoder: any Swift.Decoder) throws {
            let fields = try decoder.container(keyedBy: FieldName.self)
            try fields.refuse(allBut: ["name", "type"], at: decoder.codingPath)
            name = try fields.decode(String.self, forKey: "name")
            let text = try fields.decode(String.self, forKey: "type")
            guard let type = AttributeTypeName(rawValue: text) else {
                let types = AttributeTypeName.allCases.map(\.rawValue).joined(separator: ", ")
                throw CommandFailure.failed("attribute \(name): type is '\(text)'; it takes \(types)")
            }
            self.type = type
        }
    }

    struct Entry: Decodable {
        let id: String
        let rule: String?
        let policy: FailPolicy
        let description: String
        /// `nil` where the file leaves it as it is.
        let approvalRequired: Bool?

        init(from decoder: any Swift.Decoder) throws {
            let fields = try decoder.container(keyedBy: FieldName.self)
            try fields.refuse(
                allBut: ["id", "rule", "static", "fail_policy", "description", "approval_required"],
                at: decoder.codingPath
            )
            id = try fields.decode(String.self, forKey: "id")
            rule = try fields.decodeIfPresent(String.self, forKey: "rule")
            let isStatic = try fields.decodeIfPresent(Bool.self, forKey: "static") ?? false
            guard (rule != nil) != isStatic else {
                throw CommandFailure.failed("cohort \(id): give either 'rule' or 'static: true'")
            }
            let text = try fields.decodeIfPresent(String.self, forKey: "fail_policy") ?? "unknown"
            guard let policy = FailPolicy(text: text) else {
                throw CommandFailure.failed("cohort \(id): fail_policy is '\(text)'; it takes in, out or unknown")
            }
            self.policy = policy
            description = try fields.decodeIfPresent(String.self, forKey: "description") ?? ""
            approvalRequired = try fields.decodeIfPresent(Bool.self, forKey: "approval_required")
        }

        var kind: CohortKind { rule == nil ? .static : .rule }

        var creation: CreateCohortRequest {
            .with {
                $0.cohortID = id
                if let rule { $0.rule = rule } else { $0.static = true }
                $0.failPolicy = policy
                $0.description_p = description
                $0.approvalRequired = approvalRequired ?? false
            }
        }
    }

    let attributes: [Attribute]?
    let cohorts: [Entry]?

    init(from decoder: any Swift.Decoder) throws {
        let fields = try decoder.container(keyedBy: FieldName.self)
        try fields.refuse(allBut: ["attributes", "cohorts"], at: decoder.codingPath)
        attributes = try fields.decodeIfPresent([Attribute].self, forKey: "attributes")
        cohorts = try fields.decodeIfPresent([Entry].self, forKey: "cohorts")
    }

    /// - Throws: ``CommandFailure`` naming the file and what is wrong in it.
    init(path: String) throws {
        guard let text = try? String(contentsOfFile: path, encoding: .utf8) else {
            throw CommandFailure.usage("cannot read the file '\(path)'")
        }
        do {
            self = try YAMLDecoder().decode(CohortFile.self, from: text)
        } catch let DecodingError.dataCorrupted(context) where context.underlyingError is CommandFailure {
            throw context.underlyingError ?? CommandFailure.failed("\(path): \(context.debugDescription)")
        } catch let error as CommandFailure {
            throw CommandFailure.failed("\(path): \(error.message)")
        } catch {
            throw CommandFailure.failed("\(path): \(Self.describe(error))")
        }
    }

    private static func describe(_ error: any Error) -> String {
        func path(_ keys: [any CodingKey]) -> String {
            keys.map { $0.intValue.map { "[\($0)]" } ?? ".\($0.stringValue)" }.joined()
        }
        return switch error {
        case DecodingError.keyNotFound(let key, let context):
            "'\(key.stringValue)' is missing at \(path(context.codingPath))"
        case DecodingError.typeMismatch(_, let context): "\(path(context.codingPath)): \(context.debugDescription)"
        case DecodingError.valueNotFound(_, let context): "\(path(context.codingPath)): \(context.debugDescription)"
        case DecodingError.dataCorrupted(let context):
            "\(context.debugDescription) \(context.underlyingError.map { "\($0)" } ?? "")"
        default: "\(error)"
        }
    }
}

/// The name of a field in a YAML file.
struct FieldName: CodingKey, ExpressibleByStringLiteral {
    let stringValue: String
    var intValue: Int? { nil }

    init(stringValue: String) { self.stringValue = stringValue }
    init(stringLiteral value: String) { stringValue = value }
    init?(intValue: Int) { nil }
}

extension KeyedDecodingContainer where Key == FieldName {
    /// A misspelt field must not silently do nothing.
    fileprivate func refuse(allBut known: [String], at path: [any CodingKey]) throws {
        for key in allKeys where !known.contains(key.stringValue) {
            throw CommandFailure.failed(
                "unknown field '\(key.stringValue)'; there are \(known.joined(separator: ", "))"
            )
        }
    }
}
