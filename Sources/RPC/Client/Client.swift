public import Logging
import Metrics
public import NIOCore
import NIOSSL
public import SwiftProtobuf
import Synchronization

/// A ttRPC client over TLS: a pool of connections to one or more equivalent servers, made on demand.
///
/// A call that certainly never reached a handler (its connection took no more calls, or the server said so by GOAWAY) is made
/// again on another connection. Calls of idempotent methods are also made again after a failure, as
/// ``ClientConfiguration/retry`` says. No other call is ever sent twice.
///
/// Counted as `rpc.client.retries`, `rpc.client.retries.throttled`, `rpc.client.breaker.rejected` and
/// `rpc.client.breaker.transitions{to}`.
public final class Client: CallTransport {
    private let configuration: ClientConfiguration
    private let pool: ConnectionPool
    private let statistics: ClientStatistics
    private let throttle: Mutex<RetryThrottle>
    /// Attempts at a call that no server has begun.
    private static let maxAttempts = 4

    /// Makes a client; it connects with its first call.
    ///
    /// - Parameter eventLoopGroup: Connections are spread over its loops. The caller shuts it down, after the client.
    /// - Throws: For certificates that cannot be used.
    public init(
        _ configuration: ClientConfiguration,
        eventLoopGroup: any EventLoopGroup,
        logger: Logger = Logger(label: "rpc.client")
    ) throws(TLSSettingsError) {
        precondition(!configuration.endpoints.isEmpty, "a client needs an endpoint")
        self.configuration = configuration
        let context = try configuration.tls.makeContext(offering: configuration.applicationProtocols)
        statistics = ClientStatistics(configuration.metrics)
        throttle = Mutex(RetryThrottle(configuration.retry?.throttle ?? .init()))
        pool = ConnectionPool(
            configuration,
            context: context,
            group: eventLoopGroup,
            logger: logger,
            statistics: statistics
        )
    }

    /// Refuses new calls, waits for those that run, closes the connections.
    public func shutdown() async { await pool.shutdown() }

    private func deadline(_ options: CallOptions) -> NIODeadline? {
        (options.timeout ?? configuration.defaultTimeout).map { .now() + TimeAmount(clamping: $0) }
    }

    /// Makes a unary call.
    public func unary<Request: Message, Response: Message>(
        _ method: MethodDescriptor,
        _ request: Request,
        _ options: CallOptions = .defaults
    ) async throws(RPCError) -> Response {
        let payload = try MessageCoding.encode(request)
        let deadline = deadline(options)
        var attempts = 0
        while true {
            attempts += 1
            do throws(RPCError) {
                let (bytes, metadata) = try await attempt(method, payload, deadline, options)
                if configuration.retry != nil { throttle.withLock { $0.succeeded() } }
                if !metadata.isEmpty { options.onResponseMetadata?(metadata) }
                return try MessageCoding.decodeResponse(Response.self, bytes)
            } catch {
                guard let wait = waitBeforeRetry(method, attempts, error, deadline) else {
                    if !error.metadata.isEmpty { options.onResponseMetadata?(error.metadata) }
                    throw error
                }
                statistics.retries.increment()
                do { try await Task.sleep(for: wait) } catch { throw RPCError(.cancelled, "the call was cancelled") }
            }
        }
    }

    /// Nil where the call is not made again.
    private func waitBeforeRetry(
        _ method: MethodDescriptor,
        _ attempts: Int,
        _ error: RPCError,
        _ deadline: NIODeadline?
    ) -> Duration? {
        guard let policy = configuration.retry else { return nil }
        // What the breaker refused was not called, and an open one is not to be waited for.
        guard policy.isRetryable(error), error.errorInfo?.reason != ConnectionPool.circuitOpen else {
            throttle.withLock { $0.succeeded() }
            return nil
        }
        let isAllowed = throttle.withLock { throttle in
            throttle.failed()
            return throttle.allowsRetry
        }
        let left = deadline.map { Duration.nanoseconds(($0 - .now()).nanoseconds) }
        let random = Double.random(in: 0..<1)
        guard method.isIdempotent,
            let wait = policy.delay(afterAttempts: attempts, error, timeRemaining: left, random: random)
        else { return nil }
        guard isAllowed else {
            statistics.retriesThrottled.increment()
            return nil
        }
        return wait
    }

    /// One attempt that a server has begun, or that no server could.
    private func attempt(
        _ method: MethodDescriptor,
        _ payload: ByteBuffer,
        _ deadline: NIODeadline?,
        _ options: CallOptions
    ) async throws(RPCError) -> (ByteBuffer, Metadata) {
        var tries = 1
        while true {
            let lease = try await pool.lease(deadline: deadline)
            let result = await lease.connection.unary(
                method,
                payload: payload,
                deadline: deadline,
                metadata: options.metadata
            )
            switch result {
            case .success(let response):
                pool.report(lease, .success)
                return response
            case .failure(let failure):
                pool.report(lease, Self.outcome(failure))
                guard failure.isUnprocessed, failure.error.code == .unavailable, tries < Self.maxAttempts else {
                    throw failure.error
                }
                tries += 1
            }
        }
    }

    private static func outcome(_ failure: UnaryFailure) -> CircuitBreaker.Outcome {
        failure.isUnprocessed ? .ignored : failure.error.breakerOutcome
    }

    /// Makes a server-streaming call.
    public func serverStream<Request: Message, Response: Message>(
        _ method: MethodDescriptor,
        _ request: Request,
        _ options: CallOptions = .defaults
    ) async throws(RPCError) -> ResponseStream<Response> {
        let payload = try MessageCoding.encode(request)
        return ResponseStream(try await open(method, payload, options))
    }

    /// Makes a client-streaming call.
    public func clientStream<Request: Message, Response: Message>(
        _ method: MethodDescriptor,
        _ options: CallOptions = .defaults
    ) async throws(RPCError) -> ClientStreamCall<Request, Response> {
        ClientStreamCall(try await open(method, nil, options))
    }

    /// Makes a bidirectional call.
    public func bidirectional<Request: Message, Response: Message>(
        _ method: MethodDescriptor,
        _ options: CallOptions = .defaults
    ) async throws(RPCError) -> BidirectionalCall<Request, Response> {
        BidirectionalCall(try await open(method, nil, options))
    }

    private func open(
        _ method: MethodDescriptor,
        _ payload: ByteBuffer?,
        _ options: CallOptions
    ) async throws(RPCError) -> SocketStream {
        let deadline = deadline(options)
        var attempt = 1
        while true {
            let lease = try await pool.lease(deadline: deadline)
            // How long a stream lasts and how it ends says little about its server.
            pool.report(lease, .ignored)
            var connection = lease.connection
            let isDedicated = !connection.isExtended
            if isDedicated { connection = try await pool.dedicatedConnection(endpoint: lease.endpoint) }
            let result = await connection.stream { opened in
                StreamSubmission(
                    method: method,
                    payload: payload,
                    deadline: deadline,
                    metadata: options.metadata,
                    onResponseMetadata: options.onResponseMetadata,
                    opened: opened
                )
            }
            switch result {
            case .success(let stream):
                if isDedicated { stream.whenOver { [pool, connection] in pool.release(connection) } }
                return stream
            case .failure(let error):
                if isDedicated { pool.release(connection) }
                guard error.code == .unavailable, attempt < Self.maxAttempts else { throw error }
                attempt += 1
            }
        }
    }
}
