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

    /// Adds a message; ignored once the queue has ended.
    package func push(_ message: ByteBuffer) {
        let waiter: UnsafeContinuation<Result<ByteBuffer?, RPCError>, Never>? = state.withLock { state in
            guard state.terminal == nil else { return nil }
            if let waiter = state.waiter {
                state.waiter = nil
                return waiter
            }
            state.messages.append(message)
            return nil
        }
        if let waiter {
            waiter.resume(returning: .success(message))
            onConsume(message.readableBytes)
        }
    }

    /// No more messages come; those that wait can still be taken.
    package func finish() { end(.finished) }

    /// The stream failed. Messages that wait are dropped where `discarding` says so: the call is over.
    package func fail(_ error: RPCError, discarding: Bool = true) {
        end(.failed(error), discarding: discarding)
    }

    private func end(_ terminal: Terminal, discarding: Bool = false) {
        let waiter: UnsafeContinuation<Result<ByteBuffer?, RPCError>, Never>? = state.withLock { state in
            guard state.terminal == nil || discarding else { return nil }
            if discarding { state.messages.removeAll() }
            state.terminal = terminal
            let waiter = state.waiter
            state.waiter = nil
            return waiter
        }
        switch terminal {
        case .finished: waiter?.resume(returning: .success(nil))
        case .failed(let error): waiter?.resume(returning: .failure(error))
        }
    }

    /// The next message, nil at the end. One consumer at a time.
    package func next() async throws(RPCError) -> ByteBuffer? {
        let result: Result<ByteBuffer?, RPCError> = await withTaskCancellationHandler {
            await withUnsafeContinuation { continuation in
                let ready: Result<ByteBuffer?, RPCError>? = state.withLock { state in
                    if let message = state.messages.popFirst() { return .success(message) }
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
                continuation.resume(returning: ready)
                if case .success(let message?) = ready { onConsume(message.readableBytes) }
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
