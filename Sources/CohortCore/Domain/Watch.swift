/// A customer's new standing in a cohort, or what it is in a snapshot.
package struct WatchEvent: Sendable, Hashable {
    /// Empty for a customer that has been erased, then or since.
    package var customerID: String
    package var ordinal: Ordinal
    /// Empty for an erasure: the customer leaves every cohort.
    package var cohort: String
    package var membership: Membership
    /// `nil` in a snapshot.
    package var change: MembershipChange?
}

/// One message of a watch. Its events follow those of the page before without a gap.
package struct WatchPage: Sendable, Hashable {
    package enum Phase: Sendable, Hashable { case snapshot, changes }

    package var phase: Phase
    package var events: [WatchEvent]
    /// Where to go on behind this page. Empty in a snapshot but for its last page.
    package var cursor: [UInt8]
    /// Everything up to here has been sent; in a snapshot, its sequence.
    package var sequence: UInt64
    /// The latest sequence when the page was made.
    package var latestSequence: UInt64
    /// When the first entry not yet sent was committed; `nil` if there is none, and in a snapshot.
    package var behindSince: Timestamp?
    package var snapshotBegins: Bool
    package var snapshotEnds: Bool
}

/// The watches that run. Figures of one moment.
package struct WatchStatus: Sendable, Hashable {
    package var running: Int
    /// Sequences that the slowest of them is behind.
    package var slowestBehind: UInt64
}
