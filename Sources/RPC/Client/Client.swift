public import Logging
public import NIOCore
import NIOSSL
public import SwiftProtobuf

/// A ttRPC client over TLS: a pool of connections to one or more equivalent servers, made on demand.
///
/// A call that certainly never reached a handler (its connection took no more calls, or the server said so by GOAWAY) is made
/// again on another connection. No other call is ever sent twice.
public final class Client: CallTransport {
    private let configuration: ClientConfiguration
    private let pool: ConnectionPool
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
        pool = ConnectionPool(configuration, context: context, group: eventLoopGroup, logger: logger)
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
        var attempt = 1
        while true {
            let lease = try await pool.lease(deadline: deadline)
            let result = await lease.connection.unary(
                method,
                payload: payload,
                deadline: deadline,
                metadata: options.metadata
            )
            switch result {
            case .success(let (bytes, metadata)):
                pool.report(lease.endpoint, unavailable: false)
                if !metadata.isEmpty { options.onResponseMetadata?(metadata) }
                return try MessageCoding.decodeResponse(Response.self, bytes)
            case .failure(let failure):
                pool.report(lease.endpoint, unavailable: failure.error.code == .unavailable && !failure.isUnprocessed)
                if failure.isUnprocessed, failure.error.code == .unavailable, attempt < Self.maxAttempts {
                    attempt += 1
                    continue
                }
                if !failure.error.metadata.isEmpty { options.onResponseMetadata?(failure.error.metadata) }
                throw failure.error
            }
        }
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
