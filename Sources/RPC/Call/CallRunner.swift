package import NIOCore

/// A call that runs in a task, as its transport sees it.
package protocol RunningCall: MessageSink {
    var call: ServerCall { get }
    /// What the client sends, for handlers of streams.
    var requests: MessageQueue { get }
    /// Ends the call with this result, unless it has ended already. Returns the error that counts: the result's own, or the
    /// one with which the transport ended it before.
    func finish(_ result: Result<ByteBuffer?, RPCError>) -> RPCError?
}

/// What a task has to do before and in place of the handler.
package enum CallStart: Sendable {
    /// The handler is next.
    case handler(begun: Int)
    /// An interceptor waits; then the interceptors from `next` on, then the handler.
    case interceptor(next: Int, @Sendable () async throws(RPCError) -> Void)
    /// The inline handler has run and answers with this.
    case parked(begun: Int, @Sendable () async throws(RPCError) -> ByteBuffer)
}

/// Runs calls in tasks: the interceptors that are left, the handler, the end. Knows no frame and no socket.
package enum CallRunner {
    /// Runs the call to its end. The interceptors that began are ended after the handler has returned, also where the
    /// transport ended the call before that.
    package static func run(
        _ running: any RunningCall,
        from start: CallStart,
        request: ByteBuffer
    ) async {
        // Attached by an interceptor before the task began, or not at all.
        if let span = running.call.span {
            await span.run { await runUntraced(running, from: start, request: request) }
        } else {
            await runUntraced(running, from: start, request: request)
        }
    }

    private static func runUntraced(_ running: any RunningCall, from start: CallStart, request: ByteBuffer) async {
        let call = running.call
        var begun = 0
        let result: Result<ByteBuffer?, RPCError>
        do throws(RPCError) {
            switch start {
            case .parked(let all, let body):
                begun = all
                result = .success(try await body())
            case .handler(let all):
                begun = all
                result = .success(try await handle(running, request))
            case .interceptor(let next, let body):
                begun = next
                try await body()
                try await beginRest(call, begun: &begun)
                result = .success(try await handle(running, request))
            }
        } catch {
            result = .failure(error)
        }
        let error = running.finish(result)
        guard begun > 0 else { return }
        var bytes = 0
        if error == nil, case .success(let response?) = result { bytes = response.readableBytes }
        call.method.chain.end(call, CallOutcome(error: error, responseBytes: bytes), begun: begun)
    }

    private static func beginRest(_ call: ServerCall, begun: inout Int) async throws(RPCError) {
        let chain = call.method.chain
        while begun < chain.count {
            switch chain.begin(call, from: begun) {
            case .ready: begun = chain.count
            case .rejected(let index, let error):
                begun = index
                throw error
            case .parked(let next, let body):
                begun = next
                try await body()
            }
        }
    }

    private static func handle(
        _ running: any RunningCall,
        _ request: ByteBuffer
    ) async throws(RPCError) -> ByteBuffer? {
        try checkDeadline(running.call)
        switch running.call.method.handler {
        case .inline(let body):
            var response = ByteBuffer()
            switch try body(request.readableBytesSpan, running.call, &response) {
            case .written: return response
            case .park(let rest): return try await rest()
            }
        case .unary(let body): return try await body(request, running.call)
        case .streaming(let body): return try await body(running.requests, running, running.call)
        case .unknown: throw unimplemented(running.call.descriptor)
        }
    }

    /// A call whose deadline is over never reaches its handler.
    package static func checkDeadline(_ call: ServerCall) throws(RPCError) {
        if let deadline = call.deadline, deadline <= .now() { throw deadlineExceeded }
        if call.isCancelled { throw RPCError(.cancelled, "the call was cancelled") }
    }

    package static let deadlineExceeded = RPCError(.deadlineExceeded, "the deadline is over")

    package static func unimplemented(_ method: MethodDescriptor) -> RPCError {
        RPCError(.unimplemented, "this server has no method \(method.fullName)")
    }
}
