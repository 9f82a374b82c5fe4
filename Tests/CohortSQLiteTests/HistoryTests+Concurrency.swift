import Foundation
import Synchronization
import Testing

@testable import CohortCore
@testable import CohortSQLite

private final class Counter: Sendable {
    private let value = Mutex(0)

    var count: Int { value.withLock { $0 } }
    func add() { value.withLock { $0 += 1 } }
}

/// Reads of the past beside each other, and beside writes.
extension HistoryTests {
    @Test("No more scans run at once than are allowed, and a place is given back")
    func scans() async throws {
        let engine = try await engine(.memory) { $0.maximumHistoryScans = 1 }
        try await engine.rule("BIG", "customer.daily_spend > 5.0")
        try await engine.set("a", spend: 9)
        var place: HistoryScanPlace? = try HistoryScanPlace(engine.shared)
        let error = await domainError { try await members(engine, "BIG", at: .sequence(4)) }
        guard case .resourceExhausted(limit: "history_scans", _, .some)? = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(place != nil)
        place = nil
        // The thread of a scan may hold its place for a moment after the answer.
        while engine.shared.historyScans.load(ordering: .relaxed) > 0 { await Task.yield() }
        #expect(try await members(engine, "BIG", at: .sequence(4)).total == 1)
        try await engine.stop()
    }

    @Test(
        "What a write closes between two reads of the store is found all the same",
        arguments: FaultyStore.Read.allCases
    )
    func betweenReads(read: FaultyStore.Read) async throws {
        let store = FaultyStore(store(.sqlite))
        let engine = try await started(store, configuration: .byHand, now: { [clock] in clock.now })
        try await engine.rule("BIG", "customer.daily_spend > 5.0")
        try await engine.set("a", spend: 9)  // 4
        try await blocking { engine.materialize() }
        let ran = Counter()
        let close: @Sendable () -> Void = {
            let done = DispatchSemaphore(value: 0)
            Task {
                try await engine.set("a", spend: 1)  // 5
                done.signal()
            }
            done.wait()
            engine.materialize()
            ran.add()
        }
        store.set { $0.afterRead = (read, close) }
        switch read {
        case .readCustomers, .readIntervals:
            #expect(try await check(engine, "a", "BIG", at: .sequence(4)).membership == .in)
            #expect(try await check(engine, "a", "BIG", at: .sequence(5)).membership == .out)
        case .scanCustomers, .scanIntervals:
            #expect(try await members(engine, "BIG", at: .sequence(4)).nextPage(limit: 10) == ["a"])
            #expect(try await members(engine, "BIG", at: .sequence(5)).nextPage(limit: 10) == [])
        }
        #expect(ran.count == 1, "the write came between")
        try await engine.stop()
    }

    @Test("Readers of one fixed point see the same while everything is written, folded and flushed")
    func steadyUnderWrites() async throws {
        let engine = try await engine(.sqlite) {
            $0.materializeRows = 10
            $0.bulkThreshold = 8
            $0.maximumBulkChanges = 1
            $0.groupRows = 5
        }
        try await engine.rule("BIG", "customer.daily_spend > 5.0")
        for i in 0..<40 { try await engine.set("c\(i)", spend: Double(i % 10)) }
        let point = PastPoint.sequence(engine.status.sequence)
        let expected = try await members(engine, "BIG", at: point).nextPage(limit: 100)
        #expect(expected.count == 16)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                for round in 0..<60 {
                    for i in 0..<10 {
                        try await engine.set("c\((round + i * 3) % 40)", spend: Double((round + i) % 11))
                    }
                    let rule = "customer.daily_spend > \(round % 3 == 0 ? 0 : 8).0"
                    _ = try await engine.updateRule(cohort: "BIG", rule: rule, context: tester)
                }
            }
            for _ in 0..<2 {
                group.addTask {
                    for _ in 0..<40 {
                        let found = try await members(engine, "BIG", at: point).nextPage(limit: 100)
                        #expect(found == expected)
                        for i in 0..<40 {
                            let answer = try await check(engine, "c\(i)", "BIG", at: point)
                            #expect((answer.membership == .in) == expected.contains("c\(i)"), "c\(i)")
                        }
                    }
                }
            }
            try await group.waitForAll()
        }
        try await engine.stop()
    }
}
