import Synchronization

/// A store in memory: for tests, and for trying things out. Survives `close` and can be opened again.
package final class MemoryStore: Store {
    struct State {
        var log: [LogRow] = []
        var applied: UInt64 = 0
        var appliedTime = Timestamp.epoch
        var nextOrdinal: Ordinal = 0
        var customers: [Ordinal: (id: [UInt8], record: [UInt8])] = [:]
        var attributes: [AttributeDeclaration] = []
        var cohorts: [CohortNumber: CohortRecord] = [:]
        var assignments: Set<Assignment> = []
        var closed: [ClosedInterval] = []
        var horizon: HistoryHorizon?
        var staged: [UInt64: BulkChange] = [:]
        var bulks: [AppliedBulk] = []
        var stagedAssignments: [UInt64: AssignmentChange] = [:]
        /// By number.
        var requests: [UInt64: ChangeRequest] = [:]
        /// By sequence.
        var erasures: [UInt64: Erasure] = [:]
        /// The applied sequence that upkeep may rely on.
        var secured: UInt64 = 0
        var chain = AuditChain()
        /// In order of position.
        var audit: [AuditRow] = []
        var auditGaps: [AuditGap] = []
        var auditFloor: AuditFloor?
        var auditSeals: [UInt64: AuditSeal] = [:]
        var isOpen = false
    }

    private let storeID: String
    let keyring: AuditKeyring
    let state = Mutex(State())

    package init(audit: AuditKeyring = AuditKeyring()) {
        keyring = audit
        var random = SystemRandomNumberGenerator()
        storeID = (0..<32).map { _ in String(UInt8.random(in: 0..<16, using: &random), radix: 16) }.joined()
    }

    package func open() throws(StoreError) -> StoreSummary {
        try state.withLock { (state) throws(StoreError) in
            guard !state.isOpen else { throw .refused("the store is open already") }
            state.isOpen = true
            return StoreSummary(
                storeID: storeID,
                appliedSequence: state.applied,
                firstLogSequence: state.log.first?.sequence ?? 0,
                lastLogSequence: state.log.last?.sequence ?? 0,
                nextOrdinal: state.nextOrdinal,
                customers: UInt64(state.customers.count),
                appliedTime: state.appliedTime
            )
        }
    }

    package func loadCatalog() throws(StoreError) -> StoredCatalog {
        state.withLock {
            StoredCatalog(
                attributes: $0.attributes,
                cohorts: $0.cohorts.values.sorted { $0.number < $1.number },
                bulks: $0.bulks,
                requests: Array($0.requests.values)
            )
        }
    }

    package func scanAssignments(_ body: (Assignment) -> Void) throws(StoreError) {
        for assignment in state.withLock({ $0.assignments }) { body(assignment) }
    }

    package func scanCustomers(
        _ range: ClosedRange<Ordinal>,
        _ body: (Ordinal, UnsafeRawBufferPointer, UnsafeRawBufferPointer) throws(StoreError) -> Void
    ) throws(StoreError) {
        let customers = state.withLock { $0.customers }
        for ordinal in customers.keys.sorted() where range.contains(ordinal) {
            guard let (id, record) = customers[ordinal] else { continue }
            try Self.withBytes(id) { (id) throws(StoreError) in
                try Self.withBytes(record) { (record) throws(StoreError) in try body(ordinal, id, record) }
            }
        }
    }

    package func readCustomers(
        _ ordinals: [Ordinal],
        _ body: (Int, UnsafeRawBufferPointer) throws(StoreError) -> Void
    ) throws(StoreError) {
        for (i, ordinal) in ordinals.enumerated() {
            guard let record = state.withLock({ $0.customers[ordinal]?.record }) else { continue }
            try Self.withBytes(record) { (record) throws(StoreError) in try body(i, record) }
        }
    }

    package func append(_ rows: [LogRow]) throws(StoreError) {
        try state.withLock { (state) throws(StoreError) in
            guard let first = rows.first else { return }
            guard first.sequence == (state.log.last?.sequence ?? 0) + 1 else { throw .corrupt("the log has a gap") }
            state.log.append(contentsOf: rows)
            state.audit += state.chain.append(rows, keyring.keys)
        }
    }

    package func recoverLog() throws(StoreError) -> UInt64 { state.withLock { $0.log.last?.sequence ?? 0 } }

    package func readLog(from sequence: UInt64, limit: Int) throws(StoreError) -> [LogRow] {
        state.withLock { state in
            guard let first = state.log.first?.sequence, limit > 0 else { return [] }
            let start = sequence > first ? Int(sequence - first) : 0
            return Array(state.log.dropFirst(start).prefix(limit))
        }
    }

    package func stage(_ changes: [BulkChange]) throws(StoreError) {
        state.withLock { for change in changes { $0.staged[change.stage] = change } }
    }

    package func loadBulk(_ reference: BulkReference) throws(StoreError) -> BulkChange {
        try state.withLock { (state) throws(StoreError) in
            guard let change = state.staged[reference.stage] else {
                throw .corrupt("staged change \(reference.stage) is missing")
            }
            return change
        }
    }

    package func stage(_ change: AssignmentChange) throws(StoreError) {
        state.withLock { $0.stagedAssignments[change.stage] = change }
    }

    package func loadAssignments(_ reference: AssignmentReference) throws(StoreError) -> AssignmentChange {
        try state.withLock { (state) throws(StoreError) in
            guard let change = state.stagedAssignments[reference.stage], change.reference == reference else {
                throw .corrupt("staged assignments \(reference.stage) are missing")
            }
            return change
        }
    }

    package func apply(_ batch: MaterializedBatch) throws(StoreError) {
        state.withLock { state in
            for (ordinal, row) in batch.customers {
                switch row {
                case .insert(let id, let record): state.customers[ordinal] = (id, record)
                case .update(let record): state.customers[ordinal]?.record = record
                case .delete:
                    state.customers[ordinal] = nil
                    state.assignments = state.assignments.filter { $0.ordinal != ordinal }
                }
            }
            state.attributes += batch.attributes
            for cohort in batch.cohorts { state.cohorts[cohort.number] = cohort }
            let archived = Set(batch.cohorts.lazy.filter { $0.state == .archived }.map(\.number))
            if !archived.isEmpty {
                state.assignments = state.assignments.filter { !archived.contains($0.cohort) }
            }
            for delta in batch.assignments {
                for ordinal in delta.added.members { state.assignments.insert(delta.assignment(of: ordinal)) }
                for ordinal in delta.removed.members { state.assignments.remove(delta.assignment(of: ordinal)) }
            }
            state.stagedAssignments = state.stagedAssignments.filter { $0.key > batch.appliedSequence }
            let known = Set(state.closed)
            state.closed += batch.closed.filter { !known.contains($0) }
            for (stage, sequence, time) in batch.bulks {
                guard let change = state.staged[stage] else { continue }
                state.bulks.append(AppliedBulk(sequence: sequence, time: time, change: change))
            }
            for (number, request) in batch.requests { state.requests[number] = request }
            for erasure in batch.erasures { state.erasures[erasure.sequence] = erasure }
            if let folded = batch.foldedThrough { state.bulks.removeAll { $0.sequence <= folded } }
            state.applied = batch.appliedSequence
            state.appliedTime = batch.appliedTime
            state.nextOrdinal = batch.nextOrdinal
        }
    }

    /// The memberships that are over, in the order in which they were written.
    package var closedIntervals: [ClosedInterval] { state.withLock { $0.closed } }

    package var sizeInBytes: UInt64 { 0 }

    package func close() { state.withLock { $0.isOpen = false } }

    private static func withBytes(
        _ bytes: [UInt8],
        _ body: (UnsafeRawBufferPointer) throws(StoreError) -> Void
    ) throws(StoreError) {
        let result = bytes.withUnsafeBytes { raw in
            Result { () throws(StoreError) in try body(raw) }
        }
        try result.get()
    }
}

extension AssignmentDelta {
    fileprivate func assignment(of ordinal: Ordinal) -> Assignment {
        Assignment(cohort: cohort, kind: kind, ordinal: ordinal, present: true)
    }
}
