import NIOCore
import Synchronization

/// A call that came over a connection and runs in a task.
final class SocketCall: RunningCall {
    private struct State {
        /// Why the connection ended the call before its task did.
        var termination: RPCError?
        var task: Task<Void, Never>?
        var isTerminated = false
    }

    let call: ServerCall
    let requests: MessageQueue
    private let outbox: Outbox
    private let isStreamOfResponses: Bool
    private let isExtended: Bool
    private let maxFrameBytes: Int
    /// Size of the request that the connection counts as held.
    private let heldBytes: Int
    private let state = Mutex(State())

    init(call: ServerCall, outbox: Outbox, isExtended: Bool, maxFrameBytes: Int, heldBytes: Int) {
        self.call = call
        self.outbox = outbox
        self.isStreamOfResponses = call.descriptor.streamsResponses
        self.isExtended = isExtended
        self.maxFrameBytes = maxFrameBytes
        self.heldBytes = heldBytes
        let id = call.id
        self.requests = MessageQueue { [outbox] bytes in outbox.consumed(bytes, on: id) }
    }

    func send(_ message: ByteBuffer) async throws(RPCError) {
        if try await outbox.send(message, on: call.id) { return }
        throw state.withLock { $0.termination } ?? RPCError(.cancelled, "the call is over")
    }

    func finish(_ result: Result<ByteBuffer?, RPCError>) -> RPCError? {
        var error: RPCError?
        var response: ByteBuffer?
        switch result {
        case .failure(let failure): error = failure
        case .success(let message):
            response = message
            if let message, message.readableBytes > maxFrameBytes - 16 {
                error = ResponseFrames.tooLarge(message.readableBytes)
            }
        }
        let metadata = isExtended ? Self.metadata(call, error) : Metadata()
        let won = outbox.end(call.id, releasing: heldBytes) { buffer in
            if let error {
                buffer.writeErrorResponse(error, streamID: call.id, metadata: metadata, maxFrameBytes: maxFrameBytes)
            } else if isStreamOfResponses, metadata.isEmpty {
                buffer.writeFrame(.data, streamID: call.id, flags: [.remoteClosed, .noData])
            } else {
                let start = buffer.beginResponse(streamID: call.id)
                if let response { buffer.writeImmutableBuffer(response) }
                _ = buffer.endResponse(from: start, metadata: metadata, maxFrameBytes: .max)
            }
        }
        return won ? error : state.withLock { $0.termination } ?? RPCError(.cancelled, "the call is over")
    }

    static func metadata(_ call: ServerCall, _ error: RPCError?) -> Metadata {
        var metadata = call.responseMetadata
        if let error { metadata.add(contentsOf: error.metadata) }
        return metadata
    }

    /// The connection ends the call: cancels its task, and tells the peer where it still listens.
    ///
    /// - Returns: whether it had not done so before.
    @discardableResult
    func terminate(_ error: RPCError, answering: Bool) -> Bool {
        let first = state.withLock { state in
            defer { state.isTerminated = true }
            if state.termination == nil { state.termination = error }
            return !state.isTerminated
        }
        guard first else { return false }
        _ = outbox.end(call.id, releasing: heldBytes) { buffer in
            guard answering else { return }
            buffer.writeErrorResponse(error, streamID: call.id, metadata: Metadata(), maxFrameBytes: maxFrameBytes)
        }
        call.markCancelled()
        state.withLock { $0.task }?.cancel()
        return true
    }

    /// Keeps the task to cancel.
    func started(_ task: Task<Void, Never>) {
        let cancelNow = state.withLock { state in
            state.task = task
            return state.isTerminated
        }
        if cancelNow { task.cancel() }
    }

    /// The call has ended; what the client sent and nobody read is let go.
    func ended(_ error: RPCError) {
        let dropped = requests.fail(error)
        if dropped > 0 { outbox.consumed(dropped, on: call.id) }
    }
}

enum ResponseFrames {
    static func tooLarge(_ bytes: Int) -> RPCError {
        RPCError(.resourceExhausted, "the response of \(bytes) bytes is larger than a frame may be")
    }
}
