/// Writes rows for calls, beside them: taking one never waits for the store.
final class AuditTrail: Sendable {
    private struct State {
        var buffer: AuditBuffer
        /// Somebody waits for a row.
        var isUrgent = false
        /// The chain may have something to say by itself: that it begins, or has another key.
        var isAnnounced = true
        var isStopped = false
    }

    /// Seconds between two batches, and before one that failed is tried again.
    private static let pause = 0.1
    private static let failurePause = 1.0
    private static let batchRows = 1_000

    private let store: any Store
    private let now: @Sendable () -> Timestamp
    private let state: Monitor<State>
    /// By the numbers of the buffer.
    private let written = SequenceWaiters()

    /// - Parameter capacity: rows that wait for the store before others are lost.
    init(store: any Store, capacity: Int, now: @escaping @Sendable () -> Timestamp) {
        self.store = store
        self.now = now
        state = Monitor(State(buffer: AuditBuffer(capacity: capacity)))
    }

    /// Takes a row, or counts it as lost.
    func add(_ event: AuditEvent) { state.update { _ = $0.buffer.add(event) } }

    /// Takes a row, and returns once it is durable.
    ///
    /// - Throws: `.resourceExhausted` if there is no room, `.unavailable` if it did not become so in time.
    func addDurably(_ event: AuditEvent, deadline: ContinuousClock.Instant) async throws(DomainError) {
        let number = state.update { state in
            state.isUrgent = true
            return state.buffer.add(event)
        }
        guard let number else {
            throw .resourceExhausted(
                limit: "audit_rows",
                message: "Too many audit rows wait for the store.",
                retryAfter: .seconds(1)
            )
        }
        guard await written.wait(for: number, until: deadline) else {
            throw .unavailable(
                reason: UnavailableReason.storeUnavailable,
                message: "The reading could not be noted in the audit, and so was not done.",
                retryAfter: .seconds(1)
            )
        }
    }

    /// The keys are others: the chain says so.
    func announce() { state.update { $0.isAnnounced = true } }

    var buffered: Int { state.read { $0.buffer.count } }
    var lost: UInt64 { state.read { $0.buffer.lost } }

    /// Writes until `stop`.
    ///
    /// - Parameter setProblem: told why nothing can be written, and `nil` once it can again.
    func run(_ setProblem: (String?) -> Void) {
        while true {
            _ = state.wait { $0.isStopped || $0.isAnnounced || !$0.buffer.isEmpty ? true : nil }
            _ = state.wait(seconds: Self.pause) { $0.isStopped || $0.isUrgent || $0.isAnnounced ? true : nil }
            let isStopped = state.read { $0.isStopped }
            if !write(setProblem) {
                if isStopped { break }
                _ = state.wait(seconds: Self.failurePause) { $0.isStopped ? true : nil }
            } else if isStopped, state.read({ $0.buffer.isEmpty }) {
                break
            }
        }
        written.close()
    }

    /// Writes what is left, and ends `run`.
    func stop() { state.update { $0.isStopped = true } }

    /// One batch.
    ///
    /// - Returns: `false` if the store has failed.
    private func write(_ setProblem: (String?) -> Void) -> Bool {
        let (batch, isAnnounced) = state.update { state in
            let all = state.isUrgent || state.isStopped
            let batch = state.buffer.take(now(), all: all, limit: Self.batchRows)
            defer { state.isAnnounced = false }
            if state.buffer.isEmpty { state.isUrgent = false }
            return (batch, state.isAnnounced)
        }
        guard batch != nil || isAnnounced else { return true }
        do throws(StoreError) {
            try store.audit.append(batch?.records ?? [], at: now())
            setProblem(nil)
            if let number = batch?.through { written.advance(to: number) }
            return true
        } catch {
            setProblem(error.message)
            state.update { state in
                if let batch { state.buffer.restore(batch) }
                state.isUrgent = state.isUrgent || batch?.through != nil
                state.isAnnounced = state.isAnnounced || isAnnounced
            }
            return false
        }
    }
}
