/// Whether a customer is in a cohort, with everything needed to trust the answer.
package struct MembershipAnswer: Sendable, Hashable {
    package var membership: Membership
    /// The answer after the cohort's fail policy; `nil` when UNKNOWN and the policy says so.
    package var member: Bool?
    package var reason: Reason
    /// The sequence at which the answer holds.
    package var sequence: UInt64
    package var cohortVersion: UInt32
    /// When the present membership began; `nil` for OUT, and when it was not asked for.
    package var since: Timestamp?
    /// For `Reason.ruleError` the attribute or operation that failed; else empty.
    package var detail: String
}

/// A synchronous attempt at an answer.
package enum Attempt<Answer: Sendable>: Sendable {
    case answer(Answer)
    /// Ask again with the waiting form: the sequence is not reached yet, or the store must be read.
    case wait
}

package typealias CheckAttempt = Attempt<MembershipAnswer>

/// What many answers of one batch have in common.
package struct BatchAnswer: Sendable, Hashable {
    /// The sequence at which all of them hold.
    package var sequence: UInt64
    /// One for each cohort that was asked about.
    package var cohorts: [Cohort]

    package struct Cohort: Sendable, Hashable {
        package var version: UInt32
        package var failPolicy: FailPolicy
    }
}

/// One answer of a batch.
package struct BatchedMembership: Sendable, Hashable {
    package var membership: Membership
    package var reason: Reason
}

/// One cohort that a customer is IN or UNKNOWN in.
package struct CohortMembership: Sendable, Hashable {
    package var cohort: String
    package var membership: Membership
    package var version: UInt32
}

/// The cohorts of one customer at one sequence.
package struct CustomerCohorts: Sendable, Hashable {
    package var sequence: UInt64
    /// Whether the customer is known.
    package var found: Bool
    /// IN and UNKNOWN, in order of the cohorts' creation.
    package var memberships: [CohortMembership]
}

/// How many customers a cohort holds at one sequence.
package struct MemberCount: Sendable, Hashable {
    package var members: UInt64
    package var unknown: UInt64
    package var sequence: UInt64
    /// The serving version.
    package var cohortVersion: UInt32
}

/// One attribute of one customer.
package struct AttributeView: Sendable, Hashable {
    package var name: String
    package var value: AttributeValue
    package var eventTime: Timestamp
}

/// A customer at one sequence.
package struct CustomerView: Sendable, Hashable {
    package var id: String
    /// In order of declaration.
    package var attributes: [AttributeView]
    package var cohorts: [CohortMembership]
    package var sequence: UInt64
    package var createdAt: Timestamp
}

/// What the engine is doing.
package enum EngineState: UInt8, Sendable, Hashable {
    /// Not started, or loading the index.
    case loading = 0
    case serving
    /// Reads are served; writes wait for the store.
    case storeUnavailable
    case stopping
    case stopped
    /// Start was refused, or the store was found to contradict itself while running.
    case failed
}

/// Figures for operators, each read by itself: they need not belong to one instant.
package struct EngineStatus: Sendable, Hashable {
    package var state: EngineState
    /// 32 hexadecimal digits; tells the sequences of two stores apart. Empty until loaded.
    package var storeID: String
    /// The last sequence that reads see.
    package var sequence: UInt64
    /// The last sequence that the store's tables hold.
    package var appliedSequence: UInt64
    package var customers: UInt64
    /// Rows waiting for the committer.
    package var queueDepth: Int
    /// Rows the queue takes before it refuses.
    package var queueCapacity: Int
    /// Bytes that the index holds: ids, tables and bitmaps.
    package var indexBytes: Int
    /// Bytes of the records that are not in the store's tables yet.
    package var pendingBytes: Int
    /// Bytes of the store, the log included.
    package var storeBytes: UInt64
    /// What the background passes have done.
    package var upkeep: UpkeepStatus
    /// Versions being built, or waiting for it: the one being built first.
    package var builds: [BuildView]
    /// The watches that run.
    package var watches: WatchStatus
    /// The changes that wait for approval.
    package var approvals: ApprovalStatus
    package var audit: AuditStatus
    /// Of the store's writes and reads.
    package var breakers: [StoreBreakerStatus]
    /// What is wrong, fit for an operator; empty if nothing.
    package var problem: String
}
