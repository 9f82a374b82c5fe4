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

    private var deadlines: [(NIODeadline, CloseReason)] {
        var all: [(NIODeadline, CloseReason)] = []
        if let since = handshakeSince, let limit = limits.handshake { all.append((since + limit, .handshakeTimeout)) }
        if let since = partialSince, let limit = limits.partialFrame {
            all.append((since + limit, .partialFrameTimeout))
        }
        if let since = idleSince, let limit = limits.idle { all.append((since + limit, .idleTimeout)) }
        if let since = unwritableSince, let limit = limits.unwritable {
            all.append((since + limit, .unwritableTimeout))
        }
        return all
    }

    /// When to look again.
    package var next: NIODeadline? { deadlines.map(\.0).min() }

    /// What has run out, the longest overdue first.
    package func expired(now: NIODeadline) -> CloseReason? {
        deadlines.filter { $0.0 <= now }.min { $0.0 < $1.0 }?.1
    }
}

extension TimeAmount {
    package init(clamping duration: Duration) {
        let (seconds, attoseconds) = duration.components
        let (nanos, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        self = overflow ? .nanoseconds(.max / 2) : .nanoseconds(nanos + attoseconds / 1_000_000_000)
    }
}
