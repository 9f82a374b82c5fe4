import Synchronization

/// The change stream.
extension Engine {
    /// Begins to watch memberships.
    ///
    /// - Parameters:
    ///   - cohorts: ids of the cohorts that matter, archived ones included; empty for all, later ones included.
    ///   - cursor: where to go on, as a page of an earlier watch had it; empty for none.
    ///   - snapshot: without a cursor, begin with who is IN or UNKNOWN now; else only what changes from now on is sent.
    ///   - pageSize: most events of a page, 1 or more.
    ///   - heartbeat: time without an event after which there is a page without events.
    /// - Throws: `.invalidArgument`, `.notFound` for a cohort that never existed, `.failedPrecondition` for a cursor of another
    ///   store, `.outOfRange` for one that the log does not reach, `.resourceExhausted`, `.unavailable`.
    package func watch(
        cohorts: [String] = [],
        cursor: [UInt8] = [],
        snapshot: Bool = false,
        pageSize: Int = 1_000,
        heartbeat: Duration = .seconds(10)
    ) async throws(DomainError) -> MembershipWatch {
        try shared.requireReadable()
        let filter = try filter(cohorts)
        let store = WatchCursor.digest(storeID: shared.figures.withLock { $0.storeID })
        let place = try shared.watches.begin()
        var found: WatchSnapshot?
        let position: WatchPosition
        if !cursor.isEmpty {
            position = try await check(try WatchCursor(cursor), store)
        } else if snapshot {
            let snapshotPlace = try shared.watches.beginSnapshot()
            let made = WatchSnapshot(shared.index.watchSnapshot(filter), snapshotPlace)
            position = WatchPosition(sequence: made.sequence)
            found = made
        } else {
            position = WatchPosition(sequence: shared.index.currentSequence)
        }
        return MembershipWatch(
            engine: self,
            filter: filter,
            from: position,
            snapshot: found,
            store: store,
            place: place,
            pageSize: max(1, pageSize),
            heartbeat: heartbeat
        )
    }

    /// Ends all watches, and refuses new ones from now on: for a server that is about to stop.
    package func endWatches() {
        shared.watches.close()
        shared.watchWaiters.close()
    }

    private func filter(_ cohorts: [String]) throws(DomainError) -> CohortFilter {
        guard !cohorts.isEmpty else { return CohortFilter(nil) }
        let limit = configuration.maximumWatchedCohorts
        guard cohorts.count <= limit else {
            throw .invalid("cohort_ids", "has \(cohorts.count) ids; at most \(limit) are allowed, and none means all")
        }
        let catalog = shared.published.withLock { $0.catalog }
        var numbers: Set<CohortNumber> = []
        for (i, id) in cohorts.enumerated() {
            if let problem = InputRules.cohortID(id) { throw .invalid("cohort_ids[\(i)]", problem) }
            // One that was archived had memberships, whose end may not have been told yet.
            guard let number = catalog.numbers[id] else { throw catalog.notFound(cohort: id) }
            guard numbers.insert(number).inserted else {
                throw .invalid("cohort_ids[\(i)]", "'\(id)' is named twice; name it once")
            }
        }
        return CohortFilter(Array(numbers))
    }

    /// The cursor's position, if the log goes on there.
    private func check(_ cursor: WatchCursor, _ store: UInt64) async throws(DomainError) -> WatchPosition {
        guard cursor.store == store else {
            throw .failedPrecondition(
                code: WatchRefusal.otherStore,
                message:
                    "The cursor is of another store, whose sequences say nothing here: start again with a snapshot."
            )
        }
        let position = cursor.position
        let latest = max(shared.index.currentSequence, shared.watchWaiters.current)
        let reader = WatchReader(shared: shared)
        guard position.sequence <= latest else {
            let oldest = shared.figures.withLock { $0.upkeep.log.firstSequence }
            throw WatchReader.ahead(position.sequence, of: latest, oldest: oldest)
        }
        if position.next <= latest { try await onReadThread { reader.require(position.next) } }
        return position
    }
}
