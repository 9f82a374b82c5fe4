/// The audit, as an operator sees it.
package struct AuditStatus: Sendable, Hashable {
    /// The end of the chain; `nil` before the first row.
    package var head: AuditHead?
    /// The key that rows are made with.
    package var keyID: UInt64
    /// Rows that were lost since the start because too many waited for the store.
    package var lost: UInt64
    /// Rows that wait for the store, and the most that may.
    package var buffered: Int
    package var bufferLimit: Int
    /// Whether it is being verified.
    package var isVerifying: Bool
    package var upkeep: AuditUpkeepStatus
}

/// What upkeep and verification note of the audit; of the last look.
package struct AuditUpkeepStatus: Sendable, Hashable {
    /// Rows in the chain.
    package var rows: UInt64 = 0
    /// When the oldest but the very first was written.
    package var oldest: Timestamp?
    /// Rows deleted because of their age, since the start.
    package var rowsDeleted: UInt64 = 0
    /// The last verification that came to an end; `nil` before the first.
    package var verification: AuditVerificationStatus?

    package init() {}
}

package struct AuditVerificationStatus: Sendable, Hashable {
    package var completedAt: Timestamp
    package var rows: UInt64
    package var entries: UInt64
    package var findings: UInt64
}
