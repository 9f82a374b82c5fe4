import Synchronization

/// Background work beside the committer: the drift walk, retention of log and history, and scrubbing after erasures.
///
/// All of it goes in steps of a few milliseconds, one after the other on one thread, and what is due is decided by the
/// engine's clock alone.
final class Upkeep: Sendable {
    private struct Passes {
        var drift = DriftWalk()
        var log = LogRetention()
        var history = HistoryRetention()
        var scrub = ErasureScrub()
    }

    /// Seconds between two steps, for others to use the store, and after a failure of the store.
    private static let stepPause = 0.005
    private static let failurePause = 10.0

    private let shared: EngineShared
    private let passes = Mutex(Passes())
    private let stopped = Monitor(false)

    init(shared: EngineShared) { self.shared = shared }

    /// Runs until `stop`.
    func run() {
        let interval = Double(shared.configuration.upkeepInterval) / 1_000
        while !stopped.read({ $0 }) {
            var pause = interval
            do throws(StoreError) {
                if try step() { pause = Self.stepPause }
                if shared.figures.withLock({ $0.problems[.upkeep] != nil }) { shared.setProblem(.upkeep, nil) }
            } catch {
                report(error)
                pause = Self.failurePause
            }
            _ = stopped.wait(seconds: pause) { $0 ? true : nil }
        }
    }

    func stop() { stopped.update { $0 = true } }

    /// Everything that is due, without pauses.
    func runDue() {
        do throws(StoreError) {
            while try step() {}
        } catch {
            report(error)
        }
    }

    /// One step of each pass.
    ///
    /// - Returns: whether there is more to do at once.
    private func step() throws(StoreError) -> Bool {
        let now = shared.environment.now()
        let result = passes.withLock { passes in
            Result { () throws(StoreError) in
                // Each in turn, even where another has always more to do.
                var more = passes.drift.step(shared, now)
                if try passes.log.step(shared, now) { more = true }
                if try passes.history.step(shared, now) { more = true }
                if try passes.scrub.step(shared, now) { more = true }
                return more
            }
        }
        return try result.get()
    }

    private func report(_ error: StoreError) {
        shared.setProblem(.upkeep, error.message)
        shared.log(.error, "background work on the store failed", [("error", error.message)])
    }
}

extension EngineShared {
    /// Runs `body` on the committer's thread between two commits, and waits for it.
    ///
    /// - Returns: `nil` if the queue does not take it: writes come first.
    func betweenCommits<R: Sendable>(_ body: @escaping @Sendable (Committer) -> R) -> R? {
        let answer = Monitor<R?>(nil)
        let request = BarrierRequest { committer in
            let result = body(committer)
            answer.update { $0 = result }
        }
        guard queue.submit(.barrier(request)) == nil else { return nil }
        return answer.wait { $0 }
    }

    func updateUpkeep(_ change: (inout UpkeepStatus) -> Void) { figures.withLock { change(&$0.upkeep) } }
}
