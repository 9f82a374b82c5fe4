import Synchronization

/// What memberships were.
extension Engine {
    /// When a customer was in which cohort, and through what.
    ///
    /// - Throws: `.notFound` for a customer never seen or erased, or a cohort that never was.
    package func history(
        _ request: HistoryRequest,
        deadline: ContinuousClock.Instant
    ) async throws(DomainError) -> MembershipHistory {
        let largest = configuration.maximumHistoryIntervals
        guard (1...largest).contains(request.limit) else {
            throw .invalid("limit", "is \(request.limit); it takes 1 to \(largest)")
        }
        if let since = request.since, let until = request.until, since > until {
            throw .invalid("since", "is later than 'until'; give the earlier time first")
        }
        try await waitForSequence(request.minSequence, deadline: deadline)
        let number = try request.cohort.map { (id) throws(DomainError) in try anyCohort(id).number }
        let shared = shared
        while true {
            let (ordinal, sequence) = try place(of: request.customer)
            guard let ordinal else {
                throw .notFound(resourceType: "customer", name: request.customer, suggestion: nil)
            }
            let query = IntervalQuery(
                ordinal: ordinal,
                cohort: number,
                through: sequence,
                begunBy: request.until,
                notEndedBy: request.since,
                limit: request.limit + 1
            )
            // Erased since: the next look finds no customer, or another one.
            guard let found = try await onReadThread({ HistoryReader(shared: shared).find(query) }) else { continue }
            return history(found, query, request.limit)
        }
    }

    private func history(_ found: HistoryReader.Found, _ query: IntervalQuery, _ limit: Int) -> MembershipHistory {
        let cohorts = shared.published.withLock { $0.catalog.cohorts }
        let intervals = found.intervals.map {
            MembershipInterval(
                cohort: cohorts[Int($0.began.cohort)].id,
                membership: $0.began.membership,
                entered: $0.began.change,
                left: $0.end
            )
        }.sorted {
            ($1.entered.sequence, $0.cohort) < ($0.entered.sequence, $1.cohort)
        }
        return MembershipHistory(
            intervals: Array(intervals.prefix(limit)),
            sequence: query.through,
            completeSince: found.horizon?.time,
            isTruncated: intervals.count > limit,
            customerCreatedAt: found.record.createdAt
        )
    }

    /// Whether `customer` was in `cohort` at a point of the past, as far as the history reaches.
    ///
    /// The reason is what the state began through: `.overrideInclude` and `.overrideExclude` also where an override was taken
    /// back, and not where one was made that moved nobody.
    ///
    /// - Throws: `.outOfRange` for a point that is in the future, before the cohort was created, or before what retention
    ///   has left; else as the present form.
    package func checkMembership(
        customer: String,
        cohort id: String,
        at point: PastPoint,
        minSequence: UInt64 = 0,
        includeSince: Bool = false,
        deadline: ContinuousClock.Instant
    ) async throws(DomainError) -> MembershipAnswer {
        try await waitForSequence(minSequence, deadline: deadline)
        let resolved = try await resolve(point)
        let (cohort, version) = try cohort(id, at: point)
        var answer = MembershipAnswer(
            membership: .out,
            member: false,
            reason: .customerNotFound,
            sequence: resolved.sequence,
            cohortVersion: version ?? 0,
            since: nil,
            detail: ""
        )
        let shared = shared
        while true {
            let (ordinal, latest) = try place(of: customer)
            guard let ordinal else {
                try await requireHistory(at: point)
                return answer
            }
            let query: IntervalQuery =
                switch point {
                case .sequence(let sequence):
                    IntervalQuery(ordinal: ordinal, cohort: cohort.number, through: sequence, limit: 1)
                case .time(let time):
                    IntervalQuery(ordinal: ordinal, cohort: cohort.number, through: latest, begunBy: time, limit: 1)
                }
            guard let found = try await onReadThread({ HistoryReader(shared: shared).find(query) }) else { continue }
            if let horizon = found.horizon, !horizon.covers(point) { throw .beforeHistory(horizon) }
            guard point.includes(found.record.createdSequence, found.record.createdAt) else { return answer }
            guard version != nil else {
                (answer.membership, answer.reason) = (.unknown, .building)
                answer.member = cohort.failPolicy.member(.unknown)
                return answer
            }
            let last = found.intervals.first
            let holds = last.map { $0.end.map { !point.includes($0.sequence, $0.time) } ?? true } ?? false
            answer.membership = holds ? last?.began.membership ?? .out : .out
            answer.reason = cohort.kind.reason(
                of: answer.membership,
                begunBy: holds ? last?.began.cause : last?.end?.cause
            )
            answer.member = cohort.failPolicy.member(answer.membership)
            if includeSince, holds { answer.since = last?.began.time }
            return answer
        }
    }

    // MARK: Lookups

    /// The ordinal of a customer, if it is known, with the sequence at which that holds.
    func place(of customer: String) throws(DomainError) -> (ordinal: Ordinal?, sequence: UInt64) {
        try shared.requireReadable()
        var id = customer
        let found = id.withUTF8 { id in
            shared.index.lock.withReadLock {
                (shared.index.customers.ordinal(of: UnsafeRawBufferPointer(id)), shared.index.sequence)
            }
        }
        if found.0 == nil { try checkCustomerID(customer) }
        return found
    }

    /// - Throws: `.outOfRange(HISTORY_EXPIRED)` where retention has deleted what would tell.
    func requireHistory(at point: PastPoint) async throws(DomainError) {
        let shared = shared
        let horizon = try await onReadThread {
            shared.reading { () throws(StoreError) in try shared.store.historyHorizon() }
        }
        if let horizon, !horizon.covers(point) { throw .beforeHistory(horizon) }
    }
}

extension FailPolicy {
    /// The answer to a caller that wants a boolean.
    func member(_ membership: Membership) -> Bool? {
        switch (membership, self) {
        case (.in, _), (.unknown, .memberIn): true
        case (.out, _), (.unknown, .memberOut): false
        case (.unknown, .unknown): nil
        }
    }
}

extension CohortKind {
    /// What decided a state that began through a cause; `nil` if it was so from the start.
    fileprivate func reason(of membership: Membership, begunBy cause: TransitionCause?) -> Reason {
        switch (membership, cause) {
        case (.unknown, _): .ruleError
        case (.in, .override): .overrideInclude
        case (.out, .override): .overrideExclude
        case (.in, _): self == .list ? .listed : .ruleMatch
        case (.out, _): self == .list ? .notListed : .ruleNoMatch
        }
    }
}
