/// Stands before one side of the store, its writes or its reads, and refuses calls for a while once too many have failed.
///
/// Who composes the server brings one; the engine only asks and tells. Every admitted call is told back once.
package protocol StoreBreaker: Sendable {
    /// The time to wait where a call is refused now; `nil` where it may be asked for. A refusal counts as one.
    func refusal() -> Duration?
    /// Asks for a call.
    func admit() -> StoreAdmission
    /// How it ended; `nil` for one that says nothing about the store.
    func record(failed: Bool?, took time: Duration, permit: UInt64)
    /// The store was found to be away by other means than an admitted call: what is not closed is open from now on.
    func foundAway()
    /// What it does now; `nil` if there is none.
    var status: StoreBreakerStatus? { get }
}

/// What a call of the store is told.
package enum StoreAdmission: Sendable, Hashable {
    /// The permit goes back with the outcome.
    case admitted(permit: UInt64)
    case refused(retryAfter: Duration)
}

/// A breaker for operators.
package struct StoreBreakerStatus: Sendable, Hashable {
    package enum State: Sendable, Hashable { case closed, open, halfOpen }

    /// What it stands before.
    package var name: String
    package var state: State
    /// Failed and slow calls among those that it judges by, in percent.
    package var failureRatePercent: Int
    package var slowCallRatePercent: Int
    /// Calls refused, and times that it opened, since the start.
    package var rejected: UInt64
    package var opened: UInt64
    /// Until it tries again; `nil` unless it refuses calls.
    package var retryAfter: Duration?

    package init(
        name: String,
        state: State,
        failureRatePercent: Int,
        slowCallRatePercent: Int,
        rejected: UInt64,
        opened: UInt64,
        retryAfter: Duration?
    ) {
        self.name = name
        self.state = state
        self.failureRatePercent = failureRatePercent
        self.slowCallRatePercent = slowCallRatePercent
        self.rejected = rejected
        self.opened = opened
        self.retryAfter = retryAfter
    }
}

/// Lets every call pass.
package struct NoStoreBreaker: StoreBreaker {
    package init() {}
    package func refusal() -> Duration? { nil }
    package func admit() -> StoreAdmission { .admitted(permit: 0) }
    package func record(failed: Bool?, took time: Duration, permit: UInt64) {}
    package func foundAway() {}
    package var status: StoreBreakerStatus? { nil }
}

extension StoreBreaker {
    /// Makes a call if it is admitted, and tells how it ended. What is damaged or refused is no failure of the store.
    func call<R>(_ body: () throws(StoreError) -> R) throws(StoreError) -> R {
        switch admit() {
        case .refused(let wait): throw .circuitOpen(retryAfter: wait)
        case .admitted(let permit):
            let start = ContinuousClock.now
            do throws(StoreError) {
                let result = try body()
                record(failed: false, took: ContinuousClock.now - start, permit: permit)
                return result
            } catch {
                let failed: Bool? = if case .failed = error { true } else { nil }
                record(failed: failed, took: ContinuousClock.now - start, permit: permit)
                throw error
            }
        }
    }

    /// As `call`, but made even where it is not admitted: for what has to go on trying. While that fails nobody else has to
    /// try, and to wait behind it.
    func attempt<R>(_ body: () throws(StoreError) -> R) throws(StoreError) -> R {
        guard case .admitted(let permit) = admit() else { return try body() }
        let start = ContinuousClock.now
        do throws(StoreError) {
            let result = try body()
            // That the log can be read does not tell that it can be written.
            record(failed: nil, took: ContinuousClock.now - start, permit: permit)
            return result
        } catch {
            record(failed: true, took: ContinuousClock.now - start, permit: permit)
            foundAway()
            throw error
        }
    }
}
