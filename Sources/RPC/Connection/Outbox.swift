package import NIOCore
import Synchronization

/// What tasks have to say to the peer, between them and the connection's event loop.
///
/// A task writes whole frames into one buffer under a lock; the event loop takes the buffer at its next tick, so any
/// number of writes cost one wake-up. Writers of streams suspend while the buffer is full or their stream's window is used up.
/// It also decides, once, who ends a call: the task that runs it or the connection.
package final class Outbox: Sendable {
    /// How the frames of this side are marked.
    package struct Limits: Sendable {
        /// Bytes in the buffer at which writers suspend.
        var pendingBytes: Int
        var maxFrameBytes: Int
    }

    private struct Stream {
        /// Bytes that may still be sent; nil where there is no flow control.
        var credit: Int?
        /// Bytes consumed since the last grant.
        var ungranted = 0
    }

    private struct Waiter {
        let streamID: UInt32
        let ticket: UInt64
        let continuation: UnsafeContinuation<Void, Never>
    }

    private struct State {
        var buffer = ByteBuffer()
        var isWakeScheduled = false
        var streams: [UInt32: Stream] = [:]
        var ended: [UInt32] = []
        var waiters: [Waiter] = []
        var nextTicket: UInt64 = 0
        /// Bytes of received messages that calls hold.
        var bytesHeld = 0
        /// At or below this many bytes held the event loop wants to be woken.
        var wakeAtBytesHeld: Int?
        var initialCredit: Int?
        var receiveWindow: Int?
        var isClosed = false
    }

    private let state: Mutex<State>
    private let limits: Limits
    private let wake: @Sendable () -> Void
    private let windowStreamID: @Sendable (UInt32) -> UInt32
    private let writerSuspends: @Sendable () -> Void

    /// - Parameters:
    ///   - windowStreamID: The id on which a WINDOW frame for a stream is sent.
    ///   - writerSuspends: Called when a writer has to wait for room.
    ///   - wake: Called on any thread when there is something to take; must bring the event loop to ``take(isWritable:)``.
    package init(
        limits: Limits,
        windowStreamID: @escaping @Sendable (UInt32) -> UInt32,
        writerSuspends: @escaping @Sendable () -> Void = {},
        wake: @escaping @Sendable () -> Void
    ) {
        self.limits = limits
        self.writerSuspends = writerSuspends
        self.windowStreamID = windowStreamID
        self.wake = wake
        self.state = Mutex(State())
    }

    /// Both ends speak `ttrpc-x1`.
    package func enableFlowControl(initialCredit: Int, receiveWindow: Int) {
        state.withLock {
            $0.initialCredit = initialCredit
            $0.receiveWindow = receiveWindow
        }
    }

    /// A stream begins. One that receives messages is granted what its window exceeds the initial one by.
    package func open(_ id: UInt32, receives: Bool) {
        let wakes = state.withLock { state in
            state.streams[id] = Stream(credit: state.initialCredit)
            guard receives, let initial = state.initialCredit, let window = state.receiveWindow, window > initial else {
                return false
            }
            state.buffer.writeWindow(
                frameID: windowStreamID(id),
                streamID: id,
                increment: UInt32(clamping: window - initial)
            )
            return Self.scheduleWake(&state)
        }
        if wakes { wake() }
    }

    package func isOpen(_ id: UInt32) -> Bool {
        state.withLock { $0.streams[id] != nil }
    }

    // MARK: Tasks

    private enum Attempt {
        case done
        case wake
        case wait
        case gone
        case tooLarge
    }

    /// Sends one message of a stream, once there is room. False if the call is over.
    package func send(_ message: ByteBuffer, on id: UInt32) async throws(RPCError) -> Bool {
        while true {
            let attempt = state.withLock { state in
                Self.attempt(&state, message, id, limits)
            }
            switch attempt {
            case .done: return true
            case .wake:
                wake()
                return true
            case .gone: return false
            case .tooLarge:
                throw RPCError(
                    .resourceExhausted,
                    "a message of \(message.readableBytes) bytes is larger than the \(limits.maxFrameBytes) that fit a frame"
                )
            case .wait:
                if Task.isCancelled { return false }
                writerSuspends()
                await waitForRoom(id)
            }
        }
    }

    private static func attempt(_ state: inout State, _ message: ByteBuffer, _ id: UInt32, _ limits: Limits) -> Attempt
    {
        guard let stream = state.streams[id] else { return .gone }
        guard message.readableBytes <= limits.maxFrameBytes else { return .tooLarge }
        guard state.buffer.readableBytes < limits.pendingBytes, stream.credit ?? 1 > 0 else { return .wait }
        if let credit = stream.credit { state.streams[id]?.credit = credit - message.readableBytes }
        state.buffer.writeFrame(.data, streamID: id, body: message)
        return scheduleWake(&state) ? .wake : .done
    }

    private static func scheduleWake(_ state: inout State) -> Bool {
        guard !state.isWakeScheduled else { return false }
        state.isWakeScheduled = true
        return true
    }

    private func waitForRoom(_ id: UInt32) async {
        let ticket = state.withLock { state in
            state.nextTicket += 1
            return state.nextTicket
        }
        await withTaskCancellationHandler {
            await withUnsafeContinuation { continuation in
                let resumeNow = state.withLock { state in
                    let hasRoom = state.buffer.readableBytes < limits.pendingBytes
                    guard let stream = state.streams[id], !(hasRoom && stream.credit ?? 1 > 0), !Task.isCancelled else {
                        return true
                    }
                    state.waiters.append(Waiter(streamID: id, ticket: ticket, continuation: continuation))
                    return false
                }
                if resumeNow { continuation.resume() }
            }
        } onCancel: {
            resume { $0.ticket == ticket }
        }
    }

    private func resume(where condition: (Waiter) -> Bool) {
        let ready = state.withLock { Self.removeWaiters(&$0, where: condition) }
        for waiter in ready { waiter.continuation.resume() }
    }

    private static func removeWaiters(_ state: inout State, where condition: (Waiter) -> Bool) -> [Waiter] {
        guard !state.waiters.isEmpty else { return [] }
        let ready = state.waiters.filter(condition)
        if !ready.isEmpty { state.waiters.removeAll(where: condition) }
        return ready
    }

    /// Ends a stream and writes its last frame behind everything sent on it. False if it had ended before; nothing is
    /// written then.
    package func end(_ id: UInt32, releasing bytes: Int = 0, _ write: (inout ByteBuffer) -> Void) -> Bool {
        let (won, ready, wakes) = state.withLock { state -> (Bool, [Waiter], Bool) in
            guard state.streams.removeValue(forKey: id) != nil else { return (false, [], false) }
            write(&state.buffer)
            state.ended.append(id)
            state.bytesHeld -= bytes
            let ready = Self.removeWaiters(&state) { $0.streamID == id }
            return (true, ready, Self.scheduleWake(&state))
        }
        for waiter in ready { waiter.continuation.resume() }
        if wakes { wake() }
        return won
    }

    /// Writes a frame that does not end its stream and waits for nothing. False if the stream has ended.
    package func post(on id: UInt32, _ write: (inout ByteBuffer) -> Void) -> Bool {
        let (posted, wakes) = state.withLock { state -> (Bool, Bool) in
            guard state.streams[id] != nil else { return (false, false) }
            write(&state.buffer)
            return (true, Self.scheduleWake(&state))
        }
        if wakes { wake() }
        return posted
    }

    // MARK: Received messages

    /// A received message is held until it is consumed. Returns the bytes now held.
    package func hold(_ bytes: Int) -> Int {
        state.withLock {
            $0.bytesHeld += bytes
            return $0.bytesHeld
        }
    }

    /// Wakes the event loop when no more than this many bytes are held. False if that is so already.
    package func wakeWhenHeld(atMost bytes: Int) -> Bool {
        state.withLock {
            guard $0.bytesHeld > bytes else { return false }
            $0.wakeAtBytesHeld = bytes
            return true
        }
    }

    /// The consumer took a message; its sender gets room for more.
    package func consumed(_ bytes: Int, on id: UInt32) {
        let wakes = state.withLock { state in
            state.bytesHeld -= bytes
            var needsWake = false
            if let window = state.receiveWindow, var stream = state.streams[id] {
                stream.ungranted += bytes
                if stream.ungranted >= window / 2 {
                    state.buffer.writeWindow(
                        frameID: windowStreamID(id),
                        streamID: id,
                        increment: UInt32(clamping: stream.ungranted)
                    )
                    stream.ungranted = 0
                    needsWake = true
                }
                state.streams[id] = stream
            }
            if let threshold = state.wakeAtBytesHeld, state.bytesHeld <= threshold {
                state.wakeAtBytesHeld = nil
                needsWake = true
            }
            return needsWake && Self.scheduleWake(&state)
        }
        if wakes { wake() }
    }

    // MARK: Event loop

    /// The peer grants a stream more bytes. False if that would exceed 2^31-1.
    package func grant(_ bytes: UInt32, on id: UInt32) -> Bool {
        let (valid, ready) = state.withLock { state -> (Bool, [Waiter]) in
            guard var stream = state.streams[id], let credit = stream.credit else { return (true, []) }
            guard credit + Int(bytes) <= Int(Int32.max) else { return (false, []) }
            stream.credit = credit + Int(bytes)
            state.streams[id] = stream
            return (true, stream.credit ?? 0 > 0 ? Self.removeWaiters(&state) { $0.streamID == id } : [])
        }
        for waiter in ready { waiter.continuation.resume() }
        return valid
    }

    package struct Taken {
        package var ended: [UInt32] = []
        package var bytesHeld = 0
    }

    /// Appends what waits to `outgoing` where the channel is writable, and says which calls have ended since.
    package func take(into outgoing: inout ByteBuffer, isWritable: Bool) -> Taken {
        var taken = Taken()
        let ready = state.withLock { state -> [Waiter] in
            state.isWakeScheduled = false
            swap(&taken.ended, &state.ended)
            taken.bytesHeld = state.bytesHeld
            guard isWritable, state.buffer.readableBytes > 0 else { return [] }
            if outgoing.readableBytes == 0 {
                swap(&outgoing, &state.buffer)
                state.buffer.clear()
            } else {
                outgoing.writeBuffer(&state.buffer)
                state.buffer.clear()
            }
            let streams = state.streams
            return Self.removeWaiters(&state) { waiter in
                guard let stream = streams[waiter.streamID] else { return true }
                return stream.credit ?? 1 > 0
            }
        }
        for waiter in ready { waiter.continuation.resume() }
        return taken
    }

    /// Bytes that wait here.
    package var pendingBytes: Int { state.withLock { $0.buffer.readableBytes } }
    /// Bytes of received messages that calls hold.
    package var bytesHeld: Int { state.withLock { $0.bytesHeld } }
    /// Writers that are suspended.
    package var suspendedWriters: Int { state.withLock { $0.waiters.count } }
}

extension ByteBuffer {
    /// Writes a WINDOW frame: the stream it is for, and the bytes its sender may send beyond those granted before.
    package mutating func writeWindow(frameID: UInt32, streamID: UInt32, increment: UInt32) {
        writeFrameHeader(FrameHeader(length: 8, streamID: frameID, type: .window))
        writeMultipleIntegers(streamID, increment)
    }
}
