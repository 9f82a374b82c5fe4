import Synchronization

extension MemoryStore {
    package func readIntervals(
        _ query: IntervalQuery
    ) throws(StoreError) -> (intervals: [ClosedInterval], horizon: HistoryHorizon?) {
        state.withLock { state in
            let found = state.closed.filter { query.matches($0) }.sorted { $0.began.isBefore($1.began) }
            return (Array(found.prefix(query.limit)), state.horizon)
        }
    }

    package func scanIntervals(
        _ range: ClosedRange<Ordinal>,
        cohort: CohortNumber,
        at point: PastPoint,
        _ body: (Ordinal, Membership) throws(StoreError) -> Void
    ) throws(StoreError) {
        let found = state.withLock { state in
            state.closed.filter { $0.began.cohort == cohort && range.contains($0.ordinal) && point.isWithin($0) }
        }
        for interval in found { try body(interval.ordinal, interval.began.membership) }
    }

    package func historyHorizon() throws(StoreError) -> HistoryHorizon? { state.withLock { $0.horizon } }
}
