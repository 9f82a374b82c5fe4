/// Where the truth is kept: a change log, and tables that are a materialised view of it.
///
/// An entry is acknowledged once `append` returns. The tables follow behind and record how far they have come; what they
/// lack is replayed from the log at the next start. Nothing here assumes that the store is on this machine: any call may
/// be slow, and any may fail. The engine calls from threads of its own, and never two writing calls of one kind at once:
/// `append` and `stage` come from the committer, `apply` from the materialiser, the reads from any thread.
package protocol Store: Sendable {
    /// Takes the store for this process alone and checks that its parts belong together.
    ///
    /// - Throws: `StoreError.refused` with directions, where going on could lose something.
    func open() throws(StoreError) -> StoreSummary

    /// Everything about attributes and cohorts, as of the applied sequence.
    func loadCatalog() throws(StoreError) -> StoredCatalog

    /// Calls `body` with every override and list member of the tables.
    func scanAssignments(_ body: (Assignment) -> Void) throws(StoreError)

    /// Calls `body` with the customers whose ordinals are in `range`, in ascending order: ordinal, id, record. The bytes
    /// are valid during the call. Several ranges may be scanned at once.
    func scanCustomers(
        _ range: ClosedRange<Ordinal>,
        _ body: (Ordinal, UnsafeRawBufferPointer, UnsafeRawBufferPointer) throws(StoreError) -> Void
    ) throws(StoreError)

    /// Calls `body` with those of `ordinals` (ascending) that the tables hold: position in `ordinals`, record.
    func readCustomers(
        _ ordinals: [Ordinal],
        _ body: (Int, UnsafeRawBufferPointer) throws(StoreError) -> Void
    ) throws(StoreError)

    /// The closed intervals of one customer that the query asks for, the latest beginning first, those of one sequence in
    /// order of cohort; and how far back they are complete, of the same moment.
    func readIntervals(
        _ query: IntervalQuery
    ) throws(StoreError) -> (intervals: [ClosedInterval], horizon: HistoryHorizon?)

    /// Calls `body` with the closed intervals of one cohort that hold at a point: ordinal, IN or UNKNOWN. Several ranges of
    /// ordinals may be scanned at once.
    func scanIntervals(
        _ range: ClosedRange<Ordinal>,
        cohort: CohortNumber,
        at point: PastPoint,
        _ body: (Ordinal, Membership) throws(StoreError) -> Void
    ) throws(StoreError)

    /// How far back closed intervals are complete; `nil` if retention never deleted one.
    func historyHorizon() throws(StoreError) -> HistoryHorizon?

    /// Appends entries, all or none, and returns once they are durable.
    ///
    /// - Throws: `StoreError`; whether the entries are in the log is then known only after `recoverLog`.
    func append(_ rows: [LogRow]) throws(StoreError)

    /// Reopens the log after a failed `append`, and returns its last sequence, 0 if it is empty.
    func recoverLog() throws(StoreError) -> UInt64

    /// Up to `limit` entries of the log from `sequence` on, in order.
    func readLog(from sequence: UInt64, limit: Int) throws(StoreError) -> [LogRow]

    /// Keeps the sets of an entry's bulk changes durably, all or none, before the entry that refers to them. Replaces what
    /// was staged for an entry of that sequence before and did not come to be.
    func stage(_ changes: [BulkChange]) throws(StoreError)

    /// The staged or applied bulk change of this number.
    func loadBulk(_ reference: BulkReference) throws(StoreError) -> BulkChange

    /// Keeps the sets of an assignment change durably, before the entry that refers to it. Replaces one of the same
    /// number.
    func stage(_ change: AssignmentChange) throws(StoreError)

    /// The staged assignment change of this number. Once the tables hold the entry that refers to it, it may be gone.
    func loadAssignments(_ reference: AssignmentReference) throws(StoreError) -> AssignmentChange

    /// Brings the tables up to date, all or nothing. May be lost by a power failure, as the log still has it, but never
    /// in part.
    func apply(_ batch: MaterializedBatch) throws(StoreError)

    /// Bytes of everything on storage; 0 if not known.
    var sizeInBytes: UInt64 { get }

    /// Retention and scrubbing.
    var upkeep: any StoreUpkeep { get }

    /// The audit chain, of which each group of entries becomes a row.
    var audit: any AuditStore { get }

    /// Gives the store back. Nothing may be called afterwards.
    func close()
}

/// Why the store could not do something.
package enum StoreError: Error, Sendable, Hashable {
    /// It failed, and may work again: a full disk, a lock, a lost connection.
    case failed(String)
    /// What is stored contradicts itself.
    case corrupt(String)
    /// Starting is refused; the text says what to do.
    case refused(String)
    /// It was not called: too many calls before have failed.
    case circuitOpen(retryAfter: Duration)

    package var message: String {
        switch self {
        case .failed(let message), .corrupt(let message), .refused(let message): message
        case .circuitOpen: "the circuit breaker of the store is open"
        }
    }
}

/// What `open` finds.
package struct StoreSummary: Sendable, Hashable {
    /// 32 hexadecimal digits.
    package var storeID: String
    /// The last sequence that the tables hold; 0 for none.
    package var appliedSequence: UInt64
    /// The first and last sequence of the log; 0 for none.
    package var firstLogSequence: UInt64
    package var lastLogSequence: UInt64
    /// The ordinal that the next new customer gets, as of the applied sequence.
    package var nextOrdinal: Ordinal
    package var customers: UInt64
    /// The commit time of the entry at the applied sequence.
    package var appliedTime: Timestamp

    package init(
        storeID: String,
        appliedSequence: UInt64,
        firstLogSequence: UInt64,
        lastLogSequence: UInt64,
        nextOrdinal: Ordinal,
        customers: UInt64,
        appliedTime: Timestamp
    ) {
        self.storeID = storeID
        self.appliedSequence = appliedSequence
        self.firstLogSequence = firstLogSequence
        self.lastLogSequence = lastLogSequence
        self.nextOrdinal = nextOrdinal
        self.customers = customers
        self.appliedTime = appliedTime
    }
}

/// One row of the log.
package struct LogRow: Sendable, Hashable {
    package var sequence: UInt64
    package var time: Timestamp
    package var payload: [UInt8]

    package init(sequence: UInt64, time: Timestamp, payload: [UInt8]) {
        self.sequence = sequence
        self.time = time
        self.payload = payload
    }
}

/// The part of the tables that is held in memory whole.
package struct StoredCatalog: Sendable {
    /// In order of slot.
    package var attributes: [AttributeDeclaration]
    /// In order of number.
    package var cohorts: [CohortRecord]
    /// Applied bulk changes that some record may not have taken in yet, in order of sequence.
    package var bulks: [AppliedBulk]
    /// Changes that need approval, in any order.
    package var requests: [ChangeRequest]

    package init(
        attributes: [AttributeDeclaration],
        cohorts: [CohortRecord],
        bulks: [AppliedBulk],
        requests: [ChangeRequest] = []
    ) {
        self.attributes = attributes
        self.cohorts = cohorts
        self.bulks = bulks
        self.requests = requests
    }
}

/// A step of the tables from one sequence to a later one.
package struct MaterializedBatch: Sendable {
    package enum Row: Sendable {
        /// A customer that the tables do not hold: id and record.
        case insert(id: [UInt8], record: [UInt8])
        case update(record: [UInt8])
        /// Erased, with all assignments.
        case delete
    }

    package var appliedSequence: UInt64
    package var appliedTime: Timestamp
    package var nextOrdinal: Ordinal
    /// In order of ordinal.
    package var customers: [(ordinal: Ordinal, row: Row)]
    package var attributes: [AttributeDeclaration]
    /// Cohorts that are new or changed, whole. An archived one loses its assignments.
    package var cohorts: [CohortRecord]
    /// At most one for each cohort and kind; none is added to an archived cohort or of an erased customer.
    package var assignments: [AssignmentDelta]
    /// One that the tables hold already is the same: it was found by folding twice.
    package var closed: [ClosedInterval]
    /// Staged changes that took effect.
    package var bulks: [(stage: UInt64, sequence: UInt64, time: Timestamp)]
    /// All records have taken in the bulk changes up to this sequence: `loadCatalog` need not give them any more.
    package var foldedThrough: UInt64?
    /// Customers that were erased, for the backlog of `StoreUpkeep`.
    package var erasures: [Erasure] = []
    /// Changes that need approval, whole, each once; `nil` for those that are no longer kept.
    package var requests: [(number: UInt64, request: ChangeRequest?)] = []
}
