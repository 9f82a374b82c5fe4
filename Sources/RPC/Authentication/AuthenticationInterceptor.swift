import NIOCore

/// Finds out who calls and attaches the ``Principal``, or refuses the call with UNAUTHENTICATED.
///
/// A token in the metadata (`authorization: Bearer …`, RFC 6750) counts before the certificate of the connection. One that is
/// not known yet is verified in a task; all later calls with it go on inline until it expires.
public struct AuthenticationInterceptor: ServerInterceptor {
    /// The metadata's key for a token.
    public static let metadataKey = "authorization"
    private static let scheme = "bearer "

    private let authenticator: Authenticator

    /// Asks this authenticator.
    public init(_ authenticator: Authenticator) { self.authenticator = authenticator }

    /// The beginning.
    public var hooks: InterceptorHooks {
        InterceptorHooks(begin: { call throws(RPCError) in try begin(call) })
    }

    /// UNAUTHENTICATED without credentials, and for wrong ones; RESOURCE_EXHAUSTED with RetryInfo after too many of those.
    public func begin(_ call: ServerCall) throws(RPCError) -> InterceptDecision {
        let slot = call.peer.authentication
        let generation = authenticator.generation
        if slot.attach(generation, to: call) { return .proceed }
        guard let authorization = call.metadata[Self.metadataKey] else {
            slot.keep(try connectionPrincipal(call, generation), of: call)
            return .proceed
        }
        let token = try token(authorization)
        if let entry = authenticator.known.find(token, generation: generation, now: call.receivedAt) {
            slot.keep(entry, of: call)
            return .proceed
        }
        let address = call.peer.host
        if let wait = authenticator.failures.wait(for: address, now: call.receivedAt) {
            throw authenticator.limited(wait, address)
        }
        return .park { [authenticator] () async throws(RPCError) in
            let entry = try await authenticator.verify(token, from: address, receivedAt: call.receivedAt)
            slot.keep(entry, of: call)
        }
    }

    private func token(_ authorization: String) throws(RPCError) -> String {
        guard authenticator.configuration.tokens != nil else {
            throw authenticator.refuse("token_not_taken", "this server takes no tokens; show a client certificate")
        }
        guard authorization.prefix(Self.scheme.count).lowercased() == Self.scheme else {
            throw authenticator.refuse("scheme", "'authorization' takes 'Bearer' and a token")
        }
        return String(authorization.dropFirst(Self.scheme.count))
    }

    /// By the certificate, or nobody where that is allowed.
    private func connectionPrincipal(_ call: ServerCall, _ generation: Int) throws(RPCError) -> VerifiedTokens.Entry {
        guard let identity = call.peer.identity else {
            guard authenticator.configuration.anonymous != nil else {
                throw authenticator.refuse(
                    "credentials_missing",
                    "no credentials: show a client certificate, or send a token as 'authorization: Bearer …'"
                )
            }
            return VerifiedTokens.Entry(
                principal: authenticator.principal(.anonymous),
                end: .distantFuture,
                generation: generation
            )
        }
        guard !identity.names.isEmpty else {
            throw authenticator.refuse(
                "certificate_name_missing",
                "the client certificate bears no URI, DNS or mail name (subjectAltName)"
            )
        }
        // A connection may outlive the certificate that opened it.
        var end = NIODeadline.distantFuture
        if let expiry = identity.notValidAfter {
            let left = expiry - authenticator.configuration.clock()
            guard left > 0 else {
                throw authenticator.refuse("certificate_expired", "the client certificate has expired; connect anew")
            }
            end = call.receivedAt + .nanoseconds(Int64(min(left, 1e9) * 1e9))
        }
        return VerifiedTokens.Entry(
            principal: authenticator.principal(.certificate(identity)),
            end: end,
            generation: generation
        )
    }
}
