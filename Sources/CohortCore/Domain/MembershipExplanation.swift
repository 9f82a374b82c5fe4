/// Why a customer is in a cohort, or not.
package struct MembershipExplanation: Sendable, Hashable {
    /// One expression of the rule that was evaluated.
    package struct Expression: Sendable, Hashable {
        /// As it stands in the rule.
        package var source: String
        /// As CEL text; empty if it could not be evaluated.
        package var value: String
        /// Why it could not be evaluated; empty if it could.
        package var error: String
        /// Where it begins in the rule, in bytes from 0.
        package var offset: Int
        /// How deep it is nested; 0 for the rule as a whole.
        package var depth: Int
        /// Whether the outcome hangs on it; one of all is.
        package var isDeciding: Bool
        /// More than 1 in a comprehension, whose last element `value` is of.
        package var evaluations: Int
    }

    package var membership: Membership
    package var reason: Reason
    /// More about the reason, as the attribute that was absent; may be empty.
    package var detail: String
    /// The sequence at which the answer holds.
    package var sequence: UInt64
    /// The version that was explained.
    package var cohortVersion: UInt32
    /// The CEL source; empty for a list.
    package var rule: String
    /// Outer before inner, in order of the source.
    package var expressions: [Expression]
    /// How the state began; `nil` for a customer that was never in the cohort, and where the history does not tell.
    package var since: MembershipChange?
    /// The attributes that the rule reads and the customer has, as CEL text.
    package var attributes: [String: String]
    /// One sentence for people.
    package var summary: String
}
