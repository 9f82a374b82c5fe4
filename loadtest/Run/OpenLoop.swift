import CoreFoundation
import Foundation
import NIOCore
import RPC

/// Sends calls when they are due, whether or not earlier ones were answered; lives on one event loop.
///
/// Calls that are due within one tick go out together over one connection, and the next tick takes the next one: a write for each
/// call would cost more than all else. A call counts from when it was due, so waiting for the tick counts too.
final class OpenLoop {
    /// Between two looks at what is due.
    private static let tick = TimeAmount.microseconds(50)
    /// The most calls sent before answers get their turn.
    private static let burst = 256

    struct Limits: Sendable {
        /// Calls under way at once; those due beyond are not sent.
        var inFlight = 200_000
        /// After the last call was due, for the answers.
        var drain = Duration.seconds(10)
        /// By which one call of a hundred may be late before the generator counts as the limit.
        var lag = Duration.milliseconds(2)
    }

    struct Outcome {
        var tally: LoadTally
        /// Processor time of this thread over the time that passed, 0 to 1.
        var cpuRatio: Double
    }

    let result: EventLoopPromise<Outcome>
    private let loop: any EventLoop
    private let connections: ConnectionSet
    private let streams: StreamCalls
    private let limits: Limits
    private let onInterval: (LoadResult.Interval, Int) -> Void
    private let warmup: TimeAmount
    private let length: TimeAmount
    private var schedule: ArrivalSchedule
    private let parts: [Part]
    /// Of the parts: by themselves, so that a call copies none of them.
    private var sources: [RequestSource] = []
    private var picker: SplitMix64
    private let totalWeight: Double

    private var tally = LoadTally(methods: 0, begin: .now())
    private var start = NIODeadline.now()
    private var end = NIODeadline.now()
    /// What is due and not sent by then is not sent any more: a rate that is out of reach would take many times as long.
    private var giveUp = NIODeadline.now()
    private var nextDue: NIODeadline?
    private var isOver = false
    private var processorBegin = 0.0

    private struct Part {
        let operation: Operation
        let prefix: RequestPrefix
        let metadata: Metadata
        let deadline: TimeAmount?
        /// The sum of the weights up to this one.
        let weight: Double
    }

    /// - Parameter onInterval: Told each second of the measurement and the calls under way at its end.
    /// - Throws: What SwiftProtobuf throws for a message that it cannot write.
    init(
        _ scenario: Scenario,
        connections: ConnectionSet,
        streams: StreamCalls,
        limits: Limits,
        on loop: any EventLoop,
        onInterval: @escaping (LoadResult.Interval, Int) -> Void
    ) throws {
        self.loop = loop
        self.connections = connections
        self.streams = streams
        self.limits = limits
        self.onInterval = onInterval
        result = loop.makePromise()
        let profile = scenario.profile.preceded(by: scenario.warmup)
        schedule = ArrivalSchedule(profile, scenario.arrivals, seed: scenario.seed)
        picker = SplitMix64(state: scenario.seed &+ 1)
        var sum = 0.0
        var parts: [Part] = []
        for (index, entry) in scenario.mix.enumerated() {
            sum += entry.weight
            parts.append(
                Part(
                    operation: entry.operation,
                    prefix: RequestPrefix(entry.operation.method),
                    metadata: entry.criticality.map { [Criticality.metadataKey: $0.name] } ?? Metadata(),
                    deadline: entry.deadline.map { TimeAmount(clamping: $0) },
                    weight: sum
                )
            )
            let seed = scenario.seed &+ UInt64(index) &+ 2
            sources.append(try RequestSource(entry, scenario, seed: seed, calls: profile.calls))
        }
        self.parts = parts
        totalWeight = sum
        warmup = .nanoseconds(Int64((scenario.warmup * 1e9).rounded()))
        length = warmup + .nanoseconds(Int64((scenario.profile.duration * 1e9).rounded()))
    }

    /// Begins. The measurement begins after the warm-up.
    func run() {
        processorBegin = ThreadClock.seconds()
        start = .now()
        end = start + length
        giveUp = end + max(TimeAmount(clamping: limits.drain), .seconds(1))
        tally = LoadTally(methods: parts.count, begin: start + warmup)
        advance()
        scheduleInterval()
        send()
    }

    // MARK: Sending

    private func advance() { nextDue = schedule.next().map { start + .nanoseconds(Int64($0 * 1e9)) } }

    private func send() {
        var now = NIODeadline.now()
        var count = 0
        let connection = connections.next()
        while let due = nextDue, due <= now, count < Self.burst {
            call(due, now, connection)
            advance()
            count += 1
            if count & 15 == 0 { now = .now() }
        }
        let this = NIOLoopBound(self, eventLoop: loop)
        guard let nextDue else {
            loop.scheduleTask(deadline: max(end, .now())) { this.value.wait() }
            return
        }
        if nextDue <= now {
            // Behind: answers are read meanwhile, and then it goes on.
            loop.execute { this.value.send() }
        } else {
            loop.scheduleTask(deadline: max(nextDue, now + Self.tick)) { this.value.send() }
        }
    }

    private func call(_ due: NIODeadline, _ now: NIODeadline, _ connection: ClientConnection?) {
        let index = pick()
        guard tally.inFlight < limits.inFlight, now < giveUp else { return tally.notSent(index, due: due, "NOT_SENT") }
        let part = parts[index]
        guard let payload = try? sources[index].request() else {
            return tally.notSent(index, due: due, "NOT_SENT")
        }
        let deadline = part.deadline.map { due + $0 }
        guard let connection else { return tally.notSent(index, due: due, "UNAVAILABLE") }
        tally.sent(index, due: due, at: now)
        let this = NIOLoopBound(self, eventLoop: loop)
        if part.operation.method.kind == .unary {
            connection.call(part.prefix, payload: payload, deadline: deadline, metadata: part.metadata) { outcome in
                this.value.ended(index, due, outcome.code)
            }
        } else {
            streams.call(part.operation, payload, deadline: deadline, metadata: part.metadata) { code in
                this.value.ended(index, due, code)
            }
        }
    }

    private func pick() -> Int {
        guard parts.count > 1 else { return 0 }
        let drawn = Double.random(in: 0..<totalWeight, using: &picker)
        return parts.firstIndex { drawn < $0.weight } ?? parts.count - 1
    }

    // MARK: Answers

    private func ended(_ index: Int, _ due: NIODeadline, _ code: RPCError.Code?) {
        guard !isOver else { return }
        tally.ended(index, due: due, at: .now(), code: code?.description)
        if nextDue == nil, tally.inFlight == 0, NIODeadline.now() >= end { finish() }
    }

    private func scheduleInterval() {
        let this = NIOLoopBound(self, eventLoop: loop)
        // The last one ends with the load, however short it is.
        let at = min(tally.intervalEnd, end)
        loop.scheduleTask(deadline: at) { this.value.endInterval(at) }
    }

    private func endInterval(_ at: NIODeadline) {
        guard !isOver else { return }
        closeInterval(at)
        if at < end { scheduleInterval() } else if tally.inFlight == 0, nextDue == nil { finish() }
    }

    private func closeInterval(_ at: NIODeadline) {
        tally.endInterval(at: at)
        if let last = tally.intervals.last { onInterval(last, tally.inFlight) }
    }

    /// All calls are sent: waits for the answers.
    private func wait() {
        guard tally.inFlight > 0 else { return finish() }
        let this = NIOLoopBound(self, eventLoop: loop)
        loop.scheduleTask(in: TimeAmount(clamping: limits.drain)) { this.value.finish() }
    }

    private func finish() {
        guard !isOver else { return }
        isOver = true
        if tally.intervalBegin < end { closeInterval(end) }
        tally.finish(at: .now())
        streams.cancel()
        let used = ThreadClock.seconds() - processorBegin
        let passed = Double((NIODeadline.now() - start).nanoseconds) / 1e9
        result.succeed(Outcome(tally: tally, cpuRatio: min(1, passed > 0 ? used / passed : 0)))
    }
}

/// The processor time of the thread that asks.
enum ThreadClock {
    static func seconds() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }
}

extension UnaryOutcome {
    /// Nil for an answer.
    var code: RPCError.Code? {
        switch self {
        case .success: nil
        case .failure(let error, _): error.code
        }
    }
}
