public import Logging
public import NIOCore
public import SwiftProtobuf

/// A ttRPC client over TLS. Connects on demand.
public final class Client: CallTransport {
    private let configuration: ClientConfiguration

    /// Makes a client; it connects with its first call.
    public init(
        _ configuration: ClientConfiguration,
        eventLoopGroup: any EventLoopGroup,
        logger: Logger = Logger(label: "rpc.client")
    ) throws(TLSSettingsError) {
        self.configuration = configuration
    }

    /// Refuses new calls, waits for those that run, closes the connections.
    public func shutdown() async {}

    public func unary<Request: Message, Response: Message>(
        _ method: MethodDescriptor,
        _ request: Request,
        _ options: CallOptions = .defaults
    ) async throws(RPCError) -> Response {
        throw RPCError(.unimplemented, "not yet")
    }

    public func serverStream<Request: Message, Response: Message>(
        _ method: MethodDescriptor,
        _ request: Request,
        _ options: CallOptions = .defaults
    ) async throws(RPCError) -> ResponseStream<Response> {
        throw RPCError(.unimplemented, "not yet")
    }

    public func clientStream<Request: Message, Response: Message>(
        _ method: MethodDescriptor,
        _ options: CallOptions = .defaults
    ) async throws(RPCError) -> ClientStreamCall<Request, Response> {
        throw RPCError(.unimplemented, "not yet")
    }

    public func bidirectional<Request: Message, Response: Message>(
        _ method: MethodDescriptor,
        _ options: CallOptions = .defaults
    ) async throws(RPCError) -> BidirectionalCall<Request, Response> {
        throw RPCError(.unimplemented, "not yet")
    }
}
