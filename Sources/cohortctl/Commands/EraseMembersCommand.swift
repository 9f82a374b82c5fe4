import ArgumentParser
import CohortAPI
import Foundation
import SwiftProtobuf

extension CustomersCommand {
    struct EraseMembers: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "erase-members",
            abstract: "Erase all customers that are IN a cohort.",
            discussion: """
                On a terminal it asks first. It goes on if this command is interrupted; a server that stops ends it, and the
                rest is not erased.
                """
        )

        @Argument(help: "The cohort's id.") var cohort: String
        @Option(help: ArgumentHelp("How many members there are; with another number nobody is erased.", valueName: "n"))
        var expect: UInt64
        @Option(help: ArgumentHelp("The most customers to erase; all if absent.", valueName: "n")) var limit: UInt64?
        @Flag(help: "Do not ask.") var yes = false
        @ParentCommand var root: Cohortctl

        func validate() throws {
            if limit == 0 { throw ValidationError("--limit is 0; it takes 1 or more") }
        }

        func run() async throws {
            let request = EraseMembersRequest.with {
                $0.cohortID = cohort
                $0.expectedMembers = expect
                $0.limit = limit ?? 0
            }
            guard yes || isatty(STDIN_FILENO) == 0 || confirmed() else {
                throw CommandFailure.failed("nobody was erased")
            }
            try await root.session.withClient { client in
                let answer = try await CohortClient(client).customers.eraseMembers(
                    request,
                    options: root.session.buildOptions
                )
                try root.session.show(answer) {
                    if answer.hasPendingChange { return answer.pendingChange.notice }
                    return "erased \(answer.erased) members of \(cohort), \(answer.alreadyGone) were gone already "
                        + "[sequence \(answer.sequence)]"
                }
            }
        }

        private func confirmed() -> Bool {
            let count = min(limit ?? expect, expect)
            FileHandle.standardError.write(
                Data("erase \(count) customers with all attributes and memberships? Type \(cohort) to go on: ".utf8)
            )
            return readLine()?.trimmingCharacters(in: .whitespaces) == cohort
        }
    }
}
