import Synchronization

/// What the engine's threads and its callers share.
final class EngineShared: Sendable {
    /// What the committer has made public besides the index.
    struct Published: Sendable {
        var catalog = CatalogState()
        var rules = RuleSet()
        /// In order of sequence.
        var bulks: [AppliedBulk] = []
    }

    /// What can have a problem of its own.
    enum Part: String, Sendable, CaseIterable {
        case log, tables, folding, rules, upkeep, start
        /// Writing rows of the audit, and what the chain of them tells.
        case audit, chain
        /// Something stored cannot be read. It stays shown: only a restore mends it.
        case damage
    }

    struct Figures: Sendable {
        var storeID = ""
        /// How far the tables are.
        var appliedSequence: UInt64 = 0
        var appliedTime = Timestamp.epoch
        var nextOrdinal: Ordinal = 0
        var problems: [Part: String] = [:]
        var upkeep = UpkeepStatus()

        /// All problems in one line.
        var problem: String {
            Part.allCases.compactMap { part in
                guard let problem = problems[part] else { return nil }
                // Said once, if another part has it too.
                if part == .damage, problems.contains(where: { $0.key != .damage && $0.value == problem }) {
                    return nil
                }
                return "\(part.rawValue): \(problem)"
            }.joined(separator: "; ")
        }
    }

    let store: any Store
    let configuration: EngineConfiguration
    let environment: EngineEnvironment
    let index: MembershipIndex
    let pending: PendingRecords
    let queue: SubmissionQueue
    let builds: BuildQueue
    let waiters = SequenceWaiters()
    /// Watches that wait; let go before everyone else when the server stops.
    let watchWaiters = SequenceWaiters()
    let watches: WatchRegistry
    let tail: LogTail
    let audit: AuditTrail
    /// The end of the audit chain that was logged last.
    let loggedHead = Mutex<AuditHead?>(nil)
    /// Whether the audit is being verified.
    let isVerifying = Atomic<Bool>(false)
    /// Uploads that run.
    let uploads = Atomic<Int>(0)
    /// Scans for members at a past point that run.
    let historyScans = Atomic<Int>(0)
    let memberErasures = MemberErasures()
    let published = Mutex(Published())
    let figures = Mutex(Figures())
    private let stateValue = Atomic<UInt8>(EngineState.loading.rawValue)

    init(store: any Store, configuration: EngineConfiguration, environment: EngineEnvironment) {
        self.store = store
        self.configuration = configuration
        self.environment = environment
        index = MembershipIndex(expectedCohorts: configuration.maximumCohorts)
        pending = PendingRecords(
            flushRows: configuration.materializeRows,
            maximumBytes: configuration.maximumPendingBytes
        )
        builds = BuildQueue(capacity: configuration.maximumBuilds, retryAfter: configuration.retryAfter)
        watches = WatchRegistry(configuration)
        audit = AuditTrail(store: store, capacity: configuration.maximumAuditRows, now: environment.now)
        tail = LogTail(
            maximumEntries: configuration.watchTailEntries,
            maximumBytes: configuration.watchTailBytes
        )
        queue = SubmissionQueue(capacity: configuration.queueCapacity, retryAfter: configuration.retryAfter)
    }

    var state: EngineState {
        get { EngineState(rawValue: stateValue.load(ordering: .acquiring)) ?? .failed }
        set {
            let old = stateValue.exchange(newValue.rawValue, ordering: .acquiringAndReleasing)
            if old != newValue.rawValue { environment.stateChanged(newValue) }
        }
    }

    /// Moves on unless another state has come between.
    func move(from: EngineState, to: EngineState) {
        let (exchanged, _) = stateValue.compareExchange(
            expected: from.rawValue,
            desired: to.rawValue,
            ordering: .acquiringAndReleasing
        )
        if exchanged { environment.stateChanged(to) }
    }

    /// Throws while reads cannot be answered.
    @inline(__always)
    func requireReadable() throws(DomainError) {
        let state = state
        if state == .serving || state == .storeUnavailable || state == .stopping { return }
        throw unreadable(state)
    }

    private func unreadable(_ state: EngineState) -> DomainError {
        switch state {
        case .loading:
            .unavailable(
                reason: UnavailableReason.indexLoading,
                message: "The index is being loaded; try again shortly.",
                retryAfter: .seconds(1)
            )
        case .failed:
            .unavailable(
                reason: UnavailableReason.storeUnavailable,
                message: "The engine has stopped because of its store.",
                retryAfter: nil
            )
        default:
            .unavailable(
                reason: UnavailableReason.shuttingDown,
                message: "The server is stopping.",
                retryAfter: configuration.retryAfter
            )
        }
    }

    /// Why no write is taken now; `nil` where one is.
    func writeRefusal() -> DomainError? { environment.writeBreaker.refusal().map { circuitOpen($0) } }

    /// What is answered in place of a call of the store.
    func circuitOpen(_ wait: Duration) -> DomainError {
        .unavailable(
            reason: UnavailableReason.circuitOpen,
            message:
                "The store has failed too often and is left alone for a while; nothing was written. Memberships are "
                + "answered from memory as of sequence \(waiters.current).",
            retryAfter: wait
        )
    }

    func log(_ level: EngineEvent.Level, _ message: String, _ metadata: [(String, String)] = []) {
        environment.log(EngineEvent(level, message, metadata))
    }

    /// Shows what failed as a problem of `part`; what is damaged stays shown besides.
    func setProblem(_ part: Part, _ error: StoreError) {
        setProblem(part, error.message)
        if case .corrupt = error { setProblem(.damage, error.message) }
    }

    /// Shows a problem in the status until another takes its place, or `nil` ends it.
    func setProblem(_ part: Part, _ problem: String?) { figures.withLock { $0.problems[part] = problem } }
}
