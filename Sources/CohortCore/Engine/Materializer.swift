import Synchronization

/// Brings the store's tables up to date behind the log, in batches.
struct Materializer: Sendable {
    let shared: EngineShared

    /// Runs until there is nothing left after a stop, or the store fails then.
    func run() {
        let seconds = Double(shared.configuration.materializeInterval) / 1_000
        while let generation = shared.pending.takeForFlush(seconds: seconds) {
            guard write(generation.batch()) else { return }
            shared.pending.flushed()
        }
    }

    /// Tries until it works. What is not written is in the log: giving up at a stop loses nothing.
    private func write(_ batch: MaterializedBatch) -> Bool {
        var backoff = 0.05
        while true {
            do {
                try shared.store.apply(batch)
                shared.figures.withLock { $0.appliedSequence = batch.appliedSequence }
                return true
            } catch {
                shared.setProblem(error.message)
                shared.log(.error, "bringing the tables up to date failed", [("error", error.message)])
                if shared.state == .stopping || shared.state == .failed || shared.state == .stopped { return false }
            }
            _ = Monitor(0).wait(seconds: backoff) { _ -> Bool? in nil }
            backoff = min(backoff * 2, 5)
        }
    }
}
