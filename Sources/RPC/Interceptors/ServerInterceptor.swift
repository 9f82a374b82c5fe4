/// What an interceptor answers when a call begins.
public enum InterceptDecision: Sendable {
    /// The call goes on.
    case proceed
    /// The call goes on in a task, after this was awaited without an error.
    case park(@Sendable () async throws(RPCError) -> Void)
}

/// Two hooks around every call of a server, whatever its kind and whatever its handler.
///
/// `begin` runs on the connection's event loop, in the order in which the interceptors are registered, and must not
/// block. It may reject the call by throwing, shorten the deadline, attach a typed value, or answer
/// ``InterceptDecision/park(_:)`` where waiting is real. After a park, the interceptors that follow and the handler run
/// in that task. `end` runs exactly once for each interceptor whose `begin` returned, in reverse order, on whatever thread
/// the call ended on.
public protocol ServerInterceptor: Sendable {
    /// What stands for this interceptor around the calls of one method; nil for nothing.
    ///
    /// Asked once for each method when the server is made, so that what depends on the method alone need not be found out
    /// for every call. Around calls of methods that the server does not have stands the interceptor itself.
    func specialized(for method: MethodDescriptor) -> (any ServerInterceptor)?
    /// As ``specialized(for:)``, which it is unless an interceptor has to know whether the calls are answered on the event
    /// loop.
    func specialized(for method: MethodDescriptor, isInline: Bool) -> (any ServerInterceptor)?
    /// The call begins. Throwing rejects it; this interceptor's `end` is then not called.
    func begin(_ call: ServerCall) throws(RPCError) -> InterceptDecision
    /// Whether ``end(_:_:)`` does anything. Asked once; one that says no is not told of ends.
    var watchesEnds: Bool { get }
    /// The call ended.
    func end(_ call: ServerCall, _ outcome: CallOutcome)
}

extension ServerInterceptor {
    /// The interceptor itself.
    public func specialized(for method: MethodDescriptor) -> (any ServerInterceptor)? { self }
    /// What ``specialized(for:)`` says.
    public func specialized(for method: MethodDescriptor, isInline: Bool) -> (any ServerInterceptor)? {
        specialized(for: method)
    }
    /// Yes.
    public var watchesEnds: Bool { true }
    /// Nothing to do.
    public func end(_ call: ServerCall, _ outcome: CallOutcome) {}
}
