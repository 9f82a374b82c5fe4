import Foundation
package import Logging
package import NIOCore
import NIOSSL
import NIOTLS

/// What every connection of a server shares.
package struct ServerConnectionContext: Sendable {
    package var limits: ServerLimits
    package var methods: MethodTable
    package var statistics: ServerStatistics
    package var logger: Logger

    package init(
        limits: ServerLimits,
        methods: MethodTable,
        statistics: ServerStatistics,
        logger: Logger
    ) {
        self.limits = limits
        self.methods = methods
        self.statistics = statistics
        self.logger = logger
    }
}

/// One connection of a server: reads frames, runs inline handlers, hands other calls to tasks, writes what they say.
///
/// Everything here runs on the connection's event loop. `ServerConnectionStateMachine` decides, `ConnectionTimers` says
/// what is overdue, `Outbox` brings what tasks write.
package final class ServerConnectionHandler: ChannelDuplexHandler {
    package typealias InboundIn = ByteBuffer
    package typealias OutboundIn = ByteBuffer
    package typealias OutboundOut = ByteBuffer

    let shared: ServerConnectionContext
    private let load: LoopLoad?
    // What every call touches is not checked for overlapping access at run time: it is reached from one event loop, no
    // method hands it on while it is being changed, and the checks took a tenth of a call.
    @exclusivity(unchecked) var machine: ServerConnectionStateMachine
    @exclusivity(unchecked) var timers: ConnectionTimers
    @exclusivity(unchecked) package internal(set) var decoder: FrameDecoder
    @exclusivity(unchecked) var context: ChannelHandlerContext?
    var outbox: Outbox
    private var wakeTarget: WakeTarget<ServerConnectionHandler>?
    @exclusivity(unchecked) var outgoing = ByteBuffer()
    @exclusivity(unchecked) var calls: [UInt32: SocketCall] = [:]
    var peer = Peer(address: "unknown")
    /// What every call of this connection carries besides its own, as the METADATA frame said.
    @exclusivity(unchecked) var connectionMetadata = Metadata()
    @exclusivity(unchecked) var now: NIODeadline = .distantPast
    /// The method of the call before: most connections call one.
    @exclusivity(unchecked) private var latestMethod: MethodTable.Entry?
    /// The nearest deadline of the running calls, or an earlier time.
    var nextCallDeadline: NIODeadline?
    var timer: (at: NIODeadline, task: Scheduled<Void>)?
    var isReadPaused = false
    var isReadWanted = false
    var isWritable = true
    var isInRead = false
    var isDrainCheckScheduled = false
    var closeReason: CloseReason?
    /// Counted here and added to the shared counters once per batch of reads.
    @exclusivity(unchecked) var callsInBatch = 0

    package init(shared: ServerConnectionContext, now: NIODeadline, load: LoopLoad? = nil) {
        self.shared = shared
        self.load = load
        let limits = shared.limits
        machine = ServerConnectionStateMachine(maxStreams: limits.maxStreamsPerConnection)
        timers = ConnectionTimers(
            limits: .init(
                handshake: TimeAmount(clamping: limits.handshakeTimeout),
                partialFrame: TimeAmount(clamping: limits.partialFrameTimeout),
                idle: TimeAmount(clamping: limits.idleTimeout),
                unwritable: TimeAmount(clamping: limits.unwritableTimeout)
            ),
            now: now
        )
        decoder = FrameDecoder(maxFrameBytes: limits.maxFrameBytes)
        outbox = Outbox(
            limits: .init(pendingBytes: limits.maxResponseBytesPending, maxFrameBytes: limits.maxFrameBytes),
            windowStreamID: { _ in 0 },
            wake: {}
        )
    }

    // MARK: Life

    package func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        let target = WakeTarget(self)
        wakeTarget = target
        let bound = NIOLoopBound(target, eventLoop: context.eventLoop)
        let loop = context.eventLoop
        let statistics = shared.statistics
        outbox = Outbox(
            limits: .init(
                pendingBytes: shared.limits.maxResponseBytesPending,
                maxFrameBytes: shared.limits.maxFrameBytes
            ),
            windowStreamID: { _ in 0 },
            writerSuspends: { statistics.limitReached(.responseBytes) },
            wake: { loop.execute { bound.value.handler?.drainOutbox() } }
        )
        if context.channel.isActive { activate() }
    }

    package func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
        wakeTarget?.handler = nil
        wakeTarget = nil
        timer?.task.cancel()
        timer = nil
        decoder.clear()
        outgoing = ByteBuffer()
    }

    package func channelActive(context: ChannelHandlerContext) {
        activate()
        context.fireChannelActive()
    }

    private func activate() {
        now = .now()
        schedule()
    }

    package func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .handshakeCompleted(let chosen) = event as? TLSUserEvent {
            handshakeCompleted(context, applicationProtocol: chosen)
        }
        context.fireUserInboundEventTriggered(event)
    }

    private func handshakeCompleted(_ context: ChannelHandlerContext, applicationProtocol: String?) {
        now = .now()
        let certificate = try? context.pipeline.syncOperations.handler(type: NIOSSLServerHandler.self).peerCertificate
        let address = context.remoteAddress
        peer = Peer(
            address: address?.endpointDescription ?? "unknown",
            host: address?.ipAddress,
            identity: certificate.map { Peer.Identity($0) },
            applicationProtocol: applicationProtocol,
            load: load
        )
        machine.handshakeCompleted(applicationProtocol: applicationProtocol)
        timers.handshakeCompleted(now: now)
        if machine.isExtended {
            shared.statistics.extended.increment()
            outbox.enableFlowControl(
                initialCredit: ExtendedProtocol.initialWindow,
                receiveWindow: shared.limits.streamWindowBytes
            )
        }
        schedule()
    }

    package func channelInactive(context: ChannelHandlerContext) {
        finishClosing(reason: closeReason ?? .peerClosed)
        context.fireChannelInactive()
    }

    package func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if closeReason == nil, !machine.isClosed {
            let handshaking = machine.isHandshaking
            // A peer that just goes away without TLS's goodbye is no error worth a line of its own.
            if !handshaking, Self.isDisconnect(error) {
                closeReason = .peerClosed
                finishClosing(reason: .peerClosed)
            } else {
                close(handshaking ? .handshakeFailed : .transportError, error: error)
                return
            }
        }
        context.close(promise: nil)
    }

    private static func isDisconnect(_ error: any Error) -> Bool {
        if case .uncleanShutdown = error as? NIOSSLError { return true }
        guard let error = error as? IOError else { return false }
        return error.errnoCode == ECONNRESET || error.errnoCode == EPIPE
    }

    // MARK: Reading

    package func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        // TLS waits for the peer's goodbye after a close, and what comes until then is of no use.
        guard !machine.isClosed else { return }
        isInRead = true
        now = .now()
        decoder.append(unwrapInboundIn(data))
        processFrames()
        decoder.releaseConsumed()
    }

    package func channelReadComplete(context: ChannelHandlerContext) {
        isInRead = false
        flush()
        context.fireChannelReadComplete()
    }

    package func read(context: ChannelHandlerContext) {
        if isReadPaused { isReadWanted = true } else { context.read() }
    }

    /// Handles every whole frame there is, unless the peer does not take the answers.
    func processFrames() {
        var completed = false
        var isActivity = false
        loop: while !machine.isClosed {
            if mustPause() {
                pauseReading()
                break
            }
            switch decoder.next() {
            case .needMore: break loop
            case .frame(let header):
                completed = true
                if header.type != .ping, header.type != .pong { isActivity = true }
                handle(header)
            case .oversize(let header):
                completed = true
                oversize(header)
            case .garbage(let first):
                close(first == UInt8(ascii: "P") ? .http2 : .notTTRPC, fields: ["first_byte": "\(first)"])
                break loop
            }
        }
        guard !machine.isClosed else { return }
        timers.received(
            insideFrame: decoder.isInsideFrame && !isReadPaused,
            completedFrame: completed,
            isActivity: isActivity,
            now: now
        )
        timers.busy(machine.streamCount > 0, now: now)
        if callsInBatch > 0 {
            shared.statistics.callsStarted.increment(by: callsInBatch)
            callsInBatch = 0
        }
        schedule()
    }

    private func handle(_ header: FrameHeader) {
        switch machine.frame(header) {
        case .request: request(header)
        case .data: data(header)
        case .ping: ping()
        case .cancel:
            decoder.skipBody()
            calls[header.streamID]?.terminate(
                RPCError(.cancelled, "the client cancelled the call"),
                answering: false
            )
        case .window: window()
        case .metadata: metadata()
        case .pong, .ignore: decoder.skipBody()
        case .invalid(let why):
            decoder.skipBody()
            invalid(header.streamID, why)
        }
    }

    func invalid(_ id: UInt32, _ why: String) {
        shared.statistics.invalid.increment()
        respond(RPCError(.invalidArgument, why), to: id)
    }

    func respond(_ error: RPCError, to id: UInt32, metadata: Metadata = Metadata()) {
        outgoing.writeErrorResponse(
            error,
            streamID: id,
            metadata: machine.isExtended ? metadata : Metadata(),
            maxFrameBytes: shared.limits.maxFrameBytes
        )
    }

    private func oversize(_ header: FrameHeader) {
        shared.statistics.limitReached(.frameBytes)
        let error = RPCError(
            .resourceExhausted,
            "a message of \(header.length) bytes is larger than the limit of \(shared.limits.maxFrameBytes)"
        )
        if let call = calls[header.streamID], header.type == .data {
            call.terminate(error, answering: true)
        } else {
            if header.type == .request, header.streamID & 1 == 1 { _ = machine.request(id: header.streamID) }
            respond(error, to: header.streamID)
        }
    }

    /// The method of these names.
    func method(_ service: UnsafeRawBufferPointer, _ name: UnsafeRawBufferPointer) -> Method? {
        if let latestMethod, latestMethod.isNamed(service, name) { return latestMethod.method }
        latestMethod = shared.methods.find(service, name)
        return latestMethod?.method
    }
}
