import Synchronization

/// Changes that another principal has to approve.
extension Engine {
    /// Whether changes of a cohort need approval. That they need none any more is itself a change that needs it.
    package func setApproval(
        cohort: String,
        required: Bool,
        context: WriteContext
    ) async throws(DomainError) -> CohortChangeResult {
        let context = context.bounded
        return try await alone { committer throws(DomainError) in
            try committer.setApproval(cohort: cohort, required: required, context)
        }
    }

    /// The changes that wait for approval, the last one first.
    ///
    /// - Parameters:
    ///   - cohort: its changes alone, also if it is archived; `nil` for those of all.
    ///   - includingDecided: also those that were decided, expired or superseded last.
    ///   - before: only those with a smaller number; `nil` for all.
    ///   - limit: at least 1.
    /// - Returns: up to `limit` of them, and whether there are more.
    package func changeRequests(
        cohort: String? = nil,
        includingDecided: Bool = false,
        before: UInt64? = nil,
        limit: Int = 1_000
    ) throws(DomainError) -> (requests: [ChangeRequestView], more: Bool) {
        try shared.requireReadable()
        let number = try cohort.map { (id) throws(DomainError) in try anyCohort(id).number }
        let now = shared.environment.now()
        let catalog = shared.published.withLock { $0.catalog }
        let found = catalog.requests.all.values.filter { request in
            (number == nil || request.cohort == number) && (before.map { request.number < $0 } ?? true)
                && (includingDecided || (request.state == .pending && !request.isExpired(at: now)))
        }
        let page = found.sorted { $0.number > $1.number }.prefix(limit)
        return (page.map { shared.view(of: $0, catalog, at: now) }, found.count > page.count)
    }

    /// Has a change take effect, and returns once it has.
    ///
    /// - Throws: `.notFound`; `.permissionDenied` for the author, the drafter of the version and where someone is not known
    ///   by name; `.failedPrecondition` where it is decided, has expired or was superseded, and as the change itself.
    package func approve(
        change number: UInt64,
        note: String = "",
        context: WriteContext
    ) async throws(DomainError) -> ChangeDecisionResult {
        let context = context.bounded
        try shared.requireReadable()
        let catalog = shared.published.withLock { $0.catalog }
        let request = try catalog.request(number)
        let cohort = catalog.cohorts[Int(request.cohort)].id
        switch request.action {
        case .publish(let version, _):
            return try await build(BuildProgress(cohort: cohort, version: version)) { builder throws(DomainError) in
                try builder.run(
                    plan: { committer throws(DomainError) in
                        .build(try committer.planApprovedPublish(number, note, context))
                    },
                    finish: { committer, built throws(DomainError) in
                        try committer.approvePublish(number, note, built, context)
                    }
                )
            }
        case .archive:
            return try await build(BuildProgress(cohort: cohort, version: 0)) { builder throws(DomainError) in
                try builder.run(
                    plan: { committer throws(DomainError) in
                        .answer(try committer.approveArchive(number, note, context))
                    },
                    finish: { _, _ throws(DomainError) in throw .internal(message: "nothing was built") }
                )
            }
        case .waiveApproval:
            return try await alone { committer throws(DomainError) in
                try committer.approveWaiver(number, note, context)
            }
        case .eraseMembers:
            let eraser = try await alone { committer throws(DomainError) in
                try committer.approveErasure(number, note, context)
            }
            let result = try await run(eraser)
            let now = shared.published.withLock { $0.catalog }
            return ChangeDecisionResult(
                request: shared.view(of: eraser.request ?? request, now, at: shared.environment.now()),
                cohort: shared.view(of: now.cohorts[Int(request.cohort)]),
                sequence: result.sequence,
                left: result.erasure.erased
            )
        }
    }

    /// Gives a change up: anyone may, its author too.
    package func reject(
        change number: UInt64,
        note: String = "",
        context: WriteContext
    ) async throws(DomainError) -> ChangeDecisionResult {
        let context = context.bounded
        return try await alone { committer throws(DomainError) in try committer.reject(number, note, context) }
    }
}

extension EngineShared {
    var approvals: ApprovalStatus {
        let pending = published.withLock { $0.catalog.requests }.pending(at: environment.now())
        return ApprovalStatus(
            pending: pending.count,
            oldest: pending.first?.createdAt,
            erasuresRunning: memberErasures.running
        )
    }

    /// A request as it is at a time.
    func view(of request: ChangeRequest, _ catalog: CatalogState, at now: Timestamp) -> ChangeRequestView {
        let isOver = request.state == .pending && request.isExpired(at: now)
        return ChangeRequestView(
            request: isOver ? request.expired : request,
            cohort: catalog.cohorts[Int(request.cohort)].id,
            isRunning: memberErasures.isRunning(request.number)
        )
    }

    /// Whether the version that a request would publish is being built, as it is once the request is approved.
    func isBeingBuilt(_ request: ChangeRequest, _ catalog: CatalogState) -> Bool {
        guard case .publish(let version, _) = request.action else { return false }
        return builds.building(catalog.cohorts[Int(request.cohort)].id) == version
    }

    /// - Returns: whether there are more.
    func closeExpiredRequests(_ now: Timestamp) -> Bool {
        let overdue = published.withLock { $0.catalog.requests }.overdue(at: now)
        guard !overdue.isEmpty else { return false }
        do throws(DomainError) {
            let closed = try betweenCommits { committer in
                Result { () throws(DomainError) in try committer.closeExpired(now) }
            }
            return try closed.get()
        } catch {
            // They cannot be approved meanwhile; the next look tries again.
            return false
        }
    }
}
