/// Versions of rule cohorts: drafted, given up, published and taken back.
extension Committer {
    func draft(
        cohort id: String,
        rule: String,
        note: String,
        _ context: WriteContext
    ) throws(DomainError) -> DraftResult {
        let cohort = try catalog.cohort(id)
        try cohort.requireRule()
        try check(note: note)
        try checkRoom(forDraftOf: cohort)
        _ = try compile(rule, cohort.nextVersion, of: cohort)
        let update = RuleUpdate(cohort: cohort.number, version: cohort.nextVersion, rule: rule, note: note)
        try commit(.versionDrafted(update), context)
        return draftResult(cohort.number, update.version)
    }

    func discard(cohort id: String, version: UInt32, _ context: WriteContext) throws(DomainError) -> DraftResult {
        let cohort = try catalog.cohort(id)
        try cohort.requireRule()
        try cohort.requireDraft(version)
        if shared.builds.building(id) == version || cohort.state == .building {
            throw .failedPrecondition(
                code: "VERSION_BUILDING",
                message: "version \(version) of \(id) is being built and will serve."
            )
        }
        try commit(.versionDiscarded(cohort: cohort.number, version: version), context)
        return draftResult(cohort.number, version)
    }

    private func draftResult(_ number: CohortNumber, _ version: UInt32) -> DraftResult {
        let cohort = catalog.cohorts[Int(number)]
        let found = cohort.versions[Int(version) - 1]
        return DraftResult(
            version: VersionView(version: found, state: cohort.state(of: found)),
            sequence: sequence
        )
    }

    // MARK: Plans

    func planPublish(cohort id: String, version: UInt32) throws(DomainError) -> CompiledRule {
        let cohort = try catalog.cohort(id)
        try cohort.requireRule()
        let draft = try cohort.requireDraft(version)
        return try compile(draft.rule ?? "", version, of: cohort)
    }

    /// - Returns: the answer if that rule serves already.
    func planUpdate(
        cohort id: String,
        rule: String,
        note: String
    ) throws(DomainError) -> VersionBuilder.Plan<CohortChangeResult> {
        let cohort = try catalog.cohort(id)
        try cohort.requireRule()
        try check(note: note)
        try checkRoom(for: cohort)
        let compiled = try compile(rule, cohort.nextVersion, of: cohort)
        if cohort.rule.map({ $0.utf8.elementsEqual(rule.utf8) }) ?? false, cohort.state == .active {
            return .answer(unchanged(cohort))
        }
        return .build(compiled)
    }

    /// - Parameter version: 0 for the one that served before.
    func planRevert(
        cohort id: String,
        version: UInt32,
        note: String
    ) throws(DomainError) -> (rule: CompiledRule, source: CohortVersion) {
        let cohort = try catalog.cohort(id)
        try cohort.requireRule()
        try check(note: note)
        try checkRoom(for: cohort)
        guard version > 0 || cohort.served != nil else {
            throw .failedPrecondition(
                code: "NOTHING_TO_REVERT",
                message: "\(id) has had one version only; there is none to go back to."
            )
        }
        let source = try cohort.requireVersion(version > 0 ? version : cohort.served ?? 0)
        guard source.published != nil else {
            throw .failedPrecondition(
                code: "VERSION_NEVER_SERVED",
                message: "version \(source.number) of \(id) has never served. Publish it if it is a draft."
            )
        }
        guard source.number != cohort.serving else {
            throw .failedPrecondition(
                code: "VERSION_ACTIVE",
                message: "version \(source.number) of \(id) is the one that serves."
            )
        }
        return (try compile(source.rule ?? "", cohort.nextVersion, of: cohort), source)
    }

    func planPreview(cohort id: String, _ candidate: PreviewCandidate) throws(DomainError) -> CompiledRule {
        let cohort = try catalog.cohort(id)
        try cohort.requireRule()
        switch candidate {
        case .rule(let rule): return try compile(rule, cohort.nextVersion, of: cohort)
        case .version(let number):
            let version = try cohort.requireVersion(number)
            guard !version.isDiscarded else { throw cohort.discarded(number) }
            return try compile(version.rule ?? "", number, of: cohort)
        }
    }

    /// Compiles a rule, and checks what it reads.
    func compile(
        _ rule: String,
        _ version: UInt32,
        of cohort: CohortRecord
    ) throws(DomainError) -> CompiledRule {
        let compiled = try rules.compile(rule, cohort: cohort, version: version, catalog)
        try checkDependencies(of: compiled, cohort)
        return compiled
    }

    // MARK: Switches

    /// - Parameter approved: the request that it grants.
    func publish(
        version: UInt32,
        _ built: BuiltMembership,
        approved: ChangeRequest? = nil,
        _ context: WriteContext
    ) throws(DomainError) -> CohortChangeResult {
        if approved == nil { try checkWaived(built.rule.cohort) }
        return try commit(
            .versionPublished(cohort: built.rule.cohort, version: version),
            bulkChanges(built.derivation, built.moves),
            approved: approved,
            context
        )
    }

    /// Drafts and publishes in one. The number is given now: others may have drafted while it was built.
    func update(
        rule: String,
        note: String,
        revertsTo: UInt32 = 0,
        _ built: BuiltMembership,
        _ context: WriteContext
    ) throws(DomainError) -> CohortChangeResult {
        try checkWaived(built.rule.cohort)
        let version = catalog.cohorts[Int(built.rule.cohort)].nextVersion
        let update = RuleUpdate(
            cohort: built.rule.cohort,
            version: version,
            rule: rule,
            note: note,
            revertsTo: revertsTo
        )
        return try commit(
            .ruleUpdated(update),
            bulkChanges(built.derivation, built.moves, version: version),
            context
        )
    }

    // MARK: Checks

    func check(note: String) throws(DomainError) {
        let limit = configuration.maximumDescriptionBytes
        guard note.utf8.count <= limit else {
            throw .invalid("note", "has \(note.utf8.count) bytes; at most \(limit) are allowed")
        }
    }

    /// Approval may have come to be required while a membership was built. A first version needs none.
    private func checkWaived(_ number: CohortNumber) throws(DomainError) {
        let cohort = catalog.cohorts[Int(number)]
        guard !cohort.approvalRequired || cohort.state == .building else {
            throw .failedPrecondition(
                code: "APPROVAL_REQUIRED",
                message: "\(cohort.id) requires approval since a moment ago; nothing was changed. Ask again."
            )
        }
    }

    func checkRoom(forDraftOf cohort: CohortRecord) throws(DomainError) {
        let drafts = cohort.versions.count { $0.published == nil && !$0.isDiscarded }
        guard drafts < configuration.maximumDrafts else {
            throw .resourceExhausted(
                limit: "maximum_drafts",
                message: "\(cohort.id) has \(drafts) drafts, the most that it may. Publish or discard some.",
                retryAfter: nil
            )
        }
        try checkRoom(for: cohort)
    }

    private func checkRoom(for cohort: CohortRecord) throws(DomainError) {
        guard cohort.versions.count < configuration.maximumVersions else {
            throw .resourceExhausted(
                limit: "maximum_versions",
                message: "\(cohort.id) has had \(cohort.versions.count) versions, the most that it may.",
                retryAfter: nil
            )
        }
    }
}

extension CohortRecord {
    /// - Throws: `.failedPrecondition(NOT_A_RULE_COHORT)` for a list.
    func requireRule() throws(DomainError) {
        guard kind == .rule else {
            throw .failedPrecondition(
                code: "NOT_A_RULE_COHORT",
                message: "\(id) is a list; it has no rule. Change its members instead."
            )
        }
    }

    func requireVersion(_ number: UInt32) throws(DomainError) -> CohortVersion {
        guard let version = version(number) else {
            throw .notFound(
                resourceType: "version",
                name: "\(id) version \(number)",
                suggestion: "it has versions 1 to \(versions.count)"
            )
        }
        return version
    }

    @discardableResult
    func requireDraft(_ number: UInt32) throws(DomainError) -> CohortVersion {
        let version = try requireVersion(number)
        if version.isDiscarded { throw discarded(number) }
        guard version.published == nil else {
            throw .failedPrecondition(
                code: number == serving ? "VERSION_ACTIVE" : "VERSION_RETIRED",
                message: number == serving
                    ? "version \(number) of \(id) is the one that serves."
                    : "version \(number) of \(id) has served already. Revert to it instead."
            )
        }
        return version
    }

    func discarded(_ number: UInt32) -> DomainError {
        .failedPrecondition(
            code: "VERSION_DISCARDED",
            message: "version \(number) of \(id) was discarded. Draft its rule anew."
        )
    }
}
