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
    /// What a server calls. Asked once for each method, after ``specialized(for:isInline:)``.
    ///
    /// As it stands, both hooks. An interceptor says here that it needs one of them only, or the end of failed calls only; and
    /// hooks named where the type is known are called without a look at what type they belong to.
    var hooks: InterceptorHooks { get }
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
    /// Both.
    public var hooks: InterceptorHooks {
        InterceptorHooks(begin: { call throws(RPCError) in try begin(call) }, end: { end($0, $1) })
    }
    /// Nothing to do.
    public func end(_ call: ServerCall, _ outcome: CallOutcome) {}
}

/// The functions of an interceptor that a server calls.
public struct InterceptorHooks: Sendable {
    /// As ``ServerInterceptor/begin(_:)``.
    public typealias Begin = @Sendable (ServerCall) throws(RPCError) -> InterceptDecision
    /// As ``ServerInterceptor/end(_:_:)``.
    public typealias End = @Sendable (ServerCall, CallOutcome) -> Void

    enum Ends { case none, failures, all }

    // Not optional: what is in an optional is called through a function that adapts it.
    let begin: Begin
    let end: End
    let begins: Bool
    let ends: Ends

    private init(begin: @escaping Begin, end: @escaping End, begins: Bool, ends: Ends) {
        self.begin = begin
        self.end = end
        self.begins = begins
        self.ends = ends
    }

    /// None.
    public init() { self.init(begin: { _ in .proceed }, end: { _, _ in }, begins: false, ends: .none) }

    /// The beginning alone.
    public init(begin: @escaping Begin) { self.init(begin: begin, end: { _, _ in }, begins: true, ends: .none) }

    /// The end alone.
    public init(end: @escaping End) { self.init(begin: { _ in .proceed }, end: end, begins: false, ends: .all) }

    /// Both.
    public init(begin: @escaping Begin, end: @escaping End) {
        self.init(begin: begin, end: end, begins: true, ends: .all)
    }

    /// The end alone, and only of calls that fail.
    public init(endOfFailures end: @escaping End) {
        self.init(begin: { _ in .proceed }, end: end, begins: false, ends: .failures)
    }
}
