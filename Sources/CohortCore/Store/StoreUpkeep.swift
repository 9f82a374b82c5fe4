/// What keeps a store from growing for ever, and from holding on to what was erased. Called by one thread at a time, in
/// small steps: none of them may hold up `append` for more than a few milliseconds.
///
/// Entries of the log are deleted and rewritten only up to the sequence that `secureTables` last returned: until then the
/// log may be all that survives a power failure.
package protocol StoreUpkeep: Sendable {
    var sizes: StoreSizes { get }

    /// Makes everything that the tables hold survive a power failure.
    ///
    /// - Returns: the sequence that they hold.
    func secureTables() throws(StoreError) -> UInt64

    /// The first entries of the log, at most `limit`.
    func oldestEntries(limit: Int) throws(StoreError) -> [LogEntrySize]

    /// Deletes the entries up to `sequence`, as far as the tables are secured, but never the last of the log: it says how
    /// far the log reached.
    ///
    /// - Returns: how many.
    func deleteEntries(through sequence: UInt64) throws(StoreError) -> Int

    /// Deletes up to `limit` bulk changes of entries up to `sequence` that all records have taken in.
    ///
    /// - Returns: how many.
    func deleteBulkChanges(through sequence: UInt64, limit: Int) throws(StoreError) -> Int

    /// Deletes the closed intervals of customers in `range` that ended before `time`, and moves the horizon with them.
    ///
    /// - Returns: how many.
    func deleteIntervals(of range: ClosedRange<Ordinal>, endedBefore time: Timestamp) throws(StoreError) -> Int

    /// Gives about `bytes` of unused space of the log back, if more than `slack` bytes are unused.
    ///
    /// - Returns: whether something was given back.
    func shrinkLog(bytes: Int, slack: UInt64) throws(StoreError) -> Bool

    // MARK: Erasures

    /// Erasures of which log and history may still hold something: how many, and when the first was made.
    func erasureBacklog() throws(StoreError) -> (count: Int, oldest: Timestamp?)

    /// The first `limit` of them, in order of sequence. All are in the tables.
    func erasures(limit: Int) throws(StoreError) -> [Erasure]

    /// Deletes all closed intervals of these customers.
    func deleteIntervals(of ordinals: [Ordinal]) throws(StoreError)

    /// Replaces the payloads of entries that are in the log, as far as the tables are secured.
    func rewriteEntries(_ rows: [LogRow]) throws(StoreError)

    /// Stores the rows of customers in `range` anew, so that storage keeps nothing of those that were beside them.
    func restoreCustomers(in range: ClosedRange<Ordinal>) throws(StoreError)

    /// The same for the first `limit` entries of the log.
    func restoreOldestEntries(limit: Int) throws(StoreError)

    /// Has storage drop what was deleted and overwritten.
    ///
    /// - Returns: `false` if somebody is reading it still: to be tried again.
    func dropDeleted() throws(StoreError) -> Bool

    /// Takes erasures off the backlog.
    func finishErasures(_ erasures: [Erasure]) throws(StoreError)
}

/// Bytes on storage; 0 where not known.
package struct StoreSizes: Sendable, Hashable {
    /// The change log with its write-ahead log.
    package var logBytes: UInt64 = 0
    /// The part of it that entries take.
    package var logUsedBytes: UInt64 = 0
    /// The tables with their write-ahead log.
    package var tablesBytes: UInt64 = 0
    /// What the file system has, and what of it this process could still use.
    package var diskBytes: UInt64 = 0
    package var diskFreeBytes: UInt64 = 0

    package init() {}
}

/// A log entry without its payload.
package struct LogEntrySize: Sendable, Hashable {
    package var sequence: UInt64
    package var time: Timestamp
    /// Bytes of the payload.
    package var bytes: Int

    package init(sequence: UInt64, time: Timestamp, bytes: Int) {
        self.sequence = sequence
        self.time = time
        self.bytes = bytes
    }
}

/// A customer that was erased.
package struct Erasure: Sendable, Hashable {
    package var ordinal: Ordinal
    /// The erasure's entry.
    package var sequence: UInt64
    package var time: Timestamp

    package init(ordinal: Ordinal, sequence: UInt64, time: Timestamp) {
        self.ordinal = ordinal
        self.sequence = sequence
        self.time = time
    }
}
