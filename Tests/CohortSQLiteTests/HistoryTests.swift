import Foundation
import Synchronization
import Testing

@testable import CohortCore
@testable import CohortSQLite

/// What memberships were, as far back as it is kept.
@Suite("History and reads of the past")
struct HistoryTests {
    enum StoreKind: CaseIterable { case memory, sqlite }

    let clock = ManualClock()
    let directory = TemporaryDirectory()
    let memory = MemoryStore()

    func store(_ kind: StoreKind) -> any Store {
        kind == .memory ? memory : SQLiteStore(directory: directory.path)
    }

    func engine(
        _ kind: StoreKind,
        _ change: (inout EngineConfiguration) -> Void = { _ in }
    ) async throws -> Engine {
        var configuration = EngineConfiguration.byHand
        configuration.driftPeriod = nil
        change(&configuration)
        return try await started(store(kind), configuration: configuration, now: { [clock] in clock.now })
    }

    func members(_ engine: Engine, _ cohort: String, at point: PastPoint?, _ cursor: [UInt8] = []) async throws
        -> MemberSnapshot
    {
        try await engine.members(cohort: cohort, at: point, cursor: cursor, deadline: .far)
    }

    func check(_ engine: Engine, _ customer: String, _ cohort: String, at point: PastPoint) async throws
        -> MembershipAnswer
    {
        try await engine.checkMembership(
            customer: customer,
            cohort: cohort,
            at: point,
            includeSince: true,
            deadline: .far
        )
    }

    /// The code of an OUT_OF_RANGE, and what it tells a program.
    private func outOfRange(_ body: () async throws -> some Any) async -> (code: String, metadata: [String: String])? {
        guard case .outOfRange(let code, _, let metadata)? = await domainError(body) else { return nil }
        return (code, metadata)
    }

    @Test(
        "Intervals tell how they began and ended, across restarts and wherever they lie",
        arguments: StoreKind.allCases
    )
    func intervals(kind: StoreKind) async throws {
        var engine = try await engine(kind) { $0.materializeInterval = 60_000 }
        try await engine.rule("BIG", "customer.daily_spend > 5.0")
        let begin = clock.now
        try await engine.set("a", spend: 9)  // 4
        clock.advance(10)
        try await engine.set("a", spend: 1)  // 5
        clock.advance(10)
        try await engine.set("a", [("daily_spend", nil)])  // 6
        clock.advance(10)
        _ = try await engine.setOverrides(cohort: "BIG", include: ["a"], exclude: [], clear: [], context: tester)  // 7
        func story(_ engine: Engine) async throws -> [String] {
            let history = try await engine.history(HistoryRequest(customer: "a"), deadline: .far)
            #expect(history.customerCreatedAt == begin && history.completeSince == nil && !history.isTruncated)
            return history.intervals.map { interval in
                let end = interval.left.map { "\($0.sequence) \($0.cause) v\($0.version)" } ?? "-"
                let entered = interval.entered
                return
                    "\(interval.cohort) \(interval.membership) \(entered.sequence) \(entered.cause) v\(entered.version), \(end)"
            }
        }
        let expected = [
            "BIG in 7 override v1, -", "BIG unknown 6 attribute v1, 7 override v1",
            "BIG in 4 attribute v1, 5 attribute v1",
        ]
        #expect(try await story(engine) == expected, "all of it pending")
        try await blocking { [engine] in engine.materialize() }
        #expect(try await story(engine) == expected, "all of it in the tables")
        try await engine.stop()
        engine = try await self.engine(kind) { $0.bulkThreshold = 0 }
        #expect(try await story(engine) == expected)
        // A bulk change that no record has taken in closes an interval that only folding finds.
        _ = try await engine.setOverrides(cohort: "BIG", include: [], exclude: ["a"], clear: [], context: tester)  // 8
        _ = try await engine.updateRule(cohort: "BIG", rule: "customer.daily_spend > 6.0", context: tester)  // 9
        #expect(try await story(engine) == ["BIG in 7 override v1, 8 override v1"] + expected.dropFirst())
        #expect(try await check(engine, "a", "BIG", at: .sequence(7)).reason == .overrideInclude)
        let out = try await check(engine, "a", "BIG", at: .sequence(9))
        #expect(out.reason == .overrideExclude && out.cohortVersion == 2 && out.sequence == 9 && out.since == nil)
        #expect(try await members(engine, "BIG", at: .sequence(7)).nextPage(limit: 10) == ["a"])
        #expect(try await members(engine, "BIG", at: .sequence(8)).nextPage(limit: 10) == [])
        try await engine.stop()
    }

    @Test(
        "A time is answered after all that was committed by then, a sequence before the next",
        arguments: StoreKind.allCases
    )
    func points(kind: StoreKind) async throws {
        let engine = try await engine(kind)
        try await engine.rule("BIG", "customer.daily_spend > 5.0")
        clock.advance(10)
        let time = clock.now
        try await engine.set("a", spend: 9)  // 4
        try await engine.set("a", spend: 1)  // 5
        try await engine.set("b", spend: 9)  // 6
        clock.advance(10)
        try await engine.set("b", spend: 1)  // 7
        let both = try await check(engine, "a", "BIG", at: .time(time))
        #expect(both.membership == .out && both.sequence == 6 && both.reason == .ruleNoMatch)
        #expect(try await check(engine, "a", "BIG", at: .sequence(4)).membership == .in)
        let b = try await check(engine, "b", "BIG", at: .time(time.advanced(bySeconds: 9)))
        #expect(b.membership == .in && b.since == time && b.member == true && b.cohortVersion == 1)
        #expect(try await check(engine, "b", "BIG", at: .time(clock.now)).sequence == 7)
        let before = try await check(engine, "b", "BIG", at: .sequence(5))
        #expect(before.membership == .out && before.reason == .customerNotFound && before.member == false)
        #expect(try await check(engine, "nobody", "BIG", at: .sequence(5)).reason == .customerNotFound)
        #expect(try await members(engine, "BIG", at: .sequence(4)).nextPage(limit: 10) == ["a"])
        #expect(try await members(engine, "BIG", at: .time(time)).nextPage(limit: 10) == ["b"])
        let count = try await engine.countMembers(cohort: "BIG", at: .sequence(6), deadline: .far)
        #expect(count == MemberCount(members: 1, unknown: 0, sequence: 6, cohortVersion: 1))
        try await engine.stop()
    }

    @Test("What lies in the future, or before the cohort, is out of range and says what would be in range")
    func range() async throws {
        let engine = try await engine(.sqlite)
        try await engine.set("a", spend: 9)  // 3
        clock.advance(10)
        try await engine.rule("BIG", "customer.daily_spend > 5.0")  // 4
        let created = clock.now
        clock.advance(10)
        for point in [PastPoint.sequence(3), .sequence(0), .time(created.advanced(bySeconds: -1))] {
            let early = await outOfRange { try await check(engine, "a", "BIG", at: point) }
            #expect(early?.code == "COHORT_NOT_CREATED", "\(point)")
            #expect(early?.metadata == ["created_sequence": "4", "created_at": "\(created)"])
            #expect(await outOfRange { try await members(engine, "BIG", at: point) }?.code == "COHORT_NOT_CREATED")
        }
        let late = await outOfRange { try await check(engine, "a", "BIG", at: .sequence(5)) }
        #expect(late?.code == "AS_OF_IN_FUTURE" && late?.metadata == ["latest_sequence": "4"])
        let future = await outOfRange {
            try await engine.countMembers(
                cohort: "BIG",
                at: .time(clock.now.advanced(bySeconds: 1)),
                deadline: .far
            )
        }
        #expect(future?.code == "AS_OF_IN_FUTURE" && future?.metadata == ["now": "\(clock.now)"])
        #expect(try await check(engine, "a", "BIG", at: .sequence(4)).membership == .in)
        _ = try await engine.archive(cohort: "BIG", context: tester)  // 5
        guard case .notFound? = await domainError({ try await check(engine, "a", "BIG", at: .sequence(4)) }) else {
            Issue.record("an archived cohort is not read")
            return
        }
        let history = try await engine.history(HistoryRequest(customer: "a", cohort: "BIG"), deadline: .far)
        #expect(history.intervals.map { $0.left?.cause } == [.cohort], "but its history is")
        try await engine.stop()
    }

    @Test("An erased customer has no past, and who takes the id is new", arguments: StoreKind.allCases)
    func erased(kind: StoreKind) async throws {
        let engine = try await engine(kind)
        try await engine.rule("BIG", "customer.daily_spend > 5.0")
        try await engine.set("a", spend: 9)  // 4
        try await engine.set("b", spend: 9)  // 5
        _ = try await engine.erase(customer: "a", context: tester)  // 6
        for _ in 0..<2 {
            #expect(try await check(engine, "a", "BIG", at: .sequence(5)).reason == .customerNotFound)
            #expect(try await members(engine, "BIG", at: .sequence(5)).total == 1)
            #expect(try await members(engine, "BIG", at: .sequence(5)).nextPage(limit: 10) == ["b"])
            try await blocking { engine.materialize() }
        }
        guard
            case .notFound? = await domainError({
                try await engine.history(HistoryRequest(customer: "a"), deadline: .far)
            })
        else {
            Issue.record("an erased customer has a history")
            return
        }
        try await engine.set("a", spend: 7)  // 7
        #expect(try await check(engine, "a", "BIG", at: .sequence(6)).reason == .customerNotFound)
        #expect(try await check(engine, "a", "BIG", at: .sequence(7)).membership == .in)
        let history = try await engine.history(HistoryRequest(customer: "a"), deadline: .far)
        #expect(history.intervals.map(\.entered.sequence) == [7])
        try await engine.stop()
    }

    @Test("A history is cut by times and by number, the latest first", arguments: StoreKind.allCases)
    func filters(kind: StoreKind) async throws {
        let engine = try await engine(kind)
        try await engine.rule("BIG", "customer.daily_spend > 5.0")
        try await engine.rule("ALL", "has(customer.daily_spend)")
        let begin = clock.now
        for i in 0..<6 {
            // In BIG from 0 to 10, from 20 to 30, from 40 to 50 seconds.
            try await engine.set("a", spend: i % 2 == 0 ? 9 : 1)
            clock.advance(10)
            if i == 2 { try await blocking { engine.materialize() } }
        }
        func times(_ request: HistoryRequest) async throws -> [Int64] {
            try await engine.history(request, deadline: .far).intervals.map { $0.entered.time.seconds - begin.seconds }
        }
        func after(_ seconds: Int64) -> Timestamp { begin.advanced(bySeconds: seconds) }
        #expect(try await times(HistoryRequest(customer: "a", cohort: "BIG")) == [40, 20, 0])
        #expect(try await times(HistoryRequest(customer: "a")) == [40, 20, 0, 0])
        let all = try await engine.history(HistoryRequest(customer: "a", limit: 3), deadline: .far)
        #expect(all.isTruncated && all.intervals.map(\.cohort) == ["BIG", "BIG", "ALL"])
        #expect(try await times(HistoryRequest(customer: "a", cohort: "BIG", since: after(30))) == [40])
        #expect(try await times(HistoryRequest(customer: "a", cohort: "BIG", since: after(29))) == [40, 20])
        #expect(try await times(HistoryRequest(customer: "a", since: after(50))) == [0])
        #expect(try await times(HistoryRequest(customer: "a", cohort: "BIG", until: after(20))) == [20, 0])
        #expect(try await times(HistoryRequest(customer: "a", cohort: "BIG", until: after(19))) == [0])
        for (request, field) in [
            (HistoryRequest(customer: "a", since: after(2), until: after(1)), "since"),
            (HistoryRequest(customer: "a", limit: 0), "limit"), (HistoryRequest(customer: "a", limit: 10_001), "limit"),
            (HistoryRequest(customer: "\n"), "customer_id"), (HistoryRequest(customer: "a", cohort: "x"), "cohort_id"),
        ] {
            guard
                case .invalidArgument(let violations)? = await domainError({
                    try await engine.history(request, deadline: .far)
                })
            else {
                Issue.record("\(field) is accepted")
                continue
            }
            #expect(violations.map(\.field) == [field])
        }
        try await engine.stop()
    }

    @Test("Before what retention has left is out of range, also after a restart", arguments: StoreKind.allCases)
    func retention(kind: StoreKind) async throws {
        var engine = try await engine(kind) { $0.historyRetentionAge = 100 }
        try await engine.rule("BIG", "customer.daily_spend > 5.0")
        try await engine.set("a", spend: 9)  // 4
        clock.advance(50)
        try await engine.set("a", spend: 1)  // 5
        try await engine.set("b", spend: 9)  // 6
        try await engine.upkeepNow()
        #expect(try await check(engine, "a", "BIG", at: .sequence(4)).membership == .in)
        clock.advance(101)
        try await engine.upkeepNow()
        let horizon = clock.now.advanced(bySeconds: -100)
        for _ in 0..<2 {
            let metadata = ["oldest_sequence": "5", "oldest_time": "\(horizon)"]
            for point in [PastPoint.sequence(4), .time(horizon.advanced(bySeconds: -1))] {
                for customer in ["a", "b", "nobody"] {
                    let gone = await outOfRange { try await check(engine, customer, "BIG", at: point) }
                    #expect(gone?.code == "HISTORY_EXPIRED" && gone?.metadata == metadata, "\(customer) \(point)")
                }
                #expect(await outOfRange { try await members(engine, "BIG", at: point) }?.code == "HISTORY_EXPIRED")
                let count = await outOfRange {
                    try await engine.countMembers(cohort: "BIG", at: point, deadline: .far)
                }
                #expect(count?.code == "HISTORY_EXPIRED")
            }
            #expect(try await check(engine, "b", "BIG", at: .sequence(5)).reason == .customerNotFound)
            #expect(try await check(engine, "a", "BIG", at: .time(horizon)).membership == .out)
            #expect(try await members(engine, "BIG", at: .sequence(6)).nextPage(limit: 9) == ["b"])
            let history = try await engine.history(HistoryRequest(customer: "a"), deadline: .far)
            #expect(history.intervals.isEmpty && history.completeSince == horizon)
            try await engine.stop()
            engine = try await self.engine(kind)
        }
        try await engine.stop()
    }

    @Test("Where the log no longer reaches, the sequence of a time is not told")
    func withoutLog() async throws {
        let engine = try await engine(.sqlite) { $0.logRetentionAge = 100 }
        try await engine.rule("BIG", "customer.daily_spend > 5.0")
        try await engine.set("a", spend: 9)  // 4
        let early = clock.now
        clock.advance(200)
        try await engine.set("a", spend: 1)  // 5
        clock.advance(10)
        try await engine.upkeepNow()
        #expect(engine.status.upkeep.log.firstSequence == 5)
        let answer = try await check(engine, "a", "BIG", at: .time(early))
        #expect(answer.membership == .in && answer.sequence == 0 && answer.since == early)
        #expect(try await check(engine, "a", "BIG", at: .sequence(4)).sequence == 4)
        #expect(try await check(engine, "a", "BIG", at: .time(clock.now)).sequence == 5)
        let snapshot = try await members(engine, "BIG", at: .time(early))
        #expect(snapshot.sequence == 0 && snapshot.nextPage(limit: 10) == ["a"])
        try await engine.stop()
    }

    @Test(
        "A list of the past goes on at the same point, with or without naming it again",
        arguments: StoreKind.allCases
    )
    func cursors(kind: StoreKind) async throws {
        let engine = try await engine(kind)
        try await engine.rule("BIG", "customer.daily_spend > 5.0")
        for i in 0..<6 { try await engine.set("c\(i)", spend: 9) }  // 4 to 9
        let time = clock.now
        clock.advance(10)
        for i in 0..<6 { try await engine.set("c\(i)", spend: 1) }
        for point in [PastPoint.sequence(9), .time(time)] {
            let first = try await members(engine, "BIG", at: point)
            #expect(first.nextPage(limit: 2) == ["c0", "c1"] && first.total == 6)
            let cursor = first.cursor
            for again in [nil, point] {
                let rest = try await members(engine, "BIG", at: again, cursor)
                #expect(rest.nextPage(limit: 10) == ["c2", "c3", "c4", "c5"] && rest.sequence == 9)
            }
            for other in [PastPoint.sequence(8), .time(clock.now)] {
                let error = await domainError { try await members(engine, "BIG", at: other, cursor) }
                guard case .invalidArgument(let violations)? = error else {
                    Issue.record("a cursor of another point is taken")
                    continue
                }
                #expect(violations.map(\.field) == ["cursor"])
            }
            let present = try await engine.members(cohort: "BIG", deadline: .far).cursor
            guard case .invalidArgument? = await domainError({ try await members(engine, "BIG", at: point, present) })
            else {
                Issue.record("a cursor of the present is taken")
                continue
            }
        }
        try await engine.stop()
    }

    @Test("A record that the replay takes from the tables takes in bulk changes once", arguments: StoreKind.allCases)
    func replayedBulks(kind: StoreKind) async throws {
        var configuration = EngineConfiguration.byHand
        configuration.bulkThreshold = 0
        let store = FaultyStore(store(kind))
        var engine = try await started(store, configuration: configuration, now: { [clock] in clock.now })
        try await engine.rule("BIG", "customer.daily_spend > 5.0")
        try await engine.set("a", spend: 9)  // 4
        for limit in [10, 6] {  // out at 5, in at 6
            _ = try await engine.updateRule(cohort: "BIG", rule: "customer.daily_spend > \(limit).0", context: tester)
        }
        try await blocking { [engine] in engine.materialize() }
        store.set { $0.apply = true }
        try await engine.set("a", spend: 8)  // 7, in the log alone
        try await engine.stop()
        engine = try await started(self.store(kind), configuration: configuration, now: { [clock] in clock.now })
        for round in 0..<2 {
            let history = try await engine.history(HistoryRequest(customer: "a"), deadline: .far)
            let spans = history.intervals.map { [$0.entered.sequence, $0.left?.sequence ?? 0] }
            #expect(spans == (round == 0 ? [[6, 0], [4, 5]] : [[6, 8], [4, 5]]))
            try await engine.set("a", spend: 1)  // 8
            try await blocking { [engine] in engine.materialize() }
        }
        try await engine.stop()
    }
}
