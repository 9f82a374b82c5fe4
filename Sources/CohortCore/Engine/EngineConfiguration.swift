/// Every limit of the engine, with its default.
package struct EngineConfiguration: Sendable {
    // Input
    /// Bytes of a customer id, at most 256.
    package var maximumCustomerIDBytes = 256
    /// Bytes of one string value, or of one element of a list.
    package var maximumStringBytes = 4 * 1024
    /// Elements of one list value.
    package var maximumListElements = 256
    /// Attributes that one customer has, deleted ones included as long as their event time is kept.
    package var maximumAttributesPerCustomer = 256
    /// Bytes of one customer's stored record.
    package var maximumRecordBytes = 64 * 1024
    /// Attributes that can be declared.
    package var maximumAttributes = 1_024
    /// Cohorts that can be created, archived ones included.
    package var maximumCohorts = 1_000
    /// References that follow each other where rules read cohorts whose rules read cohorts.
    package var maximumCohortDepth = 8
    /// Bytes of a cohort's description.
    package var maximumDescriptionBytes = 1_024
    /// Ids in one change of overrides or of a list, and in one part of an upload.
    package var maximumIDsPerChange = 10_000
    /// Ids in one upload of overrides or of a list.
    package var maximumUploadIDs = 10_000_000
    /// Such uploads at once; each holds a bitmap of up to a bit for each customer.
    package var maximumUploads = 8
    /// Rows in one batch of puts.
    package var maximumBatchRows = 1_000
    /// Seconds that an event time may be ahead of the server's clock.
    package var maximumEventTimeLead: Int64 = 5 * 60
    /// Customers, over the life of the store: ordinals are never reused. At most 2^32 - 2.
    package var maximumCustomers: UInt32 = .max - 1

    // Commit path
    /// Rows that wait for the committer before writes are refused.
    package var queueCapacity = 65_536
    /// Rows that are committed together.
    package var groupRows = 2_000
    /// Entries applied to the index while readers wait.
    package var publishSlice = 32
    /// Customers changed by one entry above which the change is staged as bitmaps instead of record by record.
    package var bulkThreshold = 1_024
    /// Customers that are evaluated for a new rule while writes wait; beyond it they are evaluated beside the writes.
    package var buildSwitchCustomers = 4_000
    /// Changes of rules and previews that wait or run before more are refused.
    package var maximumBuilds = 64
    /// Versions of one cohort, over its life.
    package var maximumVersions = 10_000
    /// Drafts of one cohort that were neither published nor discarded.
    package var maximumDrafts = 100
    /// Changes that wait for approval, of all cohorts.
    package var maximumPendingChanges = 1_000
    /// Seconds after which a change that waits for approval expires; `nil` for never.
    package var approvalExpiry: Int64? = 7 * 86_400
    /// Erasures of members that run at once.
    package var maximumMemberErasures = 1
    /// Members erased by one write: other writes wait no longer than for one.
    package var memberErasureRows = 500
    /// Customers in each sample of a preview.
    package var maximumPreviewSample = 100
    /// What a refused writer is told to wait.
    package var retryAfter: Duration = .milliseconds(250)

    // Materialising
    /// Customers whose records wait in memory for the tables before they are written.
    package var materializeRows = 100_000
    /// The longest that a record waits for the tables, in milliseconds.
    package var materializeInterval = 1_000
    /// Bytes of records waiting for the tables at which the committer holds back.
    package var maximumPendingBytes = 128 << 20
    /// Bulk changes kept in memory for records that have not taken them in; beyond it records are rewritten.
    package var maximumBulkChanges = 16
    /// Bytes of such bulk changes.
    package var maximumBulkBytes = 32 << 20
    /// Threads that load the index at start.
    package var loadThreads = 2

    // Upkeep
    /// Milliseconds between two looks at what background work is due; 0 for none but by `Engine.upkeep`.
    package var upkeepInterval = 1_000
    /// Seconds in which all memberships are derived anew; `nil` for never.
    package var driftPeriod: Int64? = 86_400
    /// Customers a second that are checked at least, so that the walk over a small store is short.
    package var driftRate = 500
    /// The longest that one step of the walk holds up writes, give or take 16 customers.
    package var driftStep: Duration = .milliseconds(2)
    /// Seconds that entries stay in the log; `nil` for ever.
    package var logRetentionAge: Int64? = 7 * 86_400
    /// Bytes of entries beyond which the oldest go; `nil` for any number.
    package var logRetentionBytes: UInt64? = 10 << 30
    /// Entries deleted in one transaction, and bytes of their payloads.
    package var retentionBatchRows = 1_000
    package var retentionBatchBytes = 1 << 20
    /// Unused bytes of the log that are kept for later entries rather than given back.
    package var logSlackBytes: UInt64 = 64 << 20
    /// Seconds that memberships that are over stay in the history; `nil` for ever.
    package var historyRetentionAge: Int64? = 90 * 86_400
    /// Seconds that rows of the audit stay, but for those that go with the log; `nil` for ever.
    package var auditRetentionAge: Int64? = 400 * 86_400
    /// Seconds that an erasure waits for the pass that scrubs log and history, at most 24 hours less what that takes.
    package var scrubDelay: Int64 = 6 * 3_600

    // Audit
    /// Rows of the audit that wait for the store before others are lost, and counted.
    package var maximumAuditRows = 10_000
    /// The most rows of the audit in one answer.
    package var maximumAuditList = 100_000

    // Reads
    /// The longest that a read waits for a sequence, whatever its deadline.
    package var maximumSequenceWait: Duration = .seconds(1)
    /// Ids in one page of members.
    package var maximumPageSize = 10_000
    /// Intervals in one answer about a customer's history, at most 10,000.
    package var maximumHistoryIntervals = 10_000
    /// Scans for the members of a cohort at a past point that run at once; each reads the records of all customers.
    package var maximumHistoryScans = 2
    /// Bytes of an expression over cohorts.
    package var maximumExpressionBytes = 4_096
    /// Different cohorts in one expression: the bitmaps of all are copied.
    package var maximumExpressionCohorts = 64
    /// Nesting of parentheses and `not` in an expression.
    package var maximumExpressionNesting = 64
    /// Watches of memberships that run at once.
    package var maximumWatches = 100
    /// Watches that are being sent a snapshot; each holds copies of the bitmaps of the cohorts that it is about.
    package var maximumWatchSnapshots = 8
    /// Cohorts that one watch names.
    package var maximumWatchedCohorts = 1_000
    /// Log entries that a watch reads at once.
    package var watchBatchEntries = 256
    /// Entries at the end of the log that are kept in memory for watches, and about their bytes.
    package var watchTailEntries = 16_384
    package var watchTailBytes = 8 << 20
    /// Threads that read the store for callers.
    package var readThreads = 2

    package init() {}
}

/// Something worth a line in the operator's log. `message` is static; what varies is in `metadata`.
package struct EngineEvent: Sendable {
    package enum Level: Sendable { case debug, info, warning, error }

    package var level: Level
    package var message: String
    package var metadata: [(String, String)]

    package init(_ level: Level, _ message: String, _ metadata: [(String, String)] = []) {
        self.level = level
        self.message = message
        self.metadata = metadata
    }
}

/// Something that the engine has done, for those who measure it.
package enum EngineObservation: Sendable {
    /// What became of a row of ingest.
    package enum Row: String, Sendable, CaseIterable { case created, updated, unchanged, stale, erased, rejected }

    /// Entries were added to the log durably, in this many nanoseconds.
    case committed(entries: Int, nanoseconds: Int64)
    /// A customer was read from the tables, in this many nanoseconds.
    case read(nanoseconds: Int64)
    /// Rows were answered.
    case rows([Row: Int])
}

/// What the engine takes from outside besides the store.
package struct EngineEnvironment: Sendable {
    /// The wall clock.
    package var now: @Sendable () -> Timestamp
    /// Takes the engine's events; must not block.
    package var log: @Sendable (EngineEvent) -> Void
    /// Told the engine's new state after every change, on whichever thread made it, with no lock held; must not block.
    /// Two changes that follow closely may be told out of order: `Engine.status` has the state that holds.
    package var stateChanged: @Sendable (EngineState) -> Void
    /// Told what has been done, on whichever thread did it; must not block.
    package var observed: @Sendable (EngineObservation) -> Void
    /// Before appends to the change log.
    package var writeBreaker: any StoreBreaker
    /// Before the reads of the store that callers wait for.
    package var readBreaker: any StoreBreaker

    package init(
        now: @escaping @Sendable () -> Timestamp = { SystemClock.now() },
        log: @escaping @Sendable (EngineEvent) -> Void = { _ in },
        stateChanged: @escaping @Sendable (EngineState) -> Void = { _ in },
        observed: @escaping @Sendable (EngineObservation) -> Void = { _ in },
        writeBreaker: any StoreBreaker = NoStoreBreaker(),
        readBreaker: any StoreBreaker = NoStoreBreaker()
    ) {
        self.now = now
        self.log = log
        self.stateChanged = stateChanged
        self.observed = observed
        self.writeBreaker = writeBreaker
        self.readBreaker = readBreaker
    }
}
