import Metrics
import Synchronization

/// Counters of an ``Authenticator`` since the server started, and what it holds now.
public struct AuthenticationCounters: Sendable, Hashable {
    /// Tokens that were verified. One that is known already is not counted again.
    public var succeeded = 0
    /// Refused credentials, by reason.
    public var failed: [String: Int] = [:]
    /// Calls refused unseen because their address had failed too often.
    public var limited = 0
    /// Verified tokens that are remembered.
    public var tokens = 0
    /// Addresses whose failures are counted.
    public var addresses = 0
}

/// The counters themselves, and their likes in the metrics system: `rpc.server.authentication.verified`,
/// `rpc.server.authentication.failed{reason}`, `rpc.server.authentication.limited`.
final class AuthenticationStatistics: Sendable {
    private static let prefix = "rpc.server.authentication."

    private let state = Mutex(AuthenticationCounters())
    private let factory: any MetricsFactory
    private let verified: Counter
    private let limits: Counter

    init(_ factory: (any MetricsFactory)?) {
        self.factory = factory ?? MetricsSystem.factory
        verified = Counter(label: Self.prefix + "verified", dimensions: [], factory: self.factory)
        limits = Counter(label: Self.prefix + "limited", dimensions: [], factory: self.factory)
    }

    func succeeded() {
        state.withLock { $0.succeeded += 1 }
        verified.increment()
    }

    /// The reason is one of a fixed few.
    func failed(_ reason: String) {
        state.withLock { $0.failed[reason, default: 0] += 1 }
        Counter(label: Self.prefix + "failed", dimensions: [("reason", reason)], factory: factory).increment()
    }

    func limited() {
        state.withLock { $0.limited += 1 }
        limits.increment()
    }

    func snapshot(tokens: Int, addresses: Int) -> AuthenticationCounters {
        var counters = state.withLock { $0 }
        counters.tokens = tokens
        counters.addresses = addresses
        return counters
    }
}
