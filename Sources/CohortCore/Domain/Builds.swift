/// What a build does.
package enum BuildPhase: UInt8, Sendable, Hashable {
    /// It waits for another one.
    case waiting
    /// Every customer is evaluated.
    case scanning
    /// Customers that changed meanwhile are evaluated again.
    case catchingUp
    /// The new membership is made durable and takes the place of the old one.
    case switching
}

/// The membership of a version being built, as operators see it.
package struct BuildView: Sendable, Hashable {
    package var cohort: String
    /// 0 for a rule that is previewed and not kept.
    package var version: UInt32
    package var isPreview: Bool
    package var phase: BuildPhase
    /// Customers evaluated, and to evaluate.
    package var done: UInt64
    package var total: UInt64
    /// `nil` while it waits.
    package var startedAt: Timestamp?
    /// About how long it still takes; `nil` where that cannot be told yet.
    package var remaining: Duration?
}

/// What is to be previewed.
package enum PreviewCandidate: Sendable, Hashable {
    /// A draft, or a version that has served.
    case version(UInt32)
    /// A rule that is not kept.
    case rule(String)
}

/// What publishing would change, all of it at one sequence.
package struct PublishPreview: Sendable, Hashable {
    package var sequence: UInt64
    /// The cohort's own change first, then those of the cohorts that depend on it and would change.
    package var diffs: [MembershipDiff]
    /// Customers that were evaluated.
    package var customers: UInt64
    /// Why the rule cannot be decided, the most frequent reason first.
    package var errors: [RuleErrorCount]
}

/// Who would change membership in one cohort.
package struct MembershipDiff: Sendable, Hashable {
    package var cohort: String
    package var entering: UInt64
    /// Those who would become UNKNOWN included.
    package var leaving: UInt64
    /// Those who are IN included.
    package var becomingUnknown: UInt64
    package var unknownToOut: UInt64
    package var membersBefore: UInt64
    package var membersAfter: UInt64
    package var unknownBefore: UInt64
    package var unknownAfter: UInt64
    package var enteringSample: [PreviewedCustomer]
    package var leavingSample: [PreviewedCustomer]
    package var becomingUnknownSample: [PreviewedCustomer]
}

/// A customer of a sample.
package struct PreviewedCustomer: Sendable, Hashable {
    package var id: String
    package var before: Membership
    package var after: Membership
    /// The attributes that the rule reads and the customer has, as CEL text.
    package var attributes: [String: String]
    /// The expression that decides; empty where none does.
    package var deciding: String
    /// Why the rule cannot be decided; empty where it can.
    package var detail: String
}

/// Customers for whom a rule cannot be decided, by the reason.
package struct RuleErrorCount: Sendable, Hashable {
    /// The attribute that is absent; empty if it is none.
    package var attribute: String
    package var detail: String
    package var customers: UInt64
}
