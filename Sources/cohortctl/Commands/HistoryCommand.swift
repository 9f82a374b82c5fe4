import ArgumentParser
import CohortAPI
import Foundation
import RPC
import SwiftProtobuf

struct HistoryCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "history",
        abstract: "When was this customer in which cohort, and through what? The latest first."
    )

    @Argument(help: "The customer's id.") var customer: String
    @Option(help: "Only this cohort, which may be archived.") var cohort: String?
    @Option(help: ArgumentHelp("Only what had not ended by this time.", valueName: "time")) var since: TimeArgument?
    @Option(help: ArgumentHelp("Only what had begun by this time.", valueName: "time")) var until: TimeArgument?
    @Option(help: "The most intervals, the latest.") var limit: UInt32 = 1_000
    @Option(help: "The answer must include every change up to this sequence.") var minSequence: UInt64 = 0
    @ParentCommand var root: Cohortctl

    func validate() throws {
        if limit == 0 { throw ValidationError("--limit is 0; it takes 1 or more") }
    }

    func run() async throws {
        let request = GetMembershipHistoryRequest.with {
            $0.customerID = customer
            $0.cohortID = cohort ?? ""
            if let since { $0.since = since.time }
            if let until { $0.until = until.time }
            $0.limit = limit
            $0.minSequence = minSequence
        }
        try await root.session.withClient { client in
            let answer = try await CohortClient(client).history.getMembershipHistory(
                request,
                options: root.session.callOptions
            )
            try root.session.show(answer) { Self.text(answer, Style()) }
            if answer.truncated { writeError("note: there are more; raise --limit, or give --until") }
            if answer.hasCompleteSince {
                writeError("note: what ended before \(answer.completeSince.text) may have been deleted")
            }
        }
    }

    static func text(_ answer: GetMembershipHistoryResponse, _ style: Style) -> String {
        var table = Table(["COHORT", "STATE", "ENTERED", "THROUGH", "VERSION", "LEFT", "THROUGH", "SEQUENCES"])
        for interval in answer.intervals {
            let (entered, left) = (interval.entered, interval.left)
            table.add([
                interval.cohortID, interval.membership.text, entered.time.text, entered.cause.text,
                String(entered.cohortVersion), interval.hasLeft ? left.time.text : "-",
                interval.hasLeft ? left.cause.text : "-",
                "\(entered.sequence)…\(interval.hasLeft ? String(left.sequence) : "")",
            ])
        }
        let rows = table.text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        let painted = zip(rows.dropFirst(), answer.intervals).map { row, interval in
            // What goes on stands out.
            interval.hasLeft ? row : style.paint(row, Style.colour(of: interval.membership))
        }
        return ([style.paint(rows[0], .dim)] + painted).joined(separator: "\n")
    }
}
