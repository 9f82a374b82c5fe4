package import NIOCore

/// Why a connection was closed, as it stands in the log and in the counters.
package enum CloseReason: String, Sendable, Hashable, CaseIterable {
    case peerClosed = "peer closed"
    case handshakeTimeout = "handshake timeout"
    case handshakeFailed = "handshake failed"
    case partialFrameTimeout = "frame not completed in time"
    case idleTimeout = "idle timeout"
    case unwritableTimeout = "peer does not read"
    case keepaliveTimeout = "peer does not answer pings"
    case notTTRPC = "not ttRPC"
    case http2 = "HTTP/2 is not supported"
    case protocolViolation = "protocol violation"
    case tooManyConnections = "too many connections"
    case drained = "drained"
    case shutdown = "shut down"
    case rotated = "stream ids used up"
    case transportError = "transport error"
}

/// The clocks of one connection: what must happen by when. It reads no clock itself.
package struct ConnectionTimers: Sendable {
    package struct Limits: Sendable {
        var handshake: TimeAmount?
        var partialFrame: TimeAmount?
        var idle: TimeAmount?
        var unwritable: TimeAmount?

        /// A limit that is nil is not kept.
        package init(handshake: TimeAmount?, partialFrame: TimeAmount?, idle: TimeAmount?, unwritable: TimeAmount?) {
            self.handshake = handshake
            self.partialFrame = partialFrame
            self.idle = idle
            self.unwritable = unwritable
        }
    }

    private let limits: Limits
    private var handshakeSince: NIODeadline?
    private var partialSince: NIODeadline?
    private var idleSince: NIODeadline?
    private var unwritableSince: NIODeadline?

    package init(limits: Limits, now: NIODeadline) {
        self.limits = limits
        handshakeSince = now
    }

    package mutating func handshakeCompleted(now: NIODeadline) {
        handshakeSince = nil
        idleSince = now
    }

    /// Bytes came. `insideFrame` says whether a frame has begun and not ended; `completedFrame` whether one ended, and
    /// `isActivity` whether one was more than a PING.
    package mutating func received(insideFrame: Bool, completedFrame: Bool, isActivity: Bool = true, now: NIODeadline) {
        if !insideFrame {
            partialSince = nil
        } else if completedFrame || partialSince == nil {
            partialSince = now
        }
        if idleSince != nil, completedFrame, isActivity { idleSince = now }
    }

    /// While the connection is not read, a frame that does not end is not the peer's doing.
    package mutating func readingPaused() { partialSince = nil }

    /// Whether calls are running has changed.
    package mutating func busy(_ isBusy: Bool, now: NIODeadline) {
        if isBusy {
            idleSince = nil
        } else if idleSince == nil {
            idleSince = now
        }
    }

    package mutating func writable(_ isWritable: Bool, now: NIODeadline) {
        unwritableSince = isWritable ? nil : (unwritableSince ?? now)
    }

    /// What runs out first, and when. Asked for after every read, so it makes no array of them.
    private var first: (at: NIODeadline, reason: CloseReason)? {
        var first: (at: NIODeadline, reason: CloseReason)?
        func consider(_ since: NIODeadline?, _ limit: TimeAmount?, _ reason: CloseReason) {
            guard let since, let limit else { return }
            let at = since + limit
            if first.map({ at < $0.at }) ?? true { first = (at, reason) }
        }
        consider(handshakeSince, limits.handshake, .handshakeTimeout)
        consider(partialSince, limits.partialFrame, .partialFrameTimeout)
        consider(idleSince, limits.idle, .idleTimeout)
        consider(unwritableSince, limits.unwritable, .unwritableTimeout)
        return first
    }

    /// When to look again.
    package var next: NIODeadline? { first?.at }

    /// What has run out, the longest overdue first.
    package func expired(now: NIODeadline) -> CloseReason? {
        guard let first, first.at <= now else { return nil }
        return first.reason
    }
}

extension TimeAmount {
    package init(clamping duration: Duration) {
        let (seconds, attoseconds) = duration.components
        let (nanos, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        self = overflow ? .nanoseconds(.max / 2) : .nanoseconds(nanos + attoseconds / 1_000_000_000)
    }
}

extension NIODeadline {
    /// The one that comes first, of those there are.
    static func earliest(_ a: NIODeadline?, _ b: NIODeadline?) -> NIODeadline? {
        guard let a, let b else { return a ?? b }
        return min(a, b)
    }
}
