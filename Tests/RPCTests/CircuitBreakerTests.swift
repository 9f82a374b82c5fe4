import MetricsTestKit
import NIOCore
import RPC
import Synchronization
import Testing

/// The breaker as its description says it, with every call kept and every rate counted anew.
private struct NaiveBreaker {
    struct Call {
        var failed: Bool
        var timedOut: Bool
        var slow: Bool
    }

    let policy: CircuitBreaker.Policy
    var state = CircuitBreaker.State.closed
    var openedAt = NIODeadline.distantPast
    var calls: [Call] = []
    var trialsBegun = 0
    var period = 0

    mutating func admit(_ now: NIODeadline) -> Bool {
        if state == .open {
            guard now >= openedAt + TimeAmount(clamping: policy.openTime) else { return false }
            go(.halfOpen)
        }
        if state == .halfOpen {
            guard trialsBegun < policy.halfOpenPermits else { return false }
            trialsBegun += 1
        }
        return true
    }

    mutating func record(_ outcome: CircuitBreaker.Outcome, _ time: Duration, _ from: Int, _ now: NIODeadline) {
        guard from == period, state != .open else { return }
        guard outcome != .ignored else {
            if state == .halfOpen { trialsBegun -= 1 }
            return
        }
        calls.append(Call(failed: outcome == .failure, timedOut: outcome == .timeout, slow: time >= policy.slowCall))
        let isTrial = state == .halfOpen
        let judged = calls.suffix(isTrial ? policy.halfOpenPermits : policy.window)
        let hasSuccess = judged.contains { !$0.failed && !$0.timedOut }
        let failures = judged.count { $0.failed || ($0.timedOut && !hasSuccess) }
        let rates =
            failures * 100 >= policy.failureRatePercent * judged.count
            || judged.count { $0.slow } * 100 >= policy.slowCallRatePercent * judged.count
        if isTrial {
            // Whether it will be over whatever the others will be.
            let isCertain =
                judged.count { $0.failed } * 100 >= policy.failureRatePercent * policy.halfOpenPermits
                || judged.count { $0.slow } * 100 >= policy.slowCallRatePercent * policy.halfOpenPermits
            guard judged.count == policy.halfOpenPermits || isCertain else { return }
            go(rates || isCertain ? .open : .closed)
        } else {
            let row = calls.reversed().filter { !$0.timedOut }.prefix { $0.failed }.count
            let isKnown = judged.count >= min(policy.minimumCalls, policy.window)
            if (isKnown && rates) || row >= policy.consecutiveFailures ?? .max { go(.open) }
        }
        if state == .open { openedAt = now }
    }

    private mutating func go(_ new: CircuitBreaker.State) {
        state = new
        calls = []
        trialsBegun = 0
        period += 1
    }
}

@Suite("Circuit breaker")
struct CircuitBreakerTests {
    private let start = NIODeadline.uptimeNanoseconds(1_000_000_000_000)

    private func call(
        _ breaker: inout CircuitBreaker,
        _ outcome: CircuitBreaker.Outcome,
        took: Duration = .zero,
        at now: NIODeadline
    ) -> Bool {
        guard case .admitted(let permit) = breaker.admit(at: now) else { return false }
        breaker.record(outcome, took: took, permit: permit, at: now)
        return true
    }

    @Test(
        "random calls, with results that come late: it does what the naive one does",
        arguments: 0..<40 as Range<UInt64>
    )
    func model(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        var policy = CircuitBreaker.Policy()
        policy.window = Int.random(in: 1...20, using: &random)
        policy.minimumCalls = Int.random(in: 1...25, using: &random)
        policy.failureRatePercent = Int.random(in: 20...100, using: &random)
        policy.slowCallRatePercent = Int.random(in: 20...100, using: &random)
        policy.slowCall = .seconds(1)
        policy.consecutiveFailures = Bool.random(using: &random) ? Int.random(in: 2...8, using: &random) : nil
        policy.halfOpenPermits = Int.random(in: 1...6, using: &random)
        var breaker = CircuitBreaker(policy)
        var model = NaiveBreaker(policy: policy)
        var running: [(CircuitBreaker.Permit, Int)] = []
        var now = start
        var states: Set<CircuitBreaker.State> = []
        for step in 0..<3_000 {
            now = now + .milliseconds(Int64.random(in: 0..<4_000, using: &random))
            if running.count < 5, Bool.random(using: &random) {
                let wait = breaker.wait(at: now)
                let decision = breaker.admit(at: now)
                let isAdmitted = model.admit(now)
                if case .admitted(let permit) = decision {
                    running.append((permit, model.period))
                    #expect(isAdmitted && wait == nil, "step \(step)")
                } else {
                    #expect(!isAdmitted && wait != nil, "step \(step)")
                }
            } else if !running.isEmpty {
                let (permit, period) = running.remove(at: Int.random(in: 0..<running.count, using: &random))
                let roll = Int.random(in: 0..<100, using: &random)
                let outcome: CircuitBreaker.Outcome =
                    roll < 10 ? .ignored : roll < 35 ? .failure : roll < 55 ? .timeout : .success
                let took: Duration = .milliseconds(Int64.random(in: 0..<1_500, using: &random))
                breaker.record(outcome, took: took, permit: permit, at: now)
                model.record(outcome, took, period, now)
            }
            #expect(breaker.state == model.state, "step \(step)")
            states.insert(breaker.state)
        }
        #expect(states.contains(.open) && states.contains(.halfOpen))
    }

    @Test("the defaults: half of a hundred calls open it, for 30 s, and ten good ones close it")
    func defaults() {
        var policy = CircuitBreaker.Policy()
        policy.consecutiveFailures = nil
        var breaker = CircuitBreaker(policy)
        for index in 0..<99 { #expect(call(&breaker, index % 2 == 0 ? .failure : .success, at: start) == true) }
        #expect(breaker.state == .closed)
        #expect(call(&breaker, .success, at: start) == true)
        #expect(breaker.state == .open && breaker.failureRatePercent == 50)
        #expect(breaker.admit(at: start + .seconds(29)) == .rejected(retryAfter: .seconds(1)))
        for _ in 0..<10 { #expect(call(&breaker, .success, at: start + .seconds(30)) == true) }
        #expect(breaker.state == .closed && breaker.failureRatePercent == 0)
    }

    @Test("failures in a row open it before the window is full; one success between them does not")
    func consecutive() {
        var breaker = CircuitBreaker()
        for _ in 0..<4 { _ = call(&breaker, .failure, at: start) }
        _ = call(&breaker, .success, at: start)
        for _ in 0..<4 { _ = call(&breaker, .failure, at: start) }
        #expect(breaker.state == .closed)
        _ = call(&breaker, .failure, at: start)
        #expect(breaker.state == .open)
    }

    @Test("slow calls open it though they succeed")
    func slow() {
        var policy = CircuitBreaker.Policy()
        (policy.window, policy.minimumCalls, policy.slowCallRatePercent, policy.slowCall) = (10, 10, 50, .seconds(1))
        var breaker = CircuitBreaker(policy)
        for _ in 0..<5 { _ = call(&breaker, .success, took: .milliseconds(999), at: start) }
        for _ in 0..<5 { _ = call(&breaker, .success, took: .seconds(1), at: start) }
        #expect(breaker.state == .open && breaker.slowCallRatePercent == 50)
    }

    @Test(
        "half open: no more than the permits, an ignored call gives its own back, half of them failing opens it again"
    )
    func halfOpen() {
        var policy = CircuitBreaker.Policy()
        policy.halfOpenPermits = 4
        var breaker = CircuitBreaker(policy)
        for _ in 0..<5 { _ = call(&breaker, .failure, at: start) }
        let later = start + .seconds(30)
        #expect(call(&breaker, .ignored, at: later) == true)
        var permits: [CircuitBreaker.Permit] = []
        for _ in 0..<4 { if case .admitted(let permit) = breaker.admit(at: later) { permits.append(permit) } }
        #expect(permits.count == 4)
        #expect(breaker.admit(at: later) == .rejected(retryAfter: .seconds(1)))
        for (index, permit) in permits.enumerated() {
            breaker.record(index < 2 ? .failure : .success, took: .zero, permit: permit, at: later)
        }
        #expect(breaker.state == .open && breaker.wait(at: later) == .seconds(30))
    }

    @Test("calls that time out open it only where none succeeds: a caller's deadlines may be too short for anyone")
    func timeouts() {
        var breaker = CircuitBreaker()
        _ = call(&breaker, .success, at: start)
        for _ in 0..<99 { _ = call(&breaker, .timeout, at: start) }
        #expect(breaker.state == .closed && breaker.failureRatePercent == 0)
        _ = call(&breaker, .timeout, at: start)
        #expect(breaker.state == .open && breaker.failureRatePercent == 100)
        let later = start + .seconds(30)
        for _ in 0..<9 { _ = call(&breaker, .timeout, at: later) }
        #expect(breaker.state == .halfOpen)
        _ = call(&breaker, .success, at: later)
        #expect(breaker.state == .closed)
        for _ in 0..<4 { _ = call(&breaker, .failure, at: later) }
        _ = call(&breaker, .timeout, at: later)
        #expect(breaker.state == .closed)
        _ = call(&breaker, .failure, at: later)
        #expect(breaker.state == .open)
    }

    @Test("probes of an open one: one at a time, a second apart; a success of one half-opens it before its time")
    func probes() throws {
        var breaker = CircuitBreaker()
        func probe(_ now: NIODeadline) -> CircuitBreaker.Permit? {
            guard case .admitted(let permit) = breaker.admitProbe(at: now) else { return nil }
            return permit
        }
        // A closed one just admits.
        let first = try #require(probe(start))
        breaker.record(.success, took: .zero, permit: first, at: start)
        for _ in 0..<5 { _ = call(&breaker, .failure, at: start) }
        #expect(probe(start + .milliseconds(999)) == nil)
        let second = try #require(probe(start + .seconds(1)))
        #expect(breaker.probeWait(at: start + .seconds(9)) == .seconds(1) && probe(start + .seconds(9)) == nil)
        breaker.record(.failure, took: .zero, permit: second, at: start + .seconds(9))
        #expect(breaker.state == .open && breaker.wait(at: start + .seconds(9)) == .seconds(21))
        #expect(breaker.probeWait(at: start + .seconds(9)) == .seconds(1))
        let third = try #require(probe(start + .seconds(10)))
        breaker.record(.success, took: .zero, permit: third, at: start + .seconds(10))
        #expect(breaker.state == .halfOpen)
        for _ in 0..<10 { _ = call(&breaker, .success, at: start + .seconds(10)) }
        #expect(breaker.state == .closed)
    }

    @Test("what is found away by other means opens anew what is not closed, and only that")
    func foundAway() {
        var breaker = CircuitBreaker()
        breaker.foundAway(at: start)
        #expect(breaker.state == .closed)
        for _ in 0..<5 { _ = call(&breaker, .failure, at: start) }
        breaker.foundAway(at: start + .seconds(20))
        #expect(breaker.wait(at: start + .seconds(20)) == .seconds(30))
        _ = call(&breaker, .success, at: start + .seconds(50))
        #expect(breaker.state == .halfOpen)
        breaker.foundAway(at: start + .seconds(51))
        #expect(breaker.wait(at: start + .seconds(51)) == .seconds(30))
    }

    @Test("what was let in before it opened counts for nothing after")
    func late() {
        var breaker = CircuitBreaker()
        var permits: [CircuitBreaker.Permit] = []
        for _ in 0..<20 { if case .admitted(let permit) = breaker.admit(at: start) { permits.append(permit) } }
        for permit in permits.prefix(5) { breaker.record(.failure, took: .zero, permit: permit, at: start) }
        let later = start + .seconds(30)
        _ = call(&breaker, .success, at: later)
        for permit in permits.suffix(15) { breaker.record(.failure, took: .zero, permit: permit, at: later) }
        #expect(breaker.state == .halfOpen && breaker.failureRatePercent == 0)
    }

    @Test("a shared one counts and tells what it does")
    func shared() throws {
        let metrics = TestMetrics()
        let clock = Mutex(start)
        let seen = Mutex<[CircuitBreaker.State]>([])
        let breaker = DependencyBreaker(
            name: "disk",
            policy: CircuitBreaker.Policy(),
            metrics: metrics,
            clock: { clock.withLock { $0 } },
            onTransition: { state in seen.withLock { $0.append(state) } }
        )
        func call(_ outcome: CircuitBreaker.Outcome) {
            guard case .admitted(let permit) = breaker.admit() else { return }
            breaker.record(outcome, took: .zero, permit: permit)
        }
        for _ in 0..<7 { call(.failure) }
        #expect(breaker.refusal() == .seconds(30))
        #expect(breaker.status.state == .open && breaker.status.opened == 1 && breaker.status.rejected == 3)
        #expect(try metrics.expectGauge("rpc.breaker.state", [("breaker", "disk")]).lastValue == 2)
        clock.withLock { $0 = $0 + .seconds(31) }
        #expect(breaker.refusal() == nil)
        for _ in 0..<10 { call(.success) }
        #expect(breaker.status.state == .closed && breaker.status.retryAfter == nil)
        #expect(seen.withLock { $0 } == [.open, .halfOpen, .closed])
        #expect(try metrics.expectCounter("rpc.breaker.rejected", [("breaker", "disk")]).totalValue == 3)
        let opened = try metrics.expectCounter("rpc.breaker.transitions", [("breaker", "disk"), ("to", "open")])
        #expect(opened.totalValue == 1)
    }
}
