package import NIOCore

/// What a client's connection may do next. Knows ids and phases; holds no bytes and reads no clock.
package struct ClientConnectionStateMachine: ~Copyable {
    private enum Phase {
        case handshaking
        case open
        /// No new calls; the connection closes when the last one has ended.
        case leaving
        case closed
    }

    private enum Keepalive {
        case quiet(since: NIODeadline)
        case pinged(at: NIODeadline)
    }

    private var phase = Phase.handshaking
    private var nextID: UInt32 = 1
    private var callsLeft: Int
    private var keepalive: Keepalive
    private let keepaliveInterval: TimeAmount?
    private let keepaliveTimeout: TimeAmount
    package private(set) var isExtended = false

    package init(maxCalls: Int, keepaliveInterval: TimeAmount?, keepaliveTimeout: TimeAmount, now: NIODeadline) {
        // 2^30 odd ids exist; a stock server refuses those after them for ever.
        callsLeft = min(maxCalls, 1 << 30)
        self.keepaliveInterval = keepaliveInterval
        self.keepaliveTimeout = keepaliveTimeout
        keepalive = .quiet(since: now)
    }

    package var isHandshaking: Bool { phase == .handshaking }
    package var isClosed: Bool { phase == .closed }
    /// Whether new calls may be made.
    package var isUsable: Bool { phase == .open }
    package var isLeaving: Bool { phase == .leaving }

    package mutating func handshakeCompleted(applicationProtocol: String?, now: NIODeadline) {
        guard phase == .handshaking else { return }
        phase = .open
        isExtended = applicationProtocol == ALPN.extended
        keepalive = .quiet(since: now)
    }

    /// The id of a new call; nil where the connection takes no more. The last id makes the connection leave.
    package mutating func nextStreamID() -> UInt32? {
        guard phase == .open, callsLeft > 0 else { return nil }
        callsLeft -= 1
        if callsLeft == 0 { phase = .leaving }
        let id = nextID
        nextID &+= 2
        return id
    }

    /// The server or the pool wants no new calls here.
    package mutating func leave() {
        if phase == .open || phase == .handshaking { phase = .leaving }
    }

    package mutating func close() { phase = .closed }

    // MARK: Frames

    package enum FrameDecision: Sendable, Hashable {
        case response
        case data
        case ping
        case pong
        case goAway
        case window
        case ignore
    }

    package func frame(_ header: FrameHeader) -> FrameDecision {
        switch header.type {
        case .response: return .response
        case .data: return .data
        case .ping where isExtended: return .ping
        case .pong where isExtended: return .pong
        case .goAway where isExtended: return .goAway
        case .window where isExtended: return .window
        default: return .ignore
        }
    }

    // MARK: Keepalive

    package enum KeepaliveAction: Sendable, Hashable {
        case none
        case ping
        case giveUp
    }

    /// Anything the server says shows that it is there.
    package mutating func received(now: NIODeadline) { keepalive = .quiet(since: now) }

    /// What the silence calls for.
    package mutating func checkKeepalive(now: NIODeadline) -> KeepaliveAction {
        guard isExtended, let keepaliveInterval, phase == .open || phase == .leaving else { return .none }
        switch keepalive {
        case .quiet(let since):
            guard now >= since + keepaliveInterval else { return .none }
            keepalive = .pinged(at: now)
            return .ping
        case .pinged(let at):
            return now >= at + keepaliveTimeout ? .giveUp : .none
        }
    }

    /// When to check again.
    package var nextKeepalive: NIODeadline? {
        guard isExtended, let keepaliveInterval else { return nil }
        switch keepalive {
        case .quiet(let since): return since + keepaliveInterval
        case .pinged(let at): return at + keepaliveTimeout
        }
    }
}
