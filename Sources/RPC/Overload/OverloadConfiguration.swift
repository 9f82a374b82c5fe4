public import Metrics

/// What a call costs and whom it serves, for limits by kind. Which method is of which class says the service.
public enum MethodClass: String, Sendable, Hashable, CaseIterable {
    /// Asks.
    case read
    /// Delivers data.
    case write
    /// Decides on how the service works.
    case admin
    /// Watches over it. Neither queues nor is shed: who is to help must get in.
    case `operator`
}

/// What the interceptors against overload are told.
public struct OverloadConfiguration: Sendable {
    /// What is done about a call that should be refused.
    public enum Mode: String, Sendable, Hashable, CaseIterable {
        /// It is refused.
        case on
        /// It is counted and let pass.
        case dryRun = "dry_run"
        /// The interceptors are not there.
        case off
    }

    /// What is done; ``Mode/on``.
    public var mode = Mode.on
    /// Calls of one principal, by class; a class without a limit is not limited. A million reads, 200,000 writes, 1,000
    /// others a second, as many at once.
    public var rates: [MethodClass: GCRA.Limit] = [
        .read: GCRA.Limit(perSecond: 1_000_000, burst: 1_000_000),
        .write: GCRA.Limit(perSecond: 200_000, burst: 200_000),
        .admin: GCRA.Limit(perSecond: 1_000, burst: 1_000),
        .operator: GCRA.Limit(perSecond: 1_000, burst: 1_000),
    ]
    /// Principals that are counted apart; 10,000. Those beyond share one budget.
    public var maximumPrincipals = 10_000
    /// Unary reads and writes that run in tasks, each class for itself.
    public var concurrency = AdmissionQueue.Policy()
    /// Inline calls while their event loop is late.
    public var shedding = LoadShedder.Policy()
    /// Who defines the reasons of errors, as in `google.rpc.ErrorInfo`.
    public var errorDomain = "rpc"
    /// Where the counters go; what the process has set up where it is nil.
    public var metrics: (any MetricsFactory)?

    /// The defaults.
    public init() {}
}

/// Counters of the limits against overload since the server started, and what there is now.
public struct OverloadCounters: Sendable, Hashable {
    /// Calls let in that run in tasks.
    public var admitted = 0
    /// Calls that had to wait, or would have had to in a dry run.
    public var waited = 0
    /// Calls refused, or that would have been in a dry run, by reason.
    public var rejected: [String: Int] = [:]
    /// Principals counted apart.
    public var principals = 0
    /// By class: calls that may run, that run, that wait, and that may wait.
    public var queues: [MethodClass: Queue] = [:]
    /// Part of the load that is shed, 0–3, at the event loop that sheds most.
    public var sheddingLevel = 0.0

    /// One class.
    public struct Queue: Sendable, Hashable {
        /// Calls that may run at once.
        public var limit = 0
        /// Calls that run.
        public var inFlight = 0
        /// Calls that wait.
        public var waiting = 0
        /// Calls that may wait.
        public var capacity = 0
    }
}
