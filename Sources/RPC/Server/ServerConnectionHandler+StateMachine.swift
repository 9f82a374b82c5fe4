import NIOCore

/// What a server's connection may do next. Knows ids, flags and counts; holds no bytes and reads no clock.
package struct ServerConnectionStateMachine: ~Copyable {
    private enum Phase {
        case handshaking
        case open
        /// No new calls; the connection closes when the last one has ended.
        case draining
        case closed
    }

    private struct Stream {
        let isUnary: Bool
        var requestsOpen: Bool
    }

    private var phase = Phase.handshaking
    private var seen = SeenStreamIDs()
    private var streams: [UInt32: Stream] = [:]
    private let maxStreams: Int
    package private(set) var isExtended = false

    package init(maxStreams: Int) { self.maxStreams = maxStreams }

    /// Calls that run in tasks.
    package var streamCount: Int { streams.count }
    package var isDraining: Bool { phase == .draining }
    package var isHandshaking: Bool { phase == .handshaking }
    package var isClosed: Bool { phase == .closed }

    package mutating func handshakeCompleted(applicationProtocol: String?) {
        if phase == .handshaking { phase = .open }
        isExtended = applicationProtocol == ALPN.extended
    }

    // MARK: Frames

    package enum FrameDecision: Sendable, Hashable {
        case request
        case data
        case ping
        case pong
        case cancel
        case window
        case metadata
        /// Unknown, and so for a later version.
        case ignore
        /// Answered INVALID_ARGUMENT on its id.
        case invalid(String)
    }

    /// What a frame is, by its type and id alone.
    package func frame(_ header: FrameHeader) -> FrameDecision {
        guard header.streamID & 1 == 1 else { return .invalid("stream ids of clients are odd") }
        switch header.type {
        case .request: return .request
        case .data: return .data
        case .ping where isExtended: return .ping
        case .pong where isExtended: return .pong
        case .cancel where isExtended: return .cancel
        case .window where isExtended: return .window
        case .metadata where isExtended: return .metadata
        default: return .ignore
        }
    }

    package enum RequestDecision: Sendable, Hashable {
        case accept
        case invalid(String)
        /// The server drains; the call was not begun and may be made elsewhere.
        case refuseDraining
    }

    /// A Request on an odd id.
    @inline(__always)
    package mutating func request(id: UInt32) -> RequestDecision {
        guard seen.insert(id) else { return .invalid("this stream id was used before") }
        return phase == .open ? .accept : .refuseDraining
    }

    /// What the Request frame of a method says about the messages of the client.
    package static func requestMessages(
        kind: MethodDescriptor.Kind,
        flags: FrameFlags,
        payloadBytes: Int
    ) -> (first: Bool, open: Bool) {
        if kind == .unary { return (true, false) }
        let open = flags.contains(.remoteOpen) && !flags.contains(.remoteClosed)
        if flags.contains(.noData) { return (false, open) }
        if payloadBytes > 0 { return (true, open && kind != .serverStreaming) }
        // An empty payload is an empty message only where one is due: the request of a server stream.
        return kind == .serverStreaming && !open ? (true, false) : (false, open)
    }

    /// A call goes on in a task. False if there are too many.
    package mutating func openStream(id: UInt32, isUnary: Bool, requestsOpen: Bool) -> Bool {
        guard streams.count < maxStreams else { return false }
        streams[id] = Stream(isUnary: isUnary, requestsOpen: requestsOpen)
        return true
    }

    package enum DataDecision: Sendable, Hashable {
        /// Hand the message on, if there is one; then close the request stream if it ends.
        case deliver(message: Bool, end: Bool)
        /// No such stream is live: answered on that id.
        case dead
        /// Data where none may be: the call ends with this.
        case violation(String)
    }

    /// A Data frame on an odd id.
    package mutating func data(id: UInt32, flags: FrameFlags) -> DataDecision {
        guard let stream = streams[id] else { return .dead }
        if stream.isUnary { return .violation("a unary call takes no Data frames") }
        guard stream.requestsOpen else { return .violation("Data after the end of the request stream") }
        let end = flags.contains(.remoteClosed)
        if end { streams[id]?.requestsOpen = false }
        return .deliver(message: !flags.contains(.noData), end: end)
    }

    /// A call in a task has ended.
    package mutating func streamEnded(id: UInt32) { streams[id] = nil }

    // MARK: End

    /// Whether a draining connection has nothing left to do.
    package var isDrained: Bool { phase == .draining && streams.isEmpty }

    /// Starts draining; the highest id whose call may still be answered is returned the first time. A call on an id above is
    /// never begun.
    package mutating func drain() -> UInt32? {
        guard phase == .open || phase == .handshaking else { return nil }
        phase = .draining
        return seen.highest
    }

    package mutating func close() {
        phase = .closed
        streams = [:]
    }
}
