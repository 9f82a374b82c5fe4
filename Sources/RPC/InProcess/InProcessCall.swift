import NIOCore
import Synchronization

/// Messages of one direction of a call in process: the sender suspends while too many bytes wait.
final class InProcessPipe: Sendable {
    private struct State {
        var pending = 0
        var waiters: [UnsafeContinuation<Void, Never>] = []
        var isOver = false
    }

    private final class Gate: Sendable {
        let state = Mutex(State())

        func release(_ bytes: Int, over: Bool = false) {
            let ready = state.withLock { state in
                state.pending -= bytes
                if over { state.isOver = true }
                defer { state.waiters = [] }
                return state.waiters
            }
            for waiter in ready { waiter.resume() }
        }
    }

    let queue: MessageQueue
    private let gate = Gate()
    private let limit = 256 << 10

    init() {
        queue = MessageQueue { [gate] bytes in gate.release(bytes) }
    }

    /// False if the call is over.
    func send(_ message: ByteBuffer) async -> Bool {
        while true {
            let goes = gate.state.withLock { state -> Bool? in
                if state.isOver { return false }
                guard state.pending < limit else { return nil }
                state.pending += message.readableBytes
                return true
            }
            if let goes { return goes && queue.push(message) != nil }
            await withUnsafeContinuation { continuation in
                let waits = gate.state.withLock { state in
                    guard !state.isOver, state.pending >= limit else { return false }
                    state.waiters.append(continuation)
                    return true
                }
                if !waits { continuation.resume() }
            }
        }
    }

    /// No message can be sent any more.
    func over() { gate.release(0, over: true) }
}

/// A call in process, as both its ends hold it.
final class InProcessCall: RunningCall {
    private struct State {
        var isOver = false
        var termination: RPCError?
        var task: Task<Void, Never>?
        var deadlineTask: Task<Void, Never>?
    }

    /// The client's end of a call. Its messages go the other way.
    final class ClientEnd: ClientStream {
        private let call: InProcessCall
        init(_ call: InProcessCall) { self.call = call }

        var responses: MessageQueue { call.responsePipe.queue }

        func send(_ message: ByteBuffer) async throws(RPCError) {
            if await call.requestPipe.send(message) { return }
            throw call.terminationError
        }

        func finishRequests() { call.requestPipe.queue.finish() }
        func cancel() { call.terminate(RPCError(.cancelled, "the call was cancelled")) }
    }

    let call: ServerCall
    private let requestPipe = InProcessPipe()
    private let responsePipe = InProcessPipe()
    private let onResponseMetadata: (@Sendable (Metadata) -> Void)?
    private let state = Mutex(State())

    init(call: ServerCall, onResponseMetadata: (@Sendable (Metadata) -> Void)?) {
        self.call = call
        self.onResponseMetadata = onResponseMetadata
    }

    var requests: MessageQueue { requestPipe.queue }
    var responses: MessageQueue { responsePipe.queue }
    private var terminationError: RPCError {
        state.withLock { $0.termination } ?? RPCError(.cancelled, "the call is over")
    }

    /// The server's end sends a response.
    func send(_ message: ByteBuffer) async throws(RPCError) {
        if await responsePipe.send(message) { return }
        throw terminationError
    }

    func cancel() { terminate(RPCError(.cancelled, "the call was cancelled")) }

    func finish(_ result: Result<ByteBuffer?, RPCError>) -> RPCError? {
        var error: RPCError?
        if case .failure(let failure) = result { error = failure }
        guard becomeOver(error) else { return terminationError }
        var metadata = call.responseMetadata
        if let error { metadata.add(contentsOf: error.metadata) }
        if !metadata.isEmpty { onResponseMetadata?(metadata) }
        switch result {
        case .success(let message):
            if let message { _ = responses.push(message) }
            responses.finish()
        case .failure(let failure):
            responses.fail(failure, discarding: false)
        }
        return error
    }

    private func becomeOver(_ error: RPCError?) -> Bool {
        let (first, deadlineTask) = state.withLock { state -> (Bool, Task<Void, Never>?) in
            guard !state.isOver else { return (false, nil) }
            state.isOver = true
            state.termination = error
            return (true, state.deadlineTask)
        }
        guard first else { return false }
        deadlineTask?.cancel()
        requestPipe.over()
        responsePipe.over()
        requests.fail(error ?? RPCError(.cancelled, "the call is over"))
        return true
    }

    /// The client or the clock ends the call.
    func terminate(_ error: RPCError) {
        guard becomeOver(error) else { return }
        call.markCancelled()
        responses.fail(error)
        state.withLock { $0.task }?.cancel()
    }

    /// Runs the call in a task of its own.
    func start(request: ByteBuffer) {
        let chain = call.method.chain
        let begun = chain.begin(call)
        if case .rejected(let index, let error) = begun {
            _ = finish(.failure(error))
            chain.end(call, CallOutcome(error: error), begun: index)
            return
        }
        let from: CallStart =
            if case .parked(let next, let body) = begun {
                .interceptor(next: next, body)
            } else {
                .handler(begun: chain.count)
            }
        let task = Task { await CallRunner.run(self, from: from, request: request) }
        let deadlineTask = call.deadline.map { deadline in
            Task {
                let left = (deadline - .now()).nanoseconds
                guard (try? await Task.sleep(for: .nanoseconds(max(0, left)))) != nil else { return }
                self.terminate(CallRunner.deadlineExceeded)
            }
        }
        let isOver = state.withLock { state in
            state.task = task
            state.deadlineTask = deadlineTask
            return state.isOver
        }
        if isOver {
            deadlineTask?.cancel()
            if call.isCancelled { task.cancel() }
        }
    }
}
