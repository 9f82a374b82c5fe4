import ArgumentParser
import CohortAPI
import Foundation
import RPC
import SwiftProtobuf

struct ExplainCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "explain",
        abstract: "Why is this customer in this cohort, or why not?",
        discussion: """
            Shows the value of every part of the rule that was evaluated. The one that the outcome hangs on is marked
            with '>'.
            """
    )

    @Argument(help: "The customer's id.") var customer: String
    @Argument(help: "The cohort's id.") var cohort: String
    @Option(help: "Explain this version of the rule instead of the one that serves.") var version: UInt32 = 0
    @Option(help: "The answer must include every change up to this sequence.") var minSequence: UInt64 = 0
    @ParentCommand var root: Cohortctl

    func run() async throws {
        let request = ExplainMembershipRequest.with {
            $0.customerID = customer
            $0.cohortID = cohort
            $0.version = version
            $0.minSequence = minSequence
        }
        try await root.session.withClient { client in
            let answer = try await CohortClient(client).membership.explainMembership(
                request,
                options: root.session.callOptions
            )
            try root.session.show(answer) { Self.text(answer, Style()) }
        }
    }

    static func text(_ answer: ExplainMembershipResponse, _ style: Style) -> String {
        var lines = [answer.summary]
        var facts = "\(style.paint(answer.membership)): \(answer.reason.text)"
        if !answer.detail.isEmpty { facts += " (\(answer.detail))" }
        if answer.hasSince { facts += "; since \(answer.since.time.text) through \(answer.since.cause.text)" }
        lines.append(facts + " [version \(answer.cohortVersion), sequence \(answer.sequence)]")
        if !answer.expressions.isEmpty {
            var table = Table(["", "EXPRESSION", "VALUE"])
            for expression in answer.expressions {
                table.add([
                    expression.deciding ? ">" : "",
                    String(repeating: "  ", count: min(Int(expression.depth), 20))
                        + expression.source.onOneLine,
                    expression.text,
                ])
            }
            let rows = table.text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
            lines.append("")
            lines.append(style.paint(rows[0], .dim))
            lines += rows.dropFirst().map { $0.hasPrefix(">") ? style.paint($0, .bold) : $0 }
        }
        if !answer.attributes.isEmpty {
            var table = Table(["ATTRIBUTE", "VALUE"])
            for (name, value) in answer.attributes.sorted(by: { $0.key < $1.key }) {
                table.add([name, value.onOneLine])
            }
            lines += ["", table.text]
        }
        return lines.joined(separator: "\n")
    }
}

extension ExplainedExpression {
    fileprivate var text: String {
        let result = error.isEmpty ? value.onOneLine : "error: \(error)"
        return evaluations > 1 ? "\(result) (the last of \(evaluations))" : result
    }
}

extension String {
    /// For a cell of a table: without line breaks, and cut.
    var onOneLine: String {
        let line = String(map { $0.isNewline || $0 == "\t" ? " " : $0 })
        return line.count > 100 ? line.prefix(99) + "…" : line
    }
}

extension ChangeCause {
    /// For people.
    var text: String {
        switch self {
        case .attribute: "an attribute"
        case .rule: "a version of the rule"
        case .override: "an override"
        case .list: "the list"
        case .cohort: "another cohort"
        case .time: "time"
        case .erase: "the erasure"
        case .unspecified, .UNRECOGNIZED: "?"
        }
    }
}
