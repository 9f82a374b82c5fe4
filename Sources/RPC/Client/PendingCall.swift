import NIOCore
import Synchronization

/// How a unary call ended, as its completion is told.
package enum UnaryOutcome {
    /// The response message, valid during the call of the completion, and the response's metadata.
    case success(UnsafeRawBufferPointer, Metadata)
    /// It failed. `isUnprocessed`: the server has certainly not begun it, so it may be made again.
    case failure(RPCError, isUnprocessed: Bool)
}

/// Names a unary call before it has a stream id, so that it can be cancelled.
final class CallTicket: Sendable {
    private let state = Atomic<UInt32>(0)
    private let cancelled = Atomic<Bool>(false)

    /// 0 until the call was written.
    var streamID: UInt32 {
        get { state.load(ordering: .acquiring) }
        set { state.store(newValue, ordering: .releasing) }
    }

    /// Cancelled before it was written: it is not to be sent.
    var isCancelled: Bool {
        get { cancelled.load(ordering: .acquiring) }
        set { cancelled.store(newValue, ordering: .releasing) }
    }
}

/// A unary call on its way to the connection.
struct UnarySubmission: Sendable {
    var prefix: RequestPrefix
    var payload: ByteBuffer
    var deadline: NIODeadline?
    var metadata: Metadata
    var ticket: CallTicket?
    var completion: @Sendable (UnaryOutcome) -> Void
}

/// A streaming call on its way to the connection.
struct StreamSubmission: Sendable {
    var method: MethodDescriptor
    /// The request of a server stream.
    var payload: ByteBuffer?
    var deadline: NIODeadline?
    var metadata: Metadata
    var onResponseMetadata: (@Sendable (Metadata) -> Void)?
    /// Told the stream, or why there is none; nothing was sent then.
    var opened: @Sendable (Result<SocketStream, RPCError>) -> Void
}

enum PendingCall {
    case unary(@Sendable (UnaryOutcome) -> Void, deadline: NIODeadline?)
    case stream(SocketStream)

    var deadline: NIODeadline? {
        switch self {
        case .unary(_, let deadline): deadline
        case .stream(let stream): stream.deadline
        }
    }
}

/// A streaming call over a connection, as its caller holds it.
final class SocketStream: ClientStream {
    private struct State {
        var termination: RPCError?
        var isOver = false
        var onOver: (@Sendable () -> Void)?
    }

    let id: UInt32
    let method: MethodDescriptor
    let deadline: NIODeadline?
    let responses: MessageQueue
    let onResponseMetadata: (@Sendable (Metadata) -> Void)?
    private let outbox: Outbox
    private let isExtended: Bool
    private let state = Mutex(State())

    init(id: UInt32, submission: StreamSubmission, outbox: Outbox, isExtended: Bool) {
        self.id = id
        self.method = submission.method
        self.deadline = submission.deadline
        self.onResponseMetadata = submission.onResponseMetadata
        self.outbox = outbox
        self.isExtended = isExtended
        self.responses = MessageQueue { [outbox] bytes in outbox.consumed(bytes, on: id) }
    }

    func send(_ message: ByteBuffer) async throws(RPCError) {
        if try await outbox.send(message, on: id) { return }
        if Task.isCancelled { cancel() }
        throw state.withLock { $0.termination } ?? RPCError(.cancelled, "the call is over; the server takes no more")
    }

    func finishRequests() {
        _ = outbox.post(on: id) { $0.writeFrame(.data, streamID: id, flags: [.remoteClosed, .noData]) }
    }

    func cancel() {
        let error = RPCError(.cancelled, "the call was cancelled")
        let won = outbox.end(id) { buffer in
            if isExtended { buffer.writeFrame(.cancel, streamID: id) }
        }
        if won { over(error, discarding: true) }
    }

    /// The call is over at the connection. Messages that wait can still be read unless `discarding`.
    func over(_ error: RPCError?, discarding: Bool) {
        let onOver = state.withLock { state -> (@Sendable () -> Void)? in
            if !state.isOver { state.termination = error }
            state.isOver = true
            defer { state.onOver = nil }
            return state.onOver
        }
        if let error {
            let dropped = responses.fail(error, discarding: discarding)
            if dropped > 0 { outbox.consumed(dropped, on: id) }
        } else {
            responses.finish()
        }
        onOver?()
    }

    /// Called once when the call is over; at once if it is.
    func whenOver(_ body: @escaping @Sendable () -> Void) {
        let isOver = state.withLock { state in
            if !state.isOver { state.onOver = body }
            return state.isOver
        }
        if isOver { body() }
    }
}
