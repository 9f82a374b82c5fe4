import CohortAPI
import Foundation
import RPC
import SwiftProtobuf
import Testing

@Suite("Sets of cohorts over TLS")
struct CombineTests {
    private func server(_ directory: TemporaryDirectory, _ arguments: [String] = []) async throws -> TestServer {
        let server = try await TestServer(dataDirectory: directory.path, arguments: arguments)
        try await server.cohortctl("cohorts", "create", "RICH", "--rule", "customer.daily_spend > 100.0")
        try await server.cohortctl("cohorts", "create", "PRESS", "--static")
        try await server.cohortctl(
            "cohorts",
            "create",
            "TARGET",
            "--rule",
            "in_cohort(\"RICH\") && !in_cohort(\"PRESS\")"
        )
        for (id, spend) in [("a", "500"), ("b", "5"), ("c", "300"), ("d", "")] {
            let attribute = spend.isEmpty ? "user_type=PAID" : "daily_spend=\(spend)"
            try await server.cohortctl("customers", "put", id, attribute)
        }
        try await server.cohortctl("cohorts", "static", "PRESS", "--add", "b", "--add", "c")
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

    @Test("A combination is counted and listed in pages, with those that are UNKNOWN counted apart")
    func combine() async throws {
        let directory = try TemporaryDirectory()
        let server = try await server(directory)
        try await server.withClient { client in
            let membership = CohortClient(client).membership
            func combine(_ request: CombineCohortsRequest) async throws -> [CombineCohortsResponse] {
                var pages: [CombineCohortsResponse] = []
                for try await page in try await membership.combineCohorts(request) { pages.append(page) }
                return pages
            }
            let counts = try await combine(
                .with {
                    $0.expression = "PRESS or not RICH"
                    $0.countOnly = true
                }
            )
            #expect(counts.count == 1 && counts[0].count == 3 && counts[0].unknown == 1)
            #expect(counts[0].customerIds.isEmpty && counts[0].cursor.isEmpty && counts[0].sequence > 0)
            let pages = try await combine(
                .with {
                    $0.expression = "(PRESS)  Or NOT RICH"
                    $0.pageSize = 2
                    $0.minSequence = counts[0].sequence
                }
            )
            #expect(pages.map(\.customerIds) == [["b", "c"], ["d"]])
            #expect(pages.allSatisfy { $0.count == 3 && $0.unknown == 1 && $0.sequence == pages[0].sequence })
            let rest = try await combine(
                .with {
                    $0.expression = "PRESS or not RICH"
                    $0.cursor = pages[0].cursor
                }
            )
            #expect(rest.map(\.customerIds) == [["d"]] && rest[0].count == 3)
            let sure = try await combine(
                .with {
                    $0.expression = "not RICH"
                    $0.notMeansOut = true
                }
            )
            #expect(sure.map(\.customerIds) == [["b"]])
            let none = try await combine(.with { $0.expression = "RICH and not RICH" })
            #expect(none.count == 1 && none[0].customerIds.isEmpty && none[0].sequence > 0)

            let malformed = await failure { _ = try await combine(.with { $0.expression = "RICH and" }) }
            #expect(malformed?.code == .invalidArgument)
            #expect(malformed?.message.contains("expression: at 9: expected a cohort id") ?? false)
            let missing = await failure { _ = try await combine(.with { $0.expression = "RICH or PRES" }) }
            #expect(missing?.code == .notFound && missing?.message.contains("did you mean 'PRESS'?") ?? false)
            let page = await failure {
                _ = try await combine(
                    .with {
                        $0.expression = "RICH"
                        $0.pageSize = 10_001
                    }
                )
            }
            #expect(page?.code == .invalidArgument && page?.message.contains("page_size") ?? false)
        }
        let listed = try await server.cohortctl("combine", "PRESS or not RICH")
        #expect(listed.output == "b\nc\nd\n")
        let counted = try await server.cohortctl("combine", "PRESS or not RICH", "--count")
        #expect(counted.output.contains("CUSTOMERS") && counted.output.contains("3"))
        let json = try await server.cohortctl("--output", "json", "combine", "PRESS and RICH", "--count")
        #expect(json.output.contains("\"count\":1"), "\(json.output)")
        #expect(try await server.cohortctl("combine", "RICH and (", expecting: 1).errors.contains("at 11"))
        #expect(try await server.stop() == 0)
    }

    @Test("A rule over cohorts follows them, survives kill -9, and guards what it reads")
    func rulesOverCohorts() async throws {
        let directory = try TemporaryDirectory()
        var server = try await server(directory, ["--limits-cohort-depth", "1"])
        #expect(try await server.cohortctl("members", "TARGET").output == "a\n")
        let put = try await server.cohortctl("customers", "put", "a", "daily_spend=1")
        #expect(put.output.contains("left RICH, TARGET"), "\(put.output)")
        try await server.cohortctl("customers", "put", "a", "daily_spend=1000")
        let unknown = try await server.cohortctl("check", "d", "TARGET")
        #expect(unknown.output.contains("in_cohort(\"RICH\") is unknown"), "\(unknown.output)")
        try await server.cohortctl("cohorts", "static", "PRESS", "--remove", "c")
        #expect(try await server.cohortctl("members", "TARGET").output == "a\nc\n")
        try await server.kill()
        server = try await TestServer(dataDirectory: directory.path, arguments: ["--limits-cohort-depth", "1"])
        #expect(try await server.cohortctl("members", "TARGET").output == "a\nc\n")
        try await server.cohortctl("cohorts", "update-rule", "RICH", "customer.daily_spend > 500.0")
        #expect(try await server.cohortctl("members", "TARGET").output == "a\n")
        try await server.withClient { client in
            let cohorts = CohortClient(client).cohorts
            let inUse = await failure { _ = try await cohorts.archiveCohort(.with { $0.cohortID = "RICH" }) }
            #expect(inUse?.code == .failedPrecondition && inUse?.errorInfo?.reason == "COHORT_IN_USE")
            #expect(inUse?.message.contains("TARGET") ?? false)
            func update(_ id: String, _ rule: String) async -> RPCError? {
                await failure {
                    _ = try await cohorts.updateCohortRule(
                        .with {
                            $0.cohortID = id
                            $0.rule = rule
                        }
                    )
                }
            }
            let circle = await update("RICH", "in_cohort(\"TARGET\")")
            #expect(circle?.code == .failedPrecondition && circle?.errorInfo?.reason == "COHORT_CYCLE")
            #expect(circle?.message.contains("RICH -> TARGET -> RICH") ?? false)
            let deep = await failure {
                _ = try await cohorts.createCohort(
                    .with {
                        $0.cohortID = "TOP"
                        $0.rule = "in_cohort(\"TARGET\")"
                    }
                )
            }
            #expect(deep?.errorInfo?.reason == "COHORT_DEPTH")
            let misspelt = await update("TARGET", "in_cohort(\"RICHER\")")
            #expect(misspelt?.code == .invalidArgument && misspelt?.errorInfo?.reason == "RULE_REJECTED")
            #expect(misspelt?.message.contains("did you mean 'RICH'?") ?? false)
        }
        #expect(try await server.stop() == 0)
    }
}
