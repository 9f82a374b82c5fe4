import HTTPTypes
import Metrics
import NIOCore
import NIOHTTPTypes
import Synchronization

/// How long a connection may take, and what it may send. A value: the time is passed in.
struct ConnectionWatch: Sendable {
    struct Limits: Sendable, Equatable {
        /// From the connection to its first request, and from a request's head until its answer has been taken.
        var request: Duration = .seconds(10)
        /// Between two requests.
        var idle: Duration = .seconds(60)
        /// Body of a request: nothing here reads one.
        var body = 16 << 10

        /// At the end of the process, for answers under way. A constant: who reads needs less, and who does not read gets no more.
        static let end = Duration.seconds(2)
    }

    enum Reason: String, Sendable, CaseIterable {
        /// No request has come.
        case noRequest = "no_request"
        /// A request or the reading of its answer has taken too long.
        case slow
        case idle
        /// A body is too large.
        case body
        /// The process is to end, and an answer has not been taken yet.
        case shutdown
    }

    private enum Phase { case opened, busy, idle }

    let limits: Limits
    private var phase = Phase.opened
    private var since: ContinuousClock.Instant
    private var requests = 0
    private var body = 0
    /// When the process ends; nil while it goes on.
    private var end: ContinuousClock.Instant?

    init(_ limits: Limits, at now: ContinuousClock.Instant) {
        self.limits = limits
        since = now
    }

    /// When it is to be closed, unless something happens.
    var deadline: ContinuousClock.Instant {
        let deadline = since + (phase == .idle ? limits.idle : limits.request)
        return end.map { min($0, deadline) } ?? deadline
    }

    /// Why it is to be closed now; nil while it may go on.
    func overdue(at now: ContinuousClock.Instant) -> Reason? {
        guard now >= deadline else { return nil }
        if let end, now >= end { return .shutdown }
        return switch phase {
        case .opened: .noRequest
        case .busy: .slow
        case .idle: .idle
        }
    }

    mutating func head(at now: ContinuousClock.Instant) {
        body = 0
        requests += 1
        // Those that come while one is answered wait their turn.
        if requests == 1 { (phase, since) = (.busy, now) }
    }

    /// Why it is to be closed, where a body is too large.
    mutating func body(_ bytes: Int) -> Reason? {
        body += bytes
        return body > limits.body ? .body : nil
    }

    /// An answer has been taken as a whole.
    mutating func answered(at now: ContinuousClock.Instant) {
        // An answer to what was no request has none to take off.
        requests = max(0, requests - 1)
        (phase, since) = (requests > 0 ? .busy : .idle, now)
    }

    /// The process is to end.
    mutating func quiesce(at now: ContinuousClock.Instant) { end = end ?? now + Limits.end }
}

/// Closes a connection of HTTP that takes too long or sends too much.
///
/// The server's own timeout does not see who reads no answer, or sends a body byte by byte.
final class ConnectionGuard: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPRequestPart
    typealias InboundOut = HTTPRequestPart
    typealias OutboundIn = HTTPResponsePart
    typealias OutboundOut = HTTPResponsePart

    /// Connections now, of the process.
    static let open = Atomic<Int>(0)

    private var watch: ConnectionWatch
    private var timer: Scheduled<Void>?

    init(_ limits: ConnectionWatch.Limits) { watch = ConnectionWatch(limits, at: .now) }

    func handlerAdded(context: ChannelHandlerContext) {
        Self.open.wrappingAdd(1, ordering: .relaxed)
        schedule(context)
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        Self.open.wrappingSubtract(1, ordering: .relaxed)
        timer?.cancel()
        timer = nil
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head:
            watch.head(at: .now)
            schedule(context)
        case .body(let bytes):
            if let reason = watch.body(bytes.readableBytes) { return close(context, reason) }
        case .end: break
        }
        context.fireChannelRead(data)
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        guard case .end = unwrapOutboundIn(data) else { return context.write(data, promise: promise) }
        let taken = promise ?? context.eventLoop.makePromise()
        // The system has taken it, which it does when the peer reads.
        taken.futureResult.assumeIsolated().whenSuccess {
            self.watch.answered(at: .now)
            self.schedule(context)
        }
        context.write(data, promise: taken)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if event is ChannelShouldQuiesceEvent {
            watch.quiesce(at: .now)
            schedule(context)
        }
        context.fireUserInboundEventTriggered(event)
    }

    /// Looks again when the time is over that holds now.
    private func schedule(_ context: ChannelHandlerContext) {
        timer?.cancel()
        let wait = ContinuousClock.now.duration(to: watch.deadline)
        timer = context.eventLoop.assumeIsolated().scheduleTask(in: TimeAmount(max(wait, .zero))) {
            self.check(context)
        }
    }

    private func check(_ context: ChannelHandlerContext) {
        timer = nil
        guard let reason = watch.overdue(at: .now) else { return schedule(context) }
        close(context, reason)
    }

    private func close(_ context: ChannelHandlerContext, _ reason: ConnectionWatch.Reason) {
        Counter(label: "sidecar.http.connections.closed", dimensions: [("reason", reason.rawValue)]).increment()
        context.close(promise: nil)
    }
}
