import Synchronization

/// Brings the store's tables up to date behind the log, in batches, and has records take in old bulk changes.
struct Materializer: Sendable {
    let shared: EngineShared

    /// Runs until there is nothing left after a stop, or the store fails then.
    func run() {
        // Whoever waits for room would wait for ever once nobody makes any. What is not written then is in the log.
        defer { shared.pending.stop() }
        let interval = shared.configuration.materializeInterval
        var pass: FoldPass?
        var foldFailures = 0
        var foldDue = ContinuousClock.now
        while true {
            if pass == nil, ContinuousClock.now >= foldDue { pass = FoldPass(shared) }
            if let step = pass, !shared.pending.isStopped {
                // Folding goes on between the batches, which come first.
                if let generation = shared.pending.takeNow(), !flush(generation) { return }
                do throws(StoreError) {
                    if let batch = try step.nextBatch() { try apply(batch) }
                    pass = step.advanced()
                    if pass == nil {
                        foldFailures = 0
                        shared.setProblem(.folding, nil)
                    }
                } catch {
                    // Folding can wait, the tables cannot: they go on, and a new pass begins later.
                    pass = nil
                    foldDue = .now + .milliseconds(interval << min(foldFailures, 6))
                    foldFailures += 1
                    shared.setProblem(.folding, error)
                    shared.log(.error, "having records take in bulk changes failed", [("error", error.message)])
                }
            } else {
                switch shared.pending.takeForFlush(seconds: Double(interval) / 1_000) {
                case .flush(let generation): guard flush(generation) else { return }
                case .nothing: break
                case .end: return
                }
            }
        }
    }

    private func flush(_ generation: PendingRecords.Generation) -> Bool {
        guard write(generation.batch()) else { return false }
        shared.pending.flushed()
        return true
    }

    private func apply(_ batch: MaterializedBatch) throws(StoreError) {
        try shared.store.apply(batch)
        shared.figures.withLock {
            $0.appliedSequence = batch.appliedSequence
            $0.appliedTime = batch.appliedTime
            $0.nextOrdinal = batch.nextOrdinal
            $0.problems[.tables] = nil
        }
    }

    /// Tries until it works. What is not written is in the log: giving up at a stop loses nothing.
    private func write(_ batch: MaterializedBatch) -> Bool {
        var backoff = 0.05
        while true {
            do throws(StoreError) {
                try apply(batch)
                return true
            } catch {
                shared.setProblem(.tables, error)
                shared.log(.error, "bringing the tables up to date failed", [("error", error.message)])
                if shared.state == .stopping || shared.state == .failed || shared.state == .stopped { return false }
            }
            _ = Monitor(0).wait(seconds: backoff) { _ -> Bool? in nil }
            backoff = min(backoff * 2, 5)
        }
    }
}

/// Rewrites the records that bulk changes concern, one chunk of ordinals after the other, so that the changes need not be
/// kept in memory and looked into for ever.
///
/// Folding is safe beside everything else: a record says up to which sequence it has been brought, whoever folds it comes
/// to the same, and only the materialiser writes the tables. The bulk changes are dropped once every record in the tables
/// has taken them in; those not in the tables yet are of later sequences.
struct FoldPass: Sendable {
    private let shared: EngineShared
    private let bulks: [AppliedBulk]
    private let last: UInt64
    private let chunks: Int
    private var chunk = 0

    /// `nil` while there is not enough to fold, or the tables are not as far.
    init?(_ shared: EngineShared) {
        let published = shared.published.withLock { $0.bulks }
        let configuration = shared.configuration
        let bytes = published.reduce(0) { $0 + $1.change.bytes }
        guard published.count > configuration.maximumBulkChanges || bytes > configuration.maximumBulkBytes else {
            return nil
        }
        let applied = shared.figures.withLock { $0.appliedSequence }
        bulks = published.filter { $0.sequence <= applied }
        guard let last = bulks.last?.sequence else { return nil }
        self.shared = shared
        self.last = last
        chunks = bulks.reduce(0) { max($0, $1.change.chunks) }
    }

    /// The records of this step's chunk; at the end, that all have been folded.
    func nextBatch() throws(StoreError) -> MaterializedBatch? {
        let figures = shared.figures.withLock { $0 }
        var batch = MaterializedBatch(
            appliedSequence: figures.appliedSequence,
            appliedTime: figures.appliedTime,
            nextOrdinal: figures.nextOrdinal,
            customers: [],
            attributes: [],
            cohorts: [],
            assignments: [],
            closed: [],
            bulks: [],
            foldedThrough: nil
        )
        guard chunk < chunks else {
            batch.foldedThrough = last
            return batch
        }
        let concerned = bulks.filter { $0.change.hasMembers(inChunk: chunk) }
        guard let latest = concerned.last else { return nil }
        let first = Ordinal(chunk * ChunkedBitmap.chunkBits)
        try shared.store.scanCustomers(first...(first + Ordinal(ChunkedBitmap.chunkBits - 1))) {
            (ordinal, _, bytes) throws(StoreError) in
            guard concerned.contains(where: { $0.change.membership(of: ordinal) != nil }) else { return }
            do throws(CodecError) {
                var record = try CustomerRecord(decoding: bytes)
                guard record.sequence < latest.sequence else { return }
                batch.closed += record.fold(concerned, ordinal: ordinal)
                record.sequence = latest.sequence
                batch.customers.append((ordinal, .update(record: record.encoded())))
            } catch {
                throw .corrupt("the record of customer \(ordinal) cannot be read: \(error.message)")
            }
        }
        return batch.customers.isEmpty ? nil : batch
    }

    /// The next step; `nil` after the last, when the bulk changes have been dropped.
    func advanced() -> FoldPass? {
        if chunk < chunks {
            var next = self
            next.chunk += 1
            return next
        }
        let last = last
        shared.published.withLock { $0.bulks.removeAll { $0.sequence <= last } }
        let drop = BarrierRequest { committer in
            committer.bulks.removeAll { $0.sequence <= last }
            committer.publishCatalog()
        }
        // A queue that is closed takes it no more, and then it does not matter.
        _ = shared.queue.submit(.barrier(drop))
        return nil
    }
}
