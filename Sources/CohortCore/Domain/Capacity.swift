/// What the engine holds and how far it is from its limits.
package struct EngineCapacity: Sendable, Hashable {
    /// Those that are not archived, in order of creation.
    package var cohorts: [CohortCapacity]
    package var indexBytes: Int
    /// Bytes of the index for ids and the way to them.
    package var identifierBytes: Int
    package var pendingBytes: Int
    package var sizes: StoreSizes
    package var limits: [LimitUse]
}

/// What one cohort takes.
package struct CohortCapacity: Sendable, Hashable {
    package var id: String
    package var members: UInt64
    package var unknown: UInt64
    /// Bytes of the cohort's bitmaps.
    package var membersBytes: Int
    package var unknownBytes: Int
    package var includeBytes: Int
    package var excludeBytes: Int
    package var listBytes: Int
    /// Bytes in memory of bulk changes that records have not taken in.
    package var stagedBytes: Int
    /// `nil` for a list.
    package var rule: RuleCapacity?
}

/// What one rule costs.
package struct RuleCapacity: Sendable, Hashable {
    package var version: UInt32
    package var nodes: Int
    package var instructions: Int
    /// The most cost units of one evaluation without the limit; `UInt64.max` where that is unbounded.
    package var costBound: UInt64
    /// Mean cost units of the sampled evaluations of this version.
    package var meanCost: Double
    /// Evaluations in the sample; 0 right after a start.
    package var samples: UInt64
}

/// How much of a limit is used.
package struct LimitUse: Sendable, Hashable {
    /// The setting, as `limits.cohorts`, or what is limited.
    package var name: String
    package var used: UInt64
    package var limit: UInt64

    package init(_ name: String, _ used: some BinaryInteger, of limit: some BinaryInteger) {
        self.name = name
        self.used = UInt64(clamping: used)
        self.limit = UInt64(clamping: limit)
    }

    /// From 0; more than 1 where a limit was lowered below what there is.
    package var fraction: Double { limit == 0 ? 0 : Double(used) / Double(limit) }
}
