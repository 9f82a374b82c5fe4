import NIOCore

/// Refuses calls whose deadline is over, and gives the others one that is near enough.
public struct DeadlineInterceptor: ServerInterceptor {
    private let longest: TimeAmount?

    /// - Parameter longest: Most time any call is given, and what a call without a deadline gets; nil changes nothing.
    public init(longest: Duration? = nil) {
        self.longest = longest.map { TimeAmount(clamping: $0) }
    }

    /// DEADLINE_EXCEEDED where there is nothing left.
    public func begin(_ call: ServerCall) throws(RPCError) -> InterceptDecision {
        if let deadline = call.deadline, deadline <= .now() { throw CallRunner.deadlineExceeded }
        // Streams may run as long as their client listens; only what the client asked for limits them.
        if let longest, call.descriptor.kind == .unary { call.shortenDeadline(to: call.receivedAt + longest) }
        return .proceed
    }
}
