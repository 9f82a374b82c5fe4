/// Who writes, and through which method; kept in the log with every change.
package struct WriteContext: Sendable, Hashable {
    /// The principal of every caller that is not known by name.
    package static let anonymous = "anonymous"

    /// The authenticated caller, at most 256 bytes are kept.
    package var principal: String
    /// The full method name, at most 256 bytes are kept.
    package var method: String

    package init(principal: String, method: String) {
        self.principal = principal
        self.method = method
    }
}

/// Attributes to merge into a customer, who is created if never seen.
package struct CustomerPut: Sendable {
    /// 1 to 256 bytes of UTF-8 without control characters.
    package var customerID: String
    /// What to set, and with `nil` what to delete. A name may occur once.
    package var attributes: [(name: String, value: AttributeValue?)]
    /// When this was true at its source; the server's time if absent.
    package var eventTime: Timestamp?

    package init(
        customerID: String,
        attributes: [(name: String, value: AttributeValue?)],
        eventTime: Timestamp? = nil
    ) {
        self.customerID = customerID
        self.attributes = attributes
        self.eventTime = eventTime
    }
}

/// What a put came to.
package enum PutOutcome: UInt8, Sendable, Hashable {
    case created = 1
    case updated
    /// Nothing differed from what is stored; no sequence was taken.
    case unchanged
    /// Every attribute was older than what is stored; no sequence was taken.
    case stale
}

/// The answer to a put.
package struct PutResult: Sendable, Hashable {
    /// The put's own sequence, or the current one if it took none.
    package var sequence: UInt64
    package var outcome: PutOutcome
    /// Ids of the cohorts the customer is now IN and was not.
    package var entered: [String]
    /// Ids of the cohorts the customer was IN and is no longer.
    package var left: [String]
    /// Ids of the cohorts in which the customer has become UNKNOWN; those it was IN are in `left` too.
    package var newlyUnknown: [String]

    package init(
        sequence: UInt64,
        outcome: PutOutcome,
        entered: [String] = [],
        left: [String] = [],
        newlyUnknown: [String] = []
    ) {
        self.sequence = sequence
        self.outcome = outcome
        self.entered = entered
        self.left = left
        self.newlyUnknown = newlyUnknown
    }
}

/// The answer to an erasure.
package struct EraseResult: Sendable, Hashable {
    package var sequence: UInt64
    /// Ids of the cohorts the customer was IN.
    package var left: [String]
}

/// The answer to a declaration. Declaring again with the same type changes nothing.
package struct DeclareResult: Sendable, Hashable {
    package var declaration: AttributeDeclaration
    /// The sequence of the declaration, or the current one if it existed.
    package var sequence: UInt64
    package var created: Bool
}

/// The answer to a change of a cohort.
package struct CohortChangeResult: Sendable, Hashable {
    package var cohort: CohortView
    /// The change's own sequence, or the current one if nothing changed.
    package var sequence: UInt64
    package var changed: Bool
    /// How many customers became IN.
    package var entered: UInt64
    /// How many customers stopped being IN.
    package var left: UInt64
    /// How many customers became UNKNOWN.
    package var newlyUnknown: UInt64
    /// Set where the change waits for approval; then nothing else changed but, maybe, a version that was drafted.
    package var pending: ChangeRequestView?
}

/// The answer to a change of a static list.
package struct ListChangeResult: Sendable, Hashable {
    package var cohort: CohortView
    /// The change's own sequence, or the current one if nothing changed.
    package var sequence: UInt64
    package var added: UInt64
    package var alreadyListed: UInt64
    package var removed: UInt64
    package var notListed: UInt64
    /// Ids of no known customer, in request order.
    package var unknownCustomers: [String]
    /// Ids that no customer can have, in request order.
    package var invalidIDs: [String]
}
