import Logging
package import NIOCore

/// Starting calls, writing, timers and the end of a connection.
extension ClientConnectionHandler {
    // MARK: Calls

    /// Writes a unary call. The flush comes with the tick's end.
    func start(_ call: UnarySubmission) {
        if call.ticket?.isCancelled == true {
            let error = RPCError(.cancelled, "the call was cancelled")
            return call.completion(.failure(error, isUnprocessed: true))
        }
        guard let id = machine.nextStreamID() else {
            let error = closeError ?? RPCError(.unavailable, "the connection takes no more calls")
            return call.completion(.failure(error, isUnprocessed: true))
        }
        guard let timeout = remaining(call.deadline) else {
            return call.completion(.failure(CallRunner.deadlineExceeded, isUnprocessed: true))
        }
        let metadata = metadata(of: call.metadata)
        let start = outgoing.writerIndex
        outgoing.writeRequest(
            call.prefix,
            streamID: id,
            payload: call.payload,
            timeoutNanos: timeout,
            metadata: metadata
        )
        let size = outgoing.writerIndex - start - FrameHeader.byteCount
        guard size <= configuration.maxFrameBytes else {
            outgoing.moveWriterIndex(to: start)
            return call.completion(.failure(Self.tooLarge(size, configuration), isUnprocessed: true))
        }
        call.ticket?.streamID = id
        calls.insert(.unary(call.completion, deadline: call.deadline), for: id)
        started(call.deadline)
    }

    /// A call's metadata with the token. A server of `ttrpc-x1` is told the token once, ahead of the call, by METADATA.
    private func metadata(of call: Metadata) -> Metadata {
        guard let authorization = configuration.token?.current() else { return call }
        guard machine.isExtended else { return call.completed(by: authorization.metadata) }
        if authorization !== toldAuthorization {
            toldAuthorization = authorization
            var body = ByteBuffer()
            MetadataCoding.write(authorization.metadata, field: 5, to: &body)
            outgoing.writeFrame(.metadata, streamID: ExtendedProtocol.clientConnectionID, body: body)
        }
        return call
    }

    func start(_ call: StreamSubmission) {
        guard let id = machine.nextStreamID() else {
            let error = closeError ?? RPCError(.unavailable, "the connection takes no more calls")
            return call.opened(.failure(error))
        }
        guard let timeout = remaining(call.deadline) else { return call.opened(.failure(CallRunner.deadlineExceeded)) }
        let flags: FrameFlags = call.method.streamsRequests ? [.remoteOpen, .noData] : [.remoteClosed]
        let metadata = metadata(of: call.metadata)
        let start = outgoing.writerIndex
        outgoing.writeRequest(
            RequestPrefix(call.method),
            streamID: id,
            flags: flags,
            payload: call.payload ?? ByteBuffer(),
            timeoutNanos: timeout,
            metadata: metadata
        )
        let size = outgoing.writerIndex - start - FrameHeader.byteCount
        guard size <= configuration.maxFrameBytes else {
            outgoing.moveWriterIndex(to: start)
            return call.opened(.failure(Self.tooLarge(size, configuration)))
        }
        let stream = SocketStream(id: id, submission: call, outbox: outbox, isExtended: machine.isExtended)
        calls.insert(.stream(stream), for: id)
        // The Request must stand before the stream's first Data, which comes through the outbox.
        outbox.open(id, receives: call.method.streamsResponses)
        started(call.deadline)
        call.opened(.success(stream))
    }

    private static func tooLarge(_ size: Int, _ configuration: ClientConfiguration) -> RPCError {
        RPCError(
            .resourceExhausted,
            "a request of \(size) bytes is larger than the limit of \(configuration.maxFrameBytes)"
        )
    }

    /// Nanoseconds left, 0 for no deadline, nil if there is nothing left.
    private func remaining(_ deadline: NIODeadline?) -> Int64? {
        guard let deadline else { return 0 }
        let left = (deadline - .now()).nanoseconds
        return left > 0 ? left : nil
    }

    private func started(_ deadline: NIODeadline?) {
        if !machine.isUsable { unusable() }
        scheduleFlush()
        guard let deadline, nextDeadline.map({ deadline < $0 }) ?? true else { return }
        nextDeadline = deadline
        schedule()
    }

    // MARK: Writing

    /// One flush for everything that is written in this tick.
    func scheduleFlush() {
        guard !isFlushScheduled, !isInRead, let context else { return }
        isFlushScheduled = true
        context.eventLoop.assumeIsolated().execute { self.flush() }
    }

    func flush() {
        isFlushScheduled = false
        guard let context, outgoing.readableBytes > 0, !machine.isClosed else { return }
        // The flush may change writability and so come back here: what is written must be out of the way.
        var bytes = ByteBuffer()
        swap(&bytes, &outgoing)
        context.writeAndFlush(wrapOutboundOut(bytes), promise: nil)
        guard outgoing.readableBytes == 0, bytes.storageCapacity <= 1 << 20 else { return }
        bytes.clear()
        swap(&bytes, &outgoing)
    }

    /// Takes what tasks wrote.
    func drainOutbox() {
        guard context != nil, !machine.isClosed else { return }
        let taken = outbox.take(into: &outgoing, isWritable: isWritable)
        // Calls that their caller gave up; others are no longer in the table.
        for id in taken.ended { calls.remove(id) }
        if isReadPaused, !mustPause() {
            isReadPaused = false
            processFrames()
            if !isReadPaused, isReadWanted, !machine.isClosed {
                isReadWanted = false
                context?.read()
            }
        }
        flush()
        closeIfLeft()
    }

    package func channelWritabilityChanged(context: ChannelHandlerContext) {
        isWritable = context.channel.isWritable
        if isWritable { drainOutbox() }
        context.fireChannelWritabilityChanged()
    }

    /// Without flow control, one stream that is not consumed stops the connection.
    func mustPause() -> Bool {
        guard !machine.isExtended, calls.count > 0 else { return false }
        return outbox.bytesHeld > configuration.streamWindowBytes
    }

    func pauseReading() {
        guard !isReadPaused else { return }
        isReadPaused = true
        if !outbox.wakeWhenHeld(atMost: configuration.streamWindowBytes / 2) {
            context?.eventLoop.assumeIsolated().execute { self.drainOutbox() }
        }
    }

    // MARK: Timers

    func schedule() {
        guard let context, !machine.isClosed else { return }
        guard let next = NIODeadline.earliest(nextDeadline, machine.nextKeepalive) else { return }
        if let timer, timer.at <= next { return }
        timer?.task.cancel()
        let task = context.eventLoop.assumeIsolated().scheduleTask(deadline: next) { self.timerFired() }
        timer = (next, task)
    }

    private func timerFired() {
        timer = nil
        guard !machine.isClosed else { return }
        let now = NIODeadline.now()
        switch machine.checkKeepalive(now: now) {
        case .none: break
        case .ping:
            outgoing.writeFrame(
                .ping,
                streamID: ExtendedProtocol.clientConnectionID,
                body: ByteBuffer(integer: now.uptimeNanoseconds)
            )
            scheduleFlush()
        case .giveUp: return close(RPCError(.unavailable, "the server does not answer pings"))
        }
        if let nextDeadline, nextDeadline <= now { expireCalls(now) }
        schedule()
    }

    private func expireCalls(_ now: NIODeadline) {
        nextDeadline = nil
        // All calls are looked at, so not more often than this: with many in flight each would have a scan of its own.
        let soonest = now + .milliseconds(1)
        for (id, call) in calls.all {
            guard let deadline = call.deadline else { continue }
            if deadline <= now {
                end(id, CallRunner.deadlineExceeded)
            } else {
                nextDeadline = max(soonest, min(nextDeadline ?? deadline, deadline))
            }
        }
        closeIfLeft()
    }

    // MARK: End

    private func unusable() {
        onUnusable?()
        onUnusable = nil
    }

    /// Takes no new calls, and closes when those that run have ended.
    func leave() {
        machine.leave()
        unusable()
        closeIfLeft()
    }

    func closeIfLeft() {
        if machine.isLeaving, calls.count == 0, outbox.pendingBytes == 0 {
            flush()
            close(RPCError(.unavailable, "the connection was closed"))
        }
    }

    func close(_ error: RPCError) {
        guard !machine.isClosed else { return }
        machine.close()
        decoder.clear()
        closeError = error
        timer?.task.cancel()
        timer = nil
        logger.debug("connection closed", metadata: ["reason": "\(error.message)"])
        // Before the calls are told: who starts the next one at once must not take this connection for it.
        unusable()
        for (id, call) in calls.all {
            calls.remove(id)
            fail(call, id, error, isUnprocessed: false)
        }
        ready?.fail(error)
        ready = nil
        context?.close(promise: nil)
    }
}
