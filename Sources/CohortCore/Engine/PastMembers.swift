import Synchronization

/// Who was IN and who was UNKNOWN in a cohort at a point of the past.
final class PastMembers: @unchecked Sendable {
    // Unchecked: nobody changes the sets once they are handed out.
    let members = ChunkedBitmap()
    let unknown = ChunkedBitmap()

    func set(_ membership: Membership) -> ChunkedBitmap { membership == .in ? members : unknown }

    fileprivate func formUnion(_ other: PastMembers) {
        members.formUnion(other.members)
        unknown.formUnion(other.unknown)
    }
}

/// One of the few places for scans; it is given back at the scan's end, or with the last reference.
final class HistoryScanPlace: Sendable {
    private let shared: EngineShared
    private let isOver = Atomic<Bool>(false)

    /// - Throws: `.resourceExhausted` while too many scans run.
    init(_ shared: EngineShared) throws(DomainError) {
        let limit = shared.configuration.maximumHistoryScans
        self.shared = shared
        // Given back by deinit, also when this throws.
        let running = shared.historyScans.wrappingAdd(1, ordering: .relaxed).newValue
        guard running <= limit else {
            throw .resourceExhausted(
                limit: "history_scans",
                message: "\(limit) scans for the members of a cohort in the past run already, the most at once.",
                retryAfter: .seconds(1)
            )
        }
    }

    deinit { end() }

    /// Before the caller is answered, who may ask again at once.
    func end() {
        guard !isOver.exchange(true, ordering: .relaxed) else { return }
        shared.historyScans.wrappingSubtract(1, ordering: .relaxed)
    }
}

/// Finds who was in a cohort at a point of the past, by reading what is pending, then the records of all customers, then the
/// closed intervals of all. Reads and writes go on meanwhile.
///
/// In this order nobody is missed: a membership of the point that was open in a record is found there, or has been closed by
/// a later write, and is then among the closed ones that are read after it. Found twice, it is the same.
final class PastMembersScan: Sendable {
    private let shared: EngineShared
    private let cohort: CohortNumber
    private let point: PastPoint
    private let place: HistoryScanPlace
    /// Set when nobody waits for the result any more.
    private let cancelled = Atomic<Bool>(false)

    /// - Parameter point: readers must see all that belongs to it.
    init(_ shared: EngineShared, _ cohort: CohortNumber, _ point: PastPoint) throws(DomainError) {
        self.shared = shared
        self.cohort = cohort
        self.point = point
        place = try HistoryScanPlace(shared)
    }

    func cancel() { cancelled.store(true, ordering: .relaxed) }

    private final class Parts: @unchecked Sendable {
        // Unchecked: guarded by `lock`.
        private let lock = Mutex(())
        private let result = PastMembers()
        private var failure: StoreError?

        func merge(_ part: PastMembers) { lock.withLock { _ in result.formUnion(part) } }
        func fail(_ error: StoreError) { lock.withLock { _ in failure = failure ?? error } }

        func take() throws(StoreError) -> PastMembers {
            if let failure { throw failure }
            return result
        }
    }

    /// Blocks, for as long as it takes to read all customers.
    func run() -> Result<PastMembers, DomainError> {
        defer { place.end() }
        return shared.reading { () throws(StoreError) in try scan() }.flatMap { found in
            if shouldStop {
                return .failure(
                    .unavailable(
                        reason: UnavailableReason.shuttingDown,
                        message: "The server is stopping, or the call was given up.",
                        retryAfter: shared.configuration.retryAfter
                    )
                )
            }
            // What retention deletes while this reads is noticed afterwards.
            return shared.reading { () throws(StoreError) in try shared.store.historyHorizon() }.flatMap { horizon in
                guard let horizon, !horizon.covers(point) else { return .success(found) }
                return .failure(.beforeHistory(horizon))
            }
        }
    }

    private var shouldStop: Bool {
        cancelled.load(ordering: .relaxed) || (shared.state != .serving && shared.state != .storeUnavailable)
    }

    private func scan() throws(StoreError) -> PastMembers {
        let bulks = shared.published.withLock { $0.bulks }.filter { $0.change.cohort == cohort }
        let pending = shared.pending.snapshot { $0.began.cohort == cohort && point.isWithin($0) }
        let waiting = PastMembers()
        for interval in pending.closed { waiting.set(interval.began.membership).insert(interval.ordinal) }
        for (ordinal, lookup) in pending.customers {
            guard case .record(let bytes) = lookup else { continue }
            try bytes.withUnsafeRecord { (bytes) throws(StoreError) in try look(bytes, ordinal, bulks, waiting) }
        }
        let parts = Parts()
        parts.merge(waiting)
        let threads = shared.configuration.loadThreads
        let ranges = OrdinalRanges.split(shared.figures.withLock { $0.nextOrdinal }, parts: threads * 4)
        if !ranges.isEmpty {
            Worker.perform(iterations: ranges.count, threads: threads) { [self] i in
                do throws(StoreError) {
                    parts.merge(try scan(ranges[i], besides: pending.customers, bulks))
                } catch {
                    parts.fail(error)
                }
            }
        }
        let found = try parts.take()
        // Who has been erased since is nobody.
        let known = shared.index.lock.withReadLock { shared.index.known.copy() }
        found.members.formIntersection(known)
        found.unknown.formIntersection(known)
        return found
    }

    private func scan(
        _ range: ClosedRange<Ordinal>,
        besides pending: [Ordinal: PendingRecords.Lookup],
        _ bulks: [AppliedBulk]
    ) throws(StoreError) -> PastMembers {
        let found = PastMembers()
        for start in stride(from: range.lowerBound, through: range.upperBound, by: ChunkedBitmap.chunkBits) {
            if shouldStop { return found }
            let part = start...min(range.upperBound, start + Ordinal(ChunkedBitmap.chunkBits - 1))
            try shared.store.scanCustomers(part) { (ordinal, _, bytes) throws(StoreError) in
                guard pending[ordinal] == nil else { return }
                try look(bytes, ordinal, bulks, found)
            }
            try shared.store.scanIntervals(part, cohort: cohort, at: point) { ordinal, membership in
                found.set(membership).insert(ordinal)
            }
        }
        return found
    }

    /// Takes a customer in, whose membership at the point is open in the record or was closed by a bulk change since.
    private func look(
        _ bytes: UnsafeRawBufferPointer,
        _ ordinal: Ordinal,
        _ bulks: [AppliedBulk],
        _ found: PastMembers
    ) throws(StoreError) {
        var record: CustomerRecord
        do throws(CodecError) {
            record = try CustomerRecord(membershipsOf: bytes)
        } catch {
            throw .corrupt("the record of customer \(ordinal) cannot be read: \(error.message)")
        }
        for interval in record.fold(bulks, ordinal: ordinal) where point.isWithin(interval) {
            found.set(interval.began.membership).insert(ordinal)
        }
        if let open = record.intervals.first(where: { $0.cohort == cohort }), point.includes(open.sequence, open.time) {
            found.set(open.membership).insert(ordinal)
        }
    }
}

extension Engine {
    /// The customers that were `state` (IN or UNKNOWN) in `cohort` at a point of the past, without those erased since.
    /// Reads the records of all customers.
    ///
    /// - Parameters:
    ///   - point: may be `nil` with a cursor, which has one.
    ///   - cursor: where an earlier list of the same point stopped, to go on behind it; empty for the start.
    /// - Throws: as the present form and `checkMembership(customer:cohort:at:)`; `.resourceExhausted(history_scans)`.
    package func members(
        cohort id: String,
        state: Membership = .in,
        at point: PastPoint?,
        minSequence: UInt64 = 0,
        cursor: [UInt8] = [],
        deadline: ContinuousClock.Instant
    ) async throws(DomainError) -> MemberSnapshot {
        let resuming = cursor.isEmpty ? nil : try MemberCursor(cursor)
        var asked = point
        if point == nil, case .past(_, _, let earlier)? = resuming?.subject { asked = earlier }
        guard let point = asked else {
            return try await members(
                cohort: id,
                state: state,
                minSequence: minSequence,
                cursor: cursor,
                deadline: deadline
            )
        }
        guard state != .out else {
            throw .invalid("state", "must be IN or UNKNOWN; everyone else is OUT, customers never seen included")
        }
        let (resolved, cohort, version) = try await past(id, point, minSequence, deadline)
        let subject = MemberCursor.Subject.past(cohort.number, state, point)
        let start = try resuming.map { (cursor) throws(DomainError) in
            try cursor.start(of: subject, in: shared.waiters.current)
        }
        let found = version == nil ? PastMembers() : try await scan(cohort.number, point)
        return MemberSnapshot(
            shared: shared,
            bitmap: found.set(state),
            sequence: resolved.sequence,
            version: version ?? 0,
            subject: subject,
            start: start ?? 0
        )
    }

    /// How many customers `cohort` held at a point of the past, without those erased since. Reads the records of all
    /// customers.
    package func countMembers(
        cohort id: String,
        at point: PastPoint,
        minSequence: UInt64 = 0,
        deadline: ContinuousClock.Instant
    ) async throws(DomainError) -> MemberCount {
        let (resolved, cohort, version) = try await past(id, point, minSequence, deadline)
        let found = version == nil ? PastMembers() : try await scan(cohort.number, point)
        return MemberCount(
            members: found.members.count,
            unknown: found.unknown.count,
            sequence: resolved.sequence,
            cohortVersion: version ?? 0
        )
    }

    private func past(
        _ id: String,
        _ point: PastPoint,
        _ minSequence: UInt64,
        _ deadline: ContinuousClock.Instant
    ) async throws(DomainError) -> (ResolvedPoint, CohortRecord, UInt32?) {
        try await waitForSequence(minSequence, deadline: deadline)
        let resolved = try await resolve(point)
        let (cohort, version) = try cohort(id, at: point)
        // Before all is read for nothing.
        try await requireHistory(at: point)
        return (resolved, cohort, version)
    }

    private func scan(_ cohort: CohortNumber, _ point: PastPoint) async throws(DomainError) -> PastMembers {
        let scan = try PastMembersScan(shared, cohort, point)
        let result: Result<PastMembers, DomainError> = await withTaskCancellationHandler {
            do throws(DomainError) {
                return .success(try await onScanThread { scan.run() })
            } catch {
                return .failure(error)
            }
        } onCancel: {
            scan.cancel()
        }
        return try result.get()
    }
}
