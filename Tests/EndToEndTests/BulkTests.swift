import CohortAPI
import Foundation
import RPC
import SwiftProtobuf
import Testing

@Suite("Bulk writes over TLS")
struct BulkTests {
    /// Ids in one upload; the whole size is for the long run.
    private static let size = ProcessInfo.processInfo.environment["COHORT_LONG"] == "1" ? 1_000_000 : 50_000

    private static func row(_ id: String, _ spend: Double) -> PutCustomerRequest {
        .with {
            $0.customerID = id
            $0.attributes = ["daily_spend": .with { $0.doubleValue = spend }]
        }
    }

    private func fill(_ cohort: CohortClient, _ count: Int) async throws {
        let starts = Array(stride(from: 0, to: count, by: 1_000))
        try await forEachConcurrently(starts, width: 4) { start in
            let answer = try await cohort.customers.batchPutCustomers(
                .with {
                    $0.rows = (start..<min(start + 1_000, count)).map { number in
                        .with { $0.customerID = "customer-\(number)" }
                    }
                }
            )
            #expect(answer.counts.created == UInt64(min(1_000, count - start)))
        }
    }

    private func list(_ cohort: CohortClient, _ id: String) async throws {
        _ = try await cohort.cohorts.createCohort(
            .with {
                $0.cohortID = id
                $0.static = true
            }
        )
    }

    private func upload(
        _ cohort: CohortClient,
        _ id: String,
        _ mode: UploadMode,
        _ ids: [String]
    ) async throws -> UploadAssignmentsResponse {
        let call = try await cohort.cohorts.uploadAssignments()
        try await call.write(
            .with {
                $0.cohortID = id
                $0.mode = mode
            }
        )
        for start in stride(from: 0, to: ids.count, by: 10_000) {
            try await call.write(.with { $0.customerIds = Array(ids[start..<min(start + 10_000, ids.count)]) })
        }
        try await call.write(.with { $0.complete = true })
        return try await call.finish()
    }

    private func members(_ cohort: CohortClient, _ id: String) async throws -> (ids: Set<String>, sequence: UInt64) {
        var (ids, sequence): (Set<String>, UInt64) = ([], 0)
        let pages = try await cohort.membership.listMembers(
            .with {
                $0.cohortID = id
                $0.pageSize = 10_000
            }
        )
        for try await page in pages {
            ids.formUnion(page.customerIds)
            sequence = page.sequence
        }
        return (ids, sequence)
    }

    @Test("A batch: each row has its own result in its own place, and one bad row does not stop the rest")
    func batch() async throws {
        let directory = try TemporaryDirectory()
        let server = try await TestServer(dataDirectory: directory.path, arguments: ["--limits-batch-rows", "8"])
        try await server.withClient { client in
            let cohort = CohortClient(client)
            _ = try await cohort.cohorts.createCohort(
                .with {
                    $0.cohortID = "BIG"
                    $0.rule = "customer.daily_spend > 100.0"
                }
            )
            let start = try await cohort.operations.getStatus(.init()).sequence
            let answer = try await cohort.customers.batchPutCustomers(
                .with {
                    $0.rows = [
                        Self.row("a", 200), Self.row("b", .nan), Self.row("a", 200), Self.row("", 1),
                        .with {
                            $0.customerID = "a"
                            $0.attributes = ["daily_spend": .init()]
                        },
                        Self.row("a", 5),
                        .with {
                            $0.customerID = "a"
                            $0.attributes = ["daily_spend": .with { $0.doubleValue = 7 }]
                            $0.eventTime = .init(seconds: 1_000, nanos: 0)
                        },
                    ]
                }
            )
            #expect(answer.results.count == 7 && answer.sequence == start + 2)
            let puts = answer.results.map(\.put)
            #expect(puts[0].outcome == .created && puts[0].entered == ["BIG"] && puts[0].sequence == start + 1)
            #expect(puts[2].outcome == .unchanged && puts[2].sequence == start + 1)
            #expect(puts[5].outcome == .updated && puts[5].left == ["BIG"] && puts[5].sequence == start + 2)
            #expect(puts[6].outcome == .stale)
            let refused = [1, 3, 4].map { answer.results[$0].rejection }
            #expect(refused.map(\.row) == [1, 3, 4])
            #expect(refused.map(\.field) == ["attributes.daily_spend", "customer_id", "attributes.daily_spend"])
            #expect(refused.map(\.customerID) == ["b", "", "a"] && refused[0].description_p.contains("NaN"))
            #expect(answer.counts.created == 1 && answer.counts.updated == 1 && answer.counts.unchanged == 1)
            #expect(answer.counts.stale == 1 && answer.counts.rejected == 3)
            #expect(try await cohort.operations.getStatus(.init()).sequence == start + 2)

            let empty = try await cohort.customers.batchPutCustomers(.init())
            #expect(empty.results.isEmpty && empty.sequence == start + 2)
            let many = await #expect(throws: RPCError.self) {
                _ = try await cohort.customers.batchPutCustomers(
                    .with { $0.rows = (0..<9).map { Self.row("x\($0)", 1) } }
                )
            }
            #expect(many?.code == .invalidArgument && many?.badRequest?.fieldViolations.first?.field == "rows")
            #expect(many?.message.contains("at most 8") == true)
            #expect(try await cohort.operations.getStatus(.init()).sequence == start + 2)
        }
        #expect(try await server.stop() == 0)
    }

    @Test("Lists and overrides of many ids change at one sequence, with an exact receipt, and outlive a kill")
    func uploads() async throws {
        let size = Self.size
        let directory = try TemporaryDirectory()
        var server = try await TestServer(dataDirectory: directory.path)
        let all = (0..<size).map { "customer-\($0)" }
        let half = Array(all[..<(size / 2)])
        var last: UInt64 = 0
        try await server.withClient { client in
            let cohort = CohortClient(client)
            try await fill(cohort, size)
            try await list(cohort, "LIST")
            _ = try await cohort.cohorts.createCohort(
                .with {
                    $0.cohortID = "NOBODY"
                    $0.rule = "false"
                }
            )
            let start = try await cohort.operations.getStatus(.init()).sequence

            let added = try await upload(cohort, "LIST", .listAdd, ["ghost"] + all + ["customer-0", "\u{1}"])
            #expect(added.sequence == start + 1 && added.received == UInt64(size + 3))
            #expect(added.added == UInt64(size) && added.alreadyPresent == 1 && added.entered == UInt64(size))
            #expect(added.unknown == 1 && added.invalid == 1 && added.erased == 0)
            #expect(added.unknownIds.map(\.position) == [0] && added.unknownIds.first?.customerID == "ghost")
            #expect(added.invalidIds.map(\.position) == [UInt64(size + 2)])
            let listed = try await members(cohort, "LIST")
            #expect(listed.ids.count == size && listed.sequence == added.sequence)

            let replaced = try await upload(cohort, "LIST", .listReplace, half)
            #expect(replaced.sequence == start + 2 && replaced.removed == UInt64(size - half.count))
            #expect(replaced.added == 0 && replaced.alreadyPresent == UInt64(half.count))
            #expect(try await members(cohort, "LIST").ids == Set(half))

            let included = try await upload(cohort, "NOBODY", .include, all)
            #expect(included.added == UInt64(size) && included.cohort.included == UInt64(size))
            let excluded = try await upload(cohort, "NOBODY", .exclude, half)
            #expect(excluded.added == UInt64(half.count) && excluded.left == UInt64(half.count))
            #expect(excluded.cohort.included == UInt64(size - half.count))
            let count = try await cohort.membership.countMembers(.with { $0.cohortID = "NOBODY" })
            #expect(count.members == UInt64(size - half.count) && count.sequence == excluded.sequence)
            last = excluded.sequence
        }
        try await server.kill()
        server = try await TestServer(dataDirectory: directory.path)
        try await server.withClient { client in
            let cohort = CohortClient(client)
            #expect(try await cohort.operations.getStatus(.init()).sequence == last)
            #expect(try await members(cohort, "LIST").ids == Set(half))
            #expect(try await members(cohort, "NOBODY").ids == Set(all[(size / 2)...]))
            let cleared = try await upload(cohort, "NOBODY", .clear, all)
            #expect(cleared.removed == UInt64(size) && cleared.notPresent == 0 && cleared.cohort.members == 0)
        }
        #expect(try await server.stop() == 0)
    }

    @Test("An upload that breaks off, ends early or does not fit changes nothing")
    func broken() async throws {
        let directory = try TemporaryDirectory()
        let server = try await TestServer(
            dataDirectory: directory.path,
            arguments: [
                "--limits-uploads", "2", "--limits-upload-ids", "5", "--limits-change-ids", "3",
                "--limits-upload-seconds", "5",
            ]
        )
        try await server.withClient { client in
            let cohort = CohortClient(client)
            try await fill(cohort, 10)
            try await list(cohort, "LIST")
            _ = try await upload(cohort, "LIST", .listAdd, ["customer-1"])
            let start = try await cohort.operations.getStatus(.init()).sequence

            func refusal(_ messages: [UploadAssignmentsRequest]) async throws -> RPCError? {
                let call = try await cohort.cohorts.uploadAssignments()
                for message in messages {
                    // The server may have refused already.
                    do { try await call.write(message) } catch { break }
                }
                return await #expect(throws: RPCError.self) { _ = try await call.finish() }
            }
            func part(_ ids: [String], _ mode: UploadMode = .listReplace, _ id: String = "LIST")
                -> UploadAssignmentsRequest
            {
                .with {
                    $0.cohortID = id
                    $0.mode = mode
                    $0.customerIds = ids
                }
            }
            let two = ["customer-2", "customer-3"]
            let cases: [([UploadAssignmentsRequest], field: String, says: String)] = [
                // The client closes its side without the last message, as one does whose file broke off.
                ([part(two)], "complete", "nothing was changed"),
                ([], "complete", "nothing was changed"),
                ([part(two + two)], "customer_ids", "at most 3"),
                ([part(two), part(two), part(two)], "customer_ids", "more than 5"),
                ([part(two, .unspecified)], "mode", "LIST_ADD"),
                ([part(two), part(two, .listAdd)], "mode", "first message"),
                ([part(two), part(two, .listReplace, "OTHER")], "cohort_id", "first message"),
                ([part(two, .listAdd, "no id")], "cohort_id", ""),
            ]
            for (messages, field, says) in cases {
                let error = try await refusal(messages)
                #expect(error?.code == .invalidArgument, "\(field): \(String(describing: error))")
                #expect(error?.badRequest?.fieldViolations.first?.field == field, "\(String(describing: error))")
                #expect(error?.message.contains(says) == true || says.isEmpty, "\(String(describing: error))")
            }
            #expect(try await refusal([part(two, .listAdd, "LISTS")])?.code == .notFound)

            // Two that are under way leave no place for a third, until they are given up.
            let running = [try await cohort.cohorts.uploadAssignments(), try await cohort.cohorts.uploadAssignments()]
            for call in running { try await call.write(part(two)) }
            var full: RPCError?
            while full == nil {
                do {
                    let call = try await cohort.cohorts.uploadAssignments()
                    try await call.write(part(two))
                    // Without a last message a third that found a place is refused for that.
                    _ = try await call.finish()
                } catch let error as RPCError where error.code == .resourceExhausted { full = error } catch {}
            }
            #expect(full?.quotaFailure?.violations.first?.subject == "uploads" && full?.retryDelay != nil)
            for call in running { call.cancel() }
            var last: UploadAssignmentsResponse?
            while last == nil {
                do {
                    last = try await upload(cohort, "LIST", .listAdd, ["customer-1"])
                } catch let error as RPCError {
                    guard error.code == .resourceExhausted else { throw error }
                }
            }
            #expect(last?.sequence == start && last?.alreadyPresent == 1)
            // An upload that goes idle ends with its deadline.
            let idle = try await cohort.cohorts.uploadAssignments(options: CallOptions(timeout: .milliseconds(100)))
            let message = part(two)
            let late = await #expect(throws: RPCError.self) {
                try await idle.write(message)
                _ = try await idle.response()
            }
            #expect(late?.code == .deadlineExceeded)

            #expect(try await cohort.operations.getStatus(.init()).sequence == start)
            #expect(try await members(cohort, "LIST").ids == ["customer-1"])
        }
        // A client that is gone in the middle.
        let file = try directory.write("ids", (0..<4).map { "customer-\($0)\n" }.joined() + "\"broken\n")
        let gone = try await server.cohortctl("cohorts", "static", "LIST", "--replace-file", file, expecting: 1)
        #expect(gone.errors.contains("line 5") && gone.errors.contains("nothing was changed"))
        #expect(try await server.cohortctl("members", "LIST").output.contains("customer-1"))
        #expect(try await server.stop() == 0)
    }

    @Test("cohortctl uploads files of ids, shows the receipt and writes what was refused")
    func commandLine() async throws {
        let directory = try TemporaryDirectory()
        let server = try await TestServer(dataDirectory: directory.path)
        try await server.withClient { client in
            let cohort = CohortClient(client)
            try await fill(cohort, 25_000)
            try await list(cohort, "LIST")
        }
        let ids = (0..<25_000).map { "customer-\($0)\n" }
        let plain = try directory.write("ids.txt", ids.joined() + "\nghost\n")
        let rejects = directory.file("rejects.csv")
        let added = try await server.cohortctl("cohorts", "static", "LIST", "--add-file", plain, "--rejects", rejects)
        #expect(added.output.contains("added            25000") && added.output.contains("unknown          1"))
        #expect(added.output.contains("line 25002: no such customer: ghost"))
        #expect(added.errors.isEmpty)
        #expect(
            try String(contentsOfFile: rejects, encoding: .utf8)
                == "line,reason,row\n25002,\"no such customer\",\"ghost\"\n"
        )
        let csv = try directory.write("ids.csv", "name,id\n\"A, B\",customer-7\nC,customer-8\n")
        let removed = try await server.cohortctl(
            "--output",
            "json",
            "cohorts",
            "static",
            "LIST",
            "--remove-file",
            csv,
            "--column",
            "id"
        )
        let receipt = try UploadAssignmentsResponse(jsonString: removed.output)
        #expect(receipt.removed == 2 && receipt.received == 2 && receipt.cohort.members == 24_998)
        let wrong = try await server.cohortctl(
            "cohorts",
            "static",
            "LIST",
            "--remove-file",
            csv,
            "--column",
            "ident",
            expecting: 1
        )
        #expect(wrong.errors.contains("no column 'ident'"))
        let empty = try directory.write("empty", "")
        let refused = try await server.cohortctl("cohorts", "static", "LIST", "--replace-file", empty, expecting: 1)
        #expect(refused.errors.contains("--allow-empty"))
        let excluded = try await server.cohortctl("cohorts", "override", "LIST", "--exclude-file", plain)
        #expect(excluded.output.contains("left             24998"))
        let cleared = try await server.cohortctl("cohorts", "override", "LIST", "--clear-file", csv, "--column", "id")
        #expect(cleared.output.contains("removed          2"))
        let emptied = try await server.cohortctl(
            "cohorts",
            "static",
            "LIST",
            "--replace-file",
            empty,
            "--allow-empty"
        )
        #expect(emptied.output.contains("removed          24998"))
        for arguments in [
            ["--add-file", plain, "--add", "x"], ["--add-file", plain, "--remove-file", plain], ["--rejects", rejects],
            [],
        ] {
            try await server.cohortctl(["cohorts", "static", "LIST"] + arguments, expecting: 2)
        }
        #expect(try await server.stop() == 0)
    }
}
