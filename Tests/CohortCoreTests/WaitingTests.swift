import Testing

@testable import CohortCore

@Suite("Waiting and queueing")
struct WaitingTests {
    @Test("A read that requires a sequence waits for it")
    func waits() async throws {
        try await withEngine { engine, _ in
            try await engine.create("ALL", "true")
            let next = engine.status.sequence + 1
            guard case .wait = try engine.checkMembership(customer: "a", cohort: "ALL", minSequence: next) else {
                Issue.record("answered before the sequence")
                return
            }
            async let answer = engine.checkMembershipWaiting(
                customer: "a",
                cohort: "ALL",
                minSequence: next,
                deadline: .far
            )
            try await engine.put("a", [:])
            #expect(try await answer.membership == .in)
        }
    }

    @Test("A sequence that does not come is UNAVAILABLE at the deadline")
    func neverComes() async throws {
        var configuration = EngineConfiguration.small
        configuration.maximumSequenceWait = .milliseconds(20)
        try await withEngine(configuration: configuration) { engine, _ in
            for deadline in [ContinuousClock.now, .far] {
                let error = await domainError {
                    try await engine.waitForSequence(1_000, deadline: deadline)
                }
                guard case .unavailable(UnavailableReason.sequenceNotReached, _, .some) = error else {
                    Issue.record("\(String(describing: error))")
                    return
                }
            }
        }
    }

    @Test("A cancelled wait ends")
    func cancelled() async throws {
        let waiters = SequenceWaiters()
        let task = Task { await waiters.wait(for: 5, until: .far) }
        task.cancel()
        #expect(await task.value == false)
    }

    @Test("Before the start and after the stop everything is UNAVAILABLE")
    func notServing() async throws {
        let engine = Engine(store: MemoryStore())
        let before = await domainError { try engine.checkMembership(customer: "a", cohort: "ALL") }
        guard case .unavailable(UnavailableReason.indexLoading, _, _) = before else {
            Issue.record("\(String(describing: before))")
            return
        }
        try await blocking { try engine.start() }
        try await blocking { engine.shutdown() }
        #expect(engine.status.state == .stopped)
        let after = await domainError { try await engine.put("a", [:]) }
        guard case .unavailable(UnavailableReason.shuttingDown, _, _) = after else {
            Issue.record("\(String(describing: after))")
            return
        }
    }

    @Test("The queue refuses what it has no room for, and takes it again later")
    func queue() {
        let queue = SubmissionQueue(capacity: 10, retryAfter: .milliseconds(1))
        func request(_ rows: Int) -> Submission {
            .rows(
                RowsRequest(
                    rows: Array(repeating: .erase([1]), count: rows),
                    context: tester,
                    complete: { _ in }
                )
            )
        }
        #expect(queue.submit(request(6)) == nil)
        #expect(queue.submit(request(4)) == nil)
        guard case .resourceExhausted("write_queue", _, .some) = queue.submit(request(1)) else {
            Issue.record("taken beyond its capacity")
            return
        }
        #expect(queue.depth == 10)
        guard case .rows(let group) = queue.take(rows: 5) else {
            Issue.record("no work")
            return
        }
        #expect(group.count == 1 && queue.depth == 4)
        #expect(queue.submit(.barrier(BarrierRequest { _ in })) == nil)
        #expect(queue.submit(request(1)) == nil)
        queue.close()
        #expect(queue.submit(request(1)) != nil)
        // A barrier ends a group, and what waits is still served after the close.
        guard case .rows(let second) = queue.take(rows: 100), case .barrier = queue.take(rows: 100),
            case .rows(let third) = queue.take(rows: 100)
        else {
            Issue.record("out of order")
            return
        }
        #expect(second.count == 1 && third.count == 1 && queue.take(rows: 1) == nil)
    }

    @Test("What has been taken from a queue is let go of, though the queue is never empty")
    func letsGo() {
        final class Load {}
        var queue = FIFO<Load>()
        weak var first: Load?
        for i in 0..<300 {
            let load = Load()
            if i == 0 { first = load }
            queue.append(load)
            queue.append(Load())
            _ = queue.popFirst()
        }
        #expect(first == nil && queue.count == 300)
        for left in (0..<300).reversed() {
            #expect(queue.popFirst() != nil && queue.count == left)
        }
        #expect(queue.popFirst() == nil && queue.isEmpty)
    }

    @Test("An empty queue takes a batch larger than itself")
    func oversized() {
        let queue = SubmissionQueue(capacity: 2, retryAfter: .milliseconds(1))
        let rows = Array(repeating: RowOperation.erase([1]), count: 5)
        #expect(queue.submit(.rows(RowsRequest(rows: rows, context: tester, complete: { _ in }))) == nil)
    }

    @Test("Readers see whole entries only, and never go back", arguments: [2, 9])
    func consistentReads(customers: Int) async throws {
        try await withEngine { engine, _ in
            let rule = "has(customer.daily_spend) && customer.daily_spend > 50.0"
            try await engine.create("HIGH", rule)
            try await engine.create("LOW", "!(\(rule))")
            for i in 0..<customers { try await engine.put("c\(i)", [:]) }
            try await withThrowingTaskGroup(of: Void.self) { group in
                for reader in 0..<2 {
                    group.addTask {
                        var last: UInt64 = 0
                        var reads = 0
                        while !Task.isCancelled || reads < 100 {
                            let found = try await engine.cohortsWaiting(
                                ofCustomer: "c\(reads % customers)",
                                deadline: .far
                            )
                            // Exactly one of the two, at every sequence.
                            #expect(found.memberships.count == 1)
                            #expect(found.sequence >= last)
                            last = found.sequence
                            reads += 1
                            if reads % 64 == 0 { await Task.yield() }
                        }
                        _ = reader
                    }
                }
                var random = SeededGenerator(state: 7)
                for _ in 0..<200 {
                    let rows = (0..<8).map { _ in
                        CustomerPut(
                            customerID: "c\(Int.random(in: 0..<customers, using: &random))",
                            attributes: [("daily_spend", .double(Double.random(in: 0...100, using: &random)))]
                        )
                    }
                    _ = try await engine.put(batch: rows, context: tester)
                }
                group.cancelAll()
                try await group.waitForAll()
            }
        }
    }
}
