import Dispatch
import Testing

@testable import CohortCore

private let ann = WriteContext(principal: "ann", method: "test")
private let bob = WriteContext(principal: "bob", method: "test")

extension Engine {
    fileprivate func customers(_ count: Int) async throws {
        let rows = (0..<count).map { i in
            CustomerPut(customerID: "C\(i)", attributes: [(name: "daily_spend", value: .double(Double(i % 10)))])
        }
        for start in stride(from: 0, to: count, by: 1_000) {
            _ = try await put(batch: Array(rows[start..<min(start + 1_000, count)]), context: tester)
        }
    }

    fileprivate func erase(
        _ cohort: String,
        expect: UInt64,
        limit: UInt64 = 0,
        by context: WriteContext = ann
    ) async throws -> EraseMembersResult {
        try await eraseMembers(cohort: cohort, MemberSelection(expected: expect, limit: limit), context: context)
    }
}

private func configuration(_ rows: Int) -> EngineConfiguration {
    var configuration = EngineConfiguration.small
    configuration.memberErasureRows = rows
    configuration.upkeepInterval = 0
    return configuration
}

@Suite("Erasing the members of a cohort")
struct EraseMembersTests {
    @Test("Those who are IN are erased, each by an entry of its own, and nobody else", arguments: [1, 7, 500])
    func erases(_ rows: Int) async throws {
        let store = MemoryStore()
        let engine = try await started(store, configuration: configuration(rows))
        try await engine.customers(40)
        try await engine.put("NONE", ["user_type": .string("x")])
        try await engine.create("HIGH", "customer.daily_spend > 4.0")
        try await engine.create("READER", "in_cohort('HIGH')")
        let before = engine.status.sequence
        let result = try await engine.erase("HIGH", expect: 20)
        #expect(result.erasure == MemberErasure(total: 20, erased: 20, isDone: true))
        #expect(result.pending == nil)
        #expect(result.sequence == before + 20 && engine.status.sequence == before + 20)
        #expect(engine.status.customers == 21)
        #expect(try await engine.memberIDs("HIGH").isEmpty)
        #expect(try await engine.memberIDs("READER").isEmpty)
        #expect(try await engine.check("NONE", "HIGH").membership == .unknown)
        let entries = try store.readLog(from: before + 1, limit: 100).map { try $0.decoded() }
        #expect(entries.count == 20)
        for entry in entries {
            guard case .customerErased = entry.change else {
                return #expect(Bool(false), "only erasures: \(entry.change)")
            }
            #expect(entry.principal == "ann")
        }
        #expect(try await engine.erase("HIGH", expect: 0).erasure == MemberErasure(total: 0, isDone: true))
        #expect(engine.status.approvals.erasuresRunning == 0)
        try await blocking { engine.shutdown() }
    }

    @Test("Another number of members than expected erases nobody, and says the number")
    func guardNumber() async throws {
        try await withEngine(configuration: configuration(3)) { engine, _ in
            try await engine.customers(10)
            try await engine.create("HIGH", "customer.daily_spend > 4.0")
            for wrong: UInt64 in [0, 4, 6] {
                guard
                    case .failedPrecondition("MEMBERS_DIFFER", let message) = await domainError({
                        try await engine.erase("HIGH", expect: wrong)
                    })
                else { return #expect(Bool(false), "\(wrong) is refused") }
                #expect(message.contains("has 5 members"))
            }
            #expect(engine.status.customers == 10)
            #expect(await domainError { try await engine.erase("NONE", expect: 0) } != nil)
            let some = try await engine.erase("HIGH", expect: 5, limit: 2)
            #expect(some.erasure == MemberErasure(total: 2, erased: 2, isDone: true))
            #expect(engine.status.customers == 8)
            #expect(try await engine.erase("HIGH", expect: 3, limit: 100).erasure.erased == 3)
        }
    }

    @Test("An erasure that was approved erases then, and its request tells the result")
    func approved() async throws {
        try await withEngine(configuration: configuration(2)) { engine, _ in
            try await engine.customers(10)
            _ = try await engine.createCohort(
                CohortDefinition(id: "HIGH", kind: .rule, rule: "customer.daily_spend > 4.0", approvalRequired: true),
                context: tester
            )
            guard
                case .failedPrecondition("MEMBERS_DIFFER", _) = await domainError({
                    try await engine.erase("HIGH", expect: 4)
                })
            else { return #expect(Bool(false), "the guard holds at the request") }
            let request = try #require(try await engine.erase("HIGH", expect: 5, limit: 3).pending?.request)
            #expect(request.action == .eraseMembers(MemberSelection(expected: 5, limit: 3)))
            #expect(engine.status.customers == 10)
            guard
                case .permissionDenied("APPROVAL_BY_AUTHOR", _) = await domainError({
                    try await engine.approve(change: request.number, context: ann)
                })
            else { return #expect(Bool(false), "not by its author") }
            let approved = try await engine.approve(change: request.number, context: bob)
            #expect(approved.left == 3 && engine.status.customers == 7)
            let decision = try #require(approved.request.request.decision)
            #expect(decision.erasure == MemberErasure(total: 3, erased: 3, isDone: true))
            #expect(decision.effect == approved.sequence && decision.principal == "bob")
            #expect(!approved.request.isRunning)

            // Members that come or go in between are a reason to look again.
            let second = try #require(try await engine.erase("HIGH", expect: 2).pending?.request)
            try await engine.put("NEW", ["daily_spend": .double(9)])
            guard
                case .failedPrecondition("CHANGE_SUPERSEDED", let message) = await domainError({
                    try await engine.approve(change: second.number, context: bob)
                })
            else { return #expect(Bool(false), "the guard holds at the approval") }
            #expect(message.contains("3 members"))
            #expect(engine.status.customers == 8)
            let rejected = try #require(try await engine.erase("HIGH", expect: 3).pending?.request)
            _ = try await engine.reject(change: rejected.number, context: bob)
            #expect(engine.status.customers == 8)
        }
    }

    @Test("Only so many run at once, other writes go on meanwhile, and who is gone already is counted")
    func beside() async throws {
        try await withEngine(configuration: configuration(1)) { engine, _ in
            try await engine.customers(4_000)
            try await engine.create("HIGH", "customer.daily_spend > 4.0")
            async let running = engine.erase("HIGH", expect: 2_000)
            while engine.status.approvals.erasuresRunning == 0 { await Task.yield() }
            // With whatever number of members there is at the moment.
            let members = try await engine.countMembersWaiting(cohort: "HIGH", deadline: .far).members
            guard
                case .resourceExhausted("member_erasures", _, .some) = await domainError({
                    try await blocking {
                        try engine.shared.betweenCommits { committer in
                            Result { () throws(DomainError) in
                                let cohort = try committer.catalog.cohort("HIGH")
                                let selection = MemberSelection(expected: committer.memberCount(cohort))
                                return try committer.eraseMembers(of: "HIGH", selection, ann)
                            }
                        }.get()
                    }
                })
            else { return #expect(Bool(false), "one at a time, with \(members) members left") }
            // The last one goes and comes again, as somebody new.
            _ = try await engine.erase(customer: "C3999", context: tester)
            try await engine.put("C3999", ["daily_spend": .double(9)])
            let result = try await running
            #expect(result.erasure == MemberErasure(total: 2_000, erased: 1_999, alreadyGone: 1, isDone: true))
            #expect(try await engine.memberIDs("HIGH") == ["C3999"])
            #expect(engine.status.approvals.erasuresRunning == 0)
            #expect(try await engine.erase("HIGH", expect: 1).erasure.erased == 1)
        }
    }

    @Test("Somebody new under the id of one who is meant stays")
    func sameID() async throws {
        try await withEngine(configuration: configuration(1)) { engine, _ in
            try await engine.put("A", ["daily_spend": .double(1)])
            _ = try await engine.erase(customer: "A", context: tester)
            try await engine.put("A", ["daily_spend": .double(2)])
            for (ordinal, isMeant) in [(Ordinal(0), false), (1, true)] {
                let results = try await withCheckedContinuation { continuation in
                    let rows = [RowOperation.erase(Array("A".utf8), only: ordinal)]
                    let request = RowsRequest(rows: rows, context: tester) { continuation.resume(returning: $0) }
                    #expect(engine.shared.queue.submit(.rows(request)) == nil)
                }.get()
                if case .failure(.notFound) = results[0] { #expect(!isMeant) } else { #expect(isMeant) }
                #expect(engine.status.customers == (isMeant ? 0 : 1))
            }
        }
    }

    @Test("Somebody new who comes between the look at the members and their erasure stays")
    func betweenLookAndErasure() async throws {
        try await withEngine(configuration: configuration(10)) { engine, _ in
            try await engine.put("A", ["daily_spend": .double(9)])
            try await engine.create("HIGH", "customer.daily_spend > 4.0")
            let queue = engine.shared.queue
            func stop() -> DispatchSemaphore {
                let go = DispatchSemaphore(value: 0)
                #expect(queue.submit(.barrier(BarrierRequest { _ in go.wait() })) == nil)
                return go
            }
            func waits(_ depth: Int) async { while queue.depth != depth { await Task.yield() } }
            // The order in the queue: the look, a stop, A goes, A comes anew. The erasure itself comes behind them.
            let first = stop()
            await waits(0)
            async let result = engine.erase("HIGH", expect: 1)
            await waits(1)
            let second = stop()
            async let gone = engine.erase(customer: "A", context: tester)
            await waits(3)
            async let again = engine.put("A", ["daily_spend": .double(9)])
            await waits(4)
            first.signal()
            await waits(3)
            second.signal()
            _ = try await (gone, again)
            #expect(try await result.erasure == MemberErasure(total: 1, erased: 0, alreadyGone: 1, isDone: true))
            #expect(try await engine.memberIDs("HIGH") == ["A"])
        }
    }

    @Test("It goes on without its caller")
    func withoutCaller() async throws {
        try await withEngine(configuration: configuration(1)) { engine, _ in
            try await engine.customers(2_000)
            try await engine.create("HIGH", "customer.daily_spend > 4.0")
            let caller = Task { try await engine.erase("HIGH", expect: 1_000) }
            while engine.status.customers == 2_000 { await Task.yield() }
            caller.cancel()
            #expect(try await caller.value.erasure.erased == 1_000)
            #expect(engine.status.customers == 1_000)
        }
    }

    @Test("A stop interrupts it: the rest is not erased, and the request says so after the next start")
    func interrupted() async throws {
        let store = MemoryStore()
        let engine = try await started(store, configuration: configuration(1))
        try await engine.customers(6_000)
        _ = try await engine.createCohort(
            CohortDefinition(id: "HIGH", kind: .rule, rule: "customer.daily_spend > 4.0", approvalRequired: true),
            context: tester
        )
        let request = try #require(try await engine.erase("HIGH", expect: 3_000).pending?.request)
        async let approval = domainError { try await engine.approve(change: request.number, context: bob) }
        while engine.status.customers > 5_990 { await Task.yield() }
        let running = try #require(try engine.changeRequests(includingDecided: true).requests.first)
        #expect(running.isRunning && running.request.state == .approved)
        try await blocking { engine.shutdown() }
        guard case .unavailable(_, let message, _) = await approval else {
            return #expect(Bool(false), "the caller is told that it was interrupted")
        }
        #expect(message.contains("of 3000 customers were erased, the others were not"))

        let next = try await started(store, configuration: configuration(1))
        let erased = 6_000 - next.status.customers
        #expect((10..<3_000).contains(Int(erased)))
        let view = try #require(try next.changeRequests(includingDecided: true).requests.first)
        let noted = try #require(view.request.decision?.erasure)
        #expect(!view.isRunning && !noted.isDone)
        #expect(noted.erased <= erased && noted.erased + 1 >= erased, "at most one batch less: \(noted), \(erased)")
        #expect(next.status.approvals.erasuresRunning == 0)
        #expect(try await next.countMembersWaiting(cohort: "HIGH", deadline: .far).members == 3_000 - erased)
        try await blocking { next.shutdown() }
    }
}
