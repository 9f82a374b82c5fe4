/// Batches of checks: each of one sequence, from memory.
extension Engine {
    /// Customers in one batch, at most.
    package static let maximumBatchCustomers = 10_000
    /// Cohorts in one batch, at most.
    package static let maximumBatchCohorts = 1_000

    /// Many customers in one cohort, straight from the bytes of a request, for the common case: the cohort exists, every
    /// unknown id is at least well-formed, nothing to wait for.
    ///
    /// - Parameters:
    ///   - next: fills the buffer from its start with the next ids and returns how many; 0 at the end.
    ///   - each: told each answer, in order.
    /// - Returns: `nil` for everything else, which the other form then tells apart; `each` may have been called.
    package func checkMemberships(
        cohort: UnsafeRawBufferPointer,
        minSequence: UInt64,
        next: (UnsafeMutableBufferPointer<UnsafeRawBufferPointer>) -> Int,
        each: (Membership, Reason) -> Void
    ) -> BatchAnswer? {
        guard (try? shared.requireReadable()) != nil else { return nil }
        var isOrdinary = true
        let limit = configuration.maximumCustomerIDBytes
        let answer = shared.index.memberships(cohort: cohort, next: next) { id, isKnown, membership, reason in
            // An id that is in the index was checked when it was written.
            if !isKnown, !InputRules.isCustomerID(id, limit: limit) { isOrdinary = false }
            each(membership, reason)
            return isOrdinary
        }
        guard isOrdinary, let answer, answer.sequence >= minSequence else { return nil }
        return answer
    }

    /// Many customers in one cohort, or one customer in many cohorts; answers in the order of the longer list.
    ///
    /// - Throws: `.notFound` for a cohort that does not exist, `.invalidArgument` for malformed ids or lists too long,
    ///   `.unavailable`.
    package func checkMemberships(
        customers: [String],
        cohorts: [String],
        minSequence: UInt64 = 0
    ) throws(DomainError) -> Attempt<(answer: BatchAnswer, memberships: [BatchedMembership])> {
        try check(customers, cohorts)
        try shared.requireReadable()
        var memberships: [BatchedMembership] = []
        let answer: BatchAnswer
        if customers.count == 1 {
            var missing = 0
            var id = customers[0]
            let found = id.withUTF8 {
                shared.index.memberships(
                    customer: UnsafeRawBufferPointer($0),
                    cohorts: cohorts,
                    missing: &missing
                )
            }
            guard let found else { throw notFound(cohorts[missing]) }
            (answer, memberships) = (found.answer, found.memberships)
        } else {
            memberships.reserveCapacity(customers.count)
            guard let found = lookUp(customers, in: cohorts[0], { memberships.append($0) }) else {
                throw notFound(cohorts[0])
            }
            answer = found
        }
        return answer.sequence < minSequence ? .wait : .answer((answer, memberships))
    }

    /// As `checkMemberships`, waiting for the sequence until `deadline` and at most the configured time.
    package func checkMembershipsWaiting(
        customers: [String],
        cohorts: [String],
        minSequence: UInt64,
        deadline: ContinuousClock.Instant
    ) async throws(DomainError) -> (answer: BatchAnswer, memberships: [BatchedMembership]) {
        try await waitForSequence(minSequence, deadline: deadline)
        guard case .answer(let answer) = try checkMemberships(customers: customers, cohorts: cohorts) else {
            throw .internal(message: "a batch has no sequence to wait for")
        }
        return answer
    }

    private func lookUp(
        _ customers: [String],
        in cohort: String,
        _ each: (BatchedMembership) -> Void
    ) -> BatchAnswer? {
        // The ids one behind the other: pointers into strings do not outlive a closure.
        var bytes: [UInt8] = []
        var ends: [Int] = []
        ends.reserveCapacity(customers.count)
        for customer in customers {
            bytes.append(contentsOf: customer.utf8)
            ends.append(bytes.count)
        }
        var at = 0
        var id = cohort
        return bytes.withUnsafeBytes { bytes in
            id.withUTF8 { id in
                shared.index.memberships(cohort: UnsafeRawBufferPointer(id)) { group in
                    let count = min(group.count, ends.count - at)
                    for i in 0..<count {
                        group[i] = UnsafeRawBufferPointer(rebasing: bytes[(at == 0 ? 0 : ends[at - 1])..<ends[at]])
                        at += 1
                    }
                    return count
                } each: { _, _, membership, reason in
                    each(BatchedMembership(membership: membership, reason: reason))
                    return true
                }
            }
        }
    }

    private func check(_ customers: [String], _ cohorts: [String]) throws(DomainError) {
        var violations: [FieldViolation] = []
        func refuse(_ field: String, _ problem: String) {
            // A hundred are enough to see what is wrong.
            if violations.count < 100 { violations.append(FieldViolation(field: field, description: problem)) }
        }
        for (field, count, limit) in [
            ("customer_ids", customers.count, Self.maximumBatchCustomers),
            ("cohort_ids", cohorts.count, Self.maximumBatchCohorts),
        ] {
            if count == 0 { refuse(field, "is empty; name at least one") }
            if count > limit { refuse(field, "has \(count) entries; at most \(limit) are allowed, ask in parts") }
        }
        if customers.count > 1, cohorts.count > 1 {
            refuse("cohort_ids", "has \(cohorts.count) entries; with more than one customer it takes exactly one")
        }
        guard violations.isEmpty else { throw .invalidArgument(violations) }
        for (i, customer) in customers.enumerated() {
            if let problem = InputRules.customerID(customer, limit: configuration.maximumCustomerIDBytes) {
                refuse("customer_ids[\(i)]", problem)
            }
        }
        for (i, cohort) in cohorts.enumerated() {
            if let problem = InputRules.cohortID(cohort) { refuse("cohort_ids[\(i)]", problem) }
        }
        guard violations.isEmpty else { throw .invalidArgument(violations) }
    }
}
