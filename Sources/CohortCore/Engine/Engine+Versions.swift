import Synchronization

/// How rules change. What builds a membership takes its turn: one after the other, beside the writes.
extension Engine {
    /// Creates a cohort. One with a rule answers UNKNOWN (BUILDING) until everyone has been evaluated, where that takes more
    /// than a moment; the call returns once it serves.
    ///
    /// - Throws: `.alreadyExists` also for the id of an archived cohort, `.ruleRejected` for a rule that does not compile.
    package func createCohort(
        _ definition: CohortDefinition,
        context: WriteContext
    ) async throws(DomainError) -> CohortChangeResult {
        let context = context.bounded
        guard definition.kind == .rule, definition.rule != nil else {
            return try await alone { committer throws(DomainError) in try committer.createList(definition, context) }
        }
        return try await build(BuildProgress(cohort: definition.id, version: 1)) { builder throws(DomainError) in
            try builder.run(
                plan: { committer throws(DomainError) in .build(try committer.compile(creating: definition)) },
                announce: { committer throws(DomainError) in try committer.announce(definition, context) },
                finish: { committer, built throws(DomainError) in try committer.create(definition, built, context) }
            )
        }
    }

    /// Publishes `rule` as the next version of a rule cohort, everyone re-evaluated, in one step. The rule that serves
    /// already changes nothing.
    package func updateRule(
        cohort: String,
        rule: String,
        note: String = "",
        context: WriteContext
    ) async throws(DomainError) -> CohortChangeResult {
        let context = context.bounded
        return try await build(BuildProgress(cohort: cohort, version: nextVersion(of: cohort))) {
            builder throws(DomainError) in
            try builder.run(
                plan: { committer throws(DomainError) in
                    let plan = try committer.planUpdate(cohort: cohort, rule: rule, note: note)
                    guard case .build = plan else { return plan }
                    let asked = try committer.request(updating: cohort, rule: rule, note: note, context)
                    return asked.map { .answer($0) } ?? plan
                },
                finish: { committer, built throws(DomainError) in
                    try committer.update(rule: rule, note: note, built, context)
                }
            )
        }
    }

    /// Keeps `rule` as the next version, without effect.
    ///
    /// - Throws: `.ruleRejected` for a rule that does not compile, `.resourceExhausted` for too many drafts or versions.
    package func draft(
        cohort: String,
        rule: String,
        note: String = "",
        context: WriteContext
    ) async throws(DomainError) -> DraftResult {
        let context = context.bounded
        return try await alone { committer throws(DomainError) in
            try committer.draft(cohort: cohort, rule: rule, note: note, context)
        }
    }

    /// Gives a draft up.
    package func discard(
        cohort: String,
        version: UInt32,
        context: WriteContext
    ) async throws(DomainError) -> DraftResult {
        let context = context.bounded
        return try await alone { committer throws(DomainError) in
            try committer.discard(cohort: cohort, version: version, context)
        }
    }

    /// Has a draft serve: its membership and those of the cohorts that depend on it switch at one sequence. Where the
    /// cohort requires approval, it is asked for instead, here and in the other changes that need it.
    package func publish(
        cohort: String,
        version: UInt32,
        context: WriteContext
    ) async throws(DomainError) -> CohortChangeResult {
        let context = context.bounded
        return try await build(BuildProgress(cohort: cohort, version: version)) { builder throws(DomainError) in
            try builder.run(
                plan: { committer throws(DomainError) in
                    let rule = try committer.planPublish(cohort: cohort, version: version)
                    let asked = try committer.request(publishing: version, of: cohort, context)
                    return asked.map { .answer($0) } ?? .build(rule)
                },
                finish: { committer, built throws(DomainError) in
                    try committer.publish(version: version, built, context)
                }
            )
        }
    }

    /// Publishes the rule of an earlier version as a new one.
    ///
    /// - Parameter version: one that has served; 0 for the one that served before the one that serves.
    package func revert(
        cohort: String,
        version: UInt32 = 0,
        note: String = "",
        context: WriteContext
    ) async throws(DomainError) -> CohortChangeResult {
        let context = context.bounded
        // Looked up once, in turn: the version that served before is another one after each publish.
        let source = Mutex<CohortVersion?>(nil)
        return try await build(BuildProgress(cohort: cohort, version: nextVersion(of: cohort))) {
            builder throws(DomainError) in
            try builder.run(
                plan: { committer throws(DomainError) in
                    let plan = try committer.planRevert(cohort: cohort, version: version, note: note)
                    source.withLock { $0 = plan.source }
                    let asked = try committer.request(
                        updating: cohort,
                        rule: plan.source.rule ?? "",
                        note: note,
                        revertsTo: plan.source.number,
                        context
                    )
                    return asked.map { .answer($0) } ?? .build(plan.rule)
                },
                finish: { committer, built throws(DomainError) in
                    let source = source.withLock { $0 }
                    return try committer.update(
                        rule: source?.rule ?? "",
                        note: note,
                        revertsTo: source?.number ?? 0,
                        built,
                        context
                    )
                }
            )
        }
    }

    /// What publishing would change, at one sequence. Writes nothing.
    ///
    /// - Parameter sample: customers in each sample, 1 to the configured limit.
    package func preview(
        cohort: String,
        _ candidate: PreviewCandidate,
        sample: Int = 10
    ) async throws(DomainError) -> PublishPreview {
        let limit = configuration.maximumPreviewSample
        guard (1...limit).contains(sample) else {
            throw .invalid("sample_size", "is \(sample); it takes 1 to \(limit), or 0 for 10")
        }
        var version: UInt32 = 0
        if case .version(let number) = candidate { version = number }
        return try await build(BuildProgress(cohort: cohort, version: version, isPreview: true)) {
            builder throws(DomainError) in
            try builder.run(
                explaining: true,
                plan: { committer throws(DomainError) in
                    .build(try committer.planPreview(cohort: cohort, candidate))
                },
                finish: { committer, built throws(DomainError) in try committer.preview(built, sample: sample) }
            )
        }
    }

    /// Ends a cohort: everyone leaves, and its id is never used again.
    package func archive(cohort: String, context: WriteContext) async throws(DomainError) -> CohortChangeResult {
        let context = context.bounded
        return try await build(BuildProgress(cohort: cohort, version: 0)) { builder throws(DomainError) in
            try builder.run(
                plan: { committer throws(DomainError) in
                    let found = try committer.catalog.cohort(cohort)
                    if let asked = try committer.request(archiving: found, context) { return .answer(asked) }
                    return .answer(try committer.archive(found, context))
                },
                finish: { _, _ throws(DomainError) in throw .internal(message: "nothing was built") }
            )
        }
    }

    /// All versions of a cohort, also of an archived one, the last first.
    package func versions(ofCohort id: String) throws(DomainError) -> [VersionView] {
        try shared.requireReadable()
        let cohort = try anyCohort(id)
        let building = shared.builds.building(id)
        return cohort.versions.reversed().map { version in
            VersionView(version: version, state: cohort.state(of: version, building: building))
        }
    }

    private func nextVersion(of cohort: String) -> UInt32 {
        let catalog = shared.published.withLock { $0.catalog }
        return catalog.numbers[cohort].map { catalog.cohorts[Int($0)].nextVersion } ?? 1
    }

    func build<Answer: Sendable>(
        _ progress: BuildProgress,
        _ body: @escaping @Sendable (VersionBuilder) throws(DomainError) -> Answer
    ) async throws(DomainError) -> Answer {
        try shared.requireReadable()
        let result: Result<Answer, DomainError> = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                shared.build(progress, body) { continuation.resume(returning: $0) }
            }
        } onCancel: {
            // A publish goes on without its caller; a preview is for nobody else.
            if progress.isPreview { progress.end() }
        }
        return try result.get()
    }
}

extension EngineShared {
    /// Has `body` run on the builds' thread in its turn.
    ///
    /// - Parameter completion: called once.
    fileprivate func build<Answer: Sendable>(
        _ progress: BuildProgress,
        _ body: @escaping @Sendable (VersionBuilder) throws(DomainError) -> Answer,
        completion: @escaping @Sendable (Result<Answer, DomainError>) -> Void
    ) {
        let job = BuildQueue.Job(progress: progress) { [self] goesOn in
            guard goesOn else {
                let refusal = BuildQueue.stopping(configuration.retryAfter)
                return { completion(.failure(refusal)) }
            }
            let result = Result { () throws(DomainError) in
                try body(VersionBuilder(shared: self, progress: progress))
            }
            return { completion(result) }
        }
        if let refusal = builds.submit(job) { completion(.failure(refusal)) }
    }

    /// Builds the first versions that a stop or a failure has left unbuilt.
    func resumeBuilds() {
        let unbuilt = published.withLock { $0.catalog }.cohorts.filter { cohort in
            cohort.state == .building && builds.building(cohort.id) == nil
        }
        for cohort in unbuilt {
            let context = WriteContext(principal: cohort.versions[0].created.principal, method: "resumed build")
            build(BuildProgress(cohort: cohort.id, version: 1)) { builder throws(DomainError) in
                try builder.run(
                    plan: { committer throws(DomainError) in
                        // Archived or built meanwhile.
                        guard committer.catalog.cohorts[Int(cohort.number)].state == .building else {
                            return .answer(committer.unchanged(cohort))
                        }
                        return .build(try committer.planPublish(cohort: cohort.id, version: 1))
                    },
                    finish: { committer, built throws(DomainError) in
                        try committer.publish(version: 1, built, context)
                    }
                )
            } completion: { [self] result in
                if case .failure(let error) = result {
                    log(.error, "building a cohort failed", [("cohort", cohort.id), ("error", "\(error)")])
                }
            }
        }
    }
}
