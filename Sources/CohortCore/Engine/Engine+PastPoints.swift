import Synchronization

/// A point of the past that has been found to be one.
struct ResolvedPoint: Sendable {
    let point: PastPoint
    /// The last sequence at the point; 0 where the log no longer tells for a time.
    let sequence: UInt64
}

extension CohortRecord {
    /// What decided at a point of the past.
    enum Serving {
        /// The cohort was not there.
        case notCreated
        /// No version served yet.
        case building
        case version(UInt32)
    }

    /// The sequence of the entry that created the cohort.
    var createdSequence: UInt64 { versions.first?.created.sequence ?? 0 }

    /// The version that served at a point of the past.
    func serving(at point: PastPoint) -> Serving {
        guard point.includes(createdSequence, createdAt) else { return .notCreated }
        let last = versions.lastPublished { _, published in point.includes(published.sequence, published.time) }
        return last.map { .version($0) } ?? .building
    }
}

extension DomainError {
    /// What is asked for lies after the latest sequence, or after now.
    static func inFuture(_ message: String, _ metadata: [String: String]) -> DomainError {
        .outOfRange(code: "AS_OF_IN_FUTURE", message: message, metadata: metadata)
    }

    static func beforeHistory(_ horizon: HistoryHorizon) -> DomainError {
        .outOfRange(
            code: "HISTORY_EXPIRED",
            message: "The history of that point has been deleted; the oldest that can be asked for are sequence "
                + "\(horizon.sequence) and time \(horizon.time).",
            metadata: ["oldest_sequence": "\(horizon.sequence)", "oldest_time": "\(horizon.time)"]
        )
    }

    static func notCreated(_ cohort: CohortRecord) -> DomainError {
        .outOfRange(
            code: "COHORT_NOT_CREATED",
            message: "\(cohort.id) was not there yet: it was created at sequence \(cohort.createdSequence), "
                + "\(cohort.createdAt).",
            metadata: ["created_sequence": "\(cohort.createdSequence)", "created_at": "\(cohort.createdAt)"]
        )
    }
}

extension Engine {
    /// Checks that a point is not in the future, and finds its sequence.
    ///
    /// When it returns, reads see all that belongs to the point, and no more will come: what is committed later is of later
    /// times, but for those of the very instant of the call.
    ///
    /// - Throws: `.outOfRange(AS_OF_IN_FUTURE)`.
    func resolve(_ point: PastPoint) async throws(DomainError) -> ResolvedPoint {
        try shared.requireReadable()
        let latest = shared.waiters.current
        switch point {
        case .sequence(let sequence):
            guard sequence <= latest else {
                throw .inFuture(
                    "Sequence \(sequence) has not been reached; the latest is \(latest).",
                    ["latest_sequence": "\(latest)"]
                )
            }
            return ResolvedPoint(point: point, sequence: sequence)
        case .time(let time):
            let now = shared.environment.now()
            guard time <= now else {
                throw .inFuture("\(time) is in the future; the server's time is \(now).", ["now": "\(now)"])
            }
            let shared = shared
            let search = try await onReadThread { LogSearch(shared: shared).lastSequence(by: time, through: latest) }
            switch search {
            case .found(let sequence): return ResolvedPoint(point: point, sequence: sequence)
            case .notKept: return ResolvedPoint(point: point, sequence: 0)
            case .afterLatest:
                // A commit may be under way that is of an earlier time than this; none is behind the committer.
                let (sequence, last) = try await shared.alone { ($0.sequence, $0.time) }
                if last <= time { return ResolvedPoint(point: point, sequence: sequence) }
                let again = try await onReadThread {
                    LogSearch(shared: shared).lastSequence(by: time, through: sequence)
                }
                guard case .found(let found) = again else { return ResolvedPoint(point: point, sequence: 0) }
                return ResolvedPoint(point: point, sequence: found)
            }
        }
    }

    /// The cohort called `id`, and the version that served at a point; `nil` before the first one did.
    ///
    /// - Throws: `.notFound` also for an archived one, `.outOfRange(COHORT_NOT_CREATED)`.
    func cohort(_ id: String, at point: PastPoint) throws(DomainError) -> (cohort: CohortRecord, version: UInt32?) {
        let cohort = try shared.published.withLock { $0.catalog }.cohort(id)
        switch cohort.serving(at: point) {
        case .notCreated: throw .notCreated(cohort)
        case .building: return (cohort, nil)
        case .version(let version): return (cohort, version)
        }
    }
}

/// Finds sequences by time in the change log, as far as it reaches.
private struct LogSearch: Sendable {
    enum Found: Sendable {
        case found(UInt64)
        /// The entry is no longer in the log.
        case notKept
        /// No entry up to the latest one is of a later time.
        case afterLatest
    }

    let shared: EngineShared

    /// The last of the entries up to `latest` that is not later than `time`. Times never go back.
    func lastSequence(by time: Timestamp, through latest: UInt64) -> Result<Found, DomainError> {
        shared.reading { () throws(StoreError) in
            guard let first = try row(from: 0), first.time <= time else { return .notKept }
            guard let last = try row(from: latest), last.sequence == latest else { return .notKept }
            if last.time <= time { return .afterLatest }
            var (low, high) = (first.sequence, latest)
            while high - low > 1 {
                let middle = low + (high - low) / 2
                // Retention may delete while this looks.
                guard let found = try row(from: middle), found.sequence == middle else { return .notKept }
                if found.time <= time { low = middle } else { high = middle }
            }
            return .found(low)
        }
    }

    private func row(from sequence: UInt64) throws(StoreError) -> LogRow? {
        try shared.store.readLog(from: sequence, limit: 1).first
    }
}
