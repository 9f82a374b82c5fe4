import Foundation
public import Metrics
import NIOCore
import Synchronization

/// What an ``Authenticator`` is told once.
public struct AuthenticatorConfiguration: Sendable {
    /// Which roles may call which method.
    public var methods: MethodRoles
    /// Which tokens are taken; nil takes none.
    public var tokens: TokenRequirements?
    /// What a caller without credentials may do; nil refuses it.
    public var anonymous: Grants?
    /// What every principal may do, whatever the policy says; nil leaves it to the policy.
    public var everyone: Grants?
    /// Verified tokens that are remembered; 10,000.
    public var maximumTokens = 10_000
    /// Failures that one address may have; 1 a second, 100 at once.
    public var failures = GCRA.Limit(perSecond: 1, burst: 100)
    /// Addresses whose failures are counted apart; 10,000. Those beyond share one budget.
    public var maximumAddresses = 10_000
    /// Principals that are remembered for ``Authenticator/seen``; 10,000. Those beyond are not listed.
    public var maximumPrincipals = 10_000
    /// Who defines the reasons of errors, as in `google.rpc.ErrorInfo`.
    public var errorDomain = "rpc"
    /// Where the counters go; what the process has set up where it is nil.
    public var metrics: (any MetricsFactory)?
    /// Seconds since 1970; for tests.
    public var clock: @Sendable () -> Double = { Date().timeIntervalSince1970 }

    /// Makes a configuration with the defaults.
    public init(methods: MethodRoles) { self.methods = methods }
}

/// A principal that was authenticated since the server started.
public struct SeenPrincipal: Sendable, Hashable {
    /// Its name.
    public var name: String
    /// Whether it showed a token; else a certificate, or nothing.
    public var hasToken: Bool
    /// Seconds since 1970 of the first and the latest authentication. A known token or an open connection counts once.
    public var first: Double
    /// The latest.
    public var last: Double
    /// Its roles then.
    public var roles: Set<Role>
}

/// Finds out who calls, from certificates and tokens, by keys and a policy that may change while it works.
public final class Authenticator: Sendable {
    private struct State {
        var policy: AccessPolicy
        var verifier: TokenVerifier?
        var seen: [String: SeenPrincipal] = [:]
    }

    let configuration: AuthenticatorConfiguration
    let known: VerifiedTokens
    let failures: FailureLimiter
    private let state: Mutex<State>
    /// Of keys and policy: what was found by an older one is found anew.
    private let generations = Atomic<Int>(1)
    private let statistics: AuthenticationStatistics

    /// Makes an authenticator.
    ///
    /// - Parameter keys: Needed where the configuration takes tokens.
    public init(_ configuration: AuthenticatorConfiguration, policy: AccessPolicy, keys: TokenKeys? = nil) {
        self.configuration = configuration
        known = VerifiedTokens(capacity: configuration.maximumTokens)
        failures = FailureLimiter(limit: configuration.failures, maximumAddresses: configuration.maximumAddresses)
        statistics = AuthenticationStatistics(configuration.metrics)
        state = Mutex(State(policy: policy))
        if let keys { use(keys) }
    }

    var generation: Int { generations.load(ordering: .acquiring) }

    /// The policy now.
    public var policy: AccessPolicy { state.withLock { $0.policy } }

    /// Judges everybody by another policy from now on.
    public func use(_ policy: AccessPolicy) {
        state.withLock { $0.policy = policy }
        generations.wrappingAdd(1, ordering: .releasing)
    }

    /// Verifies tokens by other keys from now on: a token of a key that is gone is refused with its next call.
    public func use(_ keys: TokenKeys) {
        guard let requirements = configuration.tokens else { return }
        let verifier = TokenVerifier(keys: keys, requirements: requirements)
        state.withLock { $0.verifier = verifier }
        generations.wrappingAdd(1, ordering: .releasing)
    }

    /// The principals that were authenticated since the start, by name.
    public var seen: [SeenPrincipal] {
        state.withLock { Array($0.seen.values) }.sorted { ($0.name, $0.last) < ($1.name, $1.last) }
    }

    /// The counters since the start.
    public var counters: AuthenticationCounters {
        statistics.snapshot(tokens: known.count, addresses: failures.addresses)
    }

    // MARK: Who it is

    func principal(_ source: Principal.Source) -> Principal {
        let name =
            switch source {
            case .certificate(let identity): identity.names.first ?? ""
            case .token(let claims): claims.subject
            case .anonymous: "anonymous"
            }
        let grants: Grants
        if case .anonymous = source, let anonymous = configuration.anonymous {
            grants = anonymous
        } else {
            grants = configuration.everyone ?? policy.grants(for: source, table: configuration.methods)
        }
        remember(name, source, grants.roles)
        return Principal(name: name, source: source, grants: grants)
    }

    private func remember(_ name: String, _ source: Principal.Source, _ roles: Set<Role>) {
        let now = configuration.clock()
        let hasToken = if case .token = source { true } else { false }
        let key = (hasToken ? "token " : "certificate ") + name
        state.withLock { state in
            guard state.seen[key] != nil || state.seen.count < configuration.maximumPrincipals else { return }
            let first = state.seen[key]?.first ?? now
            state.seen[key] = SeenPrincipal(name: name, hasToken: hasToken, first: first, last: now, roles: roles)
        }
    }

    /// Verifies a token that is not known.
    func verify(
        _ token: String,
        from address: String,
        receivedAt: NIODeadline
    ) async throws(RPCError) -> VerifiedTokens.Entry {
        // Read before the verifier: what changes meanwhile makes the entry old at once.
        let generation = generation
        guard let verifier = state.withLock({ $0.verifier }) else {
            throw RPCError(.unavailable, "the keys that tokens are verified with are not loaded yet")
        }
        let now = configuration.clock()
        do throws(TokenRejection) {
            let claims = try await verifier.verify(token, now: now)
            let left = max(0, verifier.end(of: claims) - now)
            let entry = VerifiedTokens.Entry(
                principal: principal(.token(claims)),
                end: receivedAt + .nanoseconds(Int64(min(left, 1e9) * 1e9)),
                generation: generation
            )
            known.insert(token, entry, now: receivedAt)
            statistics.succeeded()
            return entry
        } catch {
            failures.failed(address, now: receivedAt)
            statistics.failed(error.rawValue)
            // That it was good once tells its holder nothing new, and that a fresh one is needed.
            let message = error == .expired ? "the token has expired; get a new one" : "the token is not valid here"
            throw unauthenticated(message, error == .expired ? "TOKEN_EXPIRED" : "TOKEN_INVALID", cause: error)
        }
    }

    func refuse(_ reason: String, _ message: String) -> RPCError {
        statistics.failed(reason)
        return unauthenticated(message, reason.uppercased())
    }

    func limited(_ wait: Duration, _ address: String) -> RPCError {
        statistics.limited()
        let message = "too many authentications failed from this address"
        return RPCError(.resourceExhausted, message)
            .withQuotaFailure(subject: "address:\(address)", description: message)
            .withRetryInfo(delay: wait)
    }

    private func unauthenticated(_ message: String, _ reason: String, cause: (any Error)? = nil) -> RPCError {
        RPCError(.unauthenticated, message, cause: cause)
            .withErrorInfo(reason: reason, domain: configuration.errorDomain)
    }
}
