import ArgumentParser
import CohortAPI
import Foundation
import RPC
import SwiftProtobuf

struct CheckCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Is this customer in this cohort?"
    )

    @Argument(help: "The customer's id.") var customer: String
    @Argument(help: "The cohort's id.") var cohort: String
    @Option(help: "The answer must include every change up to this sequence.") var minSequence: UInt64 = 0
    @Flag(help: "Also tell since when.") var since = false
    @Option(help: AsOf.help) var asOf: AsOf?
    @ParentCommand var root: Cohortctl

    func run() async throws {
        let request = CheckMembershipRequest.with {
            $0.customerID = customer
            $0.cohortID = cohort
            $0.minSequence = minSequence
            $0.includeSince = since
            $0.set(asOf)
        }
        try await root.session.withClient { client in
            let answer = try await CohortClient(client).membership.checkMembership(
                request,
                options: root.session.callOptions
            )
            try root.session.show(answer) { Self.text(answer, Style()) }
        }
    }

    private static func text(_ answer: CheckMembershipResponse, _ style: Style) -> String {
        var line = "\(style.paint(answer.membership)): \(answer.reason.text)"
        if !answer.detail.isEmpty { line += " (\(answer.detail))" }
        if answer.membership == .unknown {
            line += answer.hasMember ? "; by its fail policy \(answer.member ? "a member" : "no member")" : ""
        }
        if answer.hasSince { line += "; since \(answer.since.text)" }
        // The sequence of a past time may not be known any more.
        let sequence = answer.sequence == 0 ? "" : ", sequence \(answer.sequence)"
        return line + " [version \(answer.cohortVersion)\(sequence)]"
    }
}

struct CohortsOfCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cohorts-of",
        abstract: "Which cohorts has this customer?"
    )

    @Argument(help: "The customer's id.") var customer: String
    @Option(help: "The answer must include every change up to this sequence.") var minSequence: UInt64 = 0
    @ParentCommand var root: Cohortctl

    func run() async throws {
        let request = ListCustomerCohortsRequest.with {
            $0.customerID = customer
            $0.minSequence = minSequence
        }
        try await root.session.withClient { client in
            let answer = try await CohortClient(client).membership.listCustomerCohorts(
                request,
                options: root.session.callOptions
            )
            try root.session.show(answer) { Self.text(answer) }
            if !answer.customerFound { writeError("note: no customer with this id has been seen") }
        }
    }

    private static func text(_ answer: ListCustomerCohortsResponse) -> String {
        var table = Table(["COHORT", "STATE", "VERSION"])
        for cohort in answer.cohorts {
            table.add([cohort.cohortID, cohort.membership.text, String(cohort.cohortVersion)])
        }
        return table.text
    }
}

struct MembersCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "members",
        abstract: "Who is in this cohort? One id a line, all at one sequence."
    )

    @Argument(help: "The cohort's id.") var cohort: String
    @Flag(help: "List those whose state is UNKNOWN instead.") var unknown = false
    @Flag(help: "Only count them.") var count = false
    @Option(help: AsOf.help) var asOf: AsOf?
    @Option(help: "The answer must include every change up to this sequence.") var minSequence: UInt64 = 0
    @ParentCommand var root: Cohortctl

    func run() async throws {
        try await root.session.withClient { client in
            let membership = CohortClient(client).membership
            count ? try await printCount(membership) : try await printMembers(membership)
        }
    }

    private func printCount(_ membership: MembershipServiceClient) async throws {
        let request = CountMembersRequest.with {
            $0.cohortID = cohort
            $0.minSequence = minSequence
            $0.set(asOf)
        }
        let answer = try await membership.countMembers(request, options: root.session.callOptions)
        try root.session.show(answer) { String(unknown ? answer.unknown : answer.members) }
    }

    private func printMembers(_ membership: MembershipServiceClient) async throws {
        let request = ListMembersRequest.with {
            $0.cohortID = cohort
            $0.minSequence = minSequence
            $0.pageSize = 10_000
            $0.membership = unknown ? .unknown : .in
            $0.set(asOf)
        }
        // A long list takes as long as it takes: no deadline.
        for try await page in try await membership.listMembers(request) {
            switch root.session.output {
            case .json: try printJSON(page)
            case .table where page.customerIds.isEmpty: break
            case .table: print(page.customerIds.joined(separator: "\n"))
            }
        }
    }
}
