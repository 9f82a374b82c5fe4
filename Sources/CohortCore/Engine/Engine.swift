/// The cohort engine: takes writes into the change log, keeps every membership up to date, and answers from memory.
///
/// Reads that return an `Attempt` are synchronous, take well under a microsecond to a few, and never block on the
/// store: they are fit for event loops. Everything else is `async` or, where noted, blocking.
package final class Engine: Sendable {
    package let configuration: EngineConfiguration

    /// - Parameters:
    ///   - store: owned by the engine from `start` to `shutdown`.
    ///   - environment: clock and log.
    package init(
        store: any Store,
        configuration: EngineConfiguration = .init(),
        environment: EngineEnvironment = .init()
    ) {
        self.configuration = configuration
    }
}

// MARK: - Life

extension Engine {
    /// Opens the store, loads the index and replays the log's tail. Blocks: call it from a thread of its own. Until it
    /// returns, reads and writes throw `.unavailable(INDEX_LOADING)`.
    ///
    /// - Throws: `DomainError.dataLoss` or `.failedPrecondition` with directions, where starting could lose something.
    package func start() throws(DomainError) { throw .internal(message: "not built") }

    /// Refuses new writes, finishes those that wait, brings the tables up to date and closes the store. Blocks.
    package func shutdown() {}

    package var status: EngineStatus {
        EngineStatus(
            state: .loading,
            storeID: "",
            sequence: 0,
            appliedSequence: 0,
            customers: 0,
            queueDepth: 0,
            queueCapacity: 0,
            indexBytes: 0,
            pendingBytes: 0,
            storeBytes: 0,
            problem: ""
        )
    }

    package var catalog: Catalog { Catalog(attributes: [], cohorts: []) }
}

// MARK: - Reads

extension Engine {
    /// Whether `customer` is in `cohort`, from memory. `.wait` where the sequence is not reached or the answer is
    /// UNKNOWN by rule, whose detail comes from the store.
    ///
    /// - Throws: `.notFound` for a cohort that does not exist, `.invalidArgument` for a malformed id, `.unavailable`.
    package func checkMembership(
        customer: String,
        cohort: String,
        minSequence: UInt64 = 0
    ) throws(DomainError) -> CheckAttempt { .wait }

    /// As `checkMembership`, waiting for the sequence until `deadline` and at most the configured time.
    package func checkMembershipWaiting(
        customer: String,
        cohort: String,
        minSequence: UInt64 = 0,
        includeSince: Bool = false,
        deadline: ContinuousClock.Instant
    ) async throws(DomainError) -> MembershipAnswer { throw .internal(message: "not built") }

    /// All cohorts that `customer` is IN or UNKNOWN in, from memory.
    package func cohorts(
        ofCustomer customer: String,
        minSequence: UInt64 = 0
    ) throws(DomainError) -> Attempt<CustomerCohorts> { .wait }

    package func cohortsWaiting(
        ofCustomer customer: String,
        minSequence: UInt64 = 0,
        deadline: ContinuousClock.Instant
    ) async throws(DomainError) -> CustomerCohorts { throw .internal(message: "not built") }

    /// How many customers `cohort` holds, from memory.
    package func countMembers(
        cohort: String,
        minSequence: UInt64 = 0
    ) throws(DomainError) -> Attempt<MemberCount> { .wait }

    package func countMembersWaiting(
        cohort: String,
        minSequence: UInt64 = 0,
        deadline: ContinuousClock.Instant
    ) async throws(DomainError) -> MemberCount { throw .internal(message: "not built") }

    /// The customers that are `state` (IN or UNKNOWN) in `cohort`, all at one sequence.
    ///
    /// - Parameter cursor: where an earlier snapshot stopped, to go on behind it in a fresh one; empty for the start.
    package func members(
        cohort: String,
        state: Membership = .in,
        minSequence: UInt64 = 0,
        cursor: [UInt8] = [],
        deadline: ContinuousClock.Instant
    ) async throws(DomainError) -> MemberSnapshot { throw .internal(message: "not built") }

    /// Returns once reads see `sequence`.
    ///
    /// - Throws: `.unavailable(SEQUENCE_NOT_REACHED)` at the deadline, or after the configured longest wait.
    package func waitForSequence(
        _ sequence: UInt64,
        deadline: ContinuousClock.Instant
    ) async throws(DomainError) { throw .internal(message: "not built") }

    /// A customer with attributes and cohorts, at one sequence.
    ///
    /// - Throws: `.notFound` for a customer never seen or erased.
    package func customer(
        id: String,
        minSequence: UInt64 = 0,
        deadline: ContinuousClock.Instant
    ) async throws(DomainError) -> CustomerView { throw .internal(message: "not built") }
}

/// The members of a cohort at one sequence, handed out in pages in order of ordinal.
package final class MemberSnapshot: Sendable {
    /// The sequence at which the pages hold.
    package let sequence: UInt64
    /// How many ids there are in the snapshot, those before the cursor included. Customers erased later are left out.
    package let total: UInt64

    init(sequence: UInt64, total: UInt64) {
        self.sequence = sequence
        self.total = total
    }

    /// The next ids, at most `limit` and the configured page size; empty at the end.
    package func nextPage(limit: Int) -> [String] { [] }

    /// Where the last page ended; opaque, 32 bytes or fewer.
    package var cursor: [UInt8] { [] }
}

// MARK: - Writes: durable and visible when they return

extension Engine {
    package func put(_ put: CustomerPut, context: WriteContext) async throws(DomainError) -> PutResult {
        throw .internal(message: "not built")
    }

    /// Each row is a change of its own, in order; one bad row does not hold back the others.
    ///
    /// - Throws: only what concerns the whole batch: too many rows, a full queue, the store, shutdown.
    package func put(
        batch: [CustomerPut],
        context: WriteContext
    ) async throws(DomainError) -> [Result<PutResult, DomainError>] { throw .internal(message: "not built") }

    /// Removes a customer with attributes, overrides and memberships. A later put is a new customer.
    ///
    /// - Throws: `.notFound` for a customer never seen or already erased.
    package func erase(customer: String, context: WriteContext) async throws(DomainError) -> EraseResult {
        throw .internal(message: "not built")
    }

    /// - Throws: `.alreadyExists` when it is declared with another type.
    package func declareAttribute(
        name: String,
        type: AttributeType,
        context: WriteContext
    ) async throws(DomainError) -> DeclareResult { throw .internal(message: "not built") }

    /// - Throws: `.alreadyExists` also for the id of an archived cohort, `.ruleRejected` for a rule that does not compile.
    package func createCohort(
        _ definition: CohortDefinition,
        context: WriteContext
    ) async throws(DomainError) -> CohortChangeResult { throw .internal(message: "not built") }

    /// Publishes `rule` as the next version of a rule cohort, everyone re-evaluated, in one step.
    package func updateRule(
        cohort: String,
        rule: String,
        context: WriteContext
    ) async throws(DomainError) -> CohortChangeResult { throw .internal(message: "not built") }

    /// Adds to the customers that are IN (`include`) or OUT (`exclude`) whatever the rule or the list says, or gives
    /// them back to it (`clear`). A customer has at most one override in a cohort; naming one twice is refused.
    package func setOverrides(
        cohort: String,
        include: [String],
        exclude: [String],
        clear: [String],
        context: WriteContext
    ) async throws(DomainError) -> CohortChangeResult { throw .internal(message: "not built") }

    /// Adds to and removes from a static cohort's list. Ids of no known customer are reported, not refused.
    package func changeList(
        cohort: String,
        add: [String],
        remove: [String],
        context: WriteContext
    ) async throws(DomainError) -> ListChangeResult { throw .internal(message: "not built") }

    /// Ends a cohort: everyone leaves, and its id is never used again.
    package func archive(
        cohort: String,
        context: WriteContext
    ) async throws(DomainError) -> CohortChangeResult { throw .internal(message: "not built") }
}
