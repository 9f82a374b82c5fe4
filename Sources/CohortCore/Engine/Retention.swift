import Synchronization

/// Deletes the oldest entries of the log, by age and by size, and gives their space back.
struct LogRetention {
    private static let shrinkBytes = 1 << 20
    private static let bulkChanges = 4
    /// About what an entry takes besides its payload.
    private static let entryOverhead = 24

    /// Up to here the tables survive a power failure.
    private var secured: UInt64 = 0

    /// - Returns: whether there is more to do at once.
    mutating func step(_ shared: EngineShared, _ now: Timestamp) throws(StoreError) -> Bool {
        let upkeep = shared.store.upkeep
        let sizes = upkeep.sizes
        // Also where what follows fails: a full disk is a likely cause.
        shared.updateUpkeep { $0.disk = DiskStatus(bytes: sizes.diskBytes, freeBytes: sizes.diskFreeBytes) }
        let deleted = try deleteEntries(shared, upkeep, sizes, now)
        let first = try upkeep.oldestEntries(limit: 1).first
        shared.updateUpkeep {
            $0.log.firstSequence = first?.sequence ?? 0
            $0.log.firstTime = first?.time
            $0.log.bytes = sizes.logBytes
            $0.log.entriesDeleted += UInt64(deleted)
        }
        var more = deleted > 0
        if let first, first.sequence > 1 {
            let changes = try upkeep.deleteBulkChanges(through: first.sequence - 1, limit: Self.bulkChanges)
            if changes > 0 { more = true }
            let slack = shared.configuration.logSlackBytes
            if try upkeep.shrinkLog(bytes: Self.shrinkBytes, slack: slack) { more = true }
        }
        return more
    }

    private mutating func deleteEntries(
        _ shared: EngineShared,
        _ upkeep: any StoreUpkeep,
        _ sizes: StoreSizes,
        _ now: Timestamp
    ) throws(StoreError) -> Int {
        let configuration = shared.configuration
        let oldestKept = configuration.logRetentionAge.map { now.advanced(bySeconds: -$0) } ?? .minimum
        let limit = configuration.logRetentionBytes ?? .max
        var excess = sizes.logUsedBytes > limit ? Int(clamping: sizes.logUsedBytes - limit) : 0
        guard let first = try upkeep.oldestEntries(limit: 1).first, first.time < oldestKept || excess > 0 else {
            return 0
        }
        var through: UInt64 = 0
        var bytes = 0
        for entry in try upkeep.oldestEntries(limit: configuration.retentionBatchRows) {
            guard entry.time < oldestKept || excess > 0,
                bytes == 0 || bytes + entry.bytes <= configuration.retentionBatchBytes
            else { break }
            through = entry.sequence
            bytes += entry.bytes
            excess -= entry.bytes + Self.entryOverhead
        }
        // Syncing the tables is dear: once for as much as possible.
        if through > secured { secured = try upkeep.secureTables() }
        return try upkeep.deleteEntries(through: min(through, secured))
    }
}

/// Deletes memberships that have been over for long, in a walk over all customers once a day.
struct HistoryRetention {
    private static let period: Int64 = 86_400
    private static let ordinals: Ordinal = 4_096

    private var next: Ordinal?
    private var startedAt: Timestamp?

    /// - Returns: whether there is more to do at once.
    mutating func step(_ shared: EngineShared, _ now: Timestamp) throws(StoreError) -> Bool {
        guard let age = shared.configuration.historyRetentionAge else { return false }
        if next == nil {
            guard startedAt.map({ now >= $0.advanced(bySeconds: min(Self.period, max(age, 1))) }) ?? true else {
                return false
            }
            startedAt = now
            next = 0
        }
        let first = next ?? 0
        // Erased customers have had ordinals too.
        let end = shared.figures.withLock { $0.nextOrdinal }
        guard first < end else {
            next = nil
            return false
        }
        let last = first + min(Self.ordinals, end - first) - 1
        let deleted = try shared.store.upkeep.deleteIntervals(
            of: first...last,
            endedBefore: now.advanced(bySeconds: -age)
        )
        if deleted > 0 { shared.updateUpkeep { $0.intervalsDeleted += UInt64(deleted) } }
        next = last + 1
        return true
    }
}
