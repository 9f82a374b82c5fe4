import Foundation
import Testing

@testable import CohortCore

@Suite("Change stream", .timeLimit(.minutes(2)))
struct WatchTests {
    /// Customers `c00` to `c29` with 0 to 29 spent, and three cohorts of which two follow the first.
    private func fill(_ engine: Engine, _ count: Int = 30) async throws {
        for i in 0..<count { try await engine.put(Self.id(i), ["daily_spend": .double(Double(i))]) }
        try await engine.create("BIG", "customer.daily_spend >= 25.0")
        try await engine.create("MIRROR", "in_cohort(\"BIG\")")
        try await engine.create("REST", "!in_cohort(\"BIG\")")
    }

    private static func id(_ i: Int) -> String { i < 10 ? "c0\(i)" : "c\(i)" }

    @Test("Every kind of change is told in order, with its cause, its version and the time of its entry")
    func causes() async throws {
        try await withEngine { engine, clock in
            let cursor = try await engine.cursorNow()
            try await engine.create("BIG", "customer.daily_spend > 5.0")
            try await engine.create("OTHER", "in_cohort(\"BIG\")")
            _ = try await engine.createCohort(CohortDefinition(id: "LIST", kind: .list, rule: nil), context: tester)
            clock.advance(seconds: 5)
            try await engine.put("a", ["daily_spend": .double(6)])
            try await engine.put("b", [:])
            _ = try await engine.setOverrides(
                cohort: "BIG",
                include: ["b"],
                exclude: [],
                clear: [],
                context: tester
            )
            _ = try await engine.changeList(cohort: "LIST", add: ["b"], remove: [], context: tester)
            clock.advance(seconds: 5)
            _ = try await engine.updateRule(cohort: "BIG", rule: "customer.daily_spend > 6.0", context: tester)
            _ = try await engine.erase(customer: "b", context: tester)
            try await engine.put("a", ["daily_spend": .double(7)])
            _ = try await engine.archive(cohort: "OTHER", context: tester)
            let pages = try await engine.pages(from: cursor)
            let events = pages.flatMap(\.events)
            // "b" has been erased since, so its id is empty everywhere.
            #expect(
                events.map(\.text) == [
                    "BIG a IN attribute", "OTHER a IN attribute", "BIG UNKNOWN attribute", "OTHER UNKNOWN attribute",
                    "BIG IN override", "OTHER IN cohort", "LIST IN list", "BIG a OUT rule", "OTHER a OUT cohort",
                    "OUT erase", "BIG a IN attribute", "OTHER a IN cohort", "OTHER a OUT cohort",
                ]
            )
            #expect(events.map(\.ordinal) == [0, 0, 1, 1, 1, 1, 1, 0, 0, 1, 0, 0, 0])
            // Two attributes, three cohorts, then one entry after the other.
            #expect(events.map { $0.change?.sequence } == [6, 6, 7, 7, 8, 8, 9, 10, 10, 11, 12, 12, 13])
            #expect(events.map { $0.change?.version } == [1, 1, 1, 1, 1, 1, 1, 2, 1, 0, 2, 1, 1])
            #expect(events[0].change?.time == Timestamp(seconds: 1_700_000_005))
            #expect(events[7].change?.time == Timestamp(seconds: 1_700_000_010))
            #expect(pages.last?.sequence == 13 && pages.last?.latestSequence == 13 && pages.last?.behindSince == nil)
        }
    }

    @Test("A filter lets through its cohorts and every erasure; without one later cohorts are included")
    func filter() async throws {
        try await withEngine { engine, _ in
            let cursor = try await engine.cursorNow()
            try await fill(engine, 27)
            _ = try await engine.erase(customer: Self.id(0), context: tester)
            _ = try await engine.archive(cohort: "MIRROR", context: tester)
            let all = try await engine.pages(from: cursor).flatMap(\.events)
            for cohorts in [["BIG"], ["MIRROR"], ["REST", "MIRROR"]] {
                let some = try await engine.pages(cohorts, from: cursor).flatMap(\.events)
                #expect(some == all.filter { $0.cohort.isEmpty || cohorts.contains($0.cohort) })
                #expect(some.contains { $0.cohort.isEmpty } && some.count < all.count)
            }
            // An archived cohort has nobody, and may be named: its end is a change like others.
            #expect(try await engine.pages(["MIRROR"], snapshot: true).flatMap(\.events).isEmpty)
            #expect(try await engine.pages(snapshot: true).flatMap(\.events).allSatisfy { $0.cohort != "MIRROR" })
        }
    }

    @Test("A filter that cannot be is refused by name")
    func refusedFilter() async throws {
        var configuration = EngineConfiguration.small
        configuration.maximumWatchedCohorts = 2
        try await withEngine(configuration: configuration) { engine, _ in
            for id in ["A", "B", "C"] { try await engine.create(id, "true") }
            let unknown = await domainError { try await engine.watch(cohorts: ["A", "DD"]) }
            guard case .notFound("cohort", "DD", _) = unknown else {
                Issue.record("\(String(describing: unknown))")
                return
            }
            let refusals: [([String], String)] = [
                (["A", "A"], "cohort_ids[1]"), (["a"], "cohort_ids[0]"), (["A", "B", "C"], "cohort_ids"),
            ]
            for (cohorts, field) in refusals {
                guard
                    case .invalidArgument(let violations) = await domainError({
                        try await engine.watch(cohorts: cohorts)
                    })
                else {
                    Issue.record("\(cohorts) are accepted")
                    continue
                }
                #expect(violations.map(\.field) == [field])
            }
            #expect(engine.status.watches.running == 0)
        }
    }

    @Test("A watch goes on at every single place of an entry with several bulk changes", arguments: [0, 16_384])
    func resumeEverywhere(tail: Int) async throws {
        var configuration = EngineConfiguration.small
        configuration.watchTailEntries = tail
        try await withEngine(configuration: configuration) { engine, _ in
            try await fill(engine)
            let cursor = try await engine.cursorNow()
            try await engine.put("d", ["daily_spend": .double(1)])
            _ = try await engine.updateRule(cohort: "BIG", rule: "customer.daily_spend < 20.0", context: tester)
            _ = try await engine.erase(customer: Self.id(3), context: tester)
            // Fewer than are staged: transitions of three cohorts.
            _ = try await engine.setOverrides(
                cohort: "BIG",
                include: [Self.id(22)],
                exclude: [],
                clear: [],
                context: tester
            )
            let whole = try await engine.pages(from: cursor).flatMap(\.events)
            // One put, 26 customers in three cohorts, one erasure, one override in three cohorts.
            #expect(whole.count == 83)
            #expect(Set(whole.compactMap { $0.change?.sequence }).count == 4)
            for size in [1, 2, 7] {
                let pages = try await engine.pages(from: cursor, pageSize: size)
                #expect(pages.allSatisfy { $0.events.count <= size })
                #expect(pages.flatMap(\.events) == whole)
                var sent = 0
                for page in pages {
                    sent += page.events.count
                    let done = page.events.last?.change?.sequence ?? 0
                    // In the middle of an entry, the sequence before it.
                    let isMiddle = sent < whole.count && whole[sent].change?.sequence == done
                    #expect(page.sequence == (isMiddle ? done - 1 : done))
                    let rest = try await engine.pages(from: page.cursor, pageSize: 11).flatMap(\.events)
                    #expect(rest == Array(whole[sent...]), "after \(sent) of \(whole.count)")
                }
            }
            // With a filter, which is no part of the cursor.
            let pages = try await engine.pages(["REST"], from: cursor, pageSize: 3)
            for page in pages {
                let rest = try await engine.pages(["REST"], from: page.cursor, pageSize: 5).flatMap(\.events)
                #expect(rest == Array(pages.flatMap(\.events).suffix(rest.count)))
            }
        }
    }

    @Test("An entry that is scrubbed while a watcher is in the middle of it loses only who was erased")
    func scrubbedInTheMiddle() async throws {
        var configuration = EngineConfiguration.small
        configuration.bulkThreshold = 1_000
        configuration.watchTailEntries = 0
        configuration.upkeepInterval = 0
        configuration.scrubDelay = 10
        try await withEngine(configuration: configuration) { engine, clock in
            try await fill(engine)
            let cursor = try await engine.cursorNow()
            _ = try await engine.updateRule(cohort: "BIG", rule: "customer.daily_spend < 20.0", context: tester)
            let pages = try await engine.pages(from: cursor, pageSize: 1)
            let whole = pages.flatMap(\.events)
            #expect(whole.count == 75)
            let gone: Set<Ordinal> = [0, 7, 29]
            for ordinal in gone { _ = try await engine.erase(customer: Self.id(Int(ordinal)), context: tester) }
            clock.advance(seconds: 100)
            try await blocking {
                engine.materialize()
                engine.upkeep()
            }
            #expect(engine.status.upkeep.scrub.pending == 0 && engine.status.upkeep.scrub.entriesRewritten > 0)
            for (i, page) in pages.enumerated() {
                let rest = try await engine.pages(from: page.cursor).flatMap(\.events)
                #expect(
                    rest.prefix { !$0.cohort.isEmpty } == whole[(i + 1)...].filter { !gone.contains($0.ordinal) }[...]
                )
                #expect(Set(rest.suffix(3).map(\.ordinal)) == gone)
            }
        }
    }

    @Test("A snapshot is of one sequence while writes go on, and the changes follow it", arguments: [1, 2, 1_000])
    func snapshot(pageSize: Int) async throws {
        try await withEngine { engine, _ in
            try await fill(engine)
            try await engine.put("unknown", [:])
            let before = engine.status.sequence
            let watch = try await engine.watch(snapshot: true, pageSize: pageSize, heartbeat: .milliseconds(100))
            var replica = WatchReplica()
            var phases: [WatchPage.Phase] = []
            var writes = 0
            while true {
                let page = try await watch.next()
                phases.append(page.phase)
                #expect(page.snapshotBegins == (phases.count == 1))
                #expect(page.events.count <= pageSize)
                if page.phase == .snapshot {
                    #expect(page.sequence == before && page.events.allSatisfy { $0.change == nil })
                    #expect(page.cursor.isEmpty == !page.snapshotEnds)
                }
                replica.apply(page)
                if writes == 20, page.phase == .changes, page.sequence == engine.status.sequence { break }
                if writes < 20 {
                    try await engine.put(Self.id(writes), ["daily_spend": .double(Double(40 - writes))])
                    if writes == 5 { _ = try await engine.erase(customer: Self.id(29), context: tester) }
                    writes += 1
                }
            }
            #expect(phases.first == .snapshot && phases.last == .changes)
            for cohort in ["BIG", "MIRROR", "REST"] {
                #expect(replica.ids(cohort) == (try await engine.memberIDs(cohort)))
                #expect(replica.ids(cohort, .unknown) == (try await engine.memberIDs(cohort, .unknown)))
            }
            #expect(replica.ids("BIG", .unknown) == ["unknown"])
        }
    }

    @Test("An empty snapshot is one message that begins and ends it")
    func emptySnapshot() async throws {
        try await withEngine { engine, _ in
            let page = try await engine.watch(snapshot: true).next()
            #expect(page.snapshotBegins && page.snapshotEnds && page.events.isEmpty && page.sequence == 2)
            #expect(try await engine.pages(from: page.cursor).flatMap(\.events).isEmpty)
        }
    }

    @Test("A cursor that is damaged, of another store or ahead is refused")
    func refusedCursors() async throws {
        try await withEngine { engine, _ in
            try await fill(engine)
            let cursor = try await engine.pages(pageSize: 1).last?.cursor ?? []
            for i in cursor.indices {
                var damaged = cursor
                damaged[i] ^= 0x10
                guard
                    case .invalidArgument(let violations) = await domainError({
                        try await engine.watch(cursor: damaged)
                    })
                else {
                    Issue.record("byte \(i) may be changed")
                    continue
                }
                #expect(violations.map(\.field) == ["cursor"])
            }
            for bytes in [[0], [1, 2, 3, 4, 5], Array(cursor.dropLast()), cursor + [0]] as [[UInt8]] {
                guard case .invalidArgument = await domainError({ try await engine.watch(cursor: bytes) }) else {
                    Issue.record("\(bytes) is accepted")
                    continue
                }
            }
            let other = try await started(MemoryStore())
            let foreign = await domainError { try await other.watch(cursor: cursor) }
            guard case .failedPrecondition("CURSOR_OF_ANOTHER_STORE", _) = foreign else {
                Issue.record("\(String(describing: foreign))")
                return
            }
            try await blocking { other.shutdown() }
            var ahead = try WatchCursor(cursor)
            ahead.position.sequence += 1
            let refused = await domainError { try await engine.watch(cursor: ahead.encoded) }
            guard case .outOfRange("CURSOR_AHEAD", let message, let metadata) = refused else {
                Issue.record("\(String(describing: refused))")
                return
            }
            #expect(metadata["oldest_sequence"] == "1" && message.contains("begins at 1"))
        }
    }

    @Test("Cursors survive their encoding", .timeLimit(.minutes(1)))
    func cursorCoding() throws {
        let steps: [WatchPosition.Step?] = [nil, .init(cohort: 0, ordinal: 0), .init(cohort: .max, ordinal: .max)]
        for sequence in [1, 127, 128, UInt64(UInt32.max), .max] {
            for step in steps {
                let position = WatchPosition(sequence: sequence, step: step)
                let bytes = WatchCursor(store: 0xfedc_ba98_7654_3210, position: position).encoded
                #expect(bytes.count <= 34)
                let back = try WatchCursor(bytes)
                #expect(back.position == position && back.store == 0xfedc_ba98_7654_3210)
            }
        }
    }

    @Test("Without an event there is a page after the heartbeat, whose cursor has gone on past what the filter hides")
    func heartbeat() async throws {
        try await withEngine { engine, _ in
            try await fill(engine)
            _ = try await engine.createCohort(CohortDefinition(id: "LIST", kind: .list, rule: nil), context: tester)
            let watch = try await engine.watch(cohorts: ["LIST"], heartbeat: .milliseconds(100))
            // At once, so that there is a cursor to go on from.
            let first = try await watch.next()
            #expect(first.events.isEmpty && !first.cursor.isEmpty && first.sequence == engine.status.sequence)
            try await engine.put("z", ["daily_spend": .double(90)])
            let second = try await watch.next()
            #expect(second.events.isEmpty && second.sequence == first.sequence + 1 && second.cursor != first.cursor)
            let third = try await watch.next()
            #expect(third.events.isEmpty && third.cursor == second.cursor)
        }
    }

    @Test("A watcher that waits is woken by the next commit")
    func wakes() async throws {
        try await withEngine { engine, _ in
            try await fill(engine)
            let watch = try await engine.watch(heartbeat: .seconds(60))
            _ = try await watch.next()
            async let put = engine.put("z", ["daily_spend": .double(90)])
            #expect(try await watch.next().events.map(\.text) == ["BIG z IN attribute", "MIRROR z IN attribute"])
            _ = try await put
        }
    }

    @Test("A watcher that falls behind is told how far and since when, and goes on from the log")
    func behind() async throws {
        var configuration = EngineConfiguration.small
        configuration.watchTailEntries = 8
        configuration.watchBatchEntries = 5
        try await withEngine(configuration: configuration) { engine, clock in
            try await fill(engine)
            let watch = try await engine.watch(pageSize: 2)
            let first = try await watch.next()
            clock.advance(seconds: 7)
            for i in 0..<50 { try await engine.put("d\(i)", ["daily_spend": .double(99)]) }
            // Each is in BIG and MIRROR, REST says nothing.
            #expect(engine.shared.tail.entries(from: first.sequence + 1, limit: 1) == nil)
            #expect(engine.status.watches == WatchStatus(running: 1, slowestBehind: 50))
            for i in 0..<50 {
                let page = try await watch.next()
                #expect(page.events.map(\.customerID) == ["d\(i)", "d\(i)"])
                #expect(page.sequence == first.sequence + UInt64(i) + 1)
                #expect(page.latestSequence == first.sequence + 50)
                #expect(page.behindSince == (i == 49 ? nil : clock.now))
                #expect(engine.status.watches.slowestBehind == UInt64(49 - i))
            }
        }
    }

    @Test("As many watches and snapshots run as may; one that is let go makes room")
    func limits() async throws {
        var configuration = EngineConfiguration.small
        configuration.maximumWatches = 3
        configuration.maximumWatchSnapshots = 1
        try await withEngine(configuration: configuration) { engine, _ in
            try await fill(engine)
            let first = try await engine.watch(snapshot: true, pageSize: 50)
            do {
                let second = try await engine.watch()
                let refused = await domainError { try await engine.watch(snapshot: true) }
                guard case .resourceExhausted("watch_snapshots", _, .some) = refused else {
                    Issue.record("\(String(describing: refused))")
                    return
                }
                while try await !first.next().snapshotEnds {}
                let third = try await engine.watch(snapshot: true)
                let full = await domainError { try await engine.watch() }
                guard case .resourceExhausted("watches", _, .some) = full else {
                    Issue.record("\(String(describing: full))")
                    return
                }
                #expect(engine.status.watches.running == 3)
                withExtendedLifetime((second, third)) {}
            }
            #expect(engine.status.watches.running == 1)
            _ = try await engine.watch(snapshot: true)
            withExtendedLifetime(first) {}
        }
    }

    @Test("Before a stop every watch ends at once, and none begins")
    func end() async throws {
        try await withEngine { engine, _ in
            try await fill(engine)
            let waiting = Task {
                let watch = try await engine.watch(heartbeat: .seconds(60))
                _ = try await watch.next()
                return try await watch.next()
            }
            while engine.status.watches.running == 0 { await Task.yield() }
            engine.endWatches()
            for refused in [
                await domainError { try await waiting.value }, await domainError { try await engine.watch().next() },
            ] {
                guard case .unavailable("SHUTTING_DOWN", _, .some) = refused else {
                    Issue.record("\(String(describing: refused))")
                    continue
                }
            }
            // Reads and writes are another matter.
            try await engine.put("z", ["daily_spend": .double(90)])
        }
    }

    @Test("A watch whose task is cancelled ends")
    func cancelled() async throws {
        try await withEngine { engine, _ in
            let waiting = Task {
                let watch = try await engine.watch(heartbeat: .seconds(60))
                _ = try await watch.next()
                return try await watch.next()
            }
            while engine.status.watches.running == 0 { await Task.yield() }
            waiting.cancel()
            #expect(await domainError { try await waiting.value } != nil)
            #expect(engine.status.watches.running == 0)
        }
    }

    @Test("The tail of the log has no gap, and keeps to its bounds")
    func tail() {
        func entries(_ range: ClosedRange<UInt64>, transitions: Int = 0) -> [LogEntry] {
            range.map { sequence in
                LogEntry(
                    sequence: sequence,
                    time: .epoch,
                    principal: "",
                    method: "",
                    change: .cohortArchived(0),
                    transitions: (0..<transitions).map {
                        Transition(ordinal: Ordinal($0), cohort: 0, from: .in, to: .out, version: 1, cause: .rule)
                    }
                )
            }
        }
        let tail = LogTail(maximumEntries: 10, maximumBytes: 100_000)
        #expect(tail.entries(from: 0, limit: 1) == nil)
        for sequence in 5...40 as ClosedRange<UInt64> {
            tail.append(entries(sequence...sequence))
            let low = max(5, sequence < 9 ? 0 : sequence - 9)
            #expect(tail.entries(from: low, limit: 100)?.map(\.sequence) == Array(low...sequence))
            #expect(tail.entries(from: low - 1, limit: 100) == nil && tail.entries(from: sequence + 1, limit: 1) == nil)
            #expect(tail.entries(from: sequence, limit: 1)?.count == 1)
        }
        // Of a group that is larger than the tail, the end.
        tail.append(entries(41...70))
        #expect(tail.entries(from: 61, limit: 100)?.count == 10 && tail.entries(from: 60, limit: 1) == nil)
        // After a gap only what follows it.
        tail.append(entries(80...81))
        #expect(tail.entries(from: 80, limit: 100)?.count == 2 && tail.entries(from: 70, limit: 1) == nil)
        tail.append(entries(82...82, transitions: 100_000))
        #expect(tail.entries(from: 82, limit: 1) == nil)
        tail.append(entries(83...84))
        #expect(tail.entries(from: 83, limit: 9)?.map(\.sequence) == [83, 84])
    }
}
