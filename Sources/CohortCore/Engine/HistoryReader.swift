import Synchronization

/// Reads the memberships of one customer, past and present, from where they lie: the customer's record, the intervals closed
/// in pending changes, those that bulk changes have closed since the record was written, and those of the tables. Blocks on
/// the store.
struct HistoryReader: Sendable {
    let shared: EngineShared

    /// A membership with its end, if it had ended by the sequence that was asked for.
    struct Interval: Sendable {
        var began: OpenInterval
        var end: MembershipChange?
    }

    struct Found: Sendable {
        /// With the bulk changes taken in. It may be of a later sequence than was asked for.
        var record: CustomerRecord
        /// The last sequence that the record takes into account.
        var recordSequence: UInt64
        /// Those that match the query, the latest beginning first, those of one sequence in order of cohort number.
        var intervals: [Interval]
        /// `nil` if retention never deleted an interval.
        var horizon: HistoryHorizon?
    }

    /// What the customer was up to `query.through`, which readers must see already; `nil` for a customer that has been erased
    /// since.
    func find(_ query: IntervalQuery) -> Result<Found?, DomainError> {
        shared.reading { () throws(StoreError) in try read(query) }
    }

    /// In this order nothing is missed: what moves between two of these reads moves to one that is still to come. Found
    /// twice, an interval is the same, or once without its end.
    private func read(_ query: IntervalQuery) throws(StoreError) -> Found? {
        let ordinal = query.ordinal
        let bulks = shared.published.withLock { $0.bulks }
        let (lookup, pending) = shared.pending.history(of: ordinal)
        var found: CustomerRecord?
        switch lookup {
        case .erased: return nil
        case .record(let bytes):
            found = try bytes.withUnsafeRecord { (bytes) throws(StoreError) in
                try CustomerReader.decode(bytes, ordinal)
            }
        case .absent:
            try shared.store.readCustomers([ordinal]) { (_, bytes) throws(StoreError) in
                found = try CustomerReader.decode(bytes, ordinal)
            }
        }
        guard var record = found else { return nil }
        let folded = record.fold(bulks, ordinal: ordinal)
        let stored = try shared.store.readIntervals(query)
        let closed = (folded + pending + stored.intervals).filter { query.matches($0) }
        return Found(
            record: record,
            recordSequence: max(record.sequence, bulks.last?.sequence ?? 0),
            intervals: Self.merge(record.intervals.filter { query.matches($0, end: nil) }, closed, query.through),
            horizon: stored.horizon
        )
    }

    private static func merge(
        _ open: [OpenInterval],
        _ closed: [ClosedInterval],
        _ through: UInt64
    ) -> [Interval] {
        struct Key: Hashable {
            let sequence: UInt64
            let cohort: CohortNumber
        }
        var intervals: [Key: Interval] = [:]
        for began in open { intervals[Key(sequence: began.sequence, cohort: began.cohort)] = Interval(began: began) }
        for interval in closed {
            let key = Key(sequence: interval.began.sequence, cohort: interval.began.cohort)
            let end = interval.endSequence <= through ? interval.endChange : nil
            intervals[key] = Interval(began: interval.began, end: end)
        }
        return intervals.values.sorted { $0.began.isBefore($1.began) }
    }
}
