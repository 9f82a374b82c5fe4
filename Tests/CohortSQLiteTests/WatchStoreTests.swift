import Foundation
import Synchronization
import Testing

@testable import CohortCore
@testable import CohortSQLite

/// The change stream over the real store: bulk changes from disk, retention, restarts, everything at once.
@Suite("Change stream over SQLite", .timeLimit(.minutes(5)))
struct WatchStoreTests {
    private let clock = ManualClock()
    private let directory = TemporaryDirectory()

    private func engine(_ change: (inout EngineConfiguration) -> Void = { _ in }) async throws -> Engine {
        var configuration = EngineConfiguration.byHand
        configuration.driftPeriod = nil
        configuration.bulkThreshold = 4
        configuration.logRetentionAge = 100
        configuration.watchTailEntries = 0
        change(&configuration)
        return try await started(
            SQLiteStore(directory: directory.path),
            configuration: configuration,
            now: { [clock] in clock.now }
        )
    }

    private func events(
        _ engine: Engine,
        from cursor: [UInt8],
        pageSize: Int = 1_000
    ) async throws -> (events: [WatchEvent], cursors: [[UInt8]]) {
        let watch = try await engine.watch(cursor: cursor, pageSize: pageSize)
        var (events, cursors): ([WatchEvent], [[UInt8]]) = ([], [])
        while true {
            let page = try await watch.next()
            events += page.events
            cursors.append(page.cursor)
            if page.sequence >= engine.status.sequence { return (events, cursors) }
        }
    }

    private func publish(_ engine: Engine, _ rule: String) async throws {
        _ = try await engine.updateRule(cohort: "BIG", rule: rule, context: tester)
    }

    @Test("Bulk changes that all records have taken in are read back from the store, at every place, after a restart")
    func foldedBulks() async throws {
        var engine = try await engine { $0.maximumBulkChanges = 0 }
        try await engine.rule("BIG", "customer.daily_spend >= 10.0")
        try await engine.rule("REST", "!in_cohort(\"BIG\")")
        for i in 0..<20 { try await engine.set("c\(i)", spend: Double(i)) }
        let cursor = try await engine.watch().next().cursor
        try await publish(engine, "customer.daily_spend < 15.0")
        try await publish(engine, "customer.daily_spend < 1.0")
        let whole = try await events(engine, from: cursor, pageSize: 1)
        #expect(whole.events.count == 58)
        for _ in 0..<200 where !engine.shared.published.withLock({ $0.bulks.isEmpty }) {
            // Folding is asked for by the materialiser, in its own time.
            try await engine.set("other", spend: Double.random(in: 500...600))
            try await engine.upkeepNow()
        }
        #expect(engine.shared.published.withLock { $0.bulks.isEmpty })
        let tail = try await events(engine, from: whole.cursors.last ?? []).events
        for (i, cursor) in whole.cursors.enumerated() {
            if i == whole.cursors.count / 2 {
                try await engine.stop()
                engine = try await self.engine { $0.maximumBulkChanges = 0 }
            }
            let rest = try await events(engine, from: cursor)
            #expect(rest.events == Array(whole.events[(i + 1)...]) + tail, "after \(i + 1)")
        }
        try await engine.stop()
    }

    @Test("A cursor that retention has left behind is refused with the oldest sequence, before and during a watch")
    func retention() async throws {
        let engine = try await engine { $0.maximumBulkChanges = 0 }
        try await engine.rule("BIG", "customer.daily_spend >= 10.0")
        for i in 0..<20 { try await engine.set("c\(i)", spend: Double(i)) }
        let old = try await engine.watch().next().cursor
        try await publish(engine, "customer.daily_spend < 15.0")
        try await publish(engine, "customer.daily_spend < 1.0")
        let running = try await engine.watch(cursor: old, pageSize: 1)
        let first = try await running.next()
        let resumed = try await engine.watch(cursor: first.cursor, pageSize: 1)
        clock.advance(1_000)
        for i in 20..<24 {
            try await engine.set("c\(i)", spend: 0)
            try await engine.upkeepNow()
        }
        let oldest = engine.status.upkeep.log.firstSequence
        #expect(oldest > first.sequence + 2)
        for cursor in [old, first.cursor] { try await expectTooOld(oldest) { try await engine.watch(cursor: cursor) } }
        // One has the entries in memory but for the sets of the second publish, the other nothing.
        try await expectTooOld(oldest) { while true { _ = try await running.next() } }
        try await expectTooOld(oldest) { while true { _ = try await resumed.next() } }
        // Where the log begins is near enough.
        let store = WatchCursor.digest(storeID: engine.status.storeID)
        let edge = WatchCursor(store: store, position: WatchPosition(sequence: oldest - 1)).encoded
        _ = try await engine.watch(cursor: edge).next()
        let beyond = WatchCursor(store: store, position: WatchPosition(sequence: oldest - 2)).encoded
        try await expectTooOld(oldest) { try await engine.watch(cursor: beyond) }
        try await engine.stop()
    }

    private func expectTooOld(_ oldest: UInt64, _ body: () async throws -> some Any) async throws {
        let error = await domainError(body)
        guard case .outOfRange("CURSOR_TOO_OLD", let message, let metadata) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(metadata == ["oldest_sequence": "\(oldest)"] && message.contains("\(oldest)"))
    }

    @Test(
        "Watchers that break off anywhere know every membership from the stream alone, across bulk changes and restarts",
        arguments: ProcessInfo.processInfo.environment["COHORT_LONG"] == nil ? [7] : [1, 2, 3, 4, 5, 6, 7, 8]
    )
    func replicas(seed: UInt64) async throws {
        let filters: [[String]] = [[], ["BIG"], ["REST", "LIST"], ["NEAR"]]
        var replicas = filters.map { _ in Replica() }
        for round in 0..<4 {
            let engine = try await engine {
                $0.watchTailEntries = [0, 16, 16_384][round % 3]
                $0.watchBatchEntries = 7
                $0.logRetentionAge = nil
            }
            if round == 0 {
                try await engine.rule("BIG", "customer.daily_spend >= 50.0")
                try await engine.rule("REST", "!in_cohort(\"BIG\")")
                try await engine.rule("NEAR", "in_cohort(\"REST\") && customer.daily_spend > 40.0")
                _ = try await engine.createCohort(
                    CohortDefinition(id: "LIST", kind: .list, rule: nil),
                    context: tester
                )
            }
            let written = Written()
            let watchers = zip(filters, replicas).enumerated().map { i, watcher in
                let generator = SeededGenerator(state: seed &* 1_000 &+ UInt64(round * 10 + i))
                return Task { [replica = watcher.1] in
                    try await Self.watch(engine, watcher.0, replica, generator, until: written)
                }
            }
            var generator = SeededGenerator(state: seed &+ UInt64(round) &* 77)
            for _ in 0..<150 {
                do {
                    try await write(engine, &generator)
                } catch let error as DomainError where error.isOfTheCustomer {
                    // Of a customer that is not there.
                }
            }
            written.sequence.store(engine.status.sequence, ordering: .releasing)
            for (i, watcher) in watchers.enumerated() {
                replicas[i] = try await watcher.value
                for cohort in filters[i].isEmpty ? ["BIG", "REST", "NEAR", "LIST"] : filters[i] {
                    for state in [Membership.in, .unknown] {
                        let snapshot = try await engine.members(cohort: cohort, state: state, deadline: .far)
                        #expect(
                            replicas[i].ids(cohort, state) == snapshot.nextPage(limit: 10_000),
                            "seed \(seed), round \(round), \(filters[i]), \(cohort)"
                        )
                    }
                }
            }
            try await engine.stop()
        }
        #expect(replicas.allSatisfy { $0.breaks >= 8 }, "\(replicas.map(\.breaks))")
    }

    /// The sequence at which everything has been written; 0 before.
    private final class Written: Sendable {
        let sequence = Atomic<UInt64>(0)
    }

    /// What a watcher knows who takes in pages and nothing else.
    struct Replica: Sendable {
        var cursor: [UInt8] = []
        var members: [String: [Ordinal: Membership]] = [:]
        var ids: [Ordinal: String] = [:]
        var breaks = 0

        mutating func apply(_ page: WatchPage) {
            if page.snapshotBegins { (members, ids) = ([:], [:]) }
            for event in page.events {
                if !event.customerID.isEmpty { ids[event.ordinal] = event.customerID }
                guard !event.cohort.isEmpty else {
                    for cohort in members.keys { members[cohort]?[event.ordinal] = nil }
                    continue
                }
                members[event.cohort, default: [:]][event.ordinal] = event.membership == .out ? nil : event.membership
            }
            if !page.cursor.isEmpty { cursor = page.cursor }
        }

        func ids(_ cohort: String, _ state: Membership) -> [String] {
            (members[cohort] ?? [:]).filter { $0.value == state }.keys.sorted().map { ids[$0] ?? "?" }
        }
    }

    private static func watch(
        _ engine: Engine,
        _ cohorts: [String],
        _ start: Replica,
        _ seeded: SeededGenerator,
        until written: Written
    ) async throws -> Replica {
        var (replica, generator) = (start, seeded)
        while true {
            let watch = try await engine.watch(
                cohorts: cohorts,
                cursor: replica.cursor,
                snapshot: true,
                pageSize: Int.random(in: 1...9, using: &generator),
                heartbeat: .milliseconds(100)
            )
            for _ in 0..<Int.random(in: 1...12, using: &generator) {
                let page = try await watch.next()
                replica.apply(page)
                let end = written.sequence.load(ordering: .acquiring)
                if end > 0, page.phase == .changes, page.sequence >= end { return replica }
            }
            replica.breaks += 1
        }
    }

    private func write(_ engine: Engine, _ generator: inout SeededGenerator) async throws {
        let number = Int.random(in: 0..<60, using: &generator)
        switch Int.random(in: 0..<20, using: &generator) {
        case 0: _ = try await engine.erase(customer: "c\(number)", context: tester)
        case 1, 2: try await publish(engine, "customer.daily_spend >= \(Int.random(in: 0...99, using: &generator)).0")
        case 3, 4:
            _ = try await engine.changeList(
                cohort: "LIST",
                add: number.isMultiple(of: 2) ? ["c\(number)"] : [],
                remove: number.isMultiple(of: 2) ? [] : ["c\(number)"],
                context: tester
            )
        case 5:
            _ = try await engine.setOverrides(
                cohort: "REST",
                include: number % 3 == 0 ? ["c\(number)"] : [],
                exclude: number % 3 == 1 ? ["c\(number)"] : [],
                clear: number % 3 == 2 ? ["c\(number)"] : [],
                context: tester
            )
        case 6: try await engine.set("c\(number)", [(name: "daily_spend", value: nil)])
        default: try await engine.set("c\(number)", spend: Double(Int.random(in: 0..<100, using: &generator)))
        }
        if Int.random(in: 0..<30, using: &generator) == 0 { try await engine.upkeepNow() }
    }
}

extension DomainError {
    /// Whether a customer that was named is not there.
    fileprivate var isOfTheCustomer: Bool {
        switch self {
        case .notFound, .invalidArgument: true
        default: false
        }
    }
}
