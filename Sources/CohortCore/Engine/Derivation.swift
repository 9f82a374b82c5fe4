/// How memberships follow a change: those of one cohort, whose rule is new or whose memberships are given, and those of the
/// cohorts that depend on it. One pass over the customers does for all of them, in order of dependency, so that a rule
/// reads what a cohort is after the change where that changes with it, and what it is now elsewhere.
///
/// Made by the committer. It looks into bitmaps that change nothing while it is read: those of the index, as long as the
/// committer waits for it, or copies.
final class Derivation: @unchecked Sendable {
    // Unchecked: nobody changes the bitmaps that it looks into, as said above.

    /// Where a cohort stands before the change.
    struct Standing {
        let members: ChunkedBitmap.Reader
        let unknown: ChunkedBitmap.Reader
        let include: ChunkedBitmap.Reader
        let exclude: ChunkedBitmap.Reader

        init(_ bitmaps: MembershipIndex.CohortBitmaps) {
            members = bitmaps.members.reader
            unknown = bitmaps.unknown.reader
            include = bitmaps.include.reader
            exclude = bitmaps.exclude.reader
        }

        func membership(of ordinal: Ordinal) -> Membership {
            if members.contains(ordinal) { return .in }
            return unknown.contains(ordinal) ? .unknown : .out
        }

        func override(of ordinal: Ordinal) -> Membership? {
            if include.contains(ordinal) { return .in }
            return exclude.contains(ordinal) ? .out : nil
        }
    }

    enum Source {
        /// Memberships decided already.
        case given(BulkChange)
        /// A new rule, for every customer.
        case published(CompiledRule)
        /// A rule that stays, for customers whose overrides are taken from them: those do not count.
        case evaluated(CompiledRule)
        /// A rule that stays, for customers whose membership in one of the steps before has changed.
        case dependent(CompiledRule, reading: [Int])
    }

    struct Step {
        let cohort: CohortNumber
        let version: UInt32
        let source: Source
        let standing: Standing
    }

    let steps: [Step]
    /// Whom the change can concern; `nil` for everyone.
    let concerned: ChunkedBitmap?
    /// Whether customers' records are needed.
    let readsAttributes: Bool
    private let standings: [Standing]
    /// By cohort number, the place among the steps or -1.
    private let places: [Int]
    private let owners: [MembershipIndex.CohortBitmaps]

    /// - Parameters:
    ///   - customers: whom it can concern; `nil` for everyone, or those whose memberships are given.
    ///   - copying: looks into copies of what the index holds now.
    private init(
        _ first: Source,
        _ cohort: CohortNumber,
        _ version: UInt32,
        _ committer: Committer,
        over customers: ChunkedBitmap? = nil,
        copying: Bool = false
    ) {
        var owners = committer.shared.index.bitmaps
        // A cohort that is being created has no bitmaps yet.
        if Int(cohort) == owners.count { owners.append(MembershipIndex.CohortBitmaps()) }
        // What depends on memberships that are evaluated here follows once all of the change is known.
        let followed: Set<CohortNumber> = customers == nil ? [cohort] : []
        let dependents = CohortDependencies.dependents(of: followed, among: committer.rules.active)
        if copying {
            var read = Set([cohort] + dependents.map(\.cohort) + dependents.flatMap(\.references))
            if case .published(let rule) = first { read.formUnion(rule.references) }
            for number in read { owners[Int(number)] = owners[Int(number)].copyForReading() }
        }
        let standings = owners.map { Standing($0) }
        var places = [Int](repeating: -1, count: owners.count)
        var steps = [Step(cohort: cohort, version: version, source: first, standing: standings[Int(cohort)])]
        places[Int(cohort)] = 0
        for rule in dependents {
            places[Int(rule.cohort)] = steps.count
            let reading = rule.references.map { places[Int($0)] }.filter { $0 >= 0 }
            steps.append(
                Step(
                    cohort: rule.cohort,
                    version: rule.version,
                    source: .dependent(rule, reading: reading),
                    standing: standings[Int(rule.cohort)]
                )
            )
        }
        self.owners = owners
        self.standings = standings
        self.places = places
        self.steps = steps
        if case .given(let change) = first {
            let all = change.toIn.copy()
            all.formUnion(change.toOut)
            all.formUnion(change.toUnknown)
            concerned = all
        } else {
            concerned = customers
        }
        readsAttributes = steps.contains { $0.rule?.readsAttributes ?? false }
    }

    /// What a new rule changes.
    ///
    /// - Parameter copying: for a build beside the committer.
    convenience init(publishing rule: CompiledRule, _ committer: Committer, copying: Bool = false) {
        self.init(.published(rule), rule.cohort, rule.version, committer, copying: copying)
    }

    /// What a rule that stays makes of these customers without overrides.
    convenience init(evaluating rule: CompiledRule, over customers: ChunkedBitmap, _ committer: Committer) {
        self.init(.evaluated(rule), rule.cohort, rule.version, committer, over: customers)
    }

    /// What follows from memberships that change.
    convenience init(following change: BulkChange, _ committer: Committer) {
        self.init(.given(change), change.cohort, change.version, committer)
    }

    /// What a customer becomes by a step, or is where no step changes it.
    @inline(__always)
    fileprivate func membership(of ordinal: Ordinal, in cohort: CohortNumber, _ derived: [Membership]) -> Membership {
        let place = places[Int(cohort)]
        return place >= 0 ? derived[place] : standings[Int(cohort)].membership(of: ordinal)
    }
}

extension Derivation.Step {
    var rule: CompiledRule? {
        switch source {
        case .given: nil
        case .published(let rule), .evaluated(let rule), .dependent(let rule, _): rule
        }
    }
}

/// Customers by what they become in one cohort.
struct Moves {
    let toIn = ChunkedBitmap()
    let toOut = ChunkedBitmap()
    let toUnknown = ChunkedBitmap()

    var isEmpty: Bool { toIn.isEmpty && toOut.isEmpty && toUnknown.isEmpty }

    func add(_ ordinal: Ordinal, _ membership: Membership) {
        switch membership {
        case .in: toIn.insert(ordinal)
        case .out: toOut.insert(ordinal)
        case .unknown: toUnknown.insert(ordinal)
        }
    }

    func membership(of ordinal: Ordinal) -> Membership? {
        if toIn.contains(ordinal) { return .in }
        if toOut.contains(ordinal) { return .out }
        return toUnknown.contains(ordinal) ? .unknown : nil
    }

    func subtract(_ others: ChunkedBitmap) {
        toIn.subtract(others)
        toOut.subtract(others)
        toUnknown.subtract(others)
    }

    func formUnion(_ other: Moves) {
        toIn.formUnion(other.toIn)
        toOut.formUnion(other.toOut)
        toUnknown.formUnion(other.toUnknown)
    }
}

/// Carries a derivation out, customer by customer. One for each thread.
final class Deriver {
    private let derivation: Derivation
    private let classifier = Classifier()
    private let slots: Int
    /// What the customer at hand becomes by each step, and whether that is something new.
    private var derived: [Membership]
    private var moved: [Bool]
    /// By step.
    let moves: [Moves]
    /// Why a new rule cannot be decided, and for whom; `nil` where nobody asks.
    let failures: RuleFailures?

    /// - Parameters:
    ///   - slots: how many attributes are declared.
    ///   - failures: takes in why a new rule cannot be decided.
    init(_ derivation: Derivation, slots: Int, failures: RuleFailures? = nil) {
        self.derivation = derivation
        self.slots = slots
        derived = derivation.steps.map { _ in .out }
        moved = derivation.steps.map { _ in false }
        moves = derivation.steps.map { _ in Moves() }
        self.failures = failures
    }

    /// - Parameter attributes: asked for once, if a rule that has to be evaluated reads attributes.
    func derive(
        _ ordinal: Ordinal,
        _ attributes: () throws(StoreError) -> [StoredAttribute]
    ) throws(StoreError) {
        var isLoaded = false
        for (place, step) in derivation.steps.enumerated() {
            let before = step.standing.membership(of: ordinal)
            derived[place] = before
            moved[place] = false
            let rule: CompiledRule
            var override = step.standing.override(of: ordinal)
            switch step.source {
            case .given(let change):
                if let membership = change.membership(of: ordinal) {
                    derived[place] = membership
                    moved[place] = membership != before
                }
                continue
            case .published(let published): rule = published
            case .evaluated(let evaluated): (rule, override) = (evaluated, nil)
            case .dependent(let dependent, let reading):
                guard reading.contains(where: { moved[$0] }) else { continue }
                rule = dependent
            }
            if let override {
                derived[place] = override
            } else {
                if rule.readsAttributes, !isLoaded {
                    classifier.load(try attributes(), slots: slots)
                    isLoaded = true
                }
                derived[place] = classifier.evaluate(rule) {
                    derivation.membership(of: ordinal, in: $0, derived)
                }
                if place == 0, derived[0] == .unknown, let failures {
                    failures.add(
                        ordinal,
                        classifier.error(of: rule) { derivation.membership(of: ordinal, in: $0, derived) }
                    )
                }
            }
            guard derived[place] != before else { continue }
            moved[place] = true
            moves[place].add(ordinal, derived[place])
        }
    }
}
