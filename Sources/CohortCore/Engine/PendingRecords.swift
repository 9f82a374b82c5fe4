/// What one commit changes in the tables.
struct PendingChanges {
    enum Row {
        case insert(id: [UInt8], record: [UInt8])
        case update(record: [UInt8])
        case delete
    }

    var sequence: UInt64
    var time: Timestamp
    var nextOrdinal: Ordinal
    var customers: [(ordinal: Ordinal, row: Row)] = []
    var attributes: [AttributeDeclaration] = []
    var cohorts: [CohortRecord] = []
    var assignments = AssignmentDeltas()
    var closed: [ClosedInterval] = []
    var bulks: [(stage: UInt64, sequence: UInt64, time: Timestamp)] = []
    var erasures: [Erasure] = []
    /// `nil` for those that are no longer kept.
    var requests: [(number: UInt64, request: ChangeRequest?)] = []
}

/// Committed changes that the tables do not hold yet: one generation that grows, one that is being written.
final class PendingRecords: Sendable {
    enum Lookup: Sendable {
        /// Not here: the tables have the latest.
        case absent
        case record([UInt8])
        case erased
    }

    struct Generation {
        var customers: [Ordinal: PendingChanges.Row] = [:]
        var attributes: [AttributeDeclaration] = []
        var cohorts: [CohortNumber: CohortRecord] = [:]
        var assignments = AssignmentDeltas()
        var closed: [ClosedInterval] = []
        var bulks: [(stage: UInt64, sequence: UInt64, time: Timestamp)] = []
        var erasures: [Erasure] = []
        var requests: [UInt64: ChangeRequest?] = [:]
        var sequence: UInt64 = 0
        var time = Timestamp.epoch
        var nextOrdinal: Ordinal = 0
        var bytes = 0
        var isEmpty = true
    }

    fileprivate struct State {
        var active = Generation()
        var flushing: Generation?
        /// The materialiser should write now whatever there is.
        var drain = false
        var stopped = false
    }

    private let state = Monitor(State())
    private let flushRows: Int
    private let maximumBytes: Int

    init(flushRows: Int, maximumBytes: Int) {
        self.flushRows = flushRows
        self.maximumBytes = maximumBytes
    }

    var bytes: Int { state.read { $0.active.bytes + ($0.flushing?.bytes ?? 0) } }

    func lookup(_ ordinal: Ordinal) -> Lookup {
        state.read { $0.lookup(ordinal) }
    }

    /// Looks many up at once.
    func lookup(_ ordinals: [Ordinal]) -> [Lookup] {
        state.read { state in ordinals.map { state.lookup($0) } }
    }

    /// One customer with the intervals that have been closed here.
    func history(of ordinal: Ordinal) -> (lookup: Lookup, closed: [ClosedInterval]) {
        state.read { state in
            var closed: [ClosedInterval] = []
            // Who has closed an interval has a row beside it.
            for generation in [state.active, state.flushing].compactMap({ $0 })
            where generation.customers[ordinal] != nil {
                closed += generation.closed.filter { $0.ordinal == ordinal }
            }
            return (state.lookup(ordinal), closed)
        }
    }

    /// Everything here, the newer of two, and the intervals closed here that `isWanted` picks.
    func snapshot(
        closedWhere isWanted: (ClosedInterval) -> Bool
    ) -> (customers: [Ordinal: Lookup], closed: [ClosedInterval]) {
        state.read { state in
            (state.customers, (state.flushing?.closed ?? []).filter(isWanted) + state.active.closed.filter(isWanted))
        }
    }

    /// Everything here, the newer of two.
    func snapshot() -> [Ordinal: Lookup] { state.read { $0.customers } }

    func add(_ changes: PendingChanges) {
        state.update { $0.active.add(changes) }
    }

    /// Holds the committer back while more waits than memory is set aside for, whatever the materialiser is busy with.
    func waitForRoom() {
        _ = state.wait { state -> Bool? in
            state.active.bytes < self.maximumBytes || state.stopped ? true : nil
        }
    }

    // MARK: The materialiser's side

    /// What there is to do for the materialiser.
    enum Due {
        case flush(Generation)
        case nothing
        /// Stopped, and everything has been taken.
        case end
    }

    /// Waits until there is enough to write, or for `seconds`, and takes what there is. What is taken still counts as
    /// pending until `flushed`.
    func takeForFlush(seconds: Double) -> Due {
        _ = state.wait(seconds: seconds) { state -> Bool? in
            if state.active.isEmpty { return state.stopped ? true : nil }
            return state.stopped || state.drain || state.active.customers.count >= flushRows
                || state.active.bytes >= maximumBytes ? true : nil
        }
        // An update, so that who waits for room wakes.
        return state.update { state in
            if !state.active.isEmpty { return .flush(state.beginFlush()) }
            return state.stopped ? .end : .nothing
        }
    }

    /// Takes whatever there is to write, without waiting.
    func takeNow() -> Generation? { state.update { $0.active.isEmpty ? nil : $0.beginFlush() } }

    var isStopped: Bool { state.read { $0.stopped } }

    func flushed() { state.update { $0.flushing = nil } }

    /// Asks for everything to be written, and waits for it.
    func drain() {
        state.update { $0.drain = true }
        _ = state.wait { state -> Bool? in
            state.stopped || (state.active.isEmpty && state.flushing == nil) ? true : nil
        }
        state.update { $0.drain = false }
    }

    func stop() { state.update { $0.stopped = true } }
}

extension PendingRecords.State {
    /// Everyone here, the newer of two.
    fileprivate var customers: [Ordinal: PendingRecords.Lookup] {
        var result: [Ordinal: PendingRecords.Lookup] = [:]
        for (ordinal, row) in flushing?.customers ?? [:] { result[ordinal] = row.lookup }
        for (ordinal, row) in active.customers { result[ordinal] = row.lookup }
        return result
    }

    fileprivate func lookup(_ ordinal: Ordinal) -> PendingRecords.Lookup {
        active.customers[ordinal]?.lookup ?? flushing?.customers[ordinal]?.lookup ?? .absent
    }

    fileprivate mutating func beginFlush() -> PendingRecords.Generation {
        let taken = active
        flushing = taken
        active = PendingRecords.Generation()
        return taken
    }
}

extension PendingRecords.Generation {
    fileprivate mutating func add(_ changes: PendingChanges) {
        isEmpty = false
        for (ordinal, row) in changes.customers {
            switch (row, customers[ordinal]) {
            case (.update(let record), .insert(let id, let old)):
                bytes += record.count - old.count
                customers[ordinal] = .insert(id: id, record: record)
            case (_, let old):
                bytes += row.bytes - (old?.bytes ?? 0)
                customers[ordinal] = row
            }
        }
        attributes += changes.attributes
        for cohort in changes.cohorts { cohorts[cohort.number] = cohort }
        bytes -= assignments.bytes
        assignments.add(changes.assignments)
        bytes += assignments.bytes
        closed += changes.closed
        bulks += changes.bulks
        erasures += changes.erasures
        for (number, request) in changes.requests { requests.updateValue(request, forKey: number) }
        bytes += changes.closed.count * MemoryLayout<ClosedInterval>.stride
        sequence = changes.sequence
        time = changes.time
        nextOrdinal = changes.nextOrdinal
    }

    /// In the form that the store takes.
    func batch() -> MaterializedBatch {
        let ordered = customers.keys.sorted().map { ordinal -> (ordinal: Ordinal, row: MaterializedBatch.Row) in
            switch customers[ordinal] {
            case .insert(let id, let record): (ordinal, .insert(id: id, record: record))
            case .update(let record): (ordinal, .update(record: record))
            case .delete, nil: (ordinal, .delete)
            }
        }
        let erased = ordered.compactMap { ordinal, row in if case .delete = row { ordinal } else { nil } }
        return MaterializedBatch(
            appliedSequence: sequence,
            appliedTime: time,
            nextOrdinal: nextOrdinal,
            customers: ordered,
            attributes: attributes,
            cohorts: cohorts.values.sorted { $0.number < $1.number },
            assignments: assignments.list(archived: { cohorts[$0]?.state == .archived }, erased: erased),
            closed: closed,
            bulks: bulks,
            foldedThrough: nil,
            erasures: erasures,
            requests: requests.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
        )
    }
}

extension PendingChanges.Row {
    fileprivate var lookup: PendingRecords.Lookup {
        switch self {
        case .insert(_, let record), .update(let record): .record(record)
        case .delete: .erased
        }
    }

    /// With about what the allocations cost besides.
    fileprivate var bytes: Int {
        switch self {
        case .insert(let id, let record): id.count + record.count + 128
        case .update(let record): record.count + 96
        case .delete: 64
        }
    }
}
