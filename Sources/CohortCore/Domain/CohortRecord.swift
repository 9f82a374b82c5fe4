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
    /// Whether another principal has to approve what changes it for everyone.
    package var approvalRequired: Bool
    /// In order of number, from 1 on without a gap.
    package private(set) var versions: [CohortVersion]
    /// The number of the version that serves; 0 before the first one does.
    package private(set) var serving: UInt32 = 0

    package init(
        number: CohortNumber,
        id: String,
        kind: CohortKind,
        failPolicy: FailPolicy,
        description: String,
        state: CohortLifecycle,
        createdAt: Timestamp,
        updatedAt: Timestamp,
        approvalRequired: Bool = false,
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
        self.approvalRequired = approvalRequired
        self.versions = versions
        serving = Self.serving(versions)
    }

    /// The same cohort with its first version alone.
    init(_ cohort: CohortRecord, first: CohortVersion) {
        self = cohort
        versions = [first]
        serving = Self.serving(versions)
    }

    /// The version that serves, or is to be the first.
    package var version: UInt32 { max(serving, 1) }
    /// Its rule; `nil` for a list.
    package var rule: String? { versions[Int(version) - 1].rule }
    /// The number that the next version gets.
    package var nextVersion: UInt32 { UInt32(versions.count) + 1 }

    package func version(_ number: UInt32) -> CohortVersion? {
        number >= 1 && number <= versions.count ? versions[Int(number) - 1] : nil
    }

    /// Adds the next version.
    mutating func add(_ version: CohortVersion) {
        precondition(version.number == nextVersion, "versions are numbered without gaps")
        versions.append(version)
        if version.published != nil { serving = version.number }
    }

    /// Has a draft serve.
    mutating func publish(_ number: UInt32, _ change: CohortVersion.Change) {
        versions[Int(number) - 1].published = change
        serving = number
    }

    mutating func discard(_ number: UInt32) { versions[Int(number) - 1].isDiscarded = true }

    /// - Parameter building: the number of the version that is being built.
    package func state(of version: CohortVersion, building: UInt32? = nil) -> VersionState {
        if version.isDiscarded { return .discarded }
        if version.number == serving { return .active }
        if version.published != nil { return .retired }
        return version.number == building || state == .building ? .building : .draft
    }

    /// The version that served before the one that serves; `nil` if none did.
    var served: UInt32? { versions.lastPublished { version, _ in version.number != serving } }

    private static func serving(_ versions: [CohortVersion]) -> UInt32 { versions.lastPublished { _, _ in true } ?? 0 }
}

extension [CohortVersion] {
    /// The number of the version that was published last, of those that `isWanted` picks: drafts may be published in another
    /// order than that of their numbers.
    func lastPublished(where isWanted: (CohortVersion, CohortVersion.Change) -> Bool) -> UInt32? {
        var last: (number: UInt32, sequence: UInt64)?
        for version in self {
            guard let published = version.published, isWanted(version, published) else { continue }
            if published.sequence >= last?.sequence ?? 0 { last = (version.number, published.sequence) }
        }
        return last?.number
    }
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
