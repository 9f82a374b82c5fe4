import Synchronization

/// The changes of memberships from a place on, page by page, in order and without a gap.
///
/// Asked for one page after the other, never for two at once. Holds a page, a batch of the log, and the sets of one bulk
/// change; in a snapshot, copies of the bitmaps that are still to be sent.
package actor MembershipWatch {
    private let engine: Engine
    private let filter: CohortFilter
    private let pageSize: Int
    private let heartbeat: Duration
    private let store: UInt64
    private let place: WatchRegistry.Place
    private var snapshot: WatchSnapshot?
    private var position: WatchPosition
    /// Entries behind the position, the one in the middle of which it is included.
    private var entries = FIFO<WatchEntry>()
    /// The bulk change in the middle of which the position is.
    private var bulk: BulkChange?
    private var isFirst = true

    private var shared: EngineShared { engine.shared }

    init(
        engine: Engine,
        filter: CohortFilter,
        from position: WatchPosition,
        snapshot: WatchSnapshot?,
        store: UInt64,
        place: WatchRegistry.Place,
        pageSize: Int,
        heartbeat: Duration
    ) {
        self.engine = engine
        self.filter = filter
        self.position = position
        self.snapshot = snapshot
        self.store = store
        self.place = place
        self.pageSize = pageSize
        self.heartbeat = heartbeat
        place.reached(position.completed)
    }

    /// The next page. The first comes as soon as it can be made, later ones once there are events, and without events after
    /// the heartbeat.
    ///
    /// - Throws: `.outOfRange` if the log does not reach back to here any more, `.unavailable` at the end of the server or of
    ///   the task, and while the store does not answer.
    package func next() async throws(DomainError) -> WatchPage {
        try requireRunning()
        let page: WatchPage
        if var snapshot {
            self.snapshot = nil
            page = snapshotPage(&snapshot)
            if !page.snapshotEnds { self.snapshot = snapshot }
        } else {
            page = try await changesPage()
        }
        place.reached(page.sequence)
        return page
    }

    // MARK: Snapshot

    private func snapshotPage(_ snapshot: inout WatchSnapshot) -> WatchPage {
        let begins = snapshot.isFirst
        let moves = snapshot.next(limit: pageSize)
        return WatchPage(
            phase: .snapshot,
            events: events(moves),
            cursor: snapshot.isComplete ? cursor : [],
            sequence: snapshot.sequence,
            latestSequence: max(shared.watchWaiters.current, snapshot.sequence),
            behindSince: nil,
            snapshotBegins: begins,
            snapshotEnds: snapshot.isComplete
        )
    }

    // MARK: Changes

    private func changesPage() async throws(DomainError) -> WatchPage {
        let due = ContinuousClock.now + heartbeat
        var moves: [WatchMove] = []
        while true {
            try requireRunning()
            if try await fill() {
                while moves.count < pageSize, let entry = entries.first { try await take(entry, &moves) }
                if !moves.isEmpty || ContinuousClock.now >= due { break }
            } else {
                if isFirst || ContinuousClock.now >= due { break }
                _ = await shared.watchWaiters.wait(for: position.next, until: due)
            }
        }
        isFirst = false
        // What comes next is needed anyway, and says since when the watcher is behind.
        let isBehind = try await fill()
        return WatchPage(
            phase: .changes,
            events: events(moves),
            cursor: cursor,
            sequence: position.completed,
            latestSequence: isBehind ? shared.watchWaiters.current : position.completed,
            behindSince: isBehind ? entries.first?.time : nil,
            snapshotBegins: false,
            snapshotEnds: false
        )
    }

    /// Adds what is left of the first entry to the page, as far as there is room, and goes on by as much.
    private func take(_ entry: WatchEntry, _ moves: inout [WatchMove]) async throws(DomainError) {
        let room = pageSize - moves.count
        // One more than there is room for, to know whether the entry is done.
        let found = try await self.moves(of: entry, after: position.step, limit: room + 1)
        moves += found.prefix(room)
        if found.count > room {
            position = WatchPosition(sequence: entry.sequence, step: found[room - 1].step)
        } else {
            position = WatchPosition(sequence: entry.sequence)
            bulk = nil
            _ = entries.popFirst()
        }
    }

    private func moves(
        of entry: WatchEntry,
        after step: WatchPosition.Step?,
        limit: Int
    ) async throws(DomainError) -> [WatchMove] {
        if let ordinal = entry.erased {
            let change = MembershipChange(entry, version: 0, cause: .erase)
            return [WatchMove(ordinal: ordinal, cohort: nil, membership: .out, change: change)]
        }
        var result: [WatchMove] = []
        var rest = entry.transitions[...]
        if let step { rest = rest.drop { $0.step <= step } }
        func takeTransitions(before cohort: CohortNumber) {
            while result.count < limit, let transition = rest.first, transition.cohort < cohort {
                if filter.contains(transition.cohort) { result.append(WatchMove(transition, of: entry)) }
                rest.removeFirst()
            }
        }
        for reference in entry.bulks where filter.contains(reference.cohort) {
            takeTransitions(before: reference.cohort)
            guard result.count < limit else { return result }
            var start: Ordinal = 0
            if let step, step.cohort >= reference.cohort {
                guard step.cohort == reference.cohort, step.ordinal < .max else { continue }
                start = step.ordinal + 1
            }
            let change = MembershipChange(entry, version: reference.version, cause: reference.cause)
            for move in try await sets(of: reference, entry.sequence).moves(from: start, limit: limit - result.count) {
                result.append(
                    WatchMove(
                        ordinal: move.ordinal,
                        cohort: reference.cohort,
                        membership: move.membership,
                        change: change
                    )
                )
            }
            guard result.count < limit else { return result }
        }
        takeTransitions(before: .max)
        return result
    }

    // MARK: Reading

    /// Sees to it that there are entries behind the position; false where the stream ends for now.
    private func fill() async throws(DomainError) -> Bool {
        guard entries.isEmpty else { return true }
        let (from, current) = (position.next, shared.watchWaiters.current)
        guard from <= current else { return false }
        // What has not been announced may be in memory and in the log already, and is not for anyone yet.
        let limit = Int(clamping: min(UInt64(shared.configuration.watchBatchEntries), current - from + 1))
        let batch: [WatchEntry]
        if let recent = shared.tail.entries(from: from, limit: limit) {
            batch = recent
        } else {
            let reader = WatchReader(shared: shared)
            batch = try await engine.onReadThread { reader.entries(from: from, limit: limit) }
        }
        for entry in batch { entries.append(entry) }
        return true
    }

    private func sets(of reference: BulkReference, _ sequence: UInt64) async throws(DomainError) -> BulkChange {
        if let bulk, bulk.stage == reference.stage { return bulk }
        let reader = WatchReader(shared: shared)
        let found: BulkChange
        if let recent = shared.published.withLock({ $0.bulks.last { $0.change.stage == reference.stage } }) {
            found = recent.change
        } else {
            found = try await engine.onReadThread { reader.sets(of: reference, sequence: sequence) }
        }
        bulk = found
        return found
    }

    private func requireRunning() throws(DomainError) {
        guard !shared.watches.isClosed, !Task.isCancelled else {
            throw .unavailable(
                reason: UnavailableReason.shuttingDown,
                message: "The watch ends; go on behind the last cursor.",
                retryAfter: shared.configuration.retryAfter
            )
        }
        try shared.requireReadable()
    }

    private var cursor: [UInt8] { WatchCursor(store: store, position: position).encoded }

    /// The moves with the names that cohorts and customers have.
    private func events(_ moves: [WatchMove]) -> [WatchEvent] {
        guard !moves.isEmpty else { return [] }
        let cohorts = shared.published.withLock { $0.catalog.cohorts }
        let ids = shared.index.ids(of: moves.map(\.ordinal))
        return zip(moves, ids).map { move, id in
            WatchEvent(
                customerID: id,
                ordinal: move.ordinal,
                cohort: move.cohort.map { cohorts[Int($0)].id } ?? "",
                membership: move.membership,
                change: move.change
            )
        }
    }
}
