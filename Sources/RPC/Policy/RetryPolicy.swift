/// When a failed call is made again, as in gRPC's A6: after a growing wait with jitter, and as the server asks.
///
/// Only methods whose calling twice has the effect of calling once (``MethodDescriptor/isIdempotent``) are retried by it.
public struct RetryPolicy: Sendable, Hashable {
    /// Metadata of an error by which a server says when to try again, in milliseconds; what is no such number, as -1, says
    /// not to.
    public static let pushbackKey = "grpc-retry-pushback-ms"

    /// Attempts, the first included; 4.
    public var maximumAttempts = 4
    /// The wait before each; 50 ms, growing by 60 %, at most 2 s, ±20 %.
    public var backoff = Backoff()
    /// Failures that are worth another attempt; UNAVAILABLE. RESOURCE_EXHAUSTED is so where the server says when.
    public var codes: Set<RPCError.Code> = [.unavailable]
    /// How many retries all calls of a client may have together.
    public var throttle = RetryThrottle.Policy()

    /// The defaults.
    public init() {
        backoff.initial = .milliseconds(50)
        backoff.maximum = .seconds(2)
    }

    /// Whether a failure is one to try again after, were there attempts left.
    public func isRetryable(_ error: RPCError) -> Bool {
        switch error.serverPushback {
        case .never: false
        case .after: codes.contains(error.code) || error.code == .resourceExhausted
        case nil: codes.contains(error.code)
        }
    }

    /// The wait before the next attempt; nil to give up.
    ///
    /// - Parameters:
    ///   - attempts: Those made, 1 or more.
    ///   - timeRemaining: Until the call's deadline; nil for none. A wait that ends behind it is pointless.
    ///   - random: Uniform in 0..<1.
    public func delay(
        afterAttempts attempts: Int,
        _ error: RPCError,
        timeRemaining: Duration?,
        random: Double
    ) -> Duration? {
        guard attempts < maximumAttempts, isRetryable(error) else { return nil }
        let wait =
            if case .after(let asked) = error.serverPushback {
                // Jitter on what the server said as well, upwards: it says the same to many.
                asked * (1 + 0.2 * random)
            } else {
                backoff.delay(afterFailures: attempts, random: random)
            }
        if let timeRemaining, wait >= timeRemaining { return nil }
        return wait
    }
}

/// Tokens that failures take and successes give back slowly: while fewer than half are left nothing is retried, so that a
/// server in trouble does not get more calls by it. As in gRPC's A6, in thousandths so that no sum is rounded.
public struct RetryThrottle: Sendable, Hashable {
    /// How many there are.
    public struct Policy: Sendable, Hashable {
        /// Most tokens, 1–1,000; 10.
        public var maximumTokens = 10
        /// What a success gives back, in thousandths of a token; 100.
        public var returnedThousandths = 100

        /// The defaults.
        public init() {}
    }

    private let policy: Policy
    private var thousandths: Int

    /// A full one.
    public init(_ policy: Policy = Policy()) {
        self.policy = policy
        thousandths = policy.maximumTokens * 1_000
    }

    /// Whether a failed call may be made again now.
    public var allowsRetry: Bool { thousandths > policy.maximumTokens * 1_000 / 2 }

    /// A call was answered, with whatever but a failure worth a retry.
    public mutating func succeeded() {
        thousandths = min(thousandths + policy.returnedThousandths, policy.maximumTokens * 1_000)
    }

    /// An attempt failed and would be retried.
    public mutating func failed() { thousandths = max(thousandths - 1_000, 0) }
}

extension RPCError {
    /// What a server says about another attempt.
    public enum Pushback: Sendable, Hashable {
        /// Not before this.
        case after(Duration)
        /// Not at all.
        case never
    }

    /// By metadata (`grpc-retry-pushback-ms`) or by `google.rpc.RetryInfo`; nil where the server says nothing.
    public var serverPushback: Pushback? {
        if let text = metadata[RetryPolicy.pushbackKey] {
            guard let milliseconds = Int64(text), milliseconds >= 0 else { return .never }
            return .after(.milliseconds(milliseconds))
        }
        return retryDelay.map { .after($0) }
    }

    /// This error with the time to wait before another attempt, in both ways.
    public func withPushback(_ delay: Duration) -> RPCError {
        var copy = withRetryInfo(delay: delay)
        // Rounded up: an attempt that comes a little early is refused again.
        let milliseconds = (delay + .microseconds(999)) / .milliseconds(1)
        copy.metadata.add(String(Int64(milliseconds)), for: RetryPolicy.pushbackKey)
        return copy
    }

    /// What the failure says of the server as a whole, to a circuit breaker. An UNAVAILABLE that says when to come again is the
    /// answer of a server that works, about a part that does not; so is an INTERNAL, which is of one method.
    package var breakerOutcome: CircuitBreaker.Outcome {
        switch code {
        case .cancelled: .ignored
        case .deadlineExceeded: .timeout
        case .unavailable: serverPushback == nil ? .failure : .success
        default: .success
        }
    }
}
