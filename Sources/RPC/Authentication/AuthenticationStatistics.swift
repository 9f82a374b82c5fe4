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
    private let factory: any MetricsFactory
    private let verified: ServerStatistics.Total
    private let limits: ServerStatistics.Total
    /// By reason; those that have occurred.
    private let failures = Mutex<[String: ServerStatistics.Total]>([:])

    init(_ factory: (any MetricsFactory)?) {
        self.factory = factory ?? MetricsSystem.factory
        verified = ServerStatistics.Total("authentication.verified", [], self.factory)
        limits = ServerStatistics.Total("authentication.limited", [], self.factory)
    }

    func succeeded() { verified.increment() }

    /// The reason is one of a fixed few.
    func failed(_ reason: String) {
        let total = failures.withLock { failures in
            if let total = failures[reason] { return total }
            let total = ServerStatistics.Total("authentication.failed", [("reason", reason)], factory)
            failures[reason] = total
            return total
        }
        total.increment()
    }

    func limited() { limits.increment() }

    func snapshot(tokens: Int, addresses: Int) -> AuthenticationCounters {
        AuthenticationCounters(
            succeeded: verified.current,
            failed: failures.withLock { $0.mapValues(\.current) },
            limited: limits.current,
            tokens: tokens,
            addresses: addresses
        )
    }
}
