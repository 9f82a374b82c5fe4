import ArgumentParser
import CohortAPI
import RPC
import SwiftProtobuf

struct AccessCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "access",
        abstract: "Who may do what.",
        subcommands: [List.self]
    )

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "list",
            abstract: "The rules of the policy, what each role may call, and who was here since the server started."
        )

        @Flag(help: "Also what each role may call.") var methods = false
        @ParentCommand var root: Cohortctl

        func run() async throws {
            try await root.session.withClient { client in
                let answer = try await CohortClient(client).access.listAccess(
                    .init(),
                    options: root.session.callOptions
                )
                try root.session.show(answer) { table(answer) }
            }
        }

        private func table(_ answer: ListAccessResponse) -> String {
            var parts: [String] = []
            if answer.policyFile.isEmpty {
                parts.append("no policy: in development everybody may do everything")
            } else {
                parts.append("policy \(answer.policyFile), loaded \(answer.loadedAt.text)")
            }
            if !answer.problem.isEmpty {
                parts.append("its present content is NOT in use: \(answer.problem)")
            }
            if !answer.rules.isEmpty { parts.append(rules(answer.rules)) }
            if methods { parts.append(roles(answer.roles)) }
            parts.append(principals(answer.principals))
            if !answer.tokenKeys.isEmpty { parts.append("token keys: \(answer.tokenKeys.joined(separator: ", "))") }
            let failures = answer.failures.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }
            parts.append(
                "tokens verified: \(answer.tokensVerified); refused: "
                    + (failures.isEmpty ? "none" : failures.joined(separator: ", "))
                    + "; refused unseen: \(answer.limited)"
            )
            return parts.joined(separator: "\n\n")
        }

        private func rules(_ rules: [AccessRule]) -> String {
            var table = Table(["FOR", "NAME", "ROLES", "COHORTS"])
            for rule in rules {
                let (kind, name) =
                    switch rule.match {
                    case .certificate(let name): ("certificate", name)
                    case .subject(let name): ("token", name)
                    case .claim(let claim): ("claim", claim)
                    case nil: ("?", "")
                    }
                let cohorts = rule.cohortIds.isEmpty ? "all" : rule.cohortIds.joined(separator: ", ")
                table.add([kind, name, rule.roles.joined(separator: ", "), cohorts])
            }
            return table.text
        }

        private func roles(_ roles: [RoleMethods]) -> String {
            var table = Table(["ROLE", "MAY CALL"])
            for role in roles { for method in role.methods { table.add([role.role, method]) } }
            return table.text
        }

        private func principals(_ principals: [AccessPrincipal]) -> String {
            var table = Table(["PRINCIPAL", "BY", "ROLES", "FIRST SEEN", "LAST SEEN"])
            for principal in principals {
                let roles = principal.roles.isEmpty ? "none" : principal.roles.joined(separator: ", ")
                table.add([
                    principal.name, principal.credential == .token ? "token" : "certificate", roles,
                    principal.firstSeen.text, principal.lastSeen.text,
                ])
            }
            return table.text
        }
    }
}
