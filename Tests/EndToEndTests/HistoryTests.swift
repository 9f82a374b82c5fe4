import CohortAPI
import Foundation
import RPC
import SwiftProtobuf
import Testing

@Suite("History and explanations over TLS")
struct HistoryTests {
    private func server(_ directory: TemporaryDirectory, _ arguments: [String] = []) async throws -> TestServer {
        let server = try await TestServer(dataDirectory: directory.path, arguments: arguments)
        try await server.cohortctl("cohorts", "create", "BIG", "--rule", "customer.daily_spend > 100.0")  // 3
        try await server.cohortctl("customers", "put", "a", "daily_spend=500")  // 4
        try await server.cohortctl("customers", "put", "b", "daily_spend=200")  // 5
        try await server.cohortctl("customers", "put", "a", "daily_spend=5")  // 6
        try await server.cohortctl("cohorts", "override", "BIG", "--include", "a")  // 7
        return server
    }

    private func failure(_ body: () async throws -> Void) async -> RPCError? {
        do {
            try await body()
            return nil
        } catch {
            return error as? RPCError
        }
    }

    @Test("A customer's history, the same after kill -9, and its errors")
    func history() async throws {
        let directory = try TemporaryDirectory()
        var server = try await server(directory)
        for round in 0..<2 {
            try await server.withClient { client in
                let service = CohortClient(client).history
                let answer = try await service.getMembershipHistory(.with { $0.customerID = "a" })
                #expect(answer.sequence == 7 && !answer.truncated && !answer.hasCompleteSince)
                #expect(answer.hasCustomerCreatedAt && answer.intervals.map(\.cohortID) == ["BIG", "BIG"])
                let (now, past) = (answer.intervals[0], answer.intervals[1])
                #expect(now.entered.sequence == 7 && now.entered.cause == .override && !now.hasLeft)
                #expect(now.membership == .in && now.entered.cohortVersion == 1)
                #expect(past.entered.sequence == 4 && past.entered.cause == .attribute)
                #expect(past.left.sequence == 6 && past.left.cause == .attribute)
                #expect(past.entered.time == answer.customerCreatedAt)
                let cut = try await service.getMembershipHistory(
                    .with {
                        $0.customerID = "a"
                        $0.cohortID = "BIG"
                        $0.limit = 1
                        $0.minSequence = 7
                    }
                )
                #expect(cut.truncated && cut.intervals == [now])
                let early = try await service.getMembershipHistory(
                    .with {
                        $0.customerID = "a"
                        $0.until = past.entered.time
                    }
                )
                #expect(early.intervals == [past])
                let nobody = await failure { _ = try await service.getMembershipHistory(.with { $0.customerID = "x" }) }
                #expect(nobody?.code == .notFound)
                let large = await failure {
                    _ = try await service.getMembershipHistory(
                        .with {
                            $0.customerID = "a"
                            $0.limit = 10_001
                        }
                    )
                }
                #expect(large?.code == .invalidArgument && large?.badRequest?.fieldViolations.first?.field == "limit")
                let none = await failure {
                    _ = try await service.getMembershipHistory(
                        .with {
                            $0.customerID = "a"
                            $0.cohortID = "BAG"
                        }
                    )
                }
                #expect(none?.code == .notFound && none?.message.contains("did you mean 'BIG'?") == true)
            }
            if round == 0 {
                try await server.kill()
                server = try await TestServer(dataDirectory: directory.path)
            }
        }
        #expect(try await server.stop() == 0)
    }

    @Test("Checks, lists and counts of the past, by sequence and by time")
    func past() async throws {
        let directory = try TemporaryDirectory()
        let server = try await server(directory)
        try await server.withClient { client in
            let cohort = CohortClient(client)
            func check(_ change: (inout CheckMembershipRequest) -> Void) async throws -> CheckMembershipResponse {
                try await cohort.membership.checkMembership(
                    .with {
                        $0.customerID = "a"
                        $0.cohortID = "BIG"
                        change(&$0)
                    }
                )
            }
            let five = try await check {
                $0.asOfSequence = 5
                $0.includeSince = true
                $0.minSequence = 7
            }
            #expect(five.membership == .in && five.member && five.reason == .ruleMatch && five.sequence == 5)
            #expect(five.cohortVersion == 1 && five.hasSince)
            let six = try await check { $0.asOfSequence = 6 }
            #expect(six.membership == .out && six.reason == .ruleNoMatch && six.hasMember && !six.member)
            let byTime = try await check { $0.asOfTime = five.since }
            #expect(byTime.sequence >= 4 && byTime.membership == .in)
            #expect(try await check { $0.asOfSequence = 7 }.reason == .overrideInclude)
            let future = await failure { _ = try await check { $0.asOfSequence = 8 } }
            #expect(future?.code == .outOfRange && future?.errorInfo?.reason == "AS_OF_IN_FUTURE")
            #expect(future?.errorInfo?.metadata["latest_sequence"] == "7")
            let early = await failure { _ = try await check { $0.asOfSequence = 2 } }
            #expect(early?.code == .outOfRange && early?.errorInfo?.metadata["created_sequence"] == "3")
            let bad = await failure { _ = try await check { $0.asOfTime.nanos = -1 } }
            #expect(bad?.badRequest?.fieldViolations.first?.field == "as_of_time")

            var pages: [ListMembersResponse] = []
            for try await page in try await cohort.membership.listMembers(
                .with {
                    $0.cohortID = "BIG"
                    $0.asOfSequence = 5
                    $0.pageSize = 1
                }
            ) { pages.append(page) }
            #expect(pages.map(\.customerIds) == [["a"], ["b"]] && pages.allSatisfy { $0.sequence == 5 })
            #expect(pages.allSatisfy { $0.cohortVersion == 1 })
            var rest: [String] = []
            for try await page in try await cohort.membership.listMembers(
                .with {
                    $0.cohortID = "BIG"
                    $0.cursor = pages[0].cursor
                }
            ) {
                #expect(page.sequence == 5)
                rest += page.customerIds
            }
            #expect(rest == ["b"])
            for (sequence, members) in [(3, 0), (4, 1), (5, 2), (6, 1), (7, 2)] as [(UInt64, UInt64)] {
                let count = try await cohort.membership.countMembers(
                    .with {
                        $0.cohortID = "BIG"
                        $0.asOfSequence = sequence
                    }
                )
                #expect(count.members == members && count.sequence == sequence, "\(sequence)")
            }
        }
        #expect(try await server.stop() == 0)
    }

    @Test("An explanation has the values, what decides, since when and a sentence")
    func explanation() async throws {
        let directory = try TemporaryDirectory()
        let server = try await server(directory)
        try await server.withClient { client in
            let membership = CohortClient(client).membership
            let answer = try await membership.explainMembership(
                .with {
                    $0.customerID = "b"
                    $0.cohortID = "BIG"
                    $0.minSequence = 7
                }
            )
            #expect(answer.membership == .in && answer.reason == .ruleMatch && answer.sequence == 7)
            #expect(answer.rule == "customer.daily_spend > 100.0" && answer.cohortVersion == 1)
            #expect(answer.expressions.map(\.source) == ["customer.daily_spend > 100.0", "customer.daily_spend"])
            #expect(answer.expressions.map(\.value) == ["true", "200.0"])
            #expect(answer.expressions.map(\.deciding) == [true, false] && answer.expressions.map(\.depth) == [0, 1])
            #expect(answer.expressions.map(\.evaluations) == [1, 1] && answer.attributes == ["daily_spend": "200.0"])
            #expect(answer.since.sequence == 5 && answer.since.cause == .attribute)
            #expect(answer.summary.hasSuffix("because customer.daily_spend > 100.0 is true: daily_spend is 200.0."))
            let override = try await membership.explainMembership(
                .with {
                    $0.customerID = "a"
                    $0.cohortID = "BIG"
                }
            )
            #expect(override.reason == .overrideInclude && override.expressions.first?.value == "false")
            let missing = await failure {
                _ = try await membership.explainMembership(
                    .with {
                        $0.customerID = "a"
                        $0.cohortID = "BIG"
                        $0.version = 9
                    }
                )
            }
            #expect(missing?.code == .notFound)
        }
        #expect(try await server.stop() == 0)
    }

    @Test("cohortctl shows tables without colours when it writes to a file, and JSON for scripts")
    func commandLine() async throws {
        let directory = try TemporaryDirectory()
        let server = try await server(directory)
        let explained = try await server.cohortctl("explain", "b", "BIG").output
        #expect(explained.contains("b is IN BIG since ") && explained.contains("because customer.daily_spend > 100.0"))
        #expect(explained.contains("> ") && explained.contains("EXPRESSION") && explained.contains("ATTRIBUTE"))
        let history = try await server.cohortctl("history", "a").output
        let lines = history.split(separator: "\n").map { $0.split(separator: " ").filter { !$0.isEmpty } }
        #expect(lines.count == 3 && lines[1].starts(with: ["BIG", "IN"]) && lines[2].last == "4…6")
        #expect(history.contains("an override") && history.contains("an attribute"))
        for text in [explained, history] { #expect(!text.contains("\u{1B}")) }
        let json = try await server.cohortctl("history", "a", "--output", "json", "--cohort", "BIG").output
        let parsed = try GetMembershipHistoryResponse(jsonString: json)
        #expect(parsed.intervals.count == 2 && parsed.sequence == 7)
        let explainedJSON = try await server.cohortctl("explain", "a", "BIG", "--output", "json").output
        #expect(try ExplainMembershipResponse(jsonString: explainedJSON).reason == .overrideInclude)

        #expect(
            try await server.cohortctl("check", "a", "BIG", "--as-of", "5").output.hasPrefix("IN: the rule is true")
        )
        #expect(try await server.cohortctl("check", "a", "BIG", "--as-of", "6").output.hasPrefix("OUT: "))
        #expect(try await server.cohortctl("members", "BIG", "--as-of", "6").output == "b\n")
        #expect(try await server.cohortctl("members", "BIG", "--count", "--as-of", "5").output == "2\n")
        let time = parsed.intervals[1].entered.time
        let rfc3339 = String(try time.jsonString().dropFirst().dropLast())
        #expect(try await server.cohortctl("check", "a", "BIG", "--as-of", rfc3339).output.hasPrefix("IN: "))
        let early = try await server.cohortctl("check", "a", "BIG", "--as-of", "2020-01-01", expecting: 1)
        #expect(early.errors.contains("COHORT_NOT_CREATED") && early.errors.contains("created at sequence 3"))
        let wrong = try await server.cohortctl("check", "a", "BIG", "--as-of", "yesterday", expecting: 2)
        #expect(wrong.errors.contains("--as-of"))
        try await server.cohortctl("history", "a", "--limit", "0", expecting: 2)
        #expect(try await server.stop() == 0)
    }
}
