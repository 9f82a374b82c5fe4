import Logging
import NIOCore

/// How calls begin and how their messages come.
extension ServerConnectionHandler {
    func request(_ header: FrameHeader) {
        callsInBatch += 1
        decoder.withBody { body in request(header, body) }
        decoder.skipBody()
    }

    private func request(_ header: FrameHeader, _ body: UnsafeRawBufferPointer) {
        let id = header.streamID
        let envelope: RequestEnvelope
        let metadata: Metadata
        switch machine.request(id: id) {
        case .accept: break
        case .invalid(let why): return invalid(id, why)
        case .refuseDraining:
            shared.statistics.draining.increment()
            return respond(RPCError(.unavailable, "the server is shutting down; call another"), to: id)
        }
        do throws(WireReader.Failure) {
            envelope = try RequestEnvelope(parsing: body)
            guard envelope.metadataBytes <= shared.limits.maxMetadataBytes else {
                shared.statistics.limitReached(.metadataBytes)
                let error = RPCError(
                    .resourceExhausted,
                    "metadata of \(envelope.metadataBytes) bytes is larger than the limit of \(shared.limits.maxMetadataBytes)"
                )
                return respond(error, to: id)
            }
            metadata = try envelope.metadata(in: body).completed(by: connectionMetadata)
        } catch {
            return invalid(id, "the request envelope is not a valid ttrpc Request")
        }
        guard
            let method = method(
                UnsafeRawBufferPointer(rebasing: body[envelope.service]),
                UnsafeRawBufferPointer(rebasing: body[envelope.method])
            ) ?? unknownMethod(envelope, body)
        else { return invalid(id, "the names of service and method are not UTF-8") }
        begin(header, method, envelope, metadata, body)
    }

    private func unknownMethod(_ envelope: RequestEnvelope, _ body: UnsafeRawBufferPointer) -> Method? {
        guard let service = try? RequestEnvelope.string(body, envelope.service),
            let name = try? RequestEnvelope.string(body, envelope.method)
        else { return nil }
        return shared.methods.unknown(service: service, name: name)
    }

    private func begin(
        _ header: FrameHeader,
        _ method: Method,
        _ envelope: RequestEnvelope,
        _ metadata: Metadata,
        _ body: UnsafeRawBufferPointer
    ) {
        let timeout = envelope.timeoutNanos
        let deadline: NIODeadline? = timeout == 0 ? nil : now + .nanoseconds(max(0, timeout))
        let call = ServerCall(
            method: method,
            id: header.streamID,
            metadata: metadata,
            peer: peer,
            receivedAt: now,
            deadline: deadline,
            requestBytes: envelope.payload.count
        )
        let chain = method.chain
        switch chain.begin(call) {
        case .ready: break
        case .rejected(let index, let error):
            return endNow(call, error, begun: index)
        case .parked(let next, let wait):
            return start(call, method, .interceptor(next: next, wait), header.flags, body, envelope.payload)
        }
        // Interceptors may have moved the deadline.
        let due = chain.isEmpty ? deadline : call.deadline
        if let due, due <= now { return endNow(call, CallRunner.deadlineExceeded, begun: chain.count) }
        switch method.handler {
        case .inline(let handler):
            runInline(call, method, handler, header.flags, body, envelope.payload)
        case .unary, .streaming:
            start(call, method, .handler(begun: chain.count), header.flags, body, envelope.payload)
        case .unknown:
            endNow(call, CallRunner.unimplemented(method.descriptor), begun: chain.count)
        }
    }

    private func endNow(_ call: ServerCall, _ error: RPCError, begun: Int) {
        respond(error, to: call.id, metadata: machine.isExtended ? SocketCall.metadata(call, error) : Metadata())
        call.method.chain.end(call, CallOutcome(error: error), begun: begun)
    }

    @inline(__always)
    private func runInline(
        _ call: ServerCall,
        _ method: Method,
        _ handler: MethodHandler.Inline,
        _ flags: FrameFlags,
        _ body: UnsafeRawBufferPointer,
        _ payload: Range<Int>
    ) {
        let frameStart = outgoing.beginResponse(streamID: call.id)
        let payloadStart = outgoing.writerIndex
        let chain = method.chain
        do throws(RPCError) {
            let bytes = UnsafeRawBufferPointer(rebasing: body[payload])
            switch try handler(bytes.bytes, call, &outgoing) {
            case .written:
                let count = outgoing.writerIndex - payloadStart
                let metadata = machine.isExtended ? call.responseMetadata : Metadata()
                guard
                    outgoing.endResponse(
                        from: frameStart,
                        metadata: metadata,
                        maxFrameBytes: shared.limits.maxFrameBytes
                    )
                else { throw ResponseFrames.tooLarge(count) }
                if !chain.isEmpty { chain.end(call, CallOutcome(responseBytes: count), begun: chain.count) }
            case .park(let rest):
                outgoing.moveWriterIndex(to: frameStart)
                start(call, method, .parked(begun: chain.count, rest), flags, body, 0..<0)
            }
        } catch {
            outgoing.moveWriterIndex(to: frameStart)
            endNow(call, error, begun: chain.count)
        }
    }

    /// The call goes on in a task.
    private func start(
        _ call: ServerCall,
        _ method: Method,
        _ from: CallStart,
        _ flags: FrameFlags,
        _ body: UnsafeRawBufferPointer,
        _ payload: Range<Int>
    ) {
        let kind = method.descriptor.kind
        let messages = ServerConnectionStateMachine.requestMessages(
            kind: kind,
            flags: flags,
            payloadBytes: payload.count
        )
        guard machine.openStream(id: call.id, isUnary: kind == .unary, requestsOpen: messages.open) else {
            shared.statistics.limitReached(.streams)
            let error = RPCError(
                .resourceExhausted,
                "\(shared.limits.maxStreamsPerConnection) calls run on this connection; wait for one or open another"
            ).withQuotaFailure(subject: "connection", description: "too many calls at once")
            return endNow(call, error, begun: from.begun)
        }
        let request = ByteBuffer(bytes: UnsafeRawBufferPointer(rebasing: body[payload]))
        let isUnary = kind == .unary
        let running = SocketCall(
            call: call,
            outbox: outbox,
            isExtended: machine.isExtended,
            maxFrameBytes: shared.limits.maxFrameBytes,
            heldBytes: isUnary ? request.readableBytes : 0
        )
        calls[call.id] = running
        shared.statistics.callsRunning.add(1)
        outbox.open(call.id, receives: messages.open)
        if isUnary || messages.first { _ = outbox.hold(request.readableBytes) }
        if !isUnary {
            if messages.first { _ = running.requests.push(request) }
            if !messages.open { running.requests.finish() }
        }
        if let deadline = call.deadline { nextCallDeadline = min(nextCallDeadline ?? deadline, deadline) }
        running.started(Task { await CallRunner.run(running, from: from, request: request) })
    }

    func data(_ header: FrameHeader) {
        let id = header.streamID
        switch machine.data(id: id, flags: header.flags) {
        case .dead:
            decoder.skipBody()
            invalid(id, "no call is live on this stream id")
        case .violation(let why):
            decoder.skipBody()
            shared.statistics.invalid.increment()
            calls[id]?.terminate(RPCError(.invalidArgument, why), answering: true)
        case .deliver(let hasMessage, let end):
            let message = decoder.takeBody()
            guard let call = calls[id] else { return }
            if hasMessage { deliver(message, to: call) }
            if end { call.requests.finish() }
        }
    }

    private func deliver(_ message: ByteBuffer, to call: SocketCall) {
        _ = outbox.hold(message.readableBytes)
        guard let waiting = call.requests.push(message) else {
            outbox.consumed(message.readableBytes, on: call.call.id)
            return
        }
        // The sender may exceed its window by less than one message.
        if machine.isExtended,
            waiting > max(shared.limits.streamWindowBytes, ExtendedProtocol.initialWindow)
                + shared.limits.maxFrameBytes
        {
            let error = RPCError(.resourceExhausted, "more was sent than the window allows")
            // What is on its way still comes; the limit was reached once.
            if call.terminate(error, answering: true) { shared.statistics.limitReached(.streamWindow) }
        }
    }

    func ping() {
        let body = decoder.takeBody()
        guard body.readableBytes <= ExtendedProtocol.maxPingBytes else {
            return close(.protocolViolation, fields: ["frame": "PING"])
        }
        outgoing.writeFrame(.pong, streamID: ExtendedProtocol.serverConnectionID, body: body)
    }

    func metadata() {
        let body = decoder.takeBody()
        do throws(WireReader.Failure) {
            try body.withUnsafeReadableBytes { (bytes) throws(WireReader.Failure) in
                let envelope = try RequestEnvelope(parsing: bytes)
                guard envelope.metadataBytes <= shared.limits.maxMetadataBytes else {
                    shared.statistics.limitReached(.metadataBytes)
                    return close(.protocolViolation, fields: ["frame": "METADATA"])
                }
                connectionMetadata = try envelope.metadata(in: bytes)
            }
        } catch {
            close(.protocolViolation, fields: ["frame": "METADATA"])
        }
    }

    func window() {
        var body = decoder.takeBody()
        guard body.readableBytes == 8, let (id, increment) = body.readMultipleIntegers(as: (UInt32, UInt32).self),
            outbox.grant(increment, on: id)
        else { return close(.protocolViolation, fields: ["frame": "WINDOW"]) }
    }
}

extension CallStart {
    /// Interceptors that have begun.
    var begun: Int {
        switch self {
        case .handler(let begun), .parked(let begun, _): begun
        case .interceptor(let next, _): next
        }
    }
}
