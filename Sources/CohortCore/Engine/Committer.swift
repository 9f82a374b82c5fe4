import Synchronization

/// The single writer: takes writes in order, makes them entries, has the store keep them, and only then lets anyone see.
///
/// All of its state belongs to one thread: the one that starts the engine, until the committer's own takes over.
final class Committer: @unchecked Sendable {
    // Unchecked: confined to one thread at a time, as said above.
    let shared: EngineShared
    let classifier = Classifier()
    var catalog = CatalogState()
    var rules = RuleSet()
    /// Bulk changes that some record may not have taken in, in order of sequence.
    var bulks: [AppliedBulk] = []
    /// The last sequence that is durable.
    var sequence: UInt64 = 0
    /// The commit time of the last entry.
    var time = Timestamp.minimum
    var nextOrdinal: Ordinal = 0
    /// Customers whose creation the log no longer tells: replaying it never makes them.
    var scrubbedAway: Set<Ordinal> = []
    /// Who changes, for a build that goes on beside; `nil` while none does.
    var changed: ChangedCustomers?
    /// Set when it is not known what the log holds: nothing is written until it is.
    private var logIsUncertain = false

    init(shared: EngineShared) { self.shared = shared }

    var configuration: EngineConfiguration { shared.configuration }

    /// Serves the queue until it is closed and empty.
    func run() {
        while let work = shared.queue.take(rows: configuration.groupRows) {
            shared.pending.waitForRoom()
            switch work {
            case .rows(let requests): commit(requests)
            case .barrier(let request): request.run(self)
            }
        }
    }

    /// A commit time for now: never before an earlier entry's.
    func commitTime() -> Timestamp { max(shared.environment.now(), time) }

    // MARK: Records

    /// A record brought up to date, with the intervals that bulk changes have ended since it was written.
    struct Loaded {
        var record: CustomerRecord
        var closed: [ClosedInterval]
    }

    /// The records of known customers: those not yet in the tables from memory, the others from the store.
    ///
    /// - Parameter ordinals: ascending.
    func load(_ ordinals: [Ordinal]) throws(StoreError) -> [Ordinal: Loaded] {
        var result: [Ordinal: Loaded] = [:]
        result.reserveCapacity(ordinals.count)
        var stored: [Ordinal] = []
        for (ordinal, lookup) in zip(ordinals, shared.pending.lookup(ordinals)) {
            switch lookup {
            case .absent: stored.append(ordinal)
            case .erased: break
            case .record(let bytes):
                result[ordinal] = try bytes.withUnsafeRecord { (bytes) throws(StoreError) in try decode(bytes, ordinal)
                }
            }
        }
        guard !stored.isEmpty else { return result }
        try shared.environment.readBreaker.call { () throws(StoreError) in
            try shared.store.readCustomers(stored) { (i, bytes) throws(StoreError) in
                result[stored[i]] = try decode(bytes, stored[i])
            }
        }
        return result
    }

    func decode(_ bytes: UnsafeRawBufferPointer, _ ordinal: Ordinal) throws(StoreError) -> Loaded {
        do throws(CodecError) {
            var record = try CustomerRecord(decoding: bytes)
            let closed = record.fold(bulks, ordinal: ordinal)
            return Loaded(record: record, closed: closed)
        } catch {
            throw .corrupt("the record of customer \(ordinal) cannot be read: \(error.message)")
        }
    }

    // MARK: Commit

    /// Makes the entries durable. When it returns, they are, and nothing of them is visible yet.
    ///
    /// - Throws: what to answer where they are not, or may not be.
    func persist(_ rows: [LogRow]) throws(DomainError) {
        guard let first = rows.first, let last = rows.last else { return }
        // Only left behind by an engine that is stopping or has failed.
        if logIsUncertain { throw storeUnavailable("Nothing was written.") }
        do {
            let begin = ContinuousClock.now
            try shared.environment.writeBreaker.call { () throws(StoreError) in try shared.store.append(rows) }
            shared.environment.observed(.committed(entries: rows.count, nanoseconds: begin.nanosecondsSince))
        } catch {
            if case .circuitOpen(let wait) = error { throw shared.circuitOpen(wait) }
            logIsUncertain = true
            shared.setProblem(.log, error.message)
            shared.move(from: .serving, to: .storeUnavailable)
            shared.log(.error, "append to the change log failed", [("error", error.message)])
            let reached = try settle(expecting: last.sequence, orElse: first.sequence - 1)
            guard reached == last.sequence else { throw storeUnavailable("Nothing was written.") }
            return
        }
        if shared.state == .storeUnavailable { shared.move(from: .storeUnavailable, to: .serving) }
        if shared.figures.withLock({ $0.problems[.log] != nil }) { shared.setProblem(.log, nil) }
    }

    /// Reopens the log and finds out how far it reaches, trying until it answers or the engine stops.
    ///
    /// - Returns: the log's last sequence, one of the two given.
    private func settle(expecting expected: UInt64, orElse previous: UInt64) throws(DomainError) -> UInt64 {
        var backoff = 0.02
        while true {
            do {
                let last = try shared.environment.writeBreaker.attempt { () throws(StoreError) in
                    try shared.store.recoverLog()
                }
                guard last == expected || last == previous else {
                    shared.state = .failed
                    let problem = "the log ends at \(last), where \(previous) or \(expected) was written"
                    shared.setProblem(.log, problem)
                    shared.log(.error, "the change log contradicts what was written", [("problem", problem)])
                    throw DomainError.dataLoss(message: "The change log contradicts what was written to it.")
                }
                logIsUncertain = false
                shared.move(from: .storeUnavailable, to: .serving)
                return last
            } catch let error as StoreError {
                shared.setProblem(.log, error.message)
                if shared.state == .stopping || shared.state == .failed {
                    throw storeUnavailable("Whether the write was kept is not known.")
                }
            } catch let error as DomainError {
                throw error
            } catch {
                throw .internal(message: "unexpected error")
            }
            // Those behind need not wait for what may take long: nothing of them was touched.
            if let refusal = shared.writeRefusal() { shared.queue.refuseRows(refusal) }
            _ = Monitor(0).wait(seconds: backoff) { _ -> Bool? in nil }
            backoff = min(backoff * 2, 1)
        }
    }

    func storeUnavailable(_ consequence: String) -> DomainError {
        .unavailable(
            reason: UnavailableReason.storeUnavailable,
            message: "The store does not answer. \(consequence)",
            retryAfter: configuration.retryAfter
        )
    }

    /// What reading the store failed with, as an answer: nothing has been written then.
    func answer(to error: StoreError) -> DomainError {
        if case .circuitOpen(let wait) = error { return shared.circuitOpen(wait) }
        shared.log(.error, "the store failed", [("error", error.message)])
        shared.setProblem(.tables, error)
        if case .corrupt = error {
            return .dataLoss(message: "A stored record cannot be read. Nothing was written.")
        }
        return storeUnavailable("Nothing was written.")
    }

    /// Lets everyone see durable entries.
    func publish(
        _ entries: [LogEntry],
        _ changes: PendingChanges,
        bulks: [BulkChange] = [],
        assignments: AssignmentChange? = nil
    ) {
        guard let last = entries.last else { return }
        if let changed {
            for entry in entries { changed.add(entry) }
            for bulk in bulks { changed.add(bulk) }
            if let assignments { changed.add(assignments) }
        }
        shared.pending.add(changes)
        let prepared = bulks.map { shared.index.prepare($0) }
        let preparedAssignments = assignments.map { shared.index.prepare($0) }
        var start = 0
        while start < entries.count {
            // No more than a segment of the directory has room for before it is split.
            let end = min(start + min(configuration.publishSlice, 256), entries.count)
            shared.index.lock.withWriteLock {
                for i in start..<end {
                    shared.index.apply(entries[i], bulks: prepared, assignments: preparedAssignments)
                }
            }
            start = end
            shared.index.maintain()
        }
        sequence = last.sequence
        time = last.time
        nextOrdinal = changes.nextOrdinal
        shared.tail.append(entries)
        shared.waiters.advance(to: sequence)
        shared.watchWaiters.advance(to: sequence)
    }

    /// Makes changes of attributes, cohorts, rules and bulks visible beside the index.
    func publishCatalog() {
        shared.published.withLock {
            $0.catalog = catalog
            $0.rules = rules
            $0.bulks = bulks
        }
    }
}

extension [UInt8] {
    /// `withUnsafeBytes` with a typed error.
    func withUnsafeRecord<R>(_ body: (UnsafeRawBufferPointer) throws(StoreError) -> R) throws(StoreError) -> R {
        let result = withUnsafeBytes { bytes in Result { () throws(StoreError) in try body(bytes) } }
        return try result.get()
    }
}

extension ContinuousClock.Instant {
    /// Nanoseconds from then to now.
    var nanosecondsSince: Int64 {
        let (seconds, attoseconds) = duration(to: .now).components
        return seconds * 1_000_000_000 + attoseconds / 1_000_000_000
    }
}
