import ArgumentParser
import CohortAPI
import Foundation
import RPC
import SwiftProtobuf

struct CombineCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "combine",
        abstract: "Who is in this combination of cohorts? One id a line, all at one sequence.",
        discussion: """
            The expression has cohort ids, and, or, not and parentheses: 'A and (B or not C)'. 'not C' is every known
            customer that is not IN C, those that are UNKNOWN in C included unless --not-means-out is given.
            """
    )

    @Argument(help: "The expression, as 'A and B and not C'.") var expression: String
    @Flag(help: "Only count them, and those of them that are UNKNOWN in a cohort that is named.") var count = false
    @Flag(help: "'not C' takes only those that are OUT of C.") var notMeansOut = false
    @Option(help: "The answer must include every change up to this sequence.") var minSequence: UInt64 = 0
    @ParentCommand var root: Cohortctl

    func run() async throws {
        let request = CombineCohortsRequest.with {
            $0.expression = expression
            $0.countOnly = count
            $0.notMeansOut = notMeansOut
            $0.minSequence = minSequence
            $0.pageSize = 10_000
        }
        try await root.session.withClient { client in
            // A long list takes as long as it takes: no deadline.
            for try await page in try await CohortClient(client).membership.combineCohorts(request) {
                switch root.session.output {
                case .json: try printJSON(page)
                case .table where count: print(Self.counts(page))
                case .table where page.customerIds.isEmpty: break
                case .table: print(page.customerIds.joined(separator: "\n"))
                }
            }
        }
    }

    private static func counts(_ page: CombineCohortsResponse) -> String {
        var table = Table(["CUSTOMERS", "UNKNOWN", "SEQUENCE"])
        table.add([String(page.count), String(page.unknown), String(page.sequence)])
        return table.text
    }
}
