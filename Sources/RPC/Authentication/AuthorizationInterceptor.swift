/// Lets a call pass whose principal has a role that opens the method; PERMISSION_DENIED to others.
///
/// Comes after the ``AuthenticationInterceptor``. Where the role holds for some resources only, they are attached under
/// ``AllowedResources``, and the handler has to keep to them.
public struct AuthorizationInterceptor: ServerInterceptor {
    private let methods: MethodRoles
    private let errorDomain: String

    /// Checks against this table; `errorDomain` as in `google.rpc.ErrorInfo`.
    public init(methods: MethodRoles, errorDomain: String) {
        self.methods = methods
        self.errorDomain = errorDomain
    }

    /// The beginning.
    public var hooks: InterceptorHooks {
        InterceptorHooks(begin: { call throws(RPCError) in try begin(call) })
    }

    /// Methods that the server does not have pass: they are answered UNIMPLEMENTED.
    public func begin(_ call: ServerCall) throws(RPCError) -> InterceptDecision {
        if call.isOpen { return .proceed }
        guard let principal = call.principal else {
            throw RPCError(.unauthenticated, "nobody was authenticated for this call")
        }
        switch principal.grants.access(to: call.fullName) {
        case .all:
            call.peer.authentication.opened(call)
            return .proceed
        case .only(let resources):
            call[AllowedResources.self] = resources
            return .proceed
        case nil:
            guard call.isKnownMethod else { return .proceed }
            throw denied(principal, call)
        }
    }

    private func denied(_ principal: Principal, _ call: ServerCall) -> RPCError {
        let needed = (methods.methods[call.fullName] ?? []).map(\.rawValue).sorted()
        let remedy = needed.isEmpty ? "nobody may" : "it takes one of the roles \(needed.joined(separator: ", "))"
        return RPCError(.permissionDenied, "'\(principal.name)' may not call \(call.fullName): \(remedy)")
            .withErrorInfo(
                reason: "ROLE_MISSING",
                domain: errorDomain,
                metadata: ["principal": principal.name, "roles": needed.joined(separator: ",")]
            )
    }
}

/// The resources that the caller's role holds for; not attached where it holds for all.
public enum AllowedResources: CallKey {
    /// What a resource is says the service.
    public typealias Value = Set<String>
}
