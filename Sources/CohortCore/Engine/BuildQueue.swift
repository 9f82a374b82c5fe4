import Synchronization

/// How far a build is. One for each, from the moment that it waits.
final class BuildProgress: Sendable {
    private struct Times {
        var startedAt: Timestamp?
        var start: ContinuousClock.Instant?
    }

    /// What `advance` throws once the build has been ended.
    static let ended = StoreError.failed("the build was ended")

    let cohort: String
    let version: UInt32
    let isPreview: Bool
    private let phaseValue = Atomic<UInt8>(BuildPhase.waiting.rawValue)
    private let done = Atomic<UInt64>(0)
    private let total = Atomic<UInt64>(0)
    private let isEndedValue = Atomic<Bool>(false)
    private let times = Mutex(Times())

    init(cohort: String, version: UInt32, isPreview: Bool = false) {
        self.cohort = cohort
        self.version = version
        self.isPreview = isPreview
    }

    var isEnded: Bool { isEndedValue.load(ordering: .acquiring) }

    /// Has the build end at its next look.
    func end() { isEndedValue.store(true, ordering: .releasing) }

    /// - Parameter customers: how many there are to evaluate.
    func begin(customers: UInt64, at time: Timestamp) {
        times.withLock { $0 = Times(startedAt: time, start: .now) }
        total.store(customers, ordering: .relaxed)
        enter(.scanning)
    }

    func enter(_ phase: BuildPhase) { phaseValue.store(phase.rawValue, ordering: .releasing) }

    /// More to evaluate: customers that have changed meanwhile.
    func extend(by customers: UInt64) { total.wrappingAdd(customers, ordering: .relaxed) }

    func advance(by customers: Int) throws(StoreError) {
        done.wrappingAdd(UInt64(customers), ordering: .relaxed)
        if isEnded { throw Self.ended }
    }

    var view: BuildView {
        let (times, now) = (times.withLock { $0 }, ContinuousClock.now)
        let total = total.load(ordering: .relaxed)
        let done = min(done.load(ordering: .relaxed), total)
        var remaining: Duration?
        // Not from the first moments: they tell little.
        if let start = times.start, done > 0, done * 50 >= total {
            remaining = (now - start) / Double(done) * Double(total - done)
        }
        return BuildView(
            cohort: cohort,
            version: version,
            isPreview: isPreview,
            phase: BuildPhase(rawValue: phaseValue.load(ordering: .acquiring)) ?? .waiting,
            done: done,
            total: total,
            startedAt: times.startedAt,
            remaining: remaining
        )
    }
}

/// Changes of rules and previews, one after the other: each relies on what rules read which cohorts while it lasts.
final class BuildQueue: Sendable {
    struct Job: Sendable {
        var progress: BuildProgress
        /// Called once, on the builds' thread; with `false` where the engine is stopping, to refuse. What it returns answers
        /// the caller, who must not find the job still running.
        var run: @Sendable (_ goesOn: Bool) -> @Sendable () -> Void
    }

    private struct State {
        var waiting = FIFO<Job>()
        /// Of those that wait or run, in order.
        var views: [BuildProgress] = []
        var isClosed = false
    }

    private let capacity: Int
    private let retryAfter: Duration
    private let state = Monitor(State())

    /// - Parameter capacity: jobs that may wait or run.
    init(capacity: Int, retryAfter: Duration) {
        self.capacity = capacity
        self.retryAfter = retryAfter
    }

    /// The running one first.
    var views: [BuildView] { state.read { $0.views }.map(\.view) }

    var isClosed: Bool { state.read { $0.isClosed } }

    /// The version of a cohort that is being built for a publish, if one is.
    func building(_ cohort: String) -> UInt32? {
        state.read { $0.views }.first { $0.cohort == cohort && !$0.isPreview }?.version
    }

    /// - Returns: why it is refused, or `nil` if it is taken.
    func submit(_ job: Job) -> DomainError? {
        state.update { state in
            if state.isClosed { return Self.stopping(retryAfter) }
            guard state.views.count < capacity else {
                return .resourceExhausted(
                    limit: "maximum_builds",
                    message: "\(state.views.count) changes of rules and previews wait or run, the most that may; "
                        + "nothing was changed.",
                    retryAfter: .seconds(1)
                )
            }
            state.views.append(job.progress)
            state.waiting.append(job)
            return nil
        }
    }

    /// Runs what comes until it is closed, and refuses what is left.
    func run() {
        while let (job, goesOn) = take() {
            let answer = job.run(goesOn)
            state.update { state in state.views.removeAll { $0 === job.progress } }
            answer()
        }
    }

    private func take() -> (Job, Bool)? {
        let taken = state.wait { (state: inout State) -> (Job, Bool)?? in
            if let job = state.waiting.popFirst() { return .some((job, !state.isClosed)) }
            return state.isClosed ? .some(.none) : .none
        }
        return taken ?? nil
    }

    /// Takes nothing more, and ends what runs.
    func close() {
        state.update { state in
            state.isClosed = true
            for progress in state.views { progress.end() }
        }
    }

    static func stopping(_ retryAfter: Duration) -> DomainError {
        .unavailable(
            reason: UnavailableReason.shuttingDown,
            message: "The server is stopping; nothing was changed.",
            retryAfter: retryAfter
        )
    }
}
