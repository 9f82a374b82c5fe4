/// Overrides and static lists, changed in sets: a few customers or millions take the same way.
extension Committer {
    func setOverrides(
        cohort id: String,
        include: [String],
        exclude: [String],
        clear: [String],
        _ context: WriteContext
    ) throws(DomainError) -> CohortChangeResult {
        let cohort = try catalog.cohort(id)
        try checkCount(include.count + exclude.count + clear.count)
        let named = ChunkedBitmap()
        var violations: [FieldViolation] = []
        let sets = [("include", include), ("exclude", exclude), ("clear", clear)].map { field, ids in
            let set = ChunkedBitmap()
            for (i, customer) in ids.enumerated() {
                let problem: String?
                if let ordinal = ordinal(of: Array(customer.utf8)) {
                    problem = named.insert(ordinal) ? nil : "is named twice"
                    set.insert(ordinal)
                } else {
                    problem = InputRules.customerID(customer) ?? "'\(customer)' is no known customer; put it first"
                }
                // A hundred are enough to see what is wrong.
                if let problem, violations.count < 100 {
                    violations.append(FieldViolation(field: "\(field)[\(i)]", description: problem))
                }
            }
            return set
        }
        guard violations.isEmpty else { throw .invalidArgument(violations) }
        let parts = overrideParts(include: sets[0], exclude: sets[1], clear: sets[2], of: cohort)
        return try change(parts, cohort, .override, context)
    }

    func changeList(
        cohort id: String,
        add: [String],
        remove: [String],
        _ context: WriteContext
    ) throws(DomainError) -> ListChangeResult {
        let cohort = try catalog.cohort(id)
        try cohort.requireList()
        try checkCount(add.count + remove.count)
        var (unknown, invalid): ([String], [String]) = ([], [])
        let sets = [ChunkedBitmap(), ChunkedBitmap()]
        var occurrences: [UInt64] = [0, 0]
        for (i, ids) in [add, remove].enumerated() {
            for customer in ids {
                if let ordinal = ordinal(of: Array(customer.utf8)) {
                    if sets[1 - i].contains(ordinal) {
                        throw .invalid("remove", "'\(customer)' is to be added too; name it once")
                    }
                    sets[i].insert(ordinal)
                    occurrences[i] += 1
                } else if InputRules.customerID(customer) == nil {
                    unknown.append(customer)
                } else {
                    invalid.append(customer)
                }
            }
        }
        let part = listPart(add: sets[0], remove: sets[1], of: cohort)
        let (added, removed) = (part.added.count, part.removed.count)
        let result = try change([part], cohort, .list, context)
        return ListChangeResult(
            cohort: result.cohort,
            sequence: result.sequence,
            added: added,
            alreadyListed: occurrences[0] - added,
            removed: removed,
            notListed: occurrences[1] - removed,
            unknownCustomers: unknown,
            invalidIDs: invalid
        )
    }

    /// Makes a whole upload take effect.
    func finish(_ upload: UploadedCustomers, _ context: WriteContext) throws(DomainError) -> UploadReceipt {
        let cohort = try catalog.cohort(upload.cohort)
        // Without the customers erased since their ids were looked up: their ordinals are nobody's for ever.
        let customers = upload.ordinals.intersection(shared.index.known)
        let erased = upload.ordinals.count - customers.count
        let none = ChunkedBitmap()
        let listed = shared.index.bitmaps[Int(cohort.number)].listed
        let parts: [AssignmentChange.Part] =
            switch upload.mode {
            case .listAdd: [listPart(add: customers, remove: none, of: cohort)]
            case .listRemove: [listPart(add: none, remove: customers, of: cohort)]
            case .listReplace: [listPart(add: customers, remove: listed.subtracting(customers), of: cohort)]
            case .include: overrideParts(include: customers, exclude: none, clear: none, of: cohort)
            case .exclude: overrideParts(include: none, exclude: customers, clear: none, of: cohort)
            case .clear: overrideParts(include: none, exclude: none, clear: customers, of: cohort)
            }
        let added = parts.reduce(0) { $0 + $1.added.count }
        let removed = parts.reduce(0) { $0 + $1.removed.count }
        let result = try change(parts, cohort, upload.mode.cause, context)
        let present = upload.known - erased
        return UploadReceipt(
            cohort: result.cohort,
            sequence: result.sequence,
            received: upload.received,
            added: added,
            alreadyPresent: upload.mode.removes ? 0 : present - added,
            removed: removed,
            notPresent: upload.mode.removes ? present - removed : 0,
            unknown: upload.unknown,
            invalid: upload.invalid,
            erased: erased,
            entered: result.entered,
            left: result.left
        )
    }

    private func checkCount(_ count: Int) throws(DomainError) {
        let limit = configuration.maximumIDsPerChange
        guard count <= limit else {
            throw .invalid("customer ids", "are \(count); send at most \(limit) in a request, or upload them")
        }
    }

    // MARK: What changes

    private func listPart(
        add: ChunkedBitmap,
        remove: ChunkedBitmap,
        of cohort: CohortRecord
    ) -> AssignmentChange.Part {
        let listed = shared.index.bitmaps[Int(cohort.number)].listed
        return AssignmentChange.Part(
            kind: .listed,
            added: add.subtracting(listed),
            removed: remove.intersection(listed)
        )
    }

    /// - Parameters: three disjoint sets.
    private func overrideParts(
        include: ChunkedBitmap,
        exclude: ChunkedBitmap,
        clear: ChunkedBitmap,
        of cohort: CohortRecord
    ) -> [AssignmentChange.Part] {
        let bitmaps = shared.index.bitmaps[Int(cohort.number)]
        return [
            AssignmentChange.Part(
                kind: .include,
                added: include.subtracting(bitmaps.include),
                removed: exclude.union(clear).intersection(bitmaps.include)
            ),
            AssignmentChange.Part(
                kind: .exclude,
                added: exclude.subtracting(bitmaps.exclude),
                removed: include.union(clear).intersection(bitmaps.exclude)
            ),
        ]
    }

    // MARK: The common part

    /// Commits the parts: the assignments in the entry where they are few, else staged.
    private func change(
        _ parts: [AssignmentChange.Part],
        _ cohort: CohortRecord,
        _ cause: TransitionCause,
        _ context: WriteContext
    ) throws(DomainError) -> CohortChangeResult {
        let parts = parts.filter { !$0.isEmpty }
        if parts.isEmpty { return unchanged(cohort) }
        let change = AssignmentChange(stage: sequence + 1, cohort: cohort.number, parts: parts)
        let moves = try moves(by: change, cohort, cause)
        guard change.count > UInt64(configuration.bulkThreshold) else {
            return try commit(.assignmentsChanged(change.assignments), moves, context)
        }
        return try commit(.assignmentsStaged(change.reference), moves, assignments: change, context)
    }

    /// How memberships move when the assignments change: the cohort's own first, then those of its dependents.
    private func moves(
        by change: AssignmentChange,
        _ cohort: CohortRecord,
        _ cause: TransitionCause
    ) throws(DomainError) -> [BulkChange] {
        let bitmaps = shared.index.bitmaps[Int(cohort.number)]
        let concerned = ChunkedBitmap()
        for part in change.parts {
            concerned.formUnion(part.added)
            concerned.formUnion(part.removed)
        }
        func after(_ kind: AssignmentKind) -> ChunkedBitmap {
            let set = bitmaps.assignments(kind).intersection(concerned)
            guard let part = change.parts.first(where: { $0.kind == kind }) else { return set }
            set.subtract(part.removed)
            set.formUnion(part.added)
            return set
        }
        let members = after(.include)
        let undecided = concerned.subtracting(members)
        undecided.subtract(after(.exclude))
        let decided = concerned.subtracting(undecided)
        let moves = Moves()
        if cohort.kind == .list {
            members.formUnion(after(.listed).intersection(undecided))
            decided.formUnion(undecided)
        } else if let rule = rules.rule(of: cohort.number), undecided.count > 0 {
            do throws(StoreError) {
                for part in try self.moves(Derivation(evaluating: rule, over: undecided, self)) {
                    moves.formUnion(part)
                }
            } catch {
                throw answer(to: error)
            }
        }
        // A rule that no longer compiles is a problem of its own; its memberships stand still.
        moves.toIn.formUnion(members.subtracting(bitmaps.members))
        moves.toOut.formUnion(decided.subtracting(members).intersection(bitmaps.members.union(bitmaps.unknown)))
        return try changes(
            following: BulkChange(
                stage: BulkChange.stage(sequence: sequence + 1, part: 0),
                cohort: cohort.number,
                version: cohort.version,
                cause: cause,
                toIn: moves.toIn,
                toOut: moves.toOut,
                toUnknown: moves.toUnknown
            )
        )
    }
}

extension CohortRecord {
    /// - Throws: `.failedPrecondition(NOT_A_LIST)` for a rule cohort.
    func requireList() throws(DomainError) {
        guard kind == .list else {
            throw .failedPrecondition(
                code: "NOT_A_LIST",
                message: "\(id) is decided by a rule. Use overrides to include or exclude single customers."
            )
        }
    }
}
