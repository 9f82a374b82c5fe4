import CohortAPI
import Foundation
import NIOPosix
import RPC
import SwiftProtobuf
import Synchronization
import Testing

@Suite("Watching memberships", .timeLimit(.minutes(10)))
struct WatchTests {
    private static let isLong = ProcessInfo.processInfo.environment["COHORT_LONG"] != nil

    // MARK: Everything at once

    /// What a watcher knows who takes in messages and nothing else.
    private struct Replica {
        var cursor = Data()
        var members: [String: [UInt32: Membership]] = [:]
        var ids: [UInt32: String] = [:]
        /// The last change that was taken in.
        var last: UInt64 = 0
        var snapshots = 0
        /// Calls that were broken off, and those of them in the middle of an entry.
        var breaks = 0
        var breaksInside = 0
        var failures = 0

        mutating func apply(_ page: WatchMembershipsResponse) throws {
            if page.snapshotBegins {
                (members, ids, last) = ([:], [:], page.sequence)
                snapshots += 1
            }
            for event in page.events {
                if page.phase == .changes {
                    guard event.change.sequence >= last, event.change.hasTime, event.change.cause != .unspecified else {
                        throw HarnessError("after \(last) comes \(event)")
                    }
                    last = event.change.sequence
                }
                if !event.customerID.isEmpty { ids[event.customerNumber] = event.customerID }
                guard !event.cohortID.isEmpty else {
                    for cohort in members.keys { members[cohort]?[event.customerNumber] = nil }
                    continue
                }
                let old = members[event.cohortID]?[event.customerNumber] ?? .out
                guard old != event.membership else { throw HarnessError("\(event) changes nothing") }
                members[event.cohortID, default: [:]][event.customerNumber] =
                    event.membership == .out ? nil : event.membership
            }
            if !page.cursor.isEmpty { cursor = page.cursor }
        }

        func ids(_ cohort: String, _ state: Membership) -> [String] {
            (members[cohort] ?? [:]).filter { $0.value == state }.keys.sorted().map { ids[$0] ?? "?" }
        }
    }

    private static func connect(_ endpoint: Endpoint, _ authority: String) throws -> Client {
        try Client(
            ClientConfiguration(endpoints: [endpoint], tls: ClientTLS(trustRootsPath: authority)),
            eventLoopGroup: MultiThreadedEventLoopGroup.singleton
        )
    }

    /// Watches with random pages, breaks off at random, and goes on until `end` is reached.
    private static func watch(
        _ endpoint: Endpoint,
        _ authority: String,
        _ cohorts: [String],
        seed: UInt64,
        until end: Shared<UInt64?>
    ) async throws -> Replica {
        var generator = SeededGenerator(seed: seed)
        var replica = Replica()
        var client = try connect(endpoint, authority)
        while true {
            let request = WatchMembershipsRequest.with {
                $0.cohortIds = cohorts
                $0.cursor = replica.cursor
                $0.snapshot = true
                $0.pageSize = UInt32.random(in: 1...400, using: &generator)
                $0.heartbeatMs = 100
            }
            var pages = Int.random(in: 1...12, using: &generator)
            var (isInside, isDone) = (false, false)
            do {
                for try await page in try await CohortClient(client).history.watchMemberships(request) {
                    try replica.apply(page)
                    isInside = page.phase == .changes && page.sequence < page.events.last?.change.sequence ?? 0
                    let end = end.value.withLock { $0 }
                    if let end, page.phase == .changes, page.sequence >= end {
                        isDone = true
                        break
                    }
                    // A snapshot that is broken off begins anew: not every time, or it never ends.
                    if page.phase == .snapshot {
                        if Int.random(in: 0..<200, using: &generator) == 0 { break }
                        continue
                    }
                    pages -= 1
                    if pages == 0 { break }
                }
                // A client lets its calls end before it does: not before this one has been given up.
                if isDone { break }
                replica.breaks += 1
                if isInside { replica.breaksInside += 1 }
            } catch let error as RPCError where error.code == .unavailable || error.code == .resourceExhausted {
                replica.failures += 1
                try await Task.sleep(for: .milliseconds(20))
            }
            // The call alone, or the connection with it.
            guard Bool.random(using: &generator) else { continue }
            await client.shutdown()
            client = try connect(endpoint, authority)
        }
        await client.shutdown()
        return replica
    }

    private static func put(_ numbers: Range<Int>, _ cohort: CohortClient) async throws {
        let answer = try await cohort.customers.batchPutCustomers(
            .with {
                $0.rows = numbers.map { i in
                    .with {
                        $0.customerID = "c\(i)"
                        $0.attributes["daily_spend"] = .with { $0.doubleValue = Double(i % 100) }
                        if i % 3 != 0 { $0.attributes["user_type"] = .with { $0.stringValue = "PAID" } }
                    }
                }
            }
        )
        guard answer.results.allSatisfy({ if case .put = $0.kind { true } else { false } }) else {
            throw HarnessError("\(answer)")
        }
    }

    private static func write(_ cohort: CohortClient, _ customers: Int, _ generator: inout SeededGenerator) async throws
    {
        let id = "c\(Int.random(in: 0..<customers, using: &generator))"
        switch Int.random(in: 0..<40, using: &generator) {
        case 0:
            _ = try await cohort.cohorts.updateCohortRule(
                .with {
                    $0.cohortID = "BIG"
                    $0.rule = "customer.daily_spend >= \(Int.random(in: 0...99, using: &generator)).0"
                }
            )
        case 1...4: _ = try await cohort.customers.eraseCustomer(.with { $0.customerID = id })
        case 5...8:
            let isAdded = Bool.random(using: &generator)
            _ = try await cohort.cohorts.modifyStaticMembers(
                .with {
                    $0.cohortID = "LIST"
                    $0.add = isAdded ? [id] : []
                    $0.remove = isAdded ? [] : [id]
                }
            )
        case 9...12:
            let kind = Int.random(in: 0..<3, using: &generator)
            _ = try await cohort.cohorts.setOverrides(
                .with {
                    $0.cohortID = kind == 1 ? "REST" : "BIG"
                    $0.include = kind == 0 ? [id] : []
                    $0.exclude = kind == 1 ? [id] : []
                    $0.clear = kind == 2 ? [id] : []
                }
            )
        case 13:
            let number = Int.random(in: 0..<customers, using: &generator)
            try await put(number..<min(number + 50, customers), cohort)
        default:
            let spend = Double(Int.random(in: 0..<100, using: &generator))
            let drops = Int.random(in: 0..<6, using: &generator) == 0
            _ = try await cohort.customers.putCustomer(
                .with {
                    $0.customerID = id
                    $0.attributes["daily_spend"] = .with { $0.doubleValue = spend }
                    if drops { $0.attributes["user_type"] = .with { $0.nullValue = .nullValue } }
                }
            )
        }
    }

    @Test("Watchers that break off anywhere know every membership from the stream alone, across restarts and a kill")
    func acceptance() async throws {
        let seed: UInt64 = 20_250_615
        let customers = Self.isLong ? 20_000 : 4_000
        let steps = Self.isLong ? 3_000 : 400
        let directory = try TemporaryDirectory()
        var server = try await TestServer(dataDirectory: directory.path)
        let (endpoint, authority) = (server.endpoint, server.tlsFile("ca.pem"))
        try await server.withClient { client in
            let cohort = CohortClient(client)
            for start in stride(from: 0, to: customers, by: 1_000) {
                try await Self.put(start..<start + 1_000, cohort)
            }
            let rules = [
                "BIG": "customer.daily_spend >= 50.0", "PAID": "customer.user_type == \"PAID\"",
                "GONE": "customer.daily_spend < 60.0",
            ]
            for (id, rule) in rules {
                _ = try await cohort.cohorts.createCohort(
                    .with {
                        $0.cohortID = id
                        $0.rule = rule
                    }
                )
            }
            _ = try await cohort.cohorts.createCohort(
                .with {
                    $0.cohortID = "REST"
                    $0.rule = "!in_cohort(\"BIG\")"
                }
            )
            _ = try await cohort.cohorts.createCohort(
                .with {
                    $0.cohortID = "LIST"
                    $0.static = true
                }
            )
        }
        let filters = [[], ["BIG"], ["REST", "LIST"], ["PAID", "GONE"]]
        let end = Shared<UInt64?>(nil)
        let watchers = filters.enumerated().map { i, cohorts in
            Task {
                try await Self.watch(endpoint, authority, cohorts, seed: seed &+ UInt64(i) &* 999, until: end)
            }
        }
        var generator = SeededGenerator(seed: seed)
        for part in 0..<3 {
            try await server.withClient { client in
                let cohort = CohortClient(client)
                for step in 0..<steps / 3 {
                    // Many leave at once, and the dependents with them.
                    if step == steps / 6 {
                        _ = try await cohort.cohorts.updateCohortRule(
                            .with {
                                $0.cohortID = "BIG"
                                $0.rule = "customer.daily_spend < \(30 + part * 20).0"
                            }
                        )
                    }
                    if part == 1, step == steps / 5 {
                        _ = try await cohort.cohorts.archiveCohort(.with { $0.cohortID = "GONE" })
                    }
                    do {
                        try await Self.write(cohort, customers, &generator)
                    } catch let error as RPCError where error.code == .notFound || error.code == .invalidArgument {
                        // Of a customer that has been erased.
                    }
                }
            }
            guard part < 2 else { break }
            if part == 0 { #expect(try await server.stop() == 0) } else { try await server.kill() }
            server = try await TestServer(dataDirectory: directory.path, listen: endpoint)
        }
        let latest = try await server.withClient { client in
            try await CohortClient(client).operations.getStatus(.init()).sequence
        }
        end.value.withLock { $0 = latest }
        var replicas: [Replica] = []
        for watcher in watchers { replicas.append(try await watcher.value) }
        try await server.withClient { client in
            let cohort = CohortClient(client)
            for (cohorts, replica) in zip(filters, replicas) {
                for id in cohorts.isEmpty ? ["BIG", "REST", "LIST", "PAID", "GONE"] : cohorts {
                    for state in [Membership.in, .unknown] {
                        var expected: [String] = []
                        if id != "GONE" {
                            let request = ListMembersRequest.with {
                                $0.cohortID = id
                                $0.membership = state
                                $0.pageSize = 10_000
                            }
                            for try await page in try await cohort.membership.listMembers(request) {
                                #expect(page.sequence == latest)
                                expected += page.customerIds
                            }
                            #expect(!expected.isEmpty || id != "PAID" && state == .unknown || id == "LIST")
                        }
                        let found = replica.ids(id, state)
                        #expect(found == expected, "\(cohorts): \(id) \(state): \(found.count), \(expected.count)")
                    }
                }
            }
        }
        // That the test has tested something: breaks, some in the middle of a publish, and none that began anew.
        #expect(replicas.allSatisfy { $0.breaks >= 5 && $0.failures > 0 }, "\(replicas.map(\.breaks))")
        #expect(replicas.reduce(0) { $0 + $1.breaksInside } >= 3, "\(replicas.map(\.breaksInside))")
        #expect(replicas.allSatisfy { $0.cursor.count <= 34 })
        #expect(try await server.stop() == 0)
    }

    /// A mutex that tasks share.
    private final class Shared<Value: Sendable>: Sendable {
        let value: Mutex<Value>
        init(_ value: Value) { self.value = Mutex(value) }
    }

    // MARK: One thing at a time

    @Test("What cannot be watched is refused by the name of the field, and as many run as may")
    func refusals() async throws {
        let directory = try TemporaryDirectory()
        let server = try await TestServer(
            dataDirectory: directory.path,
            arguments: ["--limits-watches", "2", "--limits-watch-snapshots", "1"]
        )
        try await server.cohortctl("cohorts", "create", "BIG", "--rule", "customer.daily_spend > 5.0")
        try await server.withClient { client in
            let cohort = CohortClient(client)
            func refusal(_ change: (inout WatchMembershipsRequest) -> Void) async throws -> RPCError {
                do {
                    for try await _ in try await cohort.history.watchMemberships(.with(change)) { break }
                } catch { return error }
                throw HarnessError("accepted")
            }
            let cases: [(String, (inout WatchMembershipsRequest) -> Void)] = [
                ("page_size", { $0.pageSize = 10_001 }), ("heartbeat_ms", { $0.heartbeatMs = 99 }),
                ("heartbeat_ms", { $0.heartbeatMs = 60_001 }), ("cursor", { $0.cursor = Data([1, 2, 3]) }),
                ("cohort_ids[0]", { $0.cohortIds = ["big"] }), ("cohort_ids[1]", { $0.cohortIds = ["BIG", "BIG"] }),
                ("cohort_ids", { $0.cohortIds = (0...1_000).map { "C\($0)" } }),
            ]
            for (field, change) in cases {
                let error = try await refusal(change)
                #expect(error.code == .invalidArgument && error.badRequest?.fieldViolations.map(\.field) == [field])
            }
            let unknown = try await refusal { $0.cohortIds = ["BIC"] }
            #expect(unknown.code == .notFound && unknown.message.contains("BIG"))
            var running: [ResponseStream<WatchMembershipsResponse>.AsyncIterator] = []
            for _ in 0..<2 {
                var iterator = try await cohort.history.watchMemberships(.init()).makeAsyncIterator()
                #expect(try await iterator.next()?.phase == .changes)
                running.append(iterator)
            }
            let full = try await refusal { _ in }
            #expect(full.code == .resourceExhausted && full.quotaFailure?.violations.first?.subject == "watches")
            #expect(full.retryDelay != nil)
            let status = try await cohort.operations.getStatus(.init())
            #expect(status.watches.running == 2 && status.watches.slowestBehind == 0)
            running = []
            // The server learns of it by the next frame.
            let deadline = ContinuousClock.now + .seconds(30)
            while try await cohort.operations.getStatus(.init()).watches.running > 0, ContinuousClock.now < deadline {
                try await Task.sleep(for: .milliseconds(5))
            }
            for try await page in try await cohort.history.watchMemberships(.init()) {
                #expect(!page.cursor.isEmpty && page.events.isEmpty)
                break
            }
        }
        #expect(try await server.cohortctl("status").output.contains("watches"))
        #expect(try await server.stop() == 0)
    }

    @Test("A server that stops ends its watches at once with UNAVAILABLE, however long it may drain")
    func drain() async throws {
        let directory = try TemporaryDirectory()
        let server = try await TestServer(dataDirectory: directory.path, arguments: ["--drain-seconds", "3600"])
        try await server.withClient { client in
            let stream = try await CohortClient(client).history.watchMemberships(.with { $0.heartbeatMs = 60_000 })
            var iterator = stream.makeAsyncIterator()
            #expect(try await iterator.next() != nil)
            server.program.signal(SIGTERM)
            let error = await #expect(throws: RPCError.self) { while try await iterator.next() != nil {} }
            #expect(error?.code == .unavailable && error?.errorInfo?.reason == "SHUTTING_DOWN")
        }
        // Ended by force if it takes the time it may.
        #expect(try await server.program.wait() == 0)
    }

    @Test("cohortctl watch prints what changes, keeps its place, and goes on after the server was killed")
    func commandLine() async throws {
        let directory = try TemporaryDirectory()
        let files = try TemporaryDirectory()
        var server = try await TestServer(dataDirectory: directory.path)
        let endpoint = server.endpoint
        let authority = server.tlsFile("ca.pem")
        try await server.cohortctl("cohorts", "create", "BIG", "--rule", "customer.daily_spend > 5.0")
        try await server.cohortctl("cohorts", "create", "OTHER", "--static")
        try await server.cohortctl("customers", "put", "a", "daily_spend=6")

        func start(_ arguments: String...) throws -> RunningProgram {
            try RunningProgram(
                Programs.cohortctl,
                ["--endpoint", "\(endpoint)", "--ca", authority] + arguments
            )
        }
        func wait(_ program: RunningProgram, for text: String) async throws {
            let deadline = ContinuousClock.now + .seconds(60)
            while !program.output.contains(text) {
                guard ContinuousClock.now < deadline, program.isRunning else {
                    throw HarnessError("no \(text) in: \(program.output)\(program.errors)")
                }
                try await Task.sleep(for: .milliseconds(5))
            }
        }
        let cursor = files.file("cursor")
        let json = try start("--output", "json", "watch", "BIG", "--snapshot", "--cursor-file", cursor)
        let table = try start("watch", "--snapshot")
        try await wait(json, for: "snapshot_ends")
        try await wait(table, for: "changes after this")
        try await server.cohortctl("customers", "put", "b", "daily_spend=7")
        for program in [json, table] { try await wait(program, for: program === json ? "\"b\"" : "BIG  b") }
        try await server.kill()
        server = try await TestServer(dataDirectory: directory.path, listen: endpoint)
        try await server.cohortctl("customers", "put", "c", "daily_spend=8")
        for program in [json, table] { try await wait(program, for: program === json ? "\"c\"" : "BIG  c") }
        #expect(json.errors.contains("going on in") && json.errors.contains("UNAVAILABLE"))
        let lines = json.output.split(separator: "\n")
        #expect(
            lines.count == 5 && lines[0].hasPrefix("{\"snapshot_begins\":true")
                && lines[2].hasPrefix("{\"snapshot_ends\"")
        )
        let events = try [1, 3, 4].map { try MembershipEvent(jsonString: String(lines[$0])) }
        #expect(events.map(\.customerID) == ["a", "b", "c"] && events.allSatisfy { $0.membership == .in })
        #expect(!events[0].change.hasTime && events[1].change.cause == .attribute)
        // No terminal, no colours.
        #expect(!table.output.contains("\u{1B}") && table.output.contains("IN       BIG  c  an attribute, version 1"))
        // Written behind what was printed.
        let deadline = ContinuousClock.now + .seconds(30)
        while try String(contentsOfFile: cursor, encoding: .utf8).contains("\"sequence\":7") == false {
            guard ContinuousClock.now < deadline else { break }
            try await Task.sleep(for: .milliseconds(5))
        }
        for program in [json, table] {
            program.signal(SIGTERM)
            _ = try await program.wait()
        }
        try await server.cohortctl("customers", "put", "d", "daily_spend=9")
        let later = try start("--output", "json", "watch", "BIG", "--cursor-file", cursor)
        try await wait(later, for: "\"d\"")
        #expect(later.output.split(separator: "\n").count == 1)
        later.signal(SIGTERM)
        _ = try await later.wait()
        // Of other cohorts, and of another store.
        #expect(try await server.cohortctl("watch", "--cursor-file", cursor, expecting: 2).errors.contains("BIG"))
        #expect(try await server.cohortctl("watch", "NONE", expecting: 1).errors.contains("NONE"))
        #expect(try await server.stop() == 0)
        let elsewhere = try TemporaryDirectory()
        let other = try await TestServer(dataDirectory: elsewhere.path)
        try await other.cohortctl("cohorts", "create", "BIG", "--rule", "customer.daily_spend > 5.0")
        let refused = try await other.cohortctl("watch", "BIG", "--cursor-file", cursor, expecting: 1).errors
        #expect(refused.contains("another store") && refused.contains("snapshot"))
        #expect(try await other.stop() == 0)
    }
}
