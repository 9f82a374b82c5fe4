import NIOCore
public import SwiftProtobuf

/// The requests of a call that streams them, for the handler to iterate once.
///
/// Ends when the client closes its side; throws CANCELLED when the call is over before that, and INVALID_ARGUMENT
/// for a message that cannot be decoded.
public struct RequestStream<Request: Message>: AsyncSequence, Sendable {
    /// A request.
    public typealias Element = Request
    /// Always an RPCError.
    public typealias Failure = RPCError

    private let queue: MessageQueue

    package init(_ queue: MessageQueue) { self.queue = queue }

    /// Takes requests as they come.
    public struct AsyncIterator: AsyncIteratorProtocol {
        fileprivate let queue: MessageQueue

        /// The next request; nil once the client has closed its side.
        public mutating func next() async throws(RPCError) -> Request? {
            guard let message = try await queue.next() else { return nil }
            return try MessageCoding.decodeRequest(Request.self, message.readableBytesSpan)
        }

        /// The next request; nil once the client has closed its side.
        public mutating func next(isolation actor: isolated (any Actor)?) async throws(RPCError) -> Request? {
            guard let message = try await queue.next() else { return nil }
            return try MessageCoding.decodeRequest(Request.self, message.readableBytesSpan)
        }
    }

    /// Starts iterating.
    public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(queue: queue) }
}

/// Sends the responses of a call that streams them.
public struct ResponseWriter<Response: Message>: Sendable {
    private let sink: any MessageSink

    package init(_ sink: any MessageSink) { self.sink = sink }

    /// Sends a response. Suspends while the client has too much to read.
    ///
    /// - Throws: CANCELLED or DEADLINE_EXCEEDED once the call is over; there is no one left to write to.
    public func write(_ message: Response) async throws(RPCError) {
        try await sink.send(MessageCoding.encode(message))
    }
}
