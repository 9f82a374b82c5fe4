public import SwiftProtobuf

/// How one call is made.
public struct CallOptions: Sendable {
    /// How long to wait for the call as a whole; nil takes the client's default. Sent to the server as its deadline.
    public var timeout: Duration?
    /// Metadata of the request.
    public var metadata: Metadata
    /// Called once with the response's metadata, before the call returns, where the server sent any (`ttrpc-x1`).
    public var onResponseMetadata: (@Sendable (Metadata) -> Void)?

    /// Makes options.
    public init(
        timeout: Duration? = nil,
        metadata: Metadata = Metadata(),
        onResponseMetadata: (@Sendable (Metadata) -> Void)? = nil
    ) {
        self.timeout = timeout
        self.metadata = metadata
        self.onResponseMetadata = onResponseMetadata
    }

    /// Nothing special.
    public static let defaults = CallOptions()
}

/// Makes calls; generated client stubs hold one. ``Client`` does it over sockets, ``InProcessClient`` without.
///
/// Cancelling the task that waits on a call cancels the call, at the server too where it speaks `ttrpc-x1`.
public protocol CallTransport: Sendable {
    /// One request, one response.
    func unary<Request: Message, Response: Message>(
        _ method: MethodDescriptor,
        _ request: Request,
        _ options: CallOptions
    ) async throws(RPCError) -> Response

    /// One request, many responses.
    func serverStream<Request: Message, Response: Message>(
        _ method: MethodDescriptor,
        _ request: Request,
        _ options: CallOptions
    ) async throws(RPCError) -> ResponseStream<Response>

    /// Many requests, one response.
    func clientStream<Request: Message, Response: Message>(
        _ method: MethodDescriptor,
        _ options: CallOptions
    ) async throws(RPCError) -> ClientStreamCall<Request, Response>

    /// Many requests, many responses.
    func bidirectional<Request: Message, Response: Message>(
        _ method: MethodDescriptor,
        _ options: CallOptions
    ) async throws(RPCError) -> BidirectionalCall<Request, Response>
}
