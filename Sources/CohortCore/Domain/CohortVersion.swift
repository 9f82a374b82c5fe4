/// One numbered version of a cohort. What a caller gave never changes; what became of it does.
package struct CohortVersion: Sendable, Hashable {
    /// From 1.
    package var number: UInt32
    /// The CEL source; `nil` for a list.
    package var rule: String?
    /// For people; why there is this version.
    package var note: String
    /// The entry that drafted it: for a version that was drafted and published in one call, that of the switch.
    package var created: Change
    /// The entry by which it began to serve; `nil` if it never did.
    package var published: Change?
    /// The version whose rule it took over by a revert; 0 if none.
    package var revertsTo: UInt32
    /// A draft that was given up.
    package var isDiscarded: Bool

    /// An entry that changed a version, and who made it.
    package struct Change: Sendable, Hashable {
        package var sequence: UInt64
        package var time: Timestamp
        package var principal: String

        package init(sequence: UInt64, time: Timestamp, principal: String) {
            self.sequence = sequence
            self.time = time
            self.principal = principal
        }

        init(_ entry: LogEntry) {
            self.init(sequence: entry.sequence, time: entry.time, principal: entry.principal)
        }
    }

    package init(
        number: UInt32,
        rule: String?,
        note: String = "",
        created: Change,
        published: Change? = nil,
        revertsTo: UInt32 = 0,
        isDiscarded: Bool = false
    ) {
        self.number = number
        self.rule = rule
        self.note = note
        self.created = created
        self.published = published
        self.revertsTo = revertsTo
        self.isDiscarded = isDiscarded
    }
}

/// Where a version is in its life.
package enum VersionState: Sendable, Hashable {
    case draft
    /// Its membership is being built.
    case building
    /// It serves.
    case active
    /// It has served.
    case retired
    case discarded
}

/// A version as callers see it.
package struct VersionView: Sendable, Hashable {
    package var version: CohortVersion
    package var state: VersionState
}

/// The answer to a draft, or to giving one up.
package struct DraftResult: Sendable, Hashable {
    package var version: VersionView
    package var sequence: UInt64
}
