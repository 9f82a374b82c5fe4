/// Many lookups under one lock, and so at one sequence.
extension MembershipIndex {
    /// Looks up the standing of many customers in one cohort, a group of them side by side.
    ///
    /// - Parameters:
    ///   - next: fills the buffer from its start with the next ids and returns how many; 0 at the end.
    ///   - each: told each customer's standing in order; `isKnown` is false for one never seen or erased. Returning false
    ///     ends the walk.
    /// - Returns: `nil` where the cohort does not exist or is archived.
    @inline(__always)
    func memberships(
        cohort: UnsafeRawBufferPointer,
        next: (UnsafeMutableBufferPointer<UnsafeRawBufferPointer>) -> Int,
        each: (_ id: UnsafeRawBufferPointer, _ isKnown: Bool, Membership, Reason) -> Bool
    ) -> BatchAnswer? {
        lock.withReadLock {
            guard let slot = serving(cohort)?.slot else { return nil }
            let size = IdentifierDirectory.Reader.groupSize
            withUnsafeTemporaryAllocation(of: UnsafeRawBufferPointer.self, capacity: size) { ids in
                withUnsafeTemporaryAllocation(of: Ordinal?.self, capacity: size) { ordinals in
                    guard let found = ordinals.baseAddress else { return }
                    while true {
                        let count = next(ids)
                        if count == 0 { return }
                        customers.reader.ordinals(of: UnsafeBufferPointer(rebasing: ids[..<count]), into: found)
                        for i in 0..<count {
                            if let ordinal = found[i] { slot.pointee.members.prefetch(ordinal) }
                        }
                        for i in 0..<count {
                            guard let ordinal = found[i] else {
                                guard each(ids[i], false, .out, .customerNotFound) else { return }
                                continue
                            }
                            let (membership, reason) = Self.standing(ordinal, in: slot)
                            guard each(ids[i], true, membership, reason) else { return }
                        }
                    }
                }
            }
            return BatchAnswer(sequence: sequence, cohorts: [Self.facts(of: slot)])
        }
    }

    /// The standing of one customer in many cohorts, in their order.
    ///
    /// - Returns: `nil` at the first cohort that does not exist or is archived, which `missing` then names by its place.
    func memberships(
        customer: UnsafeRawBufferPointer,
        cohorts: [String],
        missing: inout Int
    ) -> (answer: BatchAnswer, memberships: [BatchedMembership], isKnown: Bool)? {
        lock.withReadLock {
            let ordinal = customers.ordinal(of: customer)
            var answer = BatchAnswer(sequence: sequence, cohorts: [])
            var memberships: [BatchedMembership] = []
            for (i, cohort) in cohorts.enumerated() {
                var id = cohort
                guard let slot = id.withUTF8({ serving(UnsafeRawBufferPointer($0))?.slot }) else {
                    missing = i
                    return nil
                }
                answer.cohorts.append(Self.facts(of: slot))
                let (membership, reason) = ordinal.map { Self.standing($0, in: slot) } ?? (.out, .customerNotFound)
                memberships.append(BatchedMembership(membership: membership, reason: reason))
            }
            return (answer, memberships, ordinal != nil)
        }
    }

    private static func facts(of slot: UnsafeMutablePointer<CohortSlot>) -> BatchAnswer.Cohort {
        BatchAnswer.Cohort(version: slot.pointee.version, failPolicy: slot.pointee.failPolicy)
    }
}
