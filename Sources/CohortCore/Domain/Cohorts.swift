/// How a cohort's members are decided. Raw values are stored and never change meaning.
package enum CohortKind: UInt8, Sendable, Hashable {
    /// By a rule over the customer's attributes.
    case rule = 1
    /// By a list that is kept by hand.
    case list = 2
}

/// What UNKNOWN means to a caller that wants a boolean. Raw values are stored and never change meaning.
package enum FailPolicy: UInt8, Sendable, Hashable {
    /// Nothing: the boolean stays absent.
    case unknown = 0
    /// A member.
    case memberIn = 1
    /// No member.
    case memberOut = 2
}

/// A customer's standing in a cohort. Raw values are stored and never change meaning.
package enum Membership: UInt8, Sendable, Hashable {
    case out = 0
    case `in` = 1
    case unknown = 2
}

/// Why a membership is what it is.
package enum Reason: UInt8, Sendable, Hashable {
    case ruleMatch = 1
    case ruleNoMatch
    /// The rule could not be decided for this customer, mostly because an attribute it reads is absent.
    case ruleError
    case overrideInclude
    case overrideExclude
    case listed
    case notListed
    case customerNotFound
    /// The cohort's first version is still being built.
    case building
}

/// What moved a customer from one membership to another. Raw values are stored and never change meaning.
package enum TransitionCause: UInt8, Sendable, Hashable {
    case attribute = 1
    case rule
    case override
    case list
    /// Another cohort that the rule refers to, or the cohort itself being archived.
    case cohort
    case time
    case erase
}

/// The life of a cohort. Raw values are stored and never change meaning.
package enum CohortLifecycle: UInt8, Sendable, Hashable {
    case building = 1
    case active = 2
    case archived = 3
}

/// What a caller gives to create a cohort.
package struct CohortDefinition: Sendable {
    package var id: String
    package var kind: CohortKind
    /// The CEL source; required for a rule cohort, refused for a list.
    package var rule: String?
    package var failPolicy: FailPolicy
    package var description: String
    /// Whether another principal has to approve its later changes.
    package var approvalRequired: Bool

    package init(
        id: String,
        kind: CohortKind,
        rule: String?,
        failPolicy: FailPolicy = .unknown,
        description: String = "",
        approvalRequired: Bool = false
    ) {
        self.id = id
        self.kind = kind
        self.rule = rule
        self.failPolicy = failPolicy
        self.description = description
        self.approvalRequired = approvalRequired
    }
}

/// A cohort as callers see it, with its counts at the moment of asking.
package struct CohortView: Sendable, Hashable {
    package var id: String
    package var kind: CohortKind
    package var failPolicy: FailPolicy
    /// The CEL source of the serving version; `nil` for a list.
    package var rule: String?
    /// The number of the serving version, from 1.
    package var version: UInt32
    package var state: CohortLifecycle
    package var createdAt: Timestamp
    package var updatedAt: Timestamp
    /// Customers that are IN.
    package var members: UInt64
    /// Customers that are UNKNOWN.
    package var unknown: UInt64
    package var includeCount: UInt64
    package var excludeCount: UInt64
    package var description: String
    /// Whether another principal has to approve a publish, an archive and an erasure of all members.
    package var approvalRequired: Bool
}

/// Declared attributes (in slot order) and cohorts (in order of creation, archived ones included).
package struct Catalog: Sendable {
    package var attributes: [AttributeDeclaration]
    package var cohorts: [CohortView]

    /// The attribute called `name`, or `nil`.
    package func attribute(_ name: String) -> AttributeDeclaration? { attributes.first { $0.name == name } }
    /// The cohort called `id`, or `nil`.
    package func cohort(_ id: String) -> CohortView? { cohorts.first { $0.id == id } }
}
