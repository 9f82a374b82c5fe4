import NIOCore

/// Refuses calls whose deadline is over, and gives the others one that is near enough.
public struct DeadlineInterceptor: ServerInterceptor {
    private let longest: TimeAmount?
    private let longestUpload: TimeAmount?

    /// - Parameters:
    ///   - longest: Most time any unary call is given, and what one without a deadline gets; nil changes nothing.
    ///   - longestUpload: The same for calls that stream their requests and are answered once.
    public init(longest: Duration? = nil, longestUpload: Duration? = nil) {
        self.longest = longest.map { TimeAmount(clamping: $0) }
        self.longestUpload = longestUpload.map { TimeAmount(clamping: $0) }
    }

    /// Nothing where it would change nothing: the server itself runs no call whose deadline is over.
    public func specialized(for method: MethodDescriptor) -> (any ServerInterceptor)? {
        limit(method.kind) == nil ? nil : self
    }

    /// DEADLINE_EXCEEDED where there is nothing left.
    public func begin(_ call: ServerCall) throws(RPCError) -> InterceptDecision {
        if let deadline = call.deadline, deadline <= .now() { throw CallRunner.deadlineExceeded }
        if let limit = limit(call.descriptor.kind) { call.shortenDeadline(to: call.receivedAt + limit) }
        return .proceed
    }

    /// A stream of responses may run as long as its client listens; only what the client asked for limits it.
    private func limit(_ kind: MethodDescriptor.Kind) -> TimeAmount? {
        switch kind {
        case .unary: longest
        case .clientStreaming: longestUpload
        default: nil
        }
    }
}
