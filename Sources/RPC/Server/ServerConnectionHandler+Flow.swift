import Logging
package import NIOCore

/// Writing, pausing, timers and the end of a connection.
extension ServerConnectionHandler {
    // MARK: Writing

    /// Writes what was put together in this tick, at once.
    func flush() {
        guard let context, outgoing.readableBytes > 0 else { return }
        // The flush may change writability and so come back here: what is written must be out of the way.
        var bytes = ByteBuffer()
        swap(&bytes, &outgoing)
        context.writeAndFlush(wrapOutboundOut(bytes), promise: nil)
        guard outgoing.readableBytes == 0, bytes.storageCapacity <= 1 << 20 else { return }
        bytes.clear()
        swap(&bytes, &outgoing)
    }

    /// Bytes that wait to be sent on this connection.
    var bytesPending: Int {
        let buffered = try? context?.channel.syncOptions?.getOption(.bufferedWritableBytes)
        return outbox.pendingBytes + outgoing.readableBytes + (buffered ?? 0)
    }

    /// Takes what tasks wrote.
    func drainOutbox() {
        guard context != nil, !machine.isClosed else { return }
        now = .now()
        let taken = outbox.take(into: &outgoing, isWritable: isWritable)
        for id in taken.ended { reap(id) }
        if !isInRead {
            resumeReadingIfPossible()
            flush()
        }
        if machine.isDrained { return closeWhenDrained() }
        if !taken.ended.isEmpty {
            timers.busy(machine.streamCount > 0, now: now)
            schedule()
        }
    }

    private func reap(_ id: UInt32) {
        machine.streamEnded(id: id)
        guard let call = calls.removeValue(forKey: id) else { return }
        shared.statistics.callsRunning.add(-1)
        call.ended(RPCError(.cancelled, "the call is over"))
    }

    package func channelWritabilityChanged(context: ChannelHandlerContext) {
        isWritable = context.channel.isWritable
        now = .now()
        timers.writable(isWritable, now: now)
        schedule()
        if isWritable { drainOutbox() }
        context.fireChannelWritabilityChanged()
    }

    // MARK: Pausing

    /// A peer that does not read is not read from, nor is one whose calls hold too much.
    func mustPause() -> Bool {
        if !isWritable || outgoing.readableBytes >= 4 * shared.limits.maxResponseBytesPending { return true }
        guard !calls.isEmpty else { return false }
        return outbox.bytesHeld > shared.limits.maxRequestBytesInFlight
    }

    func pauseReading() {
        guard !isReadPaused else { return }
        isReadPaused = true
        timers.readingPaused()
        shared.statistics.limitReached(.requestBytes)
        if isWritable, outgoing.readableBytes >= 4 * shared.limits.maxResponseBytesPending {
            // What was put together here is the reason: write it, and go on when the channel has taken it.
            flush()
            context?.eventLoop.assumeIsolated().execute { self.drainOutbox() }
        } else if outbox.wakeWhenHeld(atMost: shared.limits.maxRequestBytesInFlight / 2) == false {
            context?.eventLoop.assumeIsolated().execute { self.drainOutbox() }
        }
    }

    private func resumeReadingIfPossible() {
        guard isReadPaused, !mustPause() else { return }
        isReadPaused = false
        processFrames()
        guard !isReadPaused, isReadWanted, !machine.isClosed else { return }
        isReadWanted = false
        context?.read()
    }

    // MARK: Timers

    /// Sees to it that the timer fires by the next time something may be overdue.
    func schedule() {
        guard let context, !machine.isClosed else { return }
        guard let next = NIODeadline.earliest(timers.next, nextCallDeadline) else { return }
        if let timer, timer.at <= next { return }
        timer?.task.cancel()
        let task = context.eventLoop.assumeIsolated().scheduleTask(deadline: next) { self.timerFired() }
        timer = (next, task)
    }

    private func timerFired() {
        timer = nil
        guard context != nil, !machine.isClosed else { return }
        now = .now()
        if let reason = timers.expired(now: now) { return close(reason) }
        if let nextCallDeadline, nextCallDeadline <= now { expireCalls() }
        schedule()
    }

    private func expireCalls() {
        nextCallDeadline = nil
        for call in calls.values {
            guard let deadline = call.call.deadline else { continue }
            if deadline <= now {
                call.terminate(CallRunner.deadlineExceeded, answering: true)
            } else {
                nextCallDeadline = min(nextCallDeadline ?? deadline, deadline)
            }
        }
    }

    // MARK: End

    /// Begins no more calls and closes when those that run have ended.
    package func drain() {
        guard context != nil, !machine.isClosed, writeGoAway() else { return }
        if !isInRead { flush() }
        if machine.isDrained { closeWhenDrained() }
    }

    /// Begins no more calls, and tells a peer that understands. False if that was so already.
    private func writeGoAway() -> Bool {
        guard let last = machine.drain() else { return false }
        if machine.isExtended {
            outgoing.writeFrameHeader(
                FrameHeader(length: 8, streamID: ExtendedProtocol.serverConnectionID, type: .goAway)
            )
            outgoing.writeMultipleIntegers(last, UInt32(0))
        }
        return true
    }

    private func closeWhenDrained() {
        // What is still to be written goes first; where the peer does not read, writability brings us back here.
        guard outbox.pendingBytes == 0 else {
            if isWritable { drainOutbox() }
            return
        }
        // Closing drops what the channel could not write yet, and it does not say when the last of it has gone.
        guard bytesPending == 0 else { return checkDrainedLater() }
        close(.drained)
    }

    /// Looks again soon. The timer for a peer that does not read and the grace period end this.
    private func checkDrainedLater() {
        guard !isDrainCheckScheduled, let context else { return }
        isDrainCheckScheduled = true
        context.eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(10)) {
            self.isDrainCheckScheduled = false
            self.drainOutbox()
        }
    }

    /// Closes now; calls that run are cancelled.
    package func shutdown() { close(.shutdown) }

    func close(_ reason: CloseReason, error: (any Error)? = nil, fields: Logger.Metadata = [:]) {
        guard closeReason == nil, let context else { return }
        closeReason = reason
        var metadata = fields
        metadata["reason"] = "\(reason.rawValue)"
        metadata["peer"] = "\(context.remoteAddress?.endpointDescription ?? peer.address)"
        if let error { metadata["error"] = "\(error)" }
        let level: Logger.Level =
            switch reason {
            case .drained, .shutdown, .idleTimeout, .peerClosed: .debug
            default: .notice
            }
        shared.logger.log(level: level, "connection closed", metadata: metadata)
        // A call that is on its way is then made elsewhere.
        if reason == .idleTimeout || reason == .shutdown { _ = writeGoAway() }
        flush()
        finishClosing(reason: reason)
        context.close(promise: nil)
    }

    /// Ends what runs; counts the connection once.
    func finishClosing(reason: CloseReason) {
        guard !machine.isClosed else { return }
        machine.close()
        decoder.clear()
        timer?.task.cancel()
        timer = nil
        let error = RPCError(.cancelled, "the connection was closed: \(reason.rawValue)")
        for call in calls.values {
            call.terminate(error, answering: false)
            call.ended(error)
        }
        shared.statistics.callsRunning.add(-calls.count)
        calls = [:]
        shared.statistics.connectionClosed(reason)
    }
}

extension SocketAddress {
    /// `host:port`.
    var endpointDescription: String {
        guard let ipAddress, let port else { return description }
        return Endpoint(host: ipAddress, port: port).description
    }
}
