import Synchronization

/// The customers that an expression over cohorts names, at one sequence.
package struct Combination: Sendable {
    /// Who they are; its total is their number.
    package let members: MemberSnapshot
    /// How many of them are UNKNOWN in one of the cohorts that are named.
    package let unknown: UInt64
}

extension Engine {
    /// Evaluates an expression as `A and B and not C` over copies of the cohorts' bitmaps, all of one sequence.
    ///
    /// - Parameters:
    ///   - notMeansOut: `not C` takes only those that are OUT of C; else it takes those that are UNKNOWN as well.
    ///   - cursor: where an earlier snapshot of the same expression stopped, to go on behind it in a fresh one; empty for
    ///     the start.
    /// - Throws: `.invalidArgument` with the position for a malformed expression, `.notFound` for a cohort that does not
    ///   exist or is archived, `.unavailable`.
    package func combine(
        _ expression: String,
        notMeansOut: Bool = false,
        minSequence: UInt64 = 0,
        cursor: [UInt8] = [],
        deadline: ContinuousClock.Instant
    ) async throws(DomainError) -> Combination {
        let parsed = try CohortExpression(parsing: expression, configuration)
        try await waitForSequence(minSequence, deadline: deadline)
        try shared.requireReadable()
        let sets: CohortSets
        switch shared.index.snapshot(cohorts: parsed.cohorts) {
        case .success(let found): sets = found
        case .failure(let missing): throw shared.published.withLock { $0.catalog.notFound(cohort: missing.id) }
        }
        let result = parsed.evaluate(sets, notMeansOut: notMeansOut)
        let unknown = ChunkedBitmap()
        for set in sets.unknown { unknown.formUnion(set) }
        unknown.formIntersection(result)
        let subject = MemberCursor.Subject.combination(Self.digest(parsed.canonical, notMeansOut))
        let start = cursor.isEmpty ? 0 : try MemberCursor(cursor).start(of: subject, in: sets.sequence)
        return Combination(
            members: MemberSnapshot(
                shared: shared,
                bitmap: result,
                sequence: sets.sequence,
                version: 0,
                subject: subject,
                start: start
            ),
            unknown: unknown.count
        )
    }

    /// The cohorts that an expression names, whether they exist or not.
    ///
    /// - Throws: `.invalidArgument` for an expression that is none.
    package func cohorts(named expression: String) throws(DomainError) -> [String] {
        try CohortExpression(parsing: expression, configuration).cohorts
    }

    private static func digest(_ canonical: String, _ notMeansOut: Bool) -> UInt32 {
        Array((canonical + (notMeansOut ? "!" : "")).utf8).withUnsafeBytes { Checksum.crc32c($0) }
    }
}

extension MembershipIndex {
    /// A cohort that does not exist or is archived.
    struct MissingCohort: Error {
        let id: String
    }

    /// Copies of the bitmaps of some cohorts and of all known customers, at one sequence.
    func snapshot(cohorts: [String]) -> Result<CohortSets, MissingCohort> {
        lock.withReadLock {
            var numbers: [Int] = []
            for id in cohorts {
                guard let number = number(ofServing: id) else { return .failure(MissingCohort(id: id)) }
                numbers.append(Int(number))
            }
            return .success(
                CohortSets(
                    members: numbers.map { bitmaps[$0].members.copy() },
                    unknown: numbers.map { bitmaps[$0].unknown.copy() },
                    known: known.copy(),
                    sequence: sequence
                )
            )
        }
    }
}
