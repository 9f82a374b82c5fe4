public import SwiftProtobuf

/// Calls a set of services in this process, through their interceptors, without a socket; for tests.
public final class InProcessClient: CallTransport {
    /// Makes a client of these services.
    public init(services: [any RegistrableService], interceptors: [any ServerInterceptor] = []) {}

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
