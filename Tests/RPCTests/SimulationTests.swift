import Foundation
import NIOCore
import RPC
import Testing

/// Events of a virtual clock, in milliseconds, in order of time and then of their making.
private struct Agenda<Event> {
    private var heap: [(time: Double, order: Int, event: Event)] = []
    private var made = 0

    mutating func add(_ time: Double, _ event: Event) {
        made += 1
        heap.append((time, made, event))
        var child = heap.count - 1
        while child > 0, isBefore(child, (child - 1) / 2) {
            heap.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    mutating func next() -> (time: Double, event: Event)? {
        guard let first = heap.first else { return nil }
        heap.swapAt(0, heap.count - 1)
        heap.removeLast()
        var parent = 0
        while true {
            let least = [2 * parent + 1, 2 * parent + 2].filter { $0 < heap.count }.reduce(parent) {
                isBefore($1, $0) ? $1 : $0
            }
            guard least != parent else { break }
            heap.swapAt(least, parent)
            parent = least
        }
        return (first.time, first.event)
    }

    private func isBefore(_ a: Int, _ b: Int) -> Bool {
        (heap[a].time, heap[a].order) < (heap[b].time, heap[b].order)
    }
}

/// Rows for a plot, written to the directory that `COHORT_SIMULATIONS` names, if it does (`scripts/plots`).
private struct Table {
    let header: String
    private var rows: [String] = []

    init(_ header: String) { self.header = header }

    mutating func add(_ values: any CustomStringConvertible...) {
        rows.append(values.map(\.description).joined(separator: ","))
    }

    func write(_ name: String) throws {
        guard let directory = ProcessInfo.processInfo.environment["COHORT_SIMULATIONS"] else { return }
        let text = ([header] + rows).joined(separator: "\n") + "\n"
        try text.write(toFile: "\(directory)/\(name).csv", atomically: true, encoding: .utf8)
    }
}

/// The policies in small worlds with a virtual clock: what they do over time, and what would happen without them.
@Suite("Simulations")
struct SimulationTests {
    private func at(_ milliseconds: Double) -> NIODeadline {
        .uptimeNanoseconds(1_000_000_000_000 + UInt64(milliseconds * 1e6))
    }

    // MARK: A retry storm

    private struct Storm {
        var calls: [Int]
        var attempts: [Int]
        /// Attempts for each call from second 5 to 15, where half fail.
        var ratio: Double { Double(attempts[5..<15].reduce(0, +)) / Double(calls[5..<15].reduce(0, +)) }
    }

    /// 1,000 calls a second for 20 s; from second 5 to 15 half of the attempts fail.
    private func storm(throttled: Bool) -> Storm {
        var random = SeededGenerator(seed: 7)
        let policy = RetryPolicy()
        var throttle = RetryThrottle(policy.throttle)
        var events = Agenda<Int>()
        var storm = Storm(calls: Array(repeating: 0, count: 20), attempts: Array(repeating: 0, count: 20))
        let error = RPCError(.unavailable, "away")
        for call in 0..<20_000 { events.add(Double(call), 1) }
        while let (time, attempt) = events.next() {
            let second = min(Int(time / 1_000), 19)
            if attempt == 1 { storm.calls[second] += 1 }
            storm.attempts[second] += 1
            guard (5..<15).contains(second), Bool.random(using: &random) else {
                throttle.succeeded()
                continue
            }
            throttle.failed()
            let roll = Double.random(in: 0..<1, using: &random)
            guard let wait = policy.delay(afterAttempts: attempt, error, timeRemaining: nil, random: roll),
                throttle.allowsRetry || !throttled
            else { continue }
            events.add(time + wait / .milliseconds(1), attempt + 1)
        }
        return storm
    }

    @Test("half of all attempts fail: the shared budget keeps attempts within 1.1x of calls, where there would be 1.9x")
    func retryStorm() throws {
        let bounded = storm(throttled: true)
        let unbounded = storm(throttled: false)
        #expect(bounded.ratio <= 1.1 && bounded.ratio > 1, "\(bounded.ratio)")
        #expect(unbounded.ratio > 1.8, "\(unbounded.ratio)")
        var table = Table("second,calls,attempts with the budget,attempts without")
        for second in 0..<20 {
            table.add(second, bounded.calls[second], bounded.attempts[second], unbounded.attempts[second])
        }
        try table.write("retry-storm")
    }

    // MARK: A breaker

    @Test(
        "a dependency that is away from second 10 to 50: closed, open, half open and back, and few calls reach it meanwhile"
    )
    func breaker() throws {
        var breaker = CircuitBreaker()
        var table = Table("second,state (0 closed; 1 half open; 2 open),calls refused of 10")
        var states: [CircuitBreaker.State] = [.closed]
        var reached = 0
        var refused = 0
        for tick in 0..<1_000 {
            let time = Double(tick) * 100
            let isAway = (10_000..<50_000).contains(time)
            switch breaker.admit(at: at(time)) {
            case .rejected: refused += 1
            case .admitted(let permit):
                if isAway { reached += 1 }
                if breaker.state != states.last { states.append(breaker.state) }
                breaker.record(isAway ? .failure : .success, took: .zero, permit: permit, at: at(time))
            }
            if breaker.state != states.last { states.append(breaker.state) }
            guard tick % 10 == 9 else { continue }
            let state = breaker.state == .closed ? 0 : breaker.state == .halfOpen ? 1 : 2
            table.add((tick + 1) / 10, state, refused)
            refused = 0
        }
        #expect(states == [.closed, .open, .halfOpen, .open, .halfOpen, .closed])
        // Five to open it and five of a trial, of 400.
        #expect(reached == 10)
        try table.write("breaker")
    }

    // MARK: Three times the capacity

    private enum Arrival { case call, check }

    private struct Overloaded {
        var goodput: [Int]
        var limit: [Int]
    }

    /// A server that does 10,000 calls a second, 10 ms each while no more than 100 run, slower in proportion beyond (processor
    /// sharing); the load is 0.9x for 5 s, 3x for 10 s, 0.9x again. Callers give up after 200 ms, and the server does not see it.
    private func overload(_ queue: AdmissionQueue?) -> Overloaded {
        var random = SeededGenerator(seed: 11)
        var queue = queue
        var result = Overloaded(goodput: Array(repeating: 0, count: 20), limit: Array(repeating: 0, count: 20))
        /// Work done for each of those that run since the start, in milliseconds of a call alone.
        var work = 0.0
        var now = 0.0
        // All need the same work, so they end in the order in which they began.
        var running: [(ends: Double, arrived: Double, began: Double)] = []
        var head = 0
        var waiting: [UInt64: Double] = [:]
        var arrival = 0.0
        func begin(_ arrived: Double) { running.append((work + 10, arrived, now)) }
        func release(_ releases: [AdmissionQueue.Release]) {
            for release in releases {
                switch release {
                case .run(let id): if let arrived = waiting.removeValue(forKey: id) { begin(arrived) }
                case .refuse(let id, _): waiting[id] = nil
                }
            }
        }
        while now < 20_000 {
            let inFlight = running.count - head
            let speed = inFlight <= 100 ? 1 : 100 / Double(inFlight)
            let end = inFlight > 0 ? now + (running[head].ends - work) / speed : .infinity
            let next = min(arrival, end)
            work += (next - now) * speed
            now = next
            if end <= arrival {
                let call = running[head]
                head += 1
                let second = Int(now / 1_000)
                if now - call.arrived <= 200, second < 20 { result.goodput[second] += 1 }
                release(queue?.ended(.measured(since: at(call.began)), at: at(now)) ?? [])
            } else {
                let load = (5_000..<15_000).contains(now) ? 30.0 : 9.0
                arrival = now - log(1 - Double.random(in: 0..<1, using: &random)) / load
                switch queue?.arrive(.critical, deadline: at(now + 200), at: at(now)) {
                case nil, .run?: begin(now)
                case .wait(let id, _)?: waiting[id] = now
                case .refuse?: break
                }
                result.limit[min(Int(now / 1_000), 19)] = queue?.limit ?? 0
            }
        }
        return result
    }

    @Test("a load of 3x capacity: goodput stays above 90 % of the peak, and falls to little without the limit")
    func threefold() throws {
        var policy = AdmissionQueue.Policy()
        (policy.limit.initial, policy.limit.minimum, policy.limit.maximum) = (200, 50, 1_000)
        let limited = overload(AdmissionQueue(policy))
        let unlimited = overload(nil)
        for second in 5..<15 { #expect(limited.goodput[second] >= 9_000, "second \(second): \(limited.goodput)") }
        #expect(unlimited.goodput[7..<15].allSatisfy { $0 < 1_000 }, "\(unlimited.goodput)")
        // Well again at once.
        #expect(limited.goodput[16..<20].allSatisfy { $0 >= 8_500 }, "\(limited.goodput)")
        var table = Table("second,goodput with the limit,goodput without,capacity")
        for second in 0..<20 { table.add(second, limited.goodput[second], unlimited.goodput[second], 10_000) }
        try table.write("overload")
    }

    // MARK: A slow dependency

    private enum Call {
        case begins
        case ends(CircuitBreaker.Permit, took: Double)
    }

    /// The most calls that wait in each second: 1,000 a second for 60 s, which take 10 ms, and 2 s from second 10 to 30.
    private func slow(_ policy: CircuitBreaker.Policy) -> [Int] {
        var breaker = CircuitBreaker(policy)
        var events = Agenda<Call>()
        var most = Array(repeating: 0, count: 60)
        var waiting = 0
        for call in 0..<60_000 { events.add(Double(call), .begins) }
        while let (time, event) = events.next() {
            switch event {
            case .begins:
                guard case .admitted(let permit) = breaker.admit(at: at(time)) else { continue }
                waiting += 1
                let took = (10_000..<30_000).contains(time) ? 2_000.0 : 10.0
                events.add(time + took, .ends(permit, took: took))
            case .ends(let permit, let took):
                waiting -= 1
                breaker.record(.success, took: .nanoseconds(Int64(took * 1e6)), permit: permit, at: at(time))
            }
            let second = min(Int(time / 1_000), 59)
            most[second] = max(most[second], waiting)
        }
        return most
    }

    @Test("a dependency that gets slow: the breaker opens for slowness, and callers no longer pile up behind it")
    func slowDependency() throws {
        var policy = CircuitBreaker.Policy()
        (policy.slowCall, policy.slowCallRatePercent, policy.openTime) = (.milliseconds(500), 50, .seconds(5))
        let guarded = slow(policy)
        let unguarded = slow(CircuitBreaker.Policy())
        #expect(unguarded[13..<30].allSatisfy { $0 >= 1_900 })
        // Until the first slow ones have ended nobody knows; then only trials wait.
        #expect(guarded[15..<30].allSatisfy { $0 <= 10 }, "\(guarded)")
        #expect(guarded[40..<60].allSatisfy { $0 >= 9 }, "\(guarded)")
        var table = Table("second,calls that wait with the breaker,calls that wait without")
        for second in 0..<60 { table.add(second, guarded[second], unguarded[second]) }
        try table.write("slow-dependency")
    }
}
