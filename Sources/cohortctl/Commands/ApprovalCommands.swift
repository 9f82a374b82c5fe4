import ArgumentParser
import CohortAPI
import Foundation
import RPC
import SwiftProtobuf

/// Changes that someone else has to approve: `cohorts pending|approve|reject|require-approval`.
extension CohortsCommand {
    struct Pending: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "pending",
            abstract: "Changes that wait for approval, the last first."
        )

        @Argument(help: "A cohort's id, for its changes alone.") var id: String?
        @Flag(help: "Also those decided, expired or superseded last.") var all = false
        @ParentCommand var root: Cohortctl

        func run() async throws {
            try await root.session.withClient { client in
                var answer = ListPendingChangesResponse()
                repeat {
                    let page = try await CohortClient(client).approvals.listPendingChanges(
                        .with {
                            $0.cohortID = id ?? ""
                            $0.includeDecided = all
                            $0.beforeID = answer.changes.last?.id ?? 0
                        },
                        options: root.session.callOptions
                    )
                    answer.changes += page.changes
                    (answer.more, answer.sequence) = (page.more, page.sequence)
                } while answer.more
                try root.session.show(answer) { Self.text(answer.changes, Style(), withDecisions: all) }
            }
        }

        static func text(_ changes: [PendingChange], _ style: Style, withDecisions: Bool) -> String {
            var table = Table(
                ["ID", "COHORT", "CHANGE", "AUTHOR", "ASKED", "EXPIRES"]
                    + (withDecisions ? ["STATE", "BY", "DECIDED", "NOTE"] : [])
            )
            for change in changes {
                let note = [change.detail, change.note].filter { !$0.isEmpty }.joined(separator: "; ")
                table.add(
                    [
                        String(change.id), change.cohortID, change.action, change.author, change.createdAt.text,
                        change.expiresAt.text,
                    ]
                        + (withDecisions
                            ? [
                                change.state.text, change.decidedBy.isEmpty ? "-" : change.decidedBy,
                                change.decidedAt.text, note,
                            ] : [])
                )
            }
            let rows = table.text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
            let painted = zip(rows.dropFirst(), changes).map { row, change in
                change.state.colour.map { style.paint(row, $0) } ?? row
            }
            return ([style.paint(rows[0], .dim)] + painted).joined(separator: "\n")
        }
    }

    struct Approve: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "approve",
            abstract: "Have a change take effect that someone else has asked for."
        )

        @Argument(help: "The change's id, as 'cohorts pending' shows it.") var id: UInt64
        @Option(help: "For people: why.") var note = ""
        @ParentCommand var root: Cohortctl

        func run() async throws {
            let request = ApproveChangeRequest.with {
                $0.id = id
                $0.note = note
            }
            try await root.session.withClient { client in
                let cohort = await cohort(client)
                let answer = try await BuildWatch.run(client, root.session, cohort: cohort) {
                    try await CohortClient(client).approvals.approveChange(request, options: root.session.buildOptions)
                }
                try root.session.show(answer) { Self.text(answer, Style()) }
            }
        }

        /// The cohort whose build is shown; empty where it cannot be told. What is wrong, the approval says.
        private func cohort(_ client: Client) async -> String {
            guard ProgressBar.isTerminal else { return "" }
            let page = try? await CohortClient(client).approvals.listPendingChanges(
                .with { $0.beforeID = id < .max ? id + 1 : 0 },
                options: root.session.callOptions
            )
            return page?.changes.first { $0.id == id }?.cohortID ?? ""
        }

        static func text(_ answer: ApproveChangeResponse, _ style: Style) -> String {
            let change = answer.change
            let done =
                switch change.kind {
                case .publish:
                    "published version \(change.version) of \(change.cohortID): \(answer.entered) entered, "
                        + "\(answer.left) left, \(answer.newlyUnknown) became UNKNOWN"
                case .archive: "archived \(change.cohortID)"
                case .eraseMembers:
                    "erased \(change.erasure.erased) members of \(change.cohortID), "
                        + "\(change.erasure.alreadyGone) were gone already"
                case .waiveApproval: "\(change.cohortID) requires no approval any more"
                case .unspecified, .UNRECOGNIZED: "?"
                }
            return "\(style.paint("approved change \(change.id) of \(change.author)", .green)): \(done) "
                + "[sequence \(answer.sequence)]"
        }
    }

    struct Reject: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "reject",
            abstract: "Give up a change that waits for approval; its author withdraws it so."
        )

        @Argument(help: "The change's id, as 'cohorts pending' shows it.") var id: UInt64
        @Option(help: "For people: why.") var note = ""
        @ParentCommand var root: Cohortctl

        func run() async throws {
            let request = RejectChangeRequest.with {
                $0.id = id
                $0.note = note
            }
            try await root.session.withClient { client in
                let answer = try await CohortClient(client).approvals.rejectChange(
                    request,
                    options: root.session.callOptions
                )
                try root.session.show(answer) {
                    let change = answer.change
                    return Style().paint("rejected change \(change.id) of \(change.author)", .red)
                        + " (\(change.action), \(change.cohortID)) [sequence \(answer.sequence)]"
                }
            }
        }
    }

    struct RequireApproval: AsyncParsableCommand {
        enum Switch: String, ExpressibleByArgument, CaseIterable {
            case on
            case off
        }

        static let configuration = CommandConfiguration(
            commandName: "require-approval",
            abstract: "Whether someone else has to approve a publish, an archive and an erasure of members.",
            discussion: "On takes effect at once. Off has to be approved itself."
        )

        @Argument(help: "The cohort's id.") var id: String
        @Argument(help: "on or off.") var required: Switch
        @ParentCommand var root: Cohortctl

        func run() async throws {
            let request = SetApprovalRequiredRequest.with {
                $0.cohortID = id
                $0.required = required == .on
            }
            try await root.session.withClient { client in
                let answer = try await CohortClient(client).cohorts.setApprovalRequired(
                    request,
                    options: root.session.callOptions
                )
                try root.session.show(answer) {
                    if answer.hasPendingChange { return answer.pendingChange.notice }
                    return "\(id) requires \(answer.cohort.approvalRequired ? "approval" : "no approval") "
                        + "[sequence \(answer.sequence)]"
                }
            }
        }
    }
}

extension PendingChange {
    /// What it does, in a few words.
    var action: String {
        switch kind {
        case .publish: "publish version \(version)"
        case .archive: "archive"
        case .eraseMembers: "erase \(limit == 0 ? expectedMembers : min(limit, expectedMembers)) members"
        case .waiveApproval: "require no approval"
        case .unspecified, .UNRECOGNIZED: "?"
        }
    }

    /// What its author reads, who may think that it is done.
    var notice: String {
        let style = Style()
        let limit = hasExpiresAt ? " until \(expiresAt.text)" : ""
        return style.paint("not done yet: change \(id) waits for approval\(limit)", .yellow)
            + " (\(action), \(cohortID))\n"
            + "someone else approves it with: cohortctl cohorts approve \(id)"
    }
}

extension ChangeState {
    var text: String {
        switch self {
        case .pending: "pending"
        case .approved: "approved"
        case .rejected: "rejected"
        case .expired: "expired"
        case .superseded: "superseded"
        case .unspecified, .UNRECOGNIZED: "?"
        }
    }

    /// What has not ended plainly stands out.
    var colour: Style.Colour? {
        switch self {
        case .pending: .yellow
        case .approved: .green
        case .rejected: .red
        case .expired, .superseded, .unspecified, .UNRECOGNIZED: nil
        }
    }
}
