package import NIOCore

/// A handler without its message types, as connections run it.
package enum MethodHandler: Sendable {
    /// Runs on the event loop and appends the response message to the buffer it is given.
    package typealias Inline =
        @Sendable (_ request: RawSpan, _ call: ServerCall, _ response: inout ByteBuffer) throws(RPCError)
        -> InlineDisposition
    package typealias Unary =
        @Sendable (_ request: ByteBuffer, _ call: ServerCall) async throws(RPCError) -> ByteBuffer
    /// Returns the last message of a client-streaming call, nil for the other kinds.
    package typealias Streaming =
        @Sendable (_ requests: MessageQueue, _ responses: any MessageSink, _ call: ServerCall) async throws(RPCError) ->
        ByteBuffer?

    case inline(Inline)
    case unary(Unary)
    case streaming(Streaming)
    /// Nothing is registered under this name.
    case unknown
}

/// How an inline handler left its call.
package enum InlineDisposition: Sendable {
    /// The response message stands in the buffer.
    case written
    /// The call goes on in a task.
    case park(@Sendable () async throws(RPCError) -> ByteBuffer)
}

/// Where a handler sends the messages of a stream.
package protocol MessageSink: AnyObject, Sendable {
    /// Sends one message; suspends while the peer has too much to read. Throws once the call is over.
    func send(_ message: ByteBuffer) async throws(RPCError)
}

/// A method as it is registered.
package final class Method: Sendable {
    package let descriptor: MethodDescriptor
    package let isKnown: Bool
    package let handler: MethodHandler
    package let chain: InterceptorChain

    package init(
        descriptor: MethodDescriptor,
        isKnown: Bool,
        handler: MethodHandler = .unknown,
        chain: InterceptorChain = .empty
    ) {
        self.descriptor = descriptor
        self.isKnown = isKnown
        self.handler = handler
        self.chain = chain
    }
}
