/// Overrides and static lists.
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
        var wanted: [Ordinal: AssignmentKind?] = [:]
        var violations: [FieldViolation] = []
        for (field, ids, kind) in [
            ("include", include, AssignmentKind?.some(.include)), ("exclude", exclude, .some(.exclude)),
            ("clear", clear, nil),
        ] {
            for (i, customer) in ids.enumerated() {
                let problem: String?
                if let ordinal = ordinal(of: Array(customer.utf8)) {
                    problem = wanted.updateValue(kind, forKey: ordinal) == nil ? nil : "is named twice"
                } else {
                    problem = InputRules.customerID(customer) ?? "'\(customer)' is no known customer; put it first"
                }
                // A hundred are enough to see what is wrong.
                if let problem, violations.count < 100 {
                    violations.append(FieldViolation(field: "\(field)[\(i)]", description: problem))
                }
            }
        }
        guard violations.isEmpty else { throw .invalidArgument(violations) }
        let bitmaps = shared.index.bitmaps[Int(cohort.number)]
        var assignments: [Assignment] = []
        for ordinal in wanted.keys.sorted() {
            let kind = wanted[ordinal] ?? nil
            for other in [AssignmentKind.include, .exclude] {
                let present = bitmaps.assignments(other).contains(ordinal)
                guard present != (kind == other) else { continue }
                assignments.append(
                    Assignment(cohort: cohort.number, kind: other, ordinal: ordinal, present: !present)
                )
            }
        }
        if assignments.isEmpty { return unchanged(cohort) }
        let target = try memberships(
            of: Array(Set(assignments.map(\.ordinal))).sorted(),
            in: cohort,
            override: { wanted[$0] ?? nil },
            listed: { bitmaps.listed.contains($0) }
        )
        let changes = try changes(following: moves(to: target, cohort, .override))
        return try commit(.assignmentsChanged(assignments), changes, context)
    }

    func changeList(
        cohort id: String,
        add: [String],
        remove: [String],
        _ context: WriteContext
    ) throws(DomainError) -> ListChangeResult {
        let cohort = try catalog.cohort(id)
        guard cohort.kind == .list else {
            throw .failedPrecondition(
                code: "NOT_A_LIST",
                message: "\(id) is decided by a rule. Use overrides to include or exclude single customers."
            )
        }
        try checkCount(add.count + remove.count)
        let bitmaps = shared.index.bitmaps[Int(cohort.number)]
        var result = ListChangeResult(
            cohort: shared.view(of: cohort),
            sequence: sequence,
            added: 0,
            alreadyListed: 0,
            removed: 0,
            notListed: 0,
            unknownCustomers: [],
            invalidIDs: []
        )
        var wanted: [Ordinal: Bool] = [:]
        for (ids, present) in [(add, true), (remove, false)] {
            for customer in ids {
                guard let ordinal = ordinal(of: Array(customer.utf8)) else {
                    if InputRules.customerID(customer) == nil {
                        result.unknownCustomers.append(customer)
                    } else {
                        result.invalidIDs.append(customer)
                    }
                    continue
                }
                let before = wanted[ordinal]
                if let before, before != present {
                    throw .invalid("remove", "'\(customer)' is to be added too; name it once")
                }
                let isChange = before == nil && bitmaps.listed.contains(ordinal) != present
                wanted[ordinal] = present
                switch (present, isChange) {
                case (true, true): result.added += 1
                case (true, false): result.alreadyListed += 1
                case (false, true): result.removed += 1
                case (false, false): result.notListed += 1
                }
            }
        }
        let assignments = wanted.keys.sorted().compactMap { ordinal -> Assignment? in
            guard let present = wanted[ordinal], present != bitmaps.listed.contains(ordinal) else { return nil }
            return Assignment(cohort: cohort.number, kind: .listed, ordinal: ordinal, present: present)
        }
        if assignments.isEmpty { return result }
        let target = try memberships(
            of: assignments.map(\.ordinal),
            in: cohort,
            override: {
                bitmaps.include.contains($0) ? .include : bitmaps.exclude.contains($0) ? .exclude : nil
            },
            listed: { wanted[$0] ?? false }
        )
        let changes = try changes(following: moves(to: target, cohort, .list))
        let change = try commit(.assignmentsChanged(assignments), changes, context)
        result.cohort = change.cohort
        result.sequence = change.sequence
        return result
    }

    private func checkCount(_ count: Int) throws(DomainError) {
        let limit = configuration.maximumIDsPerChange
        guard count <= limit else {
            throw .invalid("ids", "\(count) ids in one change; at most \(limit) are allowed, send them in parts")
        }
    }

    /// What the customers become, with the given overrides and list.
    private func memberships(
        of ordinals: [Ordinal],
        in cohort: CohortRecord,
        override: (Ordinal) -> AssignmentKind?,
        listed: (Ordinal) -> Bool
    ) throws(DomainError) -> [Ordinal: Membership] {
        var result: [Ordinal: Membership] = [:]
        var undecided: [Ordinal] = []
        for ordinal in ordinals {
            switch override(ordinal) {
            case .include: result[ordinal] = .in
            case .exclude: result[ordinal] = .out
            default:
                if cohort.kind == .list {
                    result[ordinal] = listed(ordinal) ? .in : .out
                } else {
                    undecided.append(ordinal)
                }
            }
        }
        guard !undecided.isEmpty, let rule = rules.rule(of: cohort.number) else { return result }
        do throws(StoreError) {
            for (ordinal, customer) in try load(undecided) {
                classifier.load(customer.record.attributes, slots: catalog.attributes.count)
                result[ordinal] = classifier.evaluate(rule) { membership(of: ordinal, in: $0) }
            }
        } catch {
            throw answer(to: error)
        }
        return result
    }

    /// Those of the memberships that differ from what the customers are.
    private func moves(
        to target: [Ordinal: Membership],
        _ cohort: CohortRecord,
        _ cause: TransitionCause
    ) -> BulkChange {
        let bitmaps = shared.index.bitmaps[Int(cohort.number)]
        let (toIn, toOut, toUnknown) = (ChunkedBitmap(), ChunkedBitmap(), ChunkedBitmap())
        for (ordinal, membership) in target {
            let now = bitmaps.membership(of: ordinal)
            guard now != membership else { continue }
            switch membership {
            case .in: toIn.insert(ordinal)
            case .out: toOut.insert(ordinal)
            case .unknown: toUnknown.insert(ordinal)
            }
        }
        return BulkChange(
            stage: BulkChange.stage(sequence: sequence + 1, part: 0),
            cohort: cohort.number,
            version: cohort.version,
            cause: cause,
            toIn: toIn,
            toOut: toOut,
            toUnknown: toUnknown
        )
    }
}
