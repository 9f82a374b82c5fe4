/// An accepted write with its effects. Replaying it takes no rule and no clock.
package struct LogEntry: Sendable, Hashable {
    package var sequence: UInt64
    /// Never before the previous entry's.
    package var time: Timestamp
    package var principal: String
    package var method: String
    package var change: Change
    /// The memberships that it changed one by one.
    package var transitions: [Transition]
    /// The staged memberships that it changed in bulk, no two of one cohort. An entry that has some has no transitions.
    package var bulks: [BulkReference]

    package enum Change: Sendable, Hashable {
        case attributeDeclared(AttributeDeclaration)
        case customerPut(CustomerChange)
        case customerErased(Ordinal)
        /// What is left of a put whose customer has been erased since.
        case customerPutScrubbed(ordinal: Ordinal, isNew: Bool)
        /// A rule cohort whose state is `building` serves from the publication of its first version on.
        case cohortCreated(CohortRecord)
        /// A version that is drafted and published in one.
        case ruleUpdated(RuleUpdate)
        case versionDrafted(RuleUpdate)
        case versionDiscarded(cohort: CohortNumber, version: UInt32)
        case versionPublished(cohort: CohortNumber, version: UInt32)
        case cohortArchived(CohortNumber)
        /// Whether changes of the cohort need approval from now on.
        case approvalRequired(cohort: CohortNumber, Bool)
        /// A change that needs approval, as it is from now on: asked for, decided, or further on.
        case changeRequest(ChangeRequest)
        /// Overrides or list members, made and taken back.
        case assignmentsChanged([Assignment])
        /// The same where they are many: staged in the store before the entry.
        case assignmentsStaged(AssignmentReference)
    }

    package init(
        sequence: UInt64,
        time: Timestamp,
        principal: String,
        method: String,
        change: Change,
        transitions: [Transition] = [],
        bulks: [BulkReference] = []
    ) {
        self.sequence = sequence
        self.time = time
        self.principal = principal
        self.method = method
        self.change = change
        self.transitions = transitions
        self.bulks = bulks
    }
}

/// The next version of a cohort.
package struct RuleUpdate: Sendable, Hashable {
    package var cohort: CohortNumber
    package var version: UInt32
    package var rule: String
    package var note: String
    /// As in ``CohortVersion``.
    package var revertsTo: UInt32

    package init(cohort: CohortNumber, version: UInt32, rule: String, note: String = "", revertsTo: UInt32 = 0) {
        self.cohort = cohort
        self.version = version
        self.rule = rule
        self.note = note
        self.revertsTo = revertsTo
    }
}

/// What a put changed: stale and unchanged attributes are left out.
package struct CustomerChange: Sendable, Hashable {
    package var ordinal: Ordinal
    /// The id in UTF-8 if the customer is new, else `nil`.
    package var newID: [UInt8]?
    package var attributes: [StoredAttribute]
}

/// Names memberships that were staged in the store before the entry.
package struct BulkReference: Sendable, Hashable {
    package var stage: UInt64
    package var cohort: CohortNumber
    package var version: UInt32
    package var cause: TransitionCause
    package var toIn: UInt64
    package var toOut: UInt64
    package var toUnknown: UInt64
}
