/// Changes that need approval: asked for instead of done, approved, and given up.
extension Committer {
    // MARK: Requests

    /// Asks for a draft to be published.
    ///
    /// - Returns: `nil` where the cohort requires no approval; so do the others.
    func request(
        publishing version: UInt32,
        of id: String,
        _ context: WriteContext
    ) throws(DomainError) -> CohortChangeResult? {
        let cohort = try catalog.cohort(id)
        guard cohort.approvalRequired else { return nil }
        return try request(.publish(version: version, over: cohort.serving), of: cohort, context)
    }

    /// Drafts a rule, so that it can be previewed, and asks for it to be published.
    func request(
        updating id: String,
        rule: String,
        note: String,
        revertsTo: UInt32 = 0,
        _ context: WriteContext
    ) throws(DomainError) -> CohortChangeResult? {
        let cohort = try catalog.cohort(id)
        guard cohort.approvalRequired else { return nil }
        try checkRoom(forDraftOf: cohort)
        let draft = RuleUpdate(
            cohort: cohort.number,
            version: cohort.nextVersion,
            rule: rule,
            note: note,
            revertsTo: revertsTo
        )
        let action = ChangeRequest.Action.publish(version: draft.version, over: cohort.serving)
        return try request(action, of: cohort, drafting: draft, context)
    }

    func request(
        archiving cohort: CohortRecord,
        _ context: WriteContext
    ) throws(DomainError) -> CohortChangeResult? {
        guard cohort.approvalRequired else { return nil }
        try checkUnused(cohort)
        return try request(.archive, of: cohort, context)
    }

    /// Requires approval at once, or asks for it to be required no more.
    func setApproval(
        cohort id: String,
        required: Bool,
        _ context: WriteContext
    ) throws(DomainError) -> CohortChangeResult {
        let cohort = try catalog.cohort(id)
        guard cohort.approvalRequired != required else { return unchanged(cohort) }
        guard required else { return try request(.waiveApproval, of: cohort, context) }
        try commit(.approvalRequired(cohort: cohort.number, true), context)
        var result = unchanged(catalog.cohorts[Int(cohort.number)])
        result.changed = true
        return result
    }

    func request(
        _ action: ChangeRequest.Action,
        of cohort: CohortRecord,
        drafting draft: RuleUpdate? = nil,
        _ context: WriteContext
    ) throws(DomainError) -> CohortChangeResult {
        let now = shared.environment.now()
        var changes: [LogEntry.Change] = []
        let earlier = catalog.requests.pending(action, of: cohort.number)
        if let earlier {
            guard let ended = ended(earlier, now, context) else {
                throw .failedPrecondition(
                    code: "CHANGE_PENDING",
                    message:
                        "change \(earlier.number) of \(earlier.author) \(earlier.action.text) \(cohort.id) waits for "
                        + "approval already. Have it approved or rejected first."
                )
            }
            changes.append(.changeRequest(ended))
        }
        let limit = configuration.maximumPendingChanges
        let waiting = catalog.requests.pending(at: now).count { $0.number != earlier?.number }
        guard waiting < limit else {
            throw .resourceExhausted(
                limit: "maximum_pending_changes",
                message: "\(waiting) changes wait for approval, the most that may. Have some approved or rejected.",
                retryAfter: nil
            )
        }
        if let draft { changes.append(.versionDrafted(draft)) }
        let time = commitTime()
        let request = ChangeRequest(
            number: sequence + UInt64(changes.count) + 1,
            cohort: cohort.number,
            action: action,
            author: context.principal,
            createdAt: time,
            expiresAt: configuration.approvalExpiry.map { time.advanced(bySeconds: $0) },
            state: .pending
        )
        try commit(changes + [.changeRequest(request)], context)
        var result = unchanged(catalog.cohorts[Int(cohort.number)])
        result.pending = shared.view(of: request, catalog, at: now)
        return result
    }

    /// A pending request as it has ended by now, where it has.
    private func ended(_ request: ChangeRequest, _ now: Timestamp, _ context: WriteContext) -> ChangeRequest? {
        if request.isExpired(at: now) { return request.expired }
        return supersession(of: request).map { detail in
            request.decided(
                .superseded,
                ChangeRequest.Decision(time: commitTime(), principal: context.principal, detail: detail)
            )
        }
    }

    /// What has come in the way of a request since it was made; `nil` if nothing has.
    private func supersession(of request: ChangeRequest) -> String? {
        let cohort = catalog.cohorts[Int(request.cohort)]
        guard cohort.state != .archived else { return "\(cohort.id) has been archived since" }
        switch request.action {
        case .publish(let number, let over):
            guard let version = cohort.version(number) else { return "version \(number) is gone" }
            if version.isDiscarded { return "version \(number) has been discarded since" }
            if version.published != nil { return "version \(number) has been published since" }
            return cohort.serving == over ? nil : "version \(cohort.serving) has been published since"
        case .archive: return nil
        case .eraseMembers(let selection):
            let members = memberCount(cohort)
            return members == selection.expected
                ? nil : "\(cohort.id) has \(members) members now, and not \(selection.expected)"
        case .waiveApproval: return cohort.approvalRequired ? nil : "\(cohort.id) requires no approval any more"
        }
    }

    // MARK: Decisions

    /// A pending request that the caller may approve, and its cohort. One that has expired or was superseded is closed.
    private func approvable(
        _ number: UInt64,
        _ note: String,
        _ context: WriteContext
    ) throws(DomainError) -> (request: ChangeRequest, cohort: CohortRecord) {
        try check(note: note)
        let now = shared.environment.now()
        let request = try catalog.pendingRequest(number, at: now)
        try checkApprover(of: request, context)
        if let detail = supersession(of: request), let ended = ended(request, now, context) {
            try commit(.changeRequest(ended), context)
            throw .failedPrecondition(
                code: "CHANGE_SUPERSEDED",
                message: "change \(number) cannot be approved: \(detail). It is closed; ask for it anew."
            )
        }
        return (request, catalog.cohorts[Int(request.cohort)])
    }

    /// Who approves must be known to be neither the author nor the drafter.
    private func checkApprover(of request: ChangeRequest, _ context: WriteContext) throws(DomainError) {
        let cohort = catalog.cohorts[Int(request.cohort)]
        var authors = [(request.author, "asked for change \(request.number)")]
        if case .publish(let number, _) = request.action, let version = cohort.version(number) {
            authors.append((version.created.principal, "drafted version \(number) of \(cohort.id)"))
        }
        for (author, deed) in authors where author == context.principal {
            throw .permissionDenied(
                code: "APPROVAL_BY_AUTHOR",
                message: "\(author) \(deed), so someone else has to approve it."
            )
        }
        if context.principal == WriteContext.anonymous {
            throw .permissionDenied(
                code: "APPROVAL_ANONYMOUS",
                message:
                    "an anonymous caller cannot be told from the author; call with a certificate or a token to approve."
            )
        }
        for (author, deed) in authors where author == WriteContext.anonymous {
            throw .permissionDenied(
                code: "APPROVAL_ANONYMOUS",
                message:
                    "an anonymous caller \(deed), who cannot be told from you. Reject it, and ask with a certificate."
            )
        }
    }

    /// The request as it is once it is approved and the next entry is its effect.
    private func approved(_ request: ChangeRequest, _ note: String, _ context: WriteContext) -> ChangeRequest {
        request.decided(
            .approved,
            ChangeRequest.Decision(
                time: commitTime(),
                principal: context.principal,
                note: note,
                effect: sequence + 1
            )
        )
    }

    func planApprovedPublish(
        _ number: UInt64,
        _ note: String,
        _ context: WriteContext
    ) throws(DomainError) -> CompiledRule {
        let (request, cohort) = try approvable(number, note, context)
        guard case .publish(let version, _) = request.action else { throw .internal(message: "no publish") }
        return try planPublish(cohort: cohort.id, version: version)
    }

    /// Publishes what was approved when its build began; only a rejection since then keeps it from serving.
    func approvePublish(
        _ number: UInt64,
        _ note: String,
        _ built: BuiltMembership,
        _ context: WriteContext
    ) throws(DomainError) -> ChangeDecisionResult {
        let request = try catalog.pendingRequest(number, at: nil)
        guard case .publish(let version, _) = request.action else { throw .internal(message: "no publish") }
        let approved = approved(request, note, context)
        return result(of: approved, try publish(version: version, built, approved: approved, context))
    }

    func approveArchive(
        _ number: UInt64,
        _ note: String,
        _ context: WriteContext
    ) throws(DomainError) -> ChangeDecisionResult {
        let (request, cohort) = try approvable(number, note, context)
        let approved = approved(request, note, context)
        return result(of: approved, try archive(cohort, approved: approved, context))
    }

    func approveWaiver(
        _ number: UInt64,
        _ note: String,
        _ context: WriteContext
    ) throws(DomainError) -> ChangeDecisionResult {
        let (request, cohort) = try approvable(number, note, context)
        let approved = approved(request, note, context)
        try commit([.approvalRequired(cohort: cohort.number, false), .changeRequest(approved)], context)
        var change = unchanged(catalog.cohorts[Int(cohort.number)])
        change.sequence = approved.decision?.effect ?? change.sequence
        return result(of: approved, change)
    }

    /// Begins the erasure that was asked for.
    func approveErasure(
        _ number: UInt64,
        _ note: String,
        _ context: WriteContext
    ) throws(DomainError) -> MemberEraser {
        let (request, cohort) = try approvable(number, note, context)
        guard case .eraseMembers(let selection) = request.action else { throw .internal(message: "no erasure") }
        let eraser = try eraser(of: cohort, selection, context)
        var approved = approved(request, note, context)
        approved.decision?.effect = 0
        approved.decision?.erasure = eraser.progress
        try commit(.changeRequest(approved), context)
        eraser.grant(approved)
        return eraser
    }

    func reject(_ number: UInt64, _ note: String, _ context: WriteContext) throws(DomainError) -> ChangeDecisionResult {
        try check(note: note)
        let request = try catalog.pendingRequest(number, at: shared.environment.now())
        guard !shared.isBeingBuilt(request, catalog) else {
            throw .failedPrecondition(
                code: "CHANGE_BUILDING",
                message: "change \(number) has been approved, and its version is being built."
            )
        }
        let rejected = request.decided(
            .rejected,
            ChangeRequest.Decision(time: commitTime(), principal: context.principal, note: note)
        )
        try commit(.changeRequest(rejected), context)
        return result(of: rejected, unchanged(catalog.cohorts[Int(request.cohort)]))
    }

    /// Closes requests that nobody has decided in time, a few hundred at once.
    ///
    /// - Returns: whether there are more.
    func closeExpired(_ now: Timestamp) throws(DomainError) -> Bool {
        let overdue = catalog.requests.overdue(at: now).filter { !shared.isBeingBuilt($0, catalog) }
        let context = WriteContext(principal: "system", method: "approval expiry")
        try commit(overdue.prefix(200).map { .changeRequest($0.expired) }, context)
        return overdue.count > 200
    }

    private func result(of request: ChangeRequest, _ change: CohortChangeResult) -> ChangeDecisionResult {
        ChangeDecisionResult(
            request: shared.view(of: request, catalog, at: request.decision?.time ?? .epoch),
            cohort: change.cohort,
            sequence: change.sequence,
            entered: change.entered,
            left: change.left,
            newlyUnknown: change.newlyUnknown
        )
    }
}

extension CatalogState {
    func request(_ number: UInt64) throws(DomainError) -> ChangeRequest {
        guard let request = requests.all[number] else {
            throw .notFound(resourceType: "change", name: String(number), suggestion: nil)
        }
        return request
    }

    /// - Parameter now: `nil` for any time.
    /// - Throws: `.failedPrecondition` where it is decided or has expired.
    func pendingRequest(_ number: UInt64, at now: Timestamp?) throws(DomainError) -> ChangeRequest {
        let request = try request(number)
        let isOver = now.map { request.isExpired(at: $0) } ?? false
        if request.state == .expired || (request.state == .pending && isOver) {
            throw .failedPrecondition(
                code: "CHANGE_EXPIRED",
                message: "change \(number) expired at \(request.expiresAt.map { "\($0)" } ?? "?"); ask for it anew."
            )
        }
        guard request.state == .pending else {
            let decision = request.decision
            let how = request.state == .superseded ? decision?.detail : decision.map { "by \($0.principal)" }
            throw .failedPrecondition(
                code: "CHANGE_DECIDED",
                message: "change \(number) is \(request.state) already: \(how ?? "")."
            )
        }
        return request
    }
}
