import Synchronization

/// Reads: from memory, at an exact sequence.
extension Engine {
    /// Whether `customer` is in `cohort`, from memory. `.wait` where the sequence is not reached or the answer is
    /// UNKNOWN by rule, whose detail comes from the store.
    ///
    /// - Throws: `.notFound` for a cohort that does not exist, `.invalidArgument` for a malformed id, `.unavailable`.
    package func checkMembership(
        customer: String,
        cohort: String,
        minSequence: UInt64 = 0
    ) throws(DomainError) -> CheckAttempt {
        let found = try membership(customer, cohort)
        if found.sequence < minSequence || found.reason == .ruleError { return .wait }
        return .answer(MembershipAnswer(found))
    }

    /// The common case of `checkMembership`, straight from the bytes of a request: a known customer, a cohort that exists,
    /// nothing to wait for. `nil` for everything else, which `checkMembership` then tells apart.
    package func checkMembership(
        customer: UnsafeRawBufferPointer,
        cohort: UnsafeRawBufferPointer,
        minSequence: UInt64
    ) -> MembershipAnswer? {
        guard (try? shared.requireReadable()) != nil,
            let found = shared.index.membership(customer: customer, cohort: cohort),
            found.ordinal != nil, found.sequence >= minSequence, found.reason != .ruleError
        else { return nil }
        return MembershipAnswer(found)
    }

    /// As `checkMembership`, waiting for the sequence until `deadline` and at most the configured time.
    package func checkMembershipWaiting(
        customer: String,
        cohort: String,
        minSequence: UInt64 = 0,
        includeSince: Bool = false,
        deadline: ContinuousClock.Instant
    ) async throws(DomainError) -> MembershipAnswer {
        try await waitForSequence(minSequence, deadline: deadline)
        var answer = MembershipAnswer(try membership(customer, cohort))
        // A customer that is written all the time may keep being newer than the answer; it then stays without detail.
        for _ in 0..<16 {
            let found = try membership(customer, cohort)
            answer = MembershipAnswer(found)
            let wantsSince = includeSince && (found.membership == .in || found.reason == .ruleError)
            guard wantsSince || found.reason == .ruleError, let ordinal = found.ordinal else { return answer }
            let shared = shared
            let detail = try await onReadThread { CustomerReader(shared: shared).detail(of: found, ordinal) }
            switch detail {
            case .found(let since, let detail):
                answer.since = includeSince ? since : nil
                answer.detail = detail
                return answer
            case .newer(let sequence):
                try await waitForSequence(sequence, deadline: deadline)
            }
        }
        return answer
    }

    /// All cohorts that `customer` is IN or UNKNOWN in, from memory.
    package func cohorts(
        ofCustomer customer: String,
        minSequence: UInt64 = 0
    ) throws(DomainError) -> Attempt<CustomerCohorts> {
        let found = try memberships(of: customer)
        return found.sequence < minSequence ? .wait : .answer(found)
    }

    package func cohortsWaiting(
        ofCustomer customer: String,
        minSequence: UInt64 = 0,
        deadline: ContinuousClock.Instant
    ) async throws(DomainError) -> CustomerCohorts {
        try await waitForSequence(minSequence, deadline: deadline)
        return try memberships(of: customer)
    }

    /// How many customers `cohort` holds, from memory.
    package func countMembers(
        cohort: String,
        minSequence: UInt64 = 0
    ) throws(DomainError) -> Attempt<MemberCount> {
        let count = try count(cohort)
        return count.sequence < minSequence ? .wait : .answer(count)
    }

    package func countMembersWaiting(
        cohort: String,
        minSequence: UInt64 = 0,
        deadline: ContinuousClock.Instant
    ) async throws(DomainError) -> MemberCount {
        try await waitForSequence(minSequence, deadline: deadline)
        return try count(cohort)
    }

    /// The customers that are `state` (IN or UNKNOWN) in `cohort`, all at one sequence.
    ///
    /// - Parameter cursor: where an earlier snapshot stopped, to go on behind it in a fresh one; empty for the start.
    package func members(
        cohort: String,
        state: Membership = .in,
        minSequence: UInt64 = 0,
        cursor: [UInt8] = [],
        deadline: ContinuousClock.Instant
    ) async throws(DomainError) -> MemberSnapshot {
        guard state != .out else {
            throw .invalid("state", "must be IN or UNKNOWN; everyone else is OUT, customers never seen included")
        }
        try await waitForSequence(minSequence, deadline: deadline)
        try shared.requireReadable()
        try checkCohortID(cohort)
        var id = cohort
        guard let found = id.withUTF8({ shared.index.snapshot(cohort: UnsafeRawBufferPointer($0), state) }) else {
            throw notFound(cohort)
        }
        let subject = MemberCursor.Subject.cohort(found.number, state)
        let start = cursor.isEmpty ? 0 : try MemberCursor(cursor).start(of: subject, in: found.sequence)
        return MemberSnapshot(
            shared: shared,
            bitmap: found.bitmap,
            sequence: found.sequence,
            version: found.version,
            subject: subject,
            start: start
        )
    }

    /// Returns once reads see `sequence`.
    ///
    /// - Throws: `.unavailable(SEQUENCE_NOT_REACHED)` at the deadline, or after the configured longest wait.
    package func waitForSequence(
        _ sequence: UInt64,
        deadline: ContinuousClock.Instant
    ) async throws(DomainError) {
        try shared.requireReadable()
        if shared.waiters.current >= sequence { return }
        let limit = min(deadline, ContinuousClock.now + configuration.maximumSequenceWait)
        guard await shared.waiters.wait(for: sequence, until: limit) else {
            try shared.requireReadable()
            throw .unavailable(
                reason: UnavailableReason.sequenceNotReached,
                message: "Sequence \(sequence) is not reached; the latest is \(shared.waiters.current).",
                retryAfter: configuration.retryAfter
            )
        }
    }

    /// A customer with attributes and cohorts, at one sequence.
    ///
    /// - Throws: `.notFound` for a customer never seen or erased.
    package func customer(
        id: String,
        minSequence: UInt64 = 0,
        deadline: ContinuousClock.Instant
    ) async throws(DomainError) -> CustomerView {
        try await waitForSequence(minSequence, deadline: deadline)
        while true {
            let (ordinal, cohorts) = try lookUp(id)
            guard let ordinal else { throw .notFound(resourceType: "customer", name: id, suggestion: nil) }
            let shared = shared
            let record = try await onReadThread { CustomerReader(shared: shared).record(ordinal) }
            guard let record, record.sequence <= cohorts.sequence else {
                // Erased or written since: look again at what is newer.
                if ContinuousClock.now >= deadline {
                    throw .unavailable(
                        reason: UnavailableReason.sequenceNotReached,
                        message: "The customer changes faster than it can be read.",
                        retryAfter: configuration.retryAfter
                    )
                }
                if let record { try await waitForSequence(record.sequence, deadline: deadline) }
                continue
            }
            let catalog = shared.published.withLock { $0.catalog }
            return CustomerView(
                id: id,
                attributes: record.attributes.compactMap { attribute in
                    attribute.value.map {
                        AttributeView(
                            name: catalog.attributes[attribute.slot].name,
                            value: $0,
                            eventTime: attribute.eventTime
                        )
                    }
                },
                cohorts: cohorts.memberships,
                sequence: cohorts.sequence,
                createdAt: record.createdAt
            )
        }
    }

    // MARK: Lookups

    @inline(__always)
    func membership(_ customer: String, _ cohort: String) throws(DomainError) -> IndexedMembership {
        try shared.requireReadable()
        var customer = customer
        var cohort = cohort
        let found = customer.withUTF8 { customer in
            cohort.withUTF8 { cohort in
                shared.index.membership(
                    customer: UnsafeRawBufferPointer(customer),
                    cohort: UnsafeRawBufferPointer(cohort)
                )
            }
        }
        guard let found else {
            try checkCohortID(cohort)
            throw notFound(cohort)
        }
        // An id that is in the index has been checked when it was written.
        if found.ordinal == nil { try checkCustomerID(customer) }
        return found
    }

    private func memberships(of customer: String) throws(DomainError) -> CustomerCohorts {
        try lookUp(customer).cohorts
    }

    private func lookUp(_ customer: String) throws(DomainError) -> (ordinal: Ordinal?, cohorts: CustomerCohorts) {
        try shared.requireReadable()
        var id = customer
        var memberships: [CohortMembership] = []
        let (sequence, ordinal) = id.withUTF8 { id in
            shared.index.memberships(customer: UnsafeRawBufferPointer(id)) { _, cohort, membership, version in
                memberships.append(
                    CohortMembership(
                        cohort: String(decoding: cohort, as: UTF8.self),
                        membership: membership,
                        version: version
                    )
                )
            }
        }
        if ordinal == nil { try checkCustomerID(customer) }
        return (
            ordinal, CustomerCohorts(sequence: sequence, found: ordinal != nil, memberships: memberships)
        )
    }

    private func count(_ cohort: String) throws(DomainError) -> MemberCount {
        try shared.requireReadable()
        var id = cohort
        guard let count = id.withUTF8({ shared.index.count(cohort: UnsafeRawBufferPointer($0)) }) else {
            try checkCohortID(cohort)
            throw notFound(cohort)
        }
        return count
    }

    func checkCustomerID(_ id: String) throws(DomainError) {
        if let problem = InputRules.customerID(id, limit: configuration.maximumCustomerIDBytes) {
            throw .invalid("customer_id", problem)
        }
    }

    func checkCohortID(_ id: String) throws(DomainError) {
        if let problem = InputRules.cohortID(id) { throw .invalid("cohort_id", problem) }
    }

    func notFound(_ cohort: String) -> DomainError {
        shared.published.withLock { $0.catalog.notFound(cohort: cohort) }
    }
}

extension MembershipAnswer {
    fileprivate init(_ found: IndexedMembership) {
        self.init(
            membership: found.membership,
            member: found.member,
            reason: found.reason,
            sequence: found.sequence,
            cohortVersion: found.version,
            since: nil,
            detail: ""
        )
    }
}
