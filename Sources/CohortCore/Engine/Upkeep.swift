import Synchronization

/// Background work beside the committer: the drift walk, retention of log and history, and scrubbing after erasures, and
/// requests that expire.
///
/// All of it goes in steps of a few milliseconds, one after the other on one thread, and what is due is decided by the
/// engine's clock alone.
final class Upkeep: Sendable {
    private enum Pass: CaseIterable {
        case drift, log, history, scrub, audit, builds, approvals
    }

    private struct Passes {
        var drift = DriftWalk()
        var log = LogRetention()
        var history = HistoryRetention()
        var scrub = ErasureScrub()
        var audit = AuditUpkeep()
        /// When unfinished builds are looked for next.
        var buildsDue = Timestamp.minimum
        /// Those that the store failed, until when they wait, and why.
        var failures: [Pass: (retryAt: Timestamp, message: String)] = [:]

        mutating func step(_ pass: Pass, _ shared: EngineShared, _ now: Timestamp) throws(StoreError) -> Bool {
            switch pass {
            case .drift: try drift.step(shared, now)
            case .log: try log.step(shared, now)
            case .history: try history.step(shared, now)
            case .scrub: try scrub.step(shared, now)
            case .audit: try audit.step(shared, now)
            case .builds: resumeBuilds(shared, now)
            case .approvals: shared.closeExpiredRequests(now)
            }
        }

        private mutating func resumeBuilds(_ shared: EngineShared, _ now: Timestamp) -> Bool {
            guard now >= buildsDue else { return false }
            buildsDue = now.advanced(bySeconds: Upkeep.buildsPeriod)
            shared.resumeBuilds()
            return false
        }
    }

    /// Seconds between two looks for cohorts whose first build has failed.
    fileprivate static let buildsPeriod: Int64 = 10

    /// Seconds between two steps, for others to use the store.
    private static let stepPause = 0.005
    /// Seconds that a pass waits after a failure; the others go on.
    static let failurePause: Int64 = 10

    private let shared: EngineShared
    private let passes = Mutex(Passes())
    private let stopped = Monitor(false)

    init(shared: EngineShared) { self.shared = shared }

    /// Runs until `stop`.
    func run() {
        let interval = Double(shared.configuration.upkeepInterval) / 1_000
        while !stopped.read({ $0 }) {
            let pause = step() ? Self.stepPause : interval
            _ = stopped.wait(seconds: pause) { $0 ? true : nil }
        }
    }

    func stop() { stopped.update { $0 = true } }

    /// Everything that is due, without pauses.
    func runDue() { while step() {} }

    /// One step of each pass.
    ///
    /// - Returns: whether there is more to do at once.
    private func step() -> Bool {
        let now = shared.environment.now()
        return passes.withLock { passes in
            let hadFailed = !passes.failures.isEmpty
            // Each in turn, even where another has always more to do.
            var more = false
            for pass in Pass.allCases {
                if let failure = passes.failures[pass], now < failure.retryAt { continue }
                do throws(StoreError) {
                    if try passes.step(pass, shared, now) { more = true }
                    passes.failures[pass] = nil
                } catch {
                    passes.failures[pass] = (now.advanced(bySeconds: Self.failurePause), error.message)
                    shared.log(.error, "background work on the store failed", [("error", error.message)])
                }
            }
            if hadFailed || !passes.failures.isEmpty {
                let problem = Pass.allCases.compactMap { passes.failures[$0]?.message }.first
                shared.setProblem(.upkeep, problem)
            }
            return more
        }
    }
}

extension EngineShared {
    /// Runs `body` on the committer's thread between two commits, and waits for it.
    ///
    /// - Parameter ahead: before what waits, however much that is.
    /// - Throws: why the queue does not take it.
    func betweenCommits<R: Sendable>(
        ahead: Bool = false,
        _ body: @escaping @Sendable (Committer) -> R
    ) throws(DomainError) -> R {
        let answer = Monitor<R?>(nil)
        let request = BarrierRequest { committer in
            let result = body(committer)
            answer.update { $0 = result }
        }
        if let refusal = ahead ? queue.submitAhead(request) : queue.submit(.barrier(request)) { throw refusal }
        guard let result = answer.wait(until: { $0 }) else { throw .internal(message: "no answer") }
        return result
    }

    func updateUpkeep(_ change: (inout UpkeepStatus) -> Void) { figures.withLock { change(&$0.upkeep) } }
}
