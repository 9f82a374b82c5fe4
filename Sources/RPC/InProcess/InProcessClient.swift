import NIOCore
public import SwiftProtobuf

/// Calls a set of services in this process, through their interceptors, without a socket; for tests.
///
/// Messages are encoded and decoded as they would be for a socket, deadlines and cancellation work, and writers suspend while
/// 256 KiB wait. Inline handlers run in a task.
public final class InProcessClient: CallTransport {
    private let methods: [String: Method]
    private let unknownChain: InterceptorChain
    private let peer: Peer

    /// Makes a client of these services.
    ///
    /// - Parameter peer: Who the interceptors see calling.
    public init(
        services: [any RegistrableService],
        interceptors: [any ServerInterceptor] = [],
        peer: Peer = Peer(address: "in-process")
    ) {
        methods = Router(services: services).intercepted(by: interceptors)
        unknownChain = InterceptorChain(interceptors)
        self.peer = peer
    }

    private func start(_ method: MethodDescriptor, _ request: ByteBuffer?, _ options: CallOptions) -> InProcessCall {
        let registered =
            methods[method.fullName] ?? Method(descriptor: method, isKnown: false, chain: unknownChain)
        let now = NIODeadline.now()
        let call = ServerCall(
            method: registered,
            id: 0,
            metadata: options.metadata,
            peer: peer,
            receivedAt: now,
            deadline: options.timeout.map { now + TimeAmount(clamping: $0) },
            requestBytes: request?.readableBytes ?? 0
        )
        let running = InProcessCall(call: call, onResponseMetadata: options.onResponseMetadata)
        if let request {
            if registered.descriptor.kind != .unary { _ = running.requests.push(request) }
            running.requests.finish()
        }
        running.start(request: request ?? ByteBuffer())
        return running
    }

    /// Makes a unary call.
    public func unary<Request: Message, Response: Message>(
        _ method: MethodDescriptor,
        _ request: Request,
        _ options: CallOptions = .defaults
    ) async throws(RPCError) -> Response {
        let call = start(method, try MessageCoding.encode(request), options)
        do throws(RPCError) {
            guard let message = try await call.responses.next() else {
                throw RPCError(.internalError, "the handler ended without a response")
            }
            return try MessageCoding.decodeResponse(Response.self, message)
        } catch {
            call.cancel()
            throw error
        }
    }

    /// Makes a server-streaming call.
    public func serverStream<Request: Message, Response: Message>(
        _ method: MethodDescriptor,
        _ request: Request,
        _ options: CallOptions = .defaults
    ) async throws(RPCError) -> ResponseStream<Response> {
        ResponseStream(InProcessCall.ClientEnd(start(method, try MessageCoding.encode(request), options)))
    }

    /// Makes a client-streaming call.
    public func clientStream<Request: Message, Response: Message>(
        _ method: MethodDescriptor,
        _ options: CallOptions = .defaults
    ) async throws(RPCError) -> ClientStreamCall<Request, Response> {
        ClientStreamCall(InProcessCall.ClientEnd(start(method, nil, options)))
    }

    /// Makes a bidirectional call.
    public func bidirectional<Request: Message, Response: Message>(
        _ method: MethodDescriptor,
        _ options: CallOptions = .defaults
    ) async throws(RPCError) -> BidirectionalCall<Request, Response> {
        BidirectionalCall(InProcessCall.ClientEnd(start(method, nil, options)))
    }
}
