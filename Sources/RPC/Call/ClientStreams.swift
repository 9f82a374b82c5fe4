import NIOCore
public import SwiftProtobuf

/// A streaming call as the client's transport runs it.
package protocol ClientStream: MessageSink {
    /// What the server sends.
    var responses: MessageQueue { get }
    /// No more requests follow.
    func finishRequests()
    /// The caller is no longer interested.
    func cancel()
}

/// Cancels the call when the last reference that the caller holds is gone.
private final class CallLifetime: Sendable {
    let stream: any ClientStream

    init(_ stream: any ClientStream) { self.stream = stream }

    deinit { stream.cancel() }
}

/// The responses of a call that streams them, to iterate once.
///
/// Ends when the server ends the stream, throws the error with which it failed. Dropping it cancels the call.
public struct ResponseStream<Response: Message>: AsyncSequence, Sendable {
    /// A response.
    public typealias Element = Response
    /// Always an RPCError.
    public typealias Failure = RPCError

    private let lifetime: CallLifetime

    package init(_ stream: any ClientStream) { lifetime = CallLifetime(stream) }

    fileprivate init(_ lifetime: CallLifetime) { self.lifetime = lifetime }

    /// Takes responses as they come.
    public struct AsyncIterator: AsyncIteratorProtocol {
        fileprivate let lifetime: CallLifetime

        /// The next response; nil at the end.
        public mutating func next() async throws(RPCError) -> Response? {
            try await next(isolation: #isolation)
        }

        /// The next response; nil at the end.
        public mutating func next(isolation actor: isolated (any Actor)?) async throws(RPCError) -> Response? {
            do {
                guard let message = try await lifetime.stream.responses.next() else { return nil }
                return try MessageCoding.decodeResponse(Response.self, message)
            } catch {
                lifetime.stream.cancel()
                throw error
            }
        }
    }

    /// Starts iterating.
    public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(lifetime: lifetime) }

    /// Gives the call up.
    public func cancel() { lifetime.stream.cancel() }
}

/// Sends the requests of a call that streams them.
public struct RequestWriter<Request: Message>: Sendable {
    private let lifetime: CallLifetime

    fileprivate init(_ lifetime: CallLifetime) { self.lifetime = lifetime }

    /// Sends a request. Suspends while the server has too much to read.
    ///
    /// - Throws: The error with which the call ended, if it has.
    public func write(_ request: Request) async throws(RPCError) {
        try await lifetime.stream.send(MessageCoding.encode(request))
    }

    /// No more requests follow.
    public func finish() { lifetime.stream.finishRequests() }
}

/// A call that streams requests and gets one response. Dropping it cancels the call.
public struct ClientStreamCall<Request: Message, Response: Message>: Sendable {
    private let lifetime: CallLifetime
    private let writer: RequestWriter<Request>

    package init(_ stream: any ClientStream) {
        lifetime = CallLifetime(stream)
        writer = RequestWriter(lifetime)
    }

    /// Sends a request. Suspends while the server has too much to read.
    public func write(_ request: Request) async throws(RPCError) { try await writer.write(request) }

    /// Closes the request stream and waits for the response.
    public func finish() async throws(RPCError) -> Response {
        lifetime.stream.finishRequests()
        return try await response()
    }

    /// Waits for the response without closing the request stream; the server may answer before it has read everything.
    public func response() async throws(RPCError) -> Response {
        var responses = ResponseStream<Response>(lifetime).makeAsyncIterator()
        guard let response = try await responses.next() else {
            throw RPCError(.internalError, "the server ended the call without a response")
        }
        return response
    }

    /// Gives the call up.
    public func cancel() { lifetime.stream.cancel() }
}

/// A call with streams both ways. Dropping every part of it cancels the call.
public struct BidirectionalCall<Request: Message, Response: Message>: Sendable {
    /// Where the requests go.
    public let requests: RequestWriter<Request>
    /// Where the responses come from.
    public let responses: ResponseStream<Response>

    package init(_ stream: any ClientStream) {
        let lifetime = CallLifetime(stream)
        requests = RequestWriter(lifetime)
        responses = ResponseStream(lifetime)
    }

    /// Gives the call up.
    public func cancel() { responses.cancel() }
}
