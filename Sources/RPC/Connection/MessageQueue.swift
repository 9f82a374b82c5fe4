package import NIOCore
import Synchronization

/// The received messages of one stream, between the connection that reads them and the task that consumes them.
///
/// It does not bound itself: the connection does, told of every consumed message by `onConsume`.
package final class MessageQueue: Sendable {
    private enum Terminal {
        case finished
        case failed(RPCError)
    }

    private struct State {
        var messages = CircularBuffer<ByteBuffer>(initialCapacity: 2)
        var bytes = 0
        var terminal: Terminal?
        var waiter: UnsafeContinuation<Result<ByteBuffer?, RPCError>, Never>?
        /// Set by a cancelled consumer that found no message waiting.
        var isCancelled = false
    }

    private let state = Mutex(State())
    private let onConsume: @Sendable (_ bytes: Int) -> Void

    /// - Parameter onConsume: Told the size of each message as the consumer takes it, on the consumer's thread.
    package init(onConsume: @escaping @Sendable (_ bytes: Int) -> Void = { _ in }) {
        self.onConsume = onConsume
    }

    /// Adds a message. Returns the bytes that now wait, nil if the queue has ended and the message was dropped.
    package func push(_ message: ByteBuffer) -> Int? {
        typealias Outcome = (waiter: UnsafeContinuation<Result<ByteBuffer?, RPCError>, Never>?, bytes: Int?)
        let outcome: Outcome = state.withLock { state in
            guard state.terminal == nil else { return (nil, nil) }
            if let waiter = state.waiter {
                state.waiter = nil
                return (waiter, 0)
            }
            state.messages.append(message)
            state.bytes += message.readableBytes
            return (nil, state.bytes)
        }
        if let waiter = outcome.waiter {
            onConsume(message.readableBytes)
            waiter.resume(returning: .success(message))
        }
        return outcome.bytes
    }

    /// No more messages come; those that wait can still be taken.
    package func finish() { _ = end(.finished) }

    /// The stream failed. Messages that wait can still be taken unless `discarding`: then the call is over, and how many
    /// bytes were dropped is returned.
    @discardableResult
    package func fail(_ error: RPCError, discarding: Bool = true) -> Int { end(.failed(error), discarding: discarding) }

    private func end(_ terminal: Terminal, discarding: Bool = false) -> Int {
        typealias Outcome = (waiter: UnsafeContinuation<Result<ByteBuffer?, RPCError>, Never>?, dropped: Int)
        let outcome: Outcome = state.withLock { state in
            var dropped = 0
            if discarding {
                dropped = state.bytes
                state.messages.removeAll()
                state.bytes = 0
            }
            if state.terminal == nil || dropped > 0 { state.terminal = terminal }
            let waiter = state.waiter
            state.waiter = nil
            return (waiter, dropped)
        }
        switch terminal {
        case .finished: outcome.waiter?.resume(returning: .success(nil))
        case .failed(let error): outcome.waiter?.resume(returning: .failure(error))
        }
        return outcome.dropped
    }

    /// The next message, nil at the end. One consumer at a time.
    package func next() async throws(RPCError) -> ByteBuffer? {
        let result: Result<ByteBuffer?, RPCError> = await withTaskCancellationHandler {
            await withUnsafeContinuation { continuation in
                let ready: Result<ByteBuffer?, RPCError>? = state.withLock { state in
                    if let message = state.messages.popFirst() {
                        state.bytes -= message.readableBytes
                        return .success(message)
                    }
                    switch state.terminal {
                    case .finished: return .success(nil)
                    case .failed(let error): return .failure(error)
                    case nil: break
                    }
                    if state.isCancelled { return .failure(Self.cancelled) }
                    guard state.waiter == nil else {
                        return .failure(RPCError(.internalError, "a stream has one consumer at a time"))
                    }
                    state.waiter = continuation
                    return nil
                }
                guard let ready else { return }
                if case .success(let message?) = ready { onConsume(message.readableBytes) }
                continuation.resume(returning: ready)
            }
        } onCancel: {
            let waiter = state.withLock { state in
                state.isCancelled = true
                let waiter = state.waiter
                state.waiter = nil
                return waiter
            }
            waiter?.resume(returning: .failure(Self.cancelled))
        }
        return try result.get()
    }

    private static let cancelled = RPCError(.cancelled, "the call was cancelled")
}
