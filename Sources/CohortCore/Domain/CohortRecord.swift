/// One numbered, immutable version of a cohort.
package struct CohortVersion: Sendable, Hashable {
    /// From 1.
    package var number: UInt32
    /// The CEL source; `nil` for a list.
    package var rule: String?
    package var sequence: UInt64
    package var createdAt: Timestamp
    /// Who published it.
    package var principal: String

    package init(number: UInt32, rule: String?, sequence: UInt64, createdAt: Timestamp, principal: String) {
        self.number = number
        self.rule = rule
        self.sequence = sequence
        self.createdAt = createdAt
        self.principal = principal
    }
}

/// All that is stored of a cohort besides its members.
package struct CohortRecord: Sendable, Hashable {
    package var number: CohortNumber
    package var id: String
    package var kind: CohortKind
    package var failPolicy: FailPolicy
    package var description: String
    package var state: CohortLifecycle
    package var createdAt: Timestamp
    package var updatedAt: Timestamp
    /// In order of number; the last one serves.
    package var versions: [CohortVersion]

    package init(
        number: CohortNumber,
        id: String,
        kind: CohortKind,
        failPolicy: FailPolicy,
        description: String,
        state: CohortLifecycle,
        createdAt: Timestamp,
        updatedAt: Timestamp,
        versions: [CohortVersion]
    ) {
        self.number = number
        self.id = id
        self.kind = kind
        self.failPolicy = failPolicy
        self.description = description
        self.state = state
        self.createdAt = createdAt
        self.updatedAt = updatedAt
        self.versions = versions
    }

    package var version: UInt32 { versions.last?.number ?? 0 }
    package var rule: String? { versions.last?.rule }
}

/// A customer's manual assignment to a cohort. Raw values are stored and never change meaning.
package enum AssignmentKind: UInt8, Sendable, Hashable, CaseIterable {
    /// IN whatever the rule or the list says.
    case include = 1
    /// OUT whatever the rule or the list says.
    case exclude = 2
    /// On the list of a static cohort.
    case listed = 3
}

/// A manual assignment made or taken back.
package struct Assignment: Sendable, Hashable {
    package var cohort: CohortNumber
    package var kind: AssignmentKind
    package var ordinal: Ordinal
    /// `false` takes it back.
    package var present: Bool

    package init(cohort: CohortNumber, kind: AssignmentKind, ordinal: Ordinal, present: Bool) {
        self.cohort = cohort
        self.kind = kind
        self.ordinal = ordinal
        self.present = present
    }
}
