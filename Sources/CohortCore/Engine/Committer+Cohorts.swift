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
        try commit(.attributeDeclared(declaration), context)
        return DeclareResult(declaration: declaration, sequence: sequence, created: true)
    }

    func createList(
        _ definition: CohortDefinition,
        _ context: WriteContext
    ) throws(DomainError) -> CohortChangeResult {
        try check(definition)
        let cohort = newCohort(definition, .active)
        return try commit(.cohortCreated(cohort), [leaving(cohort, .rule)], context)
    }

    /// Checks and compiles the rule of a cohort that is to be created.
    func compile(creating definition: CohortDefinition) throws(DomainError) -> CompiledRule {
        try check(definition)
        return try compile(definition.rule ?? "", 1, of: newCohort(definition, .building))
    }

    /// Creates a rule cohort that serves only once its first version is built.
    func announce(_ definition: CohortDefinition, _ context: WriteContext) throws(DomainError) {
        let cohort = newCohort(definition, .building)
        _ = try commit(.cohortCreated(cohort), [leaving(cohort, .rule)], context)
    }

    /// Creates a rule cohort with its memberships, or has it serve if it was announced.
    func create(
        _ definition: CohortDefinition,
        _ built: BuiltMembership,
        _ context: WriteContext
    ) throws(DomainError) -> CohortChangeResult {
        let moves = bulkChanges(built.derivation, built.moves)
        if let number = catalog.numbers[definition.id] {
            return try commit(.versionPublished(cohort: number, version: 1), moves, context)
        }
        return try commit(.cohortCreated(newCohort(definition, .active)), moves, context)
    }

    private func newCohort(_ definition: CohortDefinition, _ state: CohortLifecycle) -> CohortRecord {
        // Times and principal are those of the entry: filled in by who applies it.
        let change = CohortVersion.Change(sequence: sequence + 1, time: .epoch, principal: "")
        return CohortRecord(
            number: CohortNumber(catalog.cohorts.count),
            id: definition.id,
            kind: definition.kind,
            failPolicy: definition.failPolicy,
            description: definition.description,
            state: state,
            createdAt: .epoch,
            updatedAt: .epoch,
            approvalRequired: definition.approvalRequired,
            versions: [
                CohortVersion(number: 1, rule: definition.kind == .rule ? definition.rule : nil, created: change)
            ]
        )
    }

    /// - Parameter approved: the request that it grants.
    func archive(
        _ cohort: CohortRecord,
        approved: ChangeRequest? = nil,
        _ context: WriteContext
    ) throws(DomainError) -> CohortChangeResult {
        try checkUnused(cohort)
        return try commit(.cohortArchived(cohort.number), [leaving(cohort, .cohort)], approved: approved, context)
    }

    // MARK: The common part

    /// Everyone leaving a cohort.
    private func leaving(_ cohort: CohortRecord, _ cause: TransitionCause) -> BulkChange {
        let toOut = ChunkedBitmap()
        if Int(cohort.number) < shared.index.bitmaps.count {
            let bitmaps = shared.index.bitmaps[Int(cohort.number)]
            toOut.formUnion(bitmaps.members)
            toOut.formUnion(bitmaps.unknown)
        }
        return BulkChange(
            stage: BulkChange.stage(sequence: sequence + 1, part: 0),
            cohort: cohort.number,
            version: cohort.version,
            cause: cause,
            toIn: ChunkedBitmap(),
            toOut: toOut,
            toUnknown: ChunkedBitmap()
        )
    }

    /// Commits a change of one cohort with the memberships that it moves: one by one where they are few, else staged.
    ///
    /// - Parameters:
    ///   - memberships: the cohort's own, first, and those of the cohorts that depend on it.
    ///   - assignments: what the change refers to where it is `.assignmentsStaged`.
    ///   - approved: the request that the change grants, as it is then; kept by an entry behind that of the change.
    func commit(
        _ change: LogEntry.Change,
        _ memberships: [BulkChange],
        assignments: AssignmentChange? = nil,
        approved: ChangeRequest? = nil,
        _ context: WriteContext
    ) throws(DomainError) -> CohortChangeResult {
        let own = memberships[0]
        let moving = memberships.filter { $0.count > 0 }
        var entry = entry(change, context)
        var loaded: [Ordinal: Loaded] = [:]
        // All of them in one of the two ways: a record that an entry has changed takes in no bulk change of that entry.
        let isBulk = moving.reduce(0) { $0 + $1.count } > UInt64(configuration.bulkThreshold)
        do throws(StoreError) {
            if let assignments { try shared.store.stage(assignments) }
            if isBulk {
                try shared.store.stage(moving)
                entry.bulks = moving.map(\.reference)
            } else if !moving.isEmpty {
                entry.transitions = moving.flatMap { transitions(of: $0) }
                let ordinals = Set(entry.transitions.map(\.ordinal)).sorted()
                loaded = try load(ordinals)
                guard loaded.count == ordinals.count else {
                    throw StoreError.corrupt("a customer is in the index but not in the store")
                }
            }
        } catch {
            throw answer(to: error)
        }
        let left = leaving(own)
        let entries = [entry] + (approved.map { [self.entry(.changeRequest($0), context, behind: entry)] } ?? [])
        try persist(entries.map { row($0) })
        let bulks = isBulk ? moving : []
        var changes = changes(for: entries[entries.count - 1])
        apply(entry, &changes, bulks: bulks, assignments: assignments)
        for entry in entries.dropFirst() { apply(entry, &changes) }
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
        publish(entries, changes, bulks: bulks, assignments: assignments)
        return CohortChangeResult(
            cohort: shared.view(of: catalog.cohorts[Int(own.cohort)]),
            sequence: entry.sequence,
            changed: true,
            entered: own.toIn.count,
            left: left,
            newlyUnknown: own.toUnknown.count
        )
    }

    /// - Parameter previous: the entry before it, if that is not committed yet.
    func entry(_ change: LogEntry.Change, _ context: WriteContext, behind previous: LogEntry? = nil) -> LogEntry {
        LogEntry(
            sequence: (previous?.sequence ?? sequence) + 1,
            time: previous?.time ?? commitTime(),
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

    /// Commits a change that moves no memberships.
    func commit(_ change: LogEntry.Change, _ context: WriteContext) throws(DomainError) {
        try commit([change], context)
    }

    /// Commits changes that move no memberships, all or none, each as an entry of its own.
    func commit(_ changes: [LogEntry.Change], _ context: WriteContext) throws(DomainError) {
        var entries: [LogEntry] = []
        for change in changes { entries.append(entry(change, context, behind: entries.last)) }
        guard let last = entries.last else { return }
        try persist(entries.map { row($0) })
        var changed = self.changes(for: last)
        for entry in entries { apply(entry, &changed) }
        publishCatalog()
        publish(entries, changed)
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
            description: cohort.description,
            approvalRequired: cohort.approvalRequired
        )
    }
}
