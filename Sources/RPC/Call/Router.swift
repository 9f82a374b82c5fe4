public import NIOCore
public import SwiftProtobuf

/// A set of methods that can be registered with a server at once. Generated code conforms for each service.
public protocol RegistrableService: Sendable {
    /// Registers every method of the service.
    func register(with router: inout Router)
}

/// How an inline handler answers.
public enum InlineResult<Response>: Sendable where Response: Sendable {
    /// With this response, now.
    case reply(Response)
    /// With what this returns; the call goes on in a task. For the rare call that must wait.
    case park(@Sendable () async throws(RPCError) -> Response)
}

/// How a raw inline handler answers.
public enum RawInlineResult: Sendable {
    /// With the bytes it appended.
    case reply
    /// With the serialized response this returns; the call goes on in a task. What was appended is dropped.
    case park(@Sendable () async throws(RPCError) -> ByteBuffer)
}

/// Which handler answers which method.
///
/// A method has one handler; the later registration wins, so that a service can be replaced by another in a test.
public struct Router: Sendable {
    private var methods: [String: Method] = [:]

    /// No methods.
    public init() {}

    /// Every method of the given services.
    public init(services: [any RegistrableService]) {
        for service in services { service.register(with: &self) }
    }

    /// The methods with these interceptors around them.
    package func intercepted(by interceptors: [any ServerInterceptor]) -> [String: Method] {
        methods.mapValues { method in
            let isInline = if case .inline = method.handler { true } else { false }
            return Method(
                descriptor: method.descriptor,
                isKnown: true,
                handler: method.handler,
                chain: InterceptorChain(interceptors, for: method.descriptor, isInline: isInline)
            )
        }
    }

    private mutating func add(_ descriptor: MethodDescriptor, _ handler: MethodHandler) {
        methods[descriptor.fullName] = Method(descriptor: descriptor, isKnown: true, handler: handler)
    }

    /// A unary method whose handler runs on the event loop, with a codec of its own for the common case.
    ///
    /// - Parameters:
    ///   - inPlace: Answers from the serialized request by appending the serialized response, and leaves alone what the
    ///     buffer holds already. False, with nothing appended, where the request or the call is none it knows.
    ///   - handler: Answers all others.
    public mutating func inline<Request: Message, Response: Message>(
        _ method: MethodDescriptor,
        inPlace:
            @escaping @Sendable (_ request: RawSpan, _ call: ServerCall, _ response: inout ByteBuffer) -> Bool,
        _ handler: @escaping @Sendable (Request, ServerCall) throws(RPCError) -> InlineResult<Response>
    ) {
        add(
            method,
            .inline { (request, call, buffer) throws(RPCError) in
                if inPlace(request, call, &buffer) { return .written }
                return try Self.answer(request, call, &buffer, handler)
            }
        )
    }

    /// A unary method whose handler runs on the event loop.
    ///
    /// It must answer from memory in microseconds and never block: every call of the connection waits meanwhile.
    public mutating func inline<Request: Message, Response: Message>(
        _ method: MethodDescriptor,
        _ handler: @escaping @Sendable (Request, ServerCall) throws(RPCError) -> InlineResult<Response>
    ) {
        add(
            method,
            .inline { (request, call, buffer) throws(RPCError) in try Self.answer(request, call, &buffer, handler) }
        )
    }

    private static func answer<Request: Message, Response: Message>(
        _ request: RawSpan,
        _ call: ServerCall,
        _ buffer: inout ByteBuffer,
        _ handler: @Sendable (Request, ServerCall) throws(RPCError) -> InlineResult<Response>
    ) throws(RPCError) -> InlineDisposition {
        switch try handler(MessageCoding.decodeRequest(Request.self, request), call) {
        case .reply(let response):
            try MessageCoding.append(response, to: &buffer)
            return .written
        case .park(let body):
            return .park { () async throws(RPCError) in try await MessageCoding.encode(body()) }
        }
    }

    /// A unary method whose handler runs on the event loop and does its own decoding and encoding.
    ///
    /// The handler reads the serialized request and appends the serialized response to the connection's outgoing buffer.
    /// It must leave alone what the buffer holds already. What it appended is dropped when it throws or parks.
    public mutating func inlineRaw(
        _ method: MethodDescriptor,
        _ handler:
            @escaping @Sendable (_ request: RawSpan, _ call: ServerCall, _ response: inout ByteBuffer) throws(RPCError)
            ->
            RawInlineResult
    ) {
        add(
            method,
            .inline { (request, call, buffer) throws(RPCError) in
                switch try handler(request, call, &buffer) {
                case .reply: return .written
                case .park(let body): return .park(body)
                }
            }
        )
    }

    /// A unary method whose handler runs in a task.
    public mutating func unary<Request: Message, Response: Message>(
        _ method: MethodDescriptor,
        _ handler: @escaping @Sendable (Request, ServerCall) async throws(RPCError) -> Response
    ) {
        add(
            method,
            .unary { (request, call) async throws(RPCError) in
                let request = try MessageCoding.decodeRequest(Request.self, request.readableBytesSpan)
                return try await MessageCoding.encode(handler(request, call))
            }
        )
    }

    /// A unary method whose handler runs in a task and serializes the response itself.
    public mutating func unaryRaw<Request: Message>(
        _ method: MethodDescriptor,
        _ handler: @escaping @Sendable (Request, ServerCall) async throws(RPCError) -> ByteBuffer
    ) {
        add(
            method,
            .unary { (request, call) async throws(RPCError) in
                try await handler(MessageCoding.decodeRequest(Request.self, request.readableBytesSpan), call)
            }
        )
    }

    /// A server-streaming method; the stream ends when the handler returns.
    public mutating func serverStream<Request: Message, Response: Message>(
        _ method: MethodDescriptor,
        _ handler: @escaping @Sendable (Request, ResponseWriter<Response>, ServerCall) async throws(RPCError) -> Void
    ) {
        add(
            method,
            .streaming { (requests, responses, call) async throws(RPCError) in
                guard let first = try await requests.next() else {
                    throw RPCError(.invalidArgument, "the client closed the stream without sending the request")
                }
                let request = try MessageCoding.decodeRequest(Request.self, first.readableBytesSpan)
                try await handler(request, ResponseWriter(responses), call)
                return nil
            }
        )
    }

    /// A client-streaming method; the response is what the handler returns.
    public mutating func clientStream<Request: Message, Response: Message>(
        _ method: MethodDescriptor,
        _ handler: @escaping @Sendable (RequestStream<Request>, ServerCall) async throws(RPCError) -> Response
    ) {
        add(
            method,
            .streaming { (requests, _, call) async throws(RPCError) in
                try await MessageCoding.encode(handler(RequestStream(requests), call))
            }
        )
    }

    /// A bidirectional method; the stream ends when the handler returns.
    public mutating func bidirectional<Request: Message, Response: Message>(
        _ method: MethodDescriptor,
        _ handler:
            @escaping @Sendable (RequestStream<Request>, ResponseWriter<Response>, ServerCall) async throws(RPCError) ->
            Void
    ) {
        add(
            method,
            .streaming { (requests, responses, call) async throws(RPCError) in
                try await handler(RequestStream(requests), ResponseWriter(responses), call)
                return nil
            }
        )
    }
}
