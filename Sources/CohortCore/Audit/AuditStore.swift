/// Where the chain of audit rows is kept: beside the change log, in the same transactions. `Store.append` and what
/// `StoreUpkeep` does to log entries add to it as well. Called from any thread.
package protocol AuditStore: Sendable {
    /// The end of the chain as this process has written or found it; `nil` before the first row.
    var head: AuditHead? { get }

    var keys: AuditKeys { get }

    /// Adds rows at the end, all or none, and returns once they are durable. Without any, only what the chain itself has
    /// to say: that it begins, or that the key is another.
    ///
    /// - Parameter now: the time of the rows; one before the last row's becomes that.
    func append(_ records: [AuditRecord], at now: Timestamp) throws(StoreError)

    /// Rows in order of position, from `position` on, or down from it; at most `limit`.
    func rows(from position: UInt64, descending: Bool, limit: Int) throws(StoreError) -> [AuditRow]

    /// What verification needs of the chain from `position` on, at one moment.
    ///
    /// - Parameters:
    ///   - limit: rows.
    ///   - entries: log entries after which no further row is taken.
    func piece(from position: UInt64, limit: Int, entries: Int) throws(StoreError) -> AuditPiece

    /// Removes rows of their own age: those before `time` among the `limit` rows from `position` on, but neither the first
    /// row of the chain, nor the last, nor those that go with the log.
    ///
    /// - Returns: how many, and where to go on; that is the first row that is too young, if there is one.
    func deleteRows(from position: UInt64, before time: Timestamp, limit: Int) throws(StoreError) -> (
        deleted: Int, next: UInt64
    )

    func figures() throws(StoreError) -> AuditStoreFigures
}

package struct AuditStoreFigures: Sendable, Hashable {
    /// Rows in the chain.
    package var rows: UInt64 = 0
    /// When the oldest row but the very first was written.
    package var oldest: Timestamp?
    /// Log entries that follow the last group in the chain: nobody but the server adds entries, and it adds both at once.
    package var unaccounted: ClosedRange<UInt64>?

    package init() {}
}

/// A part of the chain, with everything that it is verified against.
package struct AuditPiece: Sendable {
    package struct Entry: Sendable, Hashable {
        package var sequence: UInt64
        /// The hash of the entry as it was committed.
        package var hash: [UInt8]

        package init(sequence: UInt64, hash: [UInt8]) {
            self.sequence = sequence
            self.hash = hash
        }

        /// - Parameter seal: of an entry that the server has rewritten. One that does not fit stands for nothing.
        package init(_ row: LogRow, seal: AuditSeal?, _ keys: AuditKeys) {
            self.init(sequence: row.sequence, hash: seal?.original(of: row, keys) ?? row.auditHash)
        }
    }

    /// In order of position.
    package var rows: [AuditRow] = []
    /// Those that reach into the rows, or lie before, between or right behind them, in order.
    package var gaps: [AuditGap] = []
    package var floor: AuditFloor?
    /// The entries of each group among the rows, in order, by the position of its row.
    package var entries: [UInt64: [Entry]] = [:]
    /// The sequences of all that the log holds.
    package var log: ClosedRange<UInt64>?
    /// Whether the chain ends with these rows.
    package var isLast = false

    package init() {}
}
