/// Changes that concern attributes, cohorts or many customers: each is committed alone.
extension Committer {
    func declareAttribute(
        name: String,
        type: AttributeType,
        _ context: WriteContext
    ) throws(DomainError) -> DeclareResult {
        if let problem = InputRules.attributeName(name) { throw .invalid("name", problem) }
        if let slot = catalog.slots[name] {
            let existing = catalog.attributes[slot]
            guard existing.type == type else {
                throw .alreadyExists(
                    resourceType: "attribute",
                    name: name,
                    message: "'\(name)' is declared \(existing.type.name); a declaration cannot be changed"
                )
            }
            return DeclareResult(declaration: existing, sequence: sequence, created: false)
        }
        let limit = configuration.maximumAttributes
        guard catalog.attributes.count < limit else {
            throw .resourceExhausted(
                limit: "maximum_attributes",
                message: "\(limit) attributes are declared, the most there can be.",
                retryAfter: nil
            )
        }
        let declaration = AttributeDeclaration(
            name: name,
            type: type,
            slot: catalog.attributes.count,
            declaredAt: sequence + 1
        )
        let entry = entry(.attributeDeclared(declaration), context)
        try persist([row(entry)])
        var changes = changes(for: entry)
        apply(entry, &changes)
        publishCatalog()
        publish([entry], changes)
        return DeclareResult(declaration: declaration, sequence: sequence, created: true)
    }

    func createCohort(
        _ definition: CohortDefinition,
        _ context: WriteContext
    ) throws(DomainError) -> CohortChangeResult {
        try check(definition)
        let time = commitTime()
        let rule = definition.kind == .rule ? definition.rule : nil
        let cohort = CohortRecord(
            number: CohortNumber(catalog.cohorts.count),
            id: definition.id,
            kind: definition.kind,
            failPolicy: definition.failPolicy,
            description: definition.description,
            state: .active,
            createdAt: time,
            updatedAt: time,
            versions: [
                CohortVersion(
                    number: 1,
                    rule: rule,
                    sequence: sequence + 1,
                    createdAt: time,
                    principal: context.principal
                )
            ]
        )
        var target = MembershipBuilder.Result()
        if let rule { target = try build(try rules.compile(rule, cohort: cohort, version: 1)) }
        let change = BulkChange(
            stage: sequence + 1,
            cohort: cohort.number,
            version: 1,
            cause: .rule,
            toIn: target.members,
            toOut: ChunkedBitmap(),
            toUnknown: target.unknown
        )
        return try commit(.cohortCreated(cohort), change, context)
    }

    func updateRule(cohort id: String, rule: String, _ context: WriteContext) throws(DomainError) -> CohortChangeResult
    {
        let cohort = try catalog.cohort(id)
        guard cohort.kind == .rule else {
            throw .failedPrecondition(
                code: "NOT_A_RULE_COHORT",
                message: "\(id) is a list; it has no rule. Change its members instead."
            )
        }
        let version = cohort.version + 1
        let compiled = try rules.compile(rule, cohort: cohort, version: version)
        if cohort.rule.map({ $0.utf8.elementsEqual(rule.utf8) }) ?? false { return unchanged(cohort) }
        let target = try build(compiled)
        let bitmaps = shared.index.bitmaps[Int(cohort.number)]
        for decided in [bitmaps.include, bitmaps.exclude] {
            target.members.subtract(decided)
            target.unknown.subtract(decided)
        }
        target.members.formUnion(bitmaps.include)
        let change = difference(from: bitmaps, to: target, cohort: cohort.number, version: version, cause: .rule)
        return try commit(.ruleUpdated(cohort: cohort.number, version: version, rule: rule), change, context)
    }

    func archive(cohort id: String, _ context: WriteContext) throws(DomainError) -> CohortChangeResult {
        let cohort = try catalog.cohort(id)
        let bitmaps = shared.index.bitmaps[Int(cohort.number)]
        let change = difference(
            from: bitmaps,
            to: MembershipBuilder.Result(),
            cohort: cohort.number,
            version: cohort.version,
            cause: .cohort
        )
        return try commit(.cohortArchived(cohort.number), change, context)
    }

    // MARK: The common part

    /// - Parameter only: the customers to evaluate; everyone without.
    func build(
        _ rule: CompiledRule,
        only: FixedBitmap? = nil
    ) throws(DomainError) -> MembershipBuilder.Result {
        let builder = MembershipBuilder(
            store: shared.store,
            pending: shared.pending.snapshot(),
            nextOrdinal: nextOrdinal,
            slots: catalog.attributes.count,
            threads: configuration.loadThreads,
            only: only
        )
        do {
            return try builder.build(rule)
        } catch {
            throw answer(to: error)
        }
    }

    /// What has to change for a cohort to hold `target`, which is used up.
    func difference(
        from bitmaps: MembershipIndex.CohortBitmaps,
        to target: MembershipBuilder.Result,
        cohort: CohortNumber,
        version: UInt32,
        cause: TransitionCause
    ) -> BulkChange {
        let toOut = bitmaps.members.copy()
        toOut.formUnion(bitmaps.unknown)
        toOut.subtract(target.members)
        toOut.subtract(target.unknown)
        target.members.subtract(bitmaps.members)
        target.unknown.subtract(bitmaps.unknown)
        return BulkChange(
            stage: sequence + 1,
            cohort: cohort,
            version: version,
            cause: cause,
            toIn: target.members,
            toOut: toOut,
            toUnknown: target.unknown
        )
    }

    /// Commits a change of one cohort with the memberships that it moves: one by one where they are few, else staged.
    ///
    /// - Parameter assignments: what the change refers to where it is `.assignmentsStaged`.
    func commit(
        _ change: LogEntry.Change,
        _ memberships: BulkChange,
        assignments: AssignmentChange? = nil,
        _ context: WriteContext
    ) throws(DomainError) -> CohortChangeResult {
        var entry = entry(change, context)
        var loaded: [Ordinal: Loaded] = [:]
        let isBulk = memberships.count > UInt64(configuration.bulkThreshold)
        do throws(StoreError) {
            if let assignments { try shared.store.stage(assignments) }
            if isBulk {
                try shared.store.stage(memberships)
                entry.bulk = memberships.reference
            } else if memberships.count > 0 {
                entry.transitions = transitions(of: memberships)
                let ordinals = Set(entry.transitions.map(\.ordinal)).sorted()
                loaded = try load(ordinals)
                guard loaded.count == ordinals.count else {
                    throw StoreError.corrupt("a customer is in the index but not in the store")
                }
            }
        } catch {
            throw answer(to: error)
        }
        let left = entry.transitions.isEmpty && !isBulk ? 0 : leaving(memberships)
        try persist([row(entry)])
        var changes = changes(for: entry)
        apply(entry, &changes, bulk: isBulk ? memberships : nil, assignments: assignments)
        for (ordinal, var customer) in loaded {
            changes.closed += customer.closed
            for transition in entry.transitions where transition.ordinal == ordinal {
                if let closed = customer.record.move(transition, sequence: entry.sequence, time: entry.time) {
                    changes.closed.append(closed)
                }
            }
            customer.record.sequence = entry.sequence
            changes.customers.append((ordinal, .update(record: customer.record.encoded())))
        }
        publishCatalog()
        publish([entry], changes, bulk: isBulk ? memberships : nil, assignments: assignments)
        return CohortChangeResult(
            cohort: shared.view(of: catalog.cohorts[Int(memberships.cohort)]),
            sequence: sequence,
            changed: true,
            entered: memberships.toIn.count,
            left: left,
            newlyUnknown: memberships.toUnknown.count
        )
    }

    func entry(_ change: LogEntry.Change, _ context: WriteContext) -> LogEntry {
        LogEntry(
            sequence: sequence + 1,
            time: commitTime(),
            principal: context.principal,
            method: context.method,
            change: change
        )
    }

    func row(_ entry: LogEntry) -> LogRow {
        LogRow(sequence: entry.sequence, time: entry.time, payload: entry.encoded())
    }

    func changes(for entry: LogEntry) -> PendingChanges {
        PendingChanges(sequence: entry.sequence, time: entry.time, nextOrdinal: nextOrdinal)
    }

    func unchanged(_ cohort: CohortRecord) -> CohortChangeResult {
        CohortChangeResult(
            cohort: shared.view(of: cohort),
            sequence: sequence,
            changed: false,
            entered: 0,
            left: 0,
            newlyUnknown: 0
        )
    }

    private func transitions(of change: BulkChange) -> [Transition] {
        let bitmaps =
            Int(change.cohort) < shared.index.bitmaps.count ? shared.index.bitmaps[Int(change.cohort)] : nil
        var result: [Transition] = []
        for (set, to) in [(change.toIn, Membership.in), (change.toOut, .out), (change.toUnknown, .unknown)] {
            for ordinal in set.members {
                let from = bitmaps?.membership(of: ordinal) ?? .out
                result.append(
                    Transition(
                        ordinal: ordinal,
                        cohort: change.cohort,
                        from: from,
                        to: to,
                        version: change.version,
                        cause: change.cause
                    )
                )
            }
        }
        return result
    }

    /// How many stop being IN.
    private func leaving(_ change: BulkChange) -> UInt64 {
        guard Int(change.cohort) < shared.index.bitmaps.count else { return 0 }
        let members = shared.index.bitmaps[Int(change.cohort)].members
        return members.intersection(change.toOut).count + members.intersection(change.toUnknown).count
    }

    private func check(_ definition: CohortDefinition) throws(DomainError) {
        var violations: [FieldViolation] = []
        if let problem = InputRules.cohortID(definition.id) {
            violations.append(FieldViolation(field: "cohort_id", description: problem))
        }
        let limit = configuration.maximumDescriptionBytes
        if definition.description.utf8.count > limit {
            violations.append(
                FieldViolation(
                    field: "description",
                    description: "has \(definition.description.utf8.count) bytes; at most \(limit) are allowed"
                )
            )
        }
        switch (definition.kind, definition.rule) {
        case (.rule, nil):
            violations.append(FieldViolation(field: "rule", description: "is missing; a rule cohort needs one"))
        case (.list, .some):
            violations.append(FieldViolation(field: "rule", description: "is given, but a list has no rule"))
        default: break
        }
        guard violations.isEmpty else { throw .invalidArgument(violations) }
        if let number = catalog.numbers[definition.id] {
            let archived = catalog.cohorts[Int(number)].state == .archived
            throw .alreadyExists(
                resourceType: "cohort",
                name: definition.id,
                message: archived
                    ? "\(definition.id) existed and was archived; ids are never used again"
                    : "\(definition.id) exists already"
            )
        }
        guard catalog.cohorts.count < configuration.maximumCohorts else {
            throw .resourceExhausted(
                limit: "maximum_cohorts",
                message: "\(configuration.maximumCohorts) cohorts have been created, the most there can be.",
                retryAfter: nil
            )
        }
    }
}

extension EngineShared {
    /// A cohort with its counts of this moment.
    func view(of cohort: CohortRecord) -> CohortView {
        let counts = index.counts(cohort.number)
        return CohortView(
            id: cohort.id,
            kind: cohort.kind,
            failPolicy: cohort.failPolicy,
            rule: cohort.rule,
            version: cohort.version,
            state: cohort.state,
            createdAt: cohort.createdAt,
            updatedAt: cohort.updatedAt,
            members: counts.members,
            unknown: counts.unknown,
            includeCount: counts.include,
            excludeCount: counts.exclude,
            description: cohort.description
        )
    }
}
