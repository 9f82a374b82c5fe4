package import Logging
package import NIOCore
import NIOSSL
import NIOTLS

/// One connection of a client: writes requests, reads responses, hands them to whoever waits.
///
/// Everything here runs on the connection's event loop. `ClientConnectionStateMachine` decides, `Outbox` brings what tasks
/// write.
package final class ClientConnectionHandler: ChannelDuplexHandler {
    package typealias InboundIn = ByteBuffer
    package typealias OutboundIn = ByteBuffer
    package typealias OutboundOut = ByteBuffer

    let configuration: ClientConfiguration
    let logger: Logger
    // As in the server's handler: reached from one event loop, and never while it is being changed.
    @exclusivity(unchecked) var machine: ClientConnectionStateMachine
    @exclusivity(unchecked) package internal(set) var decoder: FrameDecoder
    @exclusivity(unchecked) var calls = StreamTable<PendingCall>()
    @exclusivity(unchecked) var context: ChannelHandlerContext?
    var outbox: Outbox
    private var wakeTarget: WakeTarget<ClientConnectionHandler>?
    @exclusivity(unchecked) var outgoing = ByteBuffer()
    /// What the server was last told by METADATA.
    var toldAuthorization: BearerToken.Authorization?
    var isFlushScheduled = false
    var isInRead = false
    private var hasReceived = false
    var isWritable = true
    var isReadPaused = false
    var isReadWanted = false
    var nextDeadline: NIODeadline?
    var timer: (at: NIODeadline, task: Scheduled<Void>)?
    var closeError: RPCError?
    var ready: EventLoopPromise<Void>?
    /// Told when the connection takes no new calls any more.
    var onUnusable: (@Sendable () -> Void)?

    /// The name the server must bear; nil where it is asked for by its address.
    private let dnsName: String?

    package init(configuration: ClientConfiguration, dnsName: String?, logger: Logger, ready: EventLoopPromise<Void>) {
        self.configuration = configuration
        self.dnsName = dnsName
        self.logger = logger
        self.ready = ready
        machine = ClientConnectionStateMachine(
            maxCalls: configuration.maxCallsPerConnection,
            keepaliveInterval: configuration.keepaliveInterval.map { TimeAmount(clamping: $0) },
            keepaliveTimeout: TimeAmount(clamping: configuration.keepaliveTimeout),
            now: .now()
        )
        decoder = FrameDecoder(maxFrameBytes: configuration.maxFrameBytes)
        outbox = Self.makeOutbox(configuration, wake: {})
    }

    private static func makeOutbox(
        _ configuration: ClientConfiguration,
        wake: @escaping @Sendable () -> Void
    ) -> Outbox {
        Outbox(
            limits: .init(
                pendingBytes: configuration.maxRequestBytesPending,
                maxFrameBytes: configuration.maxFrameBytes
            ),
            windowStreamID: { $0 },
            wake: wake
        )
    }

    // MARK: Life

    package func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        let target = WakeTarget(self)
        wakeTarget = target
        let bound = NIOLoopBound(target, eventLoop: context.eventLoop)
        let loop = context.eventLoop
        outbox = Self.makeOutbox(configuration) { loop.execute { bound.value.handler?.drainOutbox() } }
    }

    package func handlerRemoved(context: ChannelHandlerContext) {
        close(RPCError(.unavailable, "the connection was closed"))
        self.context = nil
        wakeTarget?.handler = nil
        wakeTarget = nil
        decoder.clear()
        outgoing = ByteBuffer()
    }

    package func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .handshakeCompleted(let chosen) = event as? TLSUserEvent {
            guard serverBearsName(context) else {
                return close(RPCError(.unavailable, "the server's certificate does not bear the name asked for"))
            }
            machine.handshakeCompleted(applicationProtocol: chosen, now: .now())
            if machine.isExtended {
                outbox.enableFlowControl(
                    initialCredit: ExtendedProtocol.initialWindow,
                    receiveWindow: configuration.streamWindowBytes
                )
            }
            schedule()
            ready?.succeed()
            ready = nil
        }
        context.fireUserInboundEventTriggered(event)
    }

    private func serverBearsName(_ context: ChannelHandlerContext) -> Bool {
        guard let dnsName else { return true }
        let handler = try? context.pipeline.syncOperations.handler(type: NIOSSLClientHandler.self)
        guard let certificate = handler?.peerCertificate else { return false }
        return Peer.Identity(certificate).bears(dnsName: dnsName)
    }

    package func channelInactive(context: ChannelHandlerContext) {
        close(RPCError(.unavailable, "the server closed the connection"))
        context.fireChannelInactive()
    }

    package func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if case .uncleanShutdown = error as? NIOSSLError, !machine.isHandshaking {
            close(RPCError(.unavailable, "the server closed the connection", cause: error))
        } else if machine.isHandshaking {
            close(RPCError(.unavailable, "the TLS handshake failed", cause: error))
        } else {
            close(RPCError(.unavailable, "the connection broke" + hint(error), cause: error))
        }
    }

    /// In TLS 1.3 the handshake is over for the client before the server has looked at its certificate, so a refusal looks
    /// like a connection that breaks before the server has said anything.
    private func hint(_ error: any Error) -> String {
        if let error = error as? BoringSSLError, case .sslError = error {
            let text = "\(error)"
            if text.contains("ALERT_CERTIFICATE_REQUIRED") {
                return ": the server requires a client certificate; set the client's certificate chain and private key"
            }
            if text.contains("ALERT_") {
                return ": the server refused with a TLS alert; it may require a client certificate that it trusts"
            }
        }
        return hasReceived ? "" : " before the server said anything; it may require a client certificate that it trusts"
    }

    // MARK: Reading

    package func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        // TLS waits for the peer's goodbye after a close, and what comes until then is of no use.
        guard !machine.isClosed else { return }
        isInRead = true
        hasReceived = true
        decoder.append(unwrapInboundIn(data))
        processFrames()
        decoder.releaseConsumed()
    }

    package func channelReadComplete(context: ChannelHandlerContext) {
        isInRead = false
        if machine.isExtended { machine.received(now: .now()) }
        flush()
        context.fireChannelReadComplete()
    }

    package func read(context: ChannelHandlerContext) {
        if isReadPaused { isReadWanted = true } else { context.read() }
    }

    func processFrames() {
        while !machine.isClosed {
            if mustPause() {
                pauseReading()
                return
            }
            switch decoder.next() {
            case .needMore: return closeIfLeft()
            case .frame(let header): handle(header)
            case .oversize(let header):
                let error = RPCError(
                    .resourceExhausted,
                    "the response of \(header.length) bytes is larger than the limit of \(configuration.maxFrameBytes)"
                )
                end(header.streamID, error, cancelling: header.type == .data)
            case .garbage: return close(RPCError(.unavailable, "what the server sent is not ttRPC"))
            }
        }
    }

    private func handle(_ header: FrameHeader) {
        switch machine.frame(header) {
        case .response: response(header)
        case .data: data(header)
        case .ping:
            let body = decoder.takeBody()
            outgoing.writeFrame(.pong, streamID: ExtendedProtocol.clientConnectionID, body: body)
        case .goAway:
            var body = decoder.takeBody()
            goAway(lastID: body.readInteger() ?? 0)
        case .window:
            var body = decoder.takeBody()
            guard let (id, increment) = body.readMultipleIntegers(as: (UInt32, UInt32).self),
                outbox.grant(increment, on: id)
            else { return close(RPCError(.unavailable, "the server sent an invalid WINDOW frame")) }
        case .pong, .ignore: decoder.skipBody()
        }
    }

    @inline(__always)
    private func response(_ header: FrameHeader) {
        let id = header.streamID
        if let call = calls.remove(id) {
            decoder.withBody { body in response(call, id, body) }
        }
        decoder.skipBody()
    }

    @inline(__always)
    private func response(_ call: PendingCall, _ id: UInt32, _ body: UnsafeRawBufferPointer) {
        var error: RPCError?
        var metadata = Metadata()
        var payload = UnsafeRawBufferPointer(start: nil, count: 0)
        do throws(WireReader.Failure) {
            let envelope = try ResponseEnvelope(parsing: body)
            payload = UnsafeRawBufferPointer(rebasing: body[envelope.payload])
            if envelope.hasDetails { (error, metadata) = try ResponseEnvelope.details(in: body) }
        } catch {
            return finish(call, id, RPCError(.internalError, "the response envelope is not a valid ttrpc Response"))
        }
        switch call {
        case .unary(let completion, _):
            if let error {
                completion(.failure(error, isUnprocessed: false))
            } else {
                completion(.success(payload, metadata))
            }
        case .stream(let stream):
            if !metadata.isEmpty { stream.onResponseMetadata?(metadata) }
            if error == nil, stream.method.kind == .clientStreaming {
                _ = outbox.hold(payload.count)
                _ = stream.responses.push(ByteBuffer(bytes: payload))
            }
            finish(call, id, error)
        }
    }

    private func data(_ header: FrameHeader) {
        let id = header.streamID
        guard case .stream(let stream)? = calls[id] else {
            decoder.skipBody()
            // Data of a call that was given up is dropped; on a unary call it is a violation.
            if calls[id] != nil { end(id, RPCError(.internalError, "the server sent Data on a unary call")) }
            return
        }
        let message = decoder.takeBody()
        if !header.flags.contains(.noData) {
            _ = outbox.hold(message.readableBytes)
            if stream.responses.push(message) == nil { outbox.consumed(message.readableBytes, on: id) }
        }
        if header.flags.contains(.remoteClosed) {
            calls.remove(id)
            finish(.stream(stream), id, nil)
        }
    }

    private func goAway(lastID: UInt32) {
        leave()
        for (id, call) in calls.all where id > lastID {
            calls.remove(id)
            fail(call, id, RPCError(.unavailable, "the server is shutting down"), isUnprocessed: true)
        }
        closeIfLeft()
    }

    // MARK: Ends of calls

    /// A call that was taken out of the table is over.
    func finish(_ call: PendingCall, _ id: UInt32, _ error: RPCError?) {
        switch call {
        case .unary(let completion, _):
            completion(.failure(error ?? RPCError(.internalError, "no response"), isUnprocessed: false))
        case .stream(let stream):
            _ = outbox.end(id) { _ in }
            stream.over(error, discarding: false)
        }
    }

    func fail(_ call: PendingCall, _ id: UInt32, _ error: RPCError, isUnprocessed: Bool) {
        switch call {
        case .unary(let completion, _): completion(.failure(error, isUnprocessed: isUnprocessed))
        case .stream: finish(call, id, error)
        }
    }

    /// Ends a call here, and at a server that knows `ttrpc-x1`.
    func end(_ id: UInt32, _ error: RPCError, cancelling: Bool = true) {
        guard let call = calls.remove(id) else { return }
        if cancelling, machine.isExtended { outgoing.writeFrame(.cancel, streamID: id) }
        finish(call, id, error)
        scheduleFlush()
    }
}
