import CohortAPI
import Foundation
import RPC
import SwiftProtobuf
import Synchronization
import Testing

/// A rule is published again and again while customers are written, and the server is killed in half of the publishes.
///
/// A customer is in SIDE if number and spend say so, the other way round with every version; OTHER is everyone else. The
/// first 1,000 customers are never written again: what they are follows from the version alone.
@Suite("kill -9 during a publish")
struct PublishCrashTests {
    private static let isLong = ProcessInfo.processInfo.environment["COHORT_LONG"] == "1"
    private static let customers = isLong ? 1_000_000 : 12_000
    private static let publishes = isLong ? 20 : 6
    private static let still = 1_000

    private static func rule(_ version: UInt32) -> String {
        "((customer.number % 2 == 0) == (customer.daily_spend > 50.0)) == \(version % 2 == 0)"
    }

    private static func isIn(_ number: Int64, _ spend: Double, _ version: UInt32) -> Bool {
        ((number % 2 == 0) == (spend > 50)) == (version % 2 == 0)
    }

    private static func put(_ cohort: CohortClient, _ numbers: [Int], _ spend: (Int) -> Double) async throws {
        let rows = numbers.map { number in
            PutCustomerRequest.with {
                $0.customerID = "P\(number)"
                $0.attributes = [
                    "number": .with { $0.int64Value = Int64(number) },
                    "daily_spend": .with { $0.doubleValue = spend(number) },
                ]
            }
        }
        _ = try await cohort.customers.batchPutCustomers(.with { $0.rows = rows })
    }

    @Test("Readers see the old membership or the new one, never a mixture; a build that was killed left nothing")
    func killed() async throws {
        let directory = try TemporaryDirectory()
        var server = try await TestServer(dataDirectory: directory.file("data"))
        let start = ContinuousClock.now
        try await server.withClient { client in
            let cohort = CohortClient(client)
            _ = try await cohort.customers.declareAttribute(
                .with {
                    $0.name = "number"
                    $0.type = .int64
                }
            )
            for first in stride(from: 0, to: Self.customers, by: 1_000) {
                try await Self.put(cohort, Array(first..<(first + 1_000))) { Double($0 % 100) }
            }
            for (id, rule) in [("SIDE", Self.rule(1)), ("OTHER", "!in_cohort('SIDE')")] {
                _ = try await cohort.cohorts.createCohort(
                    .with {
                        $0.cohortID = id
                        $0.rule = rule
                    }
                )
            }
        }
        var random = SeededGenerator(seed: 6)
        // About what a publish takes here, so that kills meet all of its parts.
        var longest = max((ContinuousClock.now - start) / 4, .milliseconds(100))
        for round in 0..<Self.publishes {
            let kills = round % 2 == 1
            let version = try await version(server)
            let after = Duration.microseconds(
                Int64.random(in: 0...Int64(longest / .microseconds(1)), using: &random)
            )
            let begun = ContinuousClock.now
            let checks = try await publish(version + 1, on: server, killingAfter: kills ? after : nil)
            #expect(checks > 0)
            if kills {
                server = try await TestServer(dataDirectory: directory.file("data"))
                let now = try await self.version(server)
                #expect(now == version || now == version + 1)
            } else {
                longest = ContinuousClock.now - begun
                #expect(try await self.version(server) == version + 1)
            }
            try await check(server)
        }
        try await previewTellsThePublish(server)
        #expect(try await server.stop() == 0)
    }

    private func version(_ server: TestServer) async throws -> UInt32 {
        try await server.withClient { client in
            try await CohortClient(client).cohorts.getCohort(.with { $0.cohortID = "SIDE" }).cohort.version
        }
    }

    private final class Run: Sendable {
        let isDone = Atomic<Bool>(false)
        let checks = Atomic<Int>(0)
    }

    /// Publishes while writers and readers do what they can, until it is done or the server is killed.
    ///
    /// - Returns: answers that were checked.
    private func publish(_ version: UInt32, on server: TestServer, killingAfter kill: Duration?) async throws -> Int {
        let run = Run()
        try await server.withClient { client in
            let cohort = CohortClient(client)
            try await withThrowingTaskGroup(of: Void.self) { group in
                for writer in 0..<2 {
                    group.addTask { try? await Self.write(cohort, writer, run) }
                }
                for reader in 0..<2 {
                    group.addTask { try await Self.read(cohort, reader, run, isKilled: kill != nil) }
                }
                group.addTask {
                    // So that there are readers before, in between and after.
                    while run.checks.load(ordering: .relaxed) < 20 { try await Task.sleep(for: .milliseconds(1)) }
                    if let kill {
                        let publish = Task {
                            _ = try? await cohort.cohorts.updateCohortRule(
                                .with {
                                    $0.cohortID = "SIDE"
                                    $0.rule = Self.rule(version)
                                }
                            )
                        }
                        try await Task.sleep(for: kill)
                        try await server.kill()
                        run.isDone.store(true, ordering: .relaxed)
                        await publish.value
                    } else {
                        let answer = try await cohort.cohorts.updateCohortRule(
                            .with {
                                $0.cohortID = "SIDE"
                                $0.rule = Self.rule(version)
                            },
                            options: CallOptions(timeout: .seconds(300))
                        )
                        #expect(answer.cohort.version == version)
                        let count = run.checks.load(ordering: .relaxed)
                        while run.checks.load(ordering: .relaxed) < count + 20 {
                            try await Task.sleep(for: .milliseconds(1))
                        }
                        run.isDone.store(true, ordering: .relaxed)
                    }
                }
                try await group.waitForAll()
            }
        }
        return run.checks.load(ordering: .relaxed)
    }

    private static func write(_ cohort: CohortClient, _ writer: Int, _ run: Run) async throws {
        var random = SeededGenerator(seed: UInt64(writer))
        while !run.isDone.load(ordering: .relaxed) {
            let numbers = (0..<1_000).map { _ in
                Int.random(in: Self.still..<(Self.customers + 10_000), using: &random)
            }
            try await put(cohort, numbers) { _ in Double.random(in: 0...100, using: &random) }
        }
    }

    private static func read(
        _ cohort: CohortClient,
        _ reader: Int,
        _ run: Run,
        isKilled: Bool
    ) async throws {
        var last: UInt64 = 0
        while !run.isDone.load(ordering: .relaxed) {
            do throws(RPCError) {
                if reader == 0 {
                    let answer = try await cohort.membership.batchCheckMembership(
                        .with {
                            $0.customerIds = (0..<Self.still).map { "P\($0)" }
                            $0.cohortIds = ["SIDE"]
                        }
                    )
                    let version = answer.cohortVersions[0]
                    let wrong = answer.memberships.enumerated().filter { number, membership in
                        membership != (isIn(Int64(number), Double(number % 100), version) ? .in : .out)
                    }
                    #expect(wrong.isEmpty, "\(wrong.count) of version \(version) at \(answer.sequence)")
                    #expect(answer.sequence >= last)
                    last = answer.sequence
                } else {
                    let number = Int.random(in: 0..<Self.customers)
                    let answer = try await cohort.membership.batchCheckMembership(
                        .with {
                            $0.customerIds = ["P\(number)"]
                            $0.cohortIds = ["SIDE", "OTHER"]
                        }
                    )
                    #expect(Set(answer.memberships) == [.in, .out], "P\(number) at \(answer.sequence): \(answer)")
                }
                run.checks.add(1, ordering: .relaxed)
            } catch {
                guard isKilled, error.code == .unavailable else { throw error }
                return
            }
        }
    }

    /// Everyone is what attributes and serving version say, in both cohorts.
    private func check(_ server: TestServer) async throws {
        try await server.withClient { client in
            let cohort = CohortClient(client)
            var sets: [Set<String>] = []
            for id in ["SIDE", "OTHER"] {
                var members: Set<String> = []
                for try await page in try await cohort.membership.listMembers(
                    .with {
                        $0.cohortID = id
                        $0.pageSize = 10_000
                    }
                ) { members.formUnion(page.customerIds) }
                sets.append(members)
            }
            let side = sets[0]
            let status = try await cohort.operations.getStatus(.init())
            #expect(sets[0].isDisjoint(with: sets[1]))
            #expect(UInt64(sets[0].count + sets[1].count) == status.customers)
            #expect(status.builds.isEmpty)
            let version = status.cohorts.first { $0.cohortID == "SIDE" }?.version ?? 0
            try await forEachConcurrently((0..<2_000).map { _ in Int.random(in: 0..<Self.customers) }) { number in
                let customer = try await cohort.customers.getCustomer(.with { $0.customerID = "P\(number)" })
                let spend = customer.attributes["daily_spend"]?.value.doubleValue ?? -1
                guard side.contains("P\(number)") == Self.isIn(Int64(number), spend, version) else {
                    throw HarnessError("P\(number) with spend \(spend) is not what version \(version) says")
                }
            }
        }
    }

    private func previewTellsThePublish(_ server: TestServer) async throws {
        let version = try await version(server)
        try await server.withClient { client in
            let cohort = CohortClient(client)
            let long = CallOptions(timeout: .seconds(300))
            let draft = try await cohort.versions.draftVersion(
                .with {
                    $0.cohortID = "SIDE"
                    $0.rule = "customer.number % 3 == 0"
                }
            )
            #expect(draft.version.version == version + 1 && draft.version.state == .draft)
            let preview = try await cohort.versions.previewVersion(
                .with {
                    $0.cohortID = "SIDE"
                    $0.version = version + 1
                },
                options: long
            )
            let published = try await cohort.versions.publishVersion(
                .with {
                    $0.cohortID = "SIDE"
                    $0.version = version + 1
                },
                options: long
            )
            #expect(preview.diff.entering == published.entered && published.entered > 0)
            #expect(preview.diff.leaving == published.left && published.left > 0)
            #expect(preview.diff.membersAfter == published.cohort.members)
            let other = try #require(preview.dependents.first)
            #expect(other.entering == published.left && other.leaving == published.entered)
            #expect(preview.diff.enteringSample.count == 10)
        }
    }
}
