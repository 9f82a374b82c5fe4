/// What the background passes have done and found. Each figure is read by itself.
package struct UpkeepStatus: Sendable, Hashable {
    package var log = LogStatus()
    package var disk = DiskStatus()
    package var drift = DriftStatus()
    package var scrub = ScrubStatus()
    package var audit = AuditUpkeepStatus()
    /// Closed intervals deleted because of their age, since the start.
    package var intervalsDeleted: UInt64 = 0

    package init() {}
}

/// What the change log holds.
package struct LogStatus: Sendable, Hashable {
    /// The first sequence that is there; 0 for an empty log.
    package var firstSequence: UInt64 = 0
    /// The commit time of that entry.
    package var firstTime: Timestamp?
    /// Bytes on storage.
    package var bytes: UInt64 = 0
    /// Entries deleted by retention since the start.
    package var entriesDeleted: UInt64 = 0
}

/// The disk of the store; zeros until it was looked at.
package struct DiskStatus: Sendable, Hashable {
    package var bytes: UInt64 = 0
    /// What of it this process could still use.
    package var freeBytes: UInt64 = 0
}

/// One walk over all customers that derives their memberships anew.
package struct DriftWalkStatus: Sendable, Hashable {
    package var startedAt: Timestamp
    /// `nil` while it goes on.
    package var completedAt: Timestamp?
    package var customers: UInt64
    package var differences: UInt64
    /// The first differences, at most `DriftWalk.samples`.
    package var samples: [AuditDifference]
}

package struct DriftStatus: Sendable, Hashable {
    /// The last walk that reached the end; `nil` before the first.
    package var completed: DriftWalkStatus?
    /// The one that goes on.
    package var current: DriftWalkStatus?
    /// Since the start, over all walks.
    package var customersChecked: UInt64 = 0
    package var differences: UInt64 = 0
}

package struct ScrubStatus: Sendable, Hashable {
    /// Erased customers of whom log or history may still hold something.
    package var pending = 0
    /// When the first of them was erased.
    package var oldest: Timestamp?
    /// When the last pass was done; `nil` before the first.
    package var completedAt: Timestamp?
    /// Log entries rewritten since the start.
    package var entriesRewritten: UInt64 = 0
}
