package import Logging
package import NIOCore
import NIOPosix
package import NIOSSL
import Synchronization

/// One connection, as the pool and the callers see it from any thread.
///
/// Calls are put into a queue under a lock; the event loop takes them all at its next tick, so any number of calls cost one
/// wake-up and one flush.
package final class ClientConnection: Sendable {
    private enum Submission {
        case unary(UnarySubmission)
        case stream(StreamSubmission)
        case cancel(CallTicket)
    }

    private struct State {
        var queue: [Submission] = []
        var isScheduled = false
        var isUsable = true
        /// Calls that may still be promised to callers, so that none finds the ids used up.
        var callsLeft: Int
    }

    package let channel: any Channel
    private let handler: NIOLoopBound<ClientConnectionHandler>
    private let state: Mutex<State>
    /// Whether the server speaks `ttrpc-x1`.
    package let isExtended: Bool

    private init(
        channel: any Channel,
        handler: NIOLoopBound<ClientConnectionHandler>,
        isExtended: Bool,
        maxCalls: Int
    ) {
        self.channel = channel
        self.handler = handler
        self.isExtended = isExtended
        self.state = Mutex(State(callsLeft: maxCalls))
    }

    /// Connects and completes the handshake.
    package static func connect(
        to endpoint: Endpoint,
        configuration: ClientConfiguration,
        context: NIOSSLContext,
        on loop: any EventLoop,
        logger: Logger
    ) async throws(RPCError) -> ClientConnection {
        do {
            return try await open(endpoint, configuration, context, loop, logger).get()
        } catch let error as RPCError {
            throw error
        } catch {
            throw RPCError(.unavailable, "cannot connect to \(endpoint)", cause: error)
        }
    }

    private static func open(
        _ endpoint: Endpoint,
        _ configuration: ClientConfiguration,
        _ context: NIOSSLContext,
        _ loop: any EventLoop,
        _ logger: Logger
    ) -> EventLoopFuture<ClientConnection> {
        let timeout = TimeAmount(clamping: configuration.connectTimeout)
        let name = configuration.tls.serverName ?? endpoint.host
        let ready = loop.makePromise(of: Void.self)
        return ClientBootstrap(group: loop)
            .connectTimeout(timeout)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelOption(.maxMessagesPerRead, value: 1)
            .channelOption(.writeBufferWaterMark, value: .init(low: 64 << 10, high: 256 << 10))
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    // SNI takes no IP addresses, but the certificate is checked against them all the same.
                    let hostname = (try? SocketAddress(ipAddress: name, port: 0)) == nil ? name : nil
                    try channel.pipeline.syncOperations.addHandler(
                        NIOSSLClientHandler(context: context, serverHostname: hostname)
                    )
                    try channel.pipeline.syncOperations.addHandler(
                        ClientConnectionHandler(
                            configuration: configuration,
                            dnsName: hostname,
                            logger: logger,
                            ready: ready
                        )
                    )
                }
            }
            .connect(host: endpoint.host, port: endpoint.port)
            .flatMapError { error in
                ready.fail(error)
                return loop.makeFailedFuture(error)
            }
            .flatMap { channel in
                let guardTask = loop.scheduleTask(in: timeout) {
                    ready.fail(RPCError(.unavailable, "the TLS handshake with \(endpoint) took too long"))
                    channel.close(promise: nil)
                }
                return ready.futureResult
                    .always { _ in guardTask.cancel() }
                    .flatMapThrowing { try make(channel) }
                    .flatMapErrorThrowing { error in
                        channel.close(promise: nil)
                        throw error
                    }
            }
    }

    private static func make(_ channel: any Channel) throws -> ClientConnection {
        let handler = try channel.pipeline.syncOperations.handler(type: ClientConnectionHandler.self)
        let connection = ClientConnection(
            channel: channel,
            handler: NIOLoopBound(handler, eventLoop: channel.eventLoop),
            isExtended: handler.machine.isExtended,
            maxCalls: handler.configuration.maxCallsPerConnection
        )
        handler.onUnusable = { [weak connection] in connection?.markUnusable() }
        return connection
    }

    private func markUnusable() { state.withLock { $0.isUsable = false } }

    /// Whether new calls may be made here.
    package var isUsable: Bool { state.withLock { $0.isUsable && $0.callsLeft > 0 } && channel.isActive }

    /// Promises one call. False if there is none left; a new connection is needed then.
    package func reserve() -> Bool {
        state.withLock { state in
            guard state.isUsable, state.callsLeft > 0 else { return false }
            state.callsLeft -= 1
            return true
        }
    }

    // MARK: Calls

    private func submit(_ submission: Submission) {
        let schedules = state.withLock { state in
            state.queue.append(submission)
            defer { state.isScheduled = true }
            return !state.isScheduled
        }
        if schedules { channel.eventLoop.execute { self.runSubmissions() } }
    }

    private func runSubmissions() {
        let queue = state.withLock { state in
            state.isScheduled = false
            defer { state.queue = [] }
            return state.queue
        }
        let handler = handler.value
        for submission in queue {
            switch submission {
            case .unary(let call): handler.start(call)
            case .stream(let call): handler.start(call)
            case .cancel(let ticket):
                guard ticket.streamID != 0 else {
                    // A task that is cancelled from the start says so before it makes its call.
                    ticket.isCancelled = true
                    continue
                }
                handler.end(ticket.streamID, RPCError(.cancelled, "the call was cancelled"))
            }
        }
    }

    /// Makes a unary call from the connection's event loop; the lowest cost there is. The completion runs on the loop and
    /// is handed the response in place. Every call made in one tick goes out with one flush.
    package func call(
        _ prefix: RequestPrefix,
        payload: ByteBuffer,
        deadline: NIODeadline? = nil,
        metadata: Metadata = Metadata(),
        completion: @escaping @Sendable (UnaryOutcome) -> Void
    ) {
        handler.value.start(
            UnarySubmission(
                prefix: prefix,
                payload: payload,
                deadline: deadline,
                metadata: metadata,
                ticket: nil,
                completion: completion
            )
        )
    }

    /// Makes a unary call from any task. Cancelling the task cancels the call.
    package func unary(
        _ method: MethodDescriptor,
        payload: ByteBuffer,
        deadline: NIODeadline?,
        metadata: Metadata
    ) async -> Result<(ByteBuffer, Metadata), UnaryFailure> {
        let ticket = CallTicket()
        return await withTaskCancellationHandler {
            await withUnsafeContinuation { continuation in
                submit(
                    .unary(
                        UnarySubmission(
                            prefix: RequestPrefix(method),
                            payload: payload,
                            deadline: deadline,
                            metadata: metadata,
                            ticket: ticket
                        ) { outcome in
                            switch outcome {
                            case .success(let bytes, let metadata):
                                continuation.resume(returning: .success((ByteBuffer(bytes: bytes), metadata)))
                            case .failure(let error, let isUnprocessed):
                                continuation.resume(
                                    returning: .failure(UnaryFailure(error: error, isUnprocessed: isUnprocessed))
                                )
                            }
                        }
                    )
                )
            }
        } onCancel: {
            submit(.cancel(ticket))
        }
    }

    /// Opens a stream.
    func stream(_ make: (@escaping @Sendable (Result<SocketStream, RPCError>) -> Void) -> StreamSubmission) async
        -> Result<SocketStream, RPCError>
    {
        await withUnsafeContinuation { continuation in
            submit(.stream(make { continuation.resume(returning: $0) }))
        }
    }

    // MARK: End

    /// Takes no new calls and closes when those that run have ended.
    package func leave() {
        markUnusable()
        channel.eventLoop.execute { self.handler.value.leave() }
    }

    /// Closes now.
    package func close() {
        markUnusable()
        channel.eventLoop.execute {
            self.handler.value.close(RPCError(.cancelled, "the client was shut down"))
        }
    }
}

/// Why a unary call failed, and whether it may be made again.
package struct UnaryFailure: Error, Sendable {
    package let error: RPCError
    /// The server has certainly not begun it.
    package let isUnprocessed: Bool
}
