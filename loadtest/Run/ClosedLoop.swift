import NIOCore
import RPC

/// Keeps a number of calls under way on every connection: each answer starts the next one. Lives on one event loop.
final class ClosedLoop {
    /// After the end, for the answers.
    private static let drain = TimeAmount.seconds(10)

    struct Outcome {
        var tally: LoadTally
        /// Calls that ended, whenever.
        var ended: UInt64
        /// Memberships that answers said are IN.
        var members: UInt64
        /// Processor time of this thread over the time that passed, 0 to 1.
        var cpuRatio: Double
    }

    let result: EventLoopPromise<Outcome>
    private let loop: any EventLoop
    private let operation: Operation
    private let prefix: RequestPrefix
    private var source: RequestSource
    private let onInterval: (LoadResult.Interval, Int) -> Void
    private let warmup: TimeAmount
    private let length: TimeAmount

    private var tally = LoadTally(methods: 1, begin: .now())
    private var start = NIODeadline.now()
    private var end = NIODeadline.now()
    private var isStarted = false
    private var isOver = false
    private var outcome = (ended: UInt64(0), members: UInt64(0))
    private var processorBegin = 0.0

    /// - Parameters:
    ///   - scenario: Of one unary method; its rates do not count.
    ///   - onInterval: Told each second of the measurement and the calls under way at its end.
    /// - Throws: What SwiftProtobuf throws for a message that it cannot write.
    init(
        _ scenario: Scenario,
        on loop: any EventLoop,
        onInterval: @escaping (LoadResult.Interval, Int) -> Void
    ) throws {
        self.loop = loop
        self.onInterval = onInterval
        operation = scenario.mix[0].operation
        prefix = RequestPrefix(operation.method)
        source = try RequestSource(scenario.mix[0], scenario, seed: scenario.seed, calls: .infinity)
        warmup = .nanoseconds(Int64((scenario.warmup * 1e9).rounded()))
        length = warmup + .nanoseconds(Int64((scenario.profile.duration * 1e9).rounded()))
        result = loop.makePromise()
    }

    /// Begins. The measurement begins after the warm-up.
    func run(_ connections: [ClientConnection], inFlight: Int) {
        processorBegin = ThreadClock.seconds()
        start = .now()
        end = start + length
        tally = LoadTally(methods: 1, begin: start + warmup)
        scheduleInterval()
        for connection in connections {
            for _ in 0..<inFlight { call(connection, at: .now()) }
        }
        isStarted = true
        if tally.inFlight == 0 { lost() }
    }

    private func call(_ connection: ClientConnection, at begin: NIODeadline) {
        guard let payload = try? source.request() else { return tally.notSent(0, due: begin, "NOT_SENT") }
        tally.sent(0, due: begin, at: begin)
        let this = NIOLoopBound(self, eventLoop: loop)
        connection.call(prefix, payload: payload) { outcome in this.value.ended(outcome, begin, connection) }
    }

    private func again(_ connection: ClientConnection) {
        if !isOver { call(connection, at: .now()) }
    }

    private func ended(_ answer: UnaryOutcome, _ begin: NIODeadline, _ connection: ClientConnection) {
        guard !isOver else { return }
        let now = NIODeadline.now()
        outcome.ended += 1
        tally.ended(0, due: begin, at: now, code: answer.code?.description)
        if case .success(let bytes, _) = answer { outcome.members += members(bytes) }
        // On a connection that is gone a call would fail at once, and so on without an end.
        let isGone = answer.code != nil && !connection.isUsable
        if now < end, !isGone {
            guard answer.code != nil else { return call(connection, at: now) }
            // Not from here: one that fails at once would come here again, and so on.
            let this = NIOLoopBound(self, eventLoop: loop)
            let connection = NIOLoopBound(connection, eventLoop: loop)
            loop.execute { this.value.again(connection.value) }
        } else if tally.inFlight == 0, isStarted {
            if now < end { lost() } else if tally.intervalBegin >= end { finish() }
        }
    }

    private func members(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
        // Field 1, membership, comes first: 1 is IN. Of a batch it holds the memberships, a byte each.
        guard operation == .batchCheckMembership else {
            return bytes.count >= 2 && bytes[0] == 8 && bytes[1] == 1 ? 1 : 0
        }
        var reader = WireReader(bytes)
        guard case (1, 2)? = try? reader.tag(), let range = try? reader.lengthDelimited() else { return 0 }
        return UInt64(bytes[range].count { $0 == 1 })
    }

    private func scheduleInterval() {
        let this = NIOLoopBound(self, eventLoop: loop)
        let at = min(tally.intervalEnd, end)
        loop.scheduleTask(deadline: at) { this.value.endInterval(at) }
    }

    private func endInterval(_ at: NIODeadline) {
        guard !isOver else { return }
        tally.endInterval(at: at)
        if let last = tally.intervals.last { onInterval(last, tally.inFlight) }
        guard at >= end else { return scheduleInterval() }
        guard tally.inFlight > 0 else { return finish() }
        let this = NIOLoopBound(self, eventLoop: loop)
        loop.scheduleTask(in: Self.drain) { this.value.finish() }
    }

    private func finish() {
        guard !isOver else { return }
        isOver = true
        tally.finish(at: .now())
        let passed = Double((NIODeadline.now() - start).nanoseconds) / 1e9
        let used = ThreadClock.seconds() - processorBegin
        result.succeed(
            Outcome(
                tally: tally,
                ended: outcome.ended,
                members: outcome.members,
                cpuRatio: min(1, passed > 0 ? used / passed : 0)
            )
        )
    }

    private func lost() {
        isOver = true
        result.fail(LoadFailure("the server closed every connection before the end"))
    }
}
