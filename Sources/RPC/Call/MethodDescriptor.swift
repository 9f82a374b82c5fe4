/// Names a method and says how it is called.
///
/// Descriptors are constants of generated code; a client stub and the server's ``Router`` share them.
public struct MethodDescriptor: Sendable, Hashable {
    /// How many messages go each way.
    public enum Kind: Sendable, Hashable {
        /// One request, one response.
        case unary
        /// Many requests, one response.
        case clientStreaming
        /// One request, many responses.
        case serverStreaming
        /// Many requests and many responses, independently of each other.
        case bidirectional
    }

    /// Full name of the service, for example `grpc.health.v1.Health`.
    public let service: String
    /// Name of the method within the service.
    public let method: String
    /// How many messages go each way.
    public let kind: Kind
    /// Whether calling twice has the effect of calling once, so that a failed call may be repeated.
    public let isIdempotent: Bool
    /// `service/method`.
    public let fullName: String

    /// Names a method.
    public init(service: String, method: String, kind: Kind, isIdempotent: Bool = false) {
        self.service = service
        self.method = method
        self.kind = kind
        self.isIdempotent = isIdempotent
        self.fullName = "\(service)/\(method)"
    }

    /// Whether the client may send more than one message.
    package var streamsRequests: Bool { kind == .clientStreaming || kind == .bidirectional }
    /// Whether the server may send more than one message.
    package var streamsResponses: Bool { kind == .serverStreaming || kind == .bidirectional }
}
