/// What a build has found so far: how memberships would change by a new rule, in its own cohort and in those that depend on
/// it. Belongs to one thread at a time: the builds', or the committer's while that one waits.
final class BuiltMembership: @unchecked Sendable {
    // Unchecked: confined to one thread at a time, as said above.
    let rule: CompiledRule
    fileprivate(set) var derivation: Derivation
    fileprivate(set) var moves: [Moves] = []
    /// Why the rule cannot be decided; `nil` where nobody asks.
    let failures: RuleFailures?

    fileprivate init(_ rule: CompiledRule, _ derivation: Derivation, failures: RuleFailures?) {
        self.rule = rule
        self.derivation = derivation
        self.failures = failures
    }

    /// What a customer becomes in a cohort; `nil` where that does not change.
    func membership(of ordinal: Ordinal, in cohort: CohortNumber) -> Membership? {
        guard let place = derivation.steps.firstIndex(where: { $0.cohort == cohort }) else { return nil }
        return moves[place].membership(of: ordinal)
    }

    /// Evaluates customers anew that have changed since they were evaluated. Whoever is erased is no more in any set.
    ///
    /// - Parameter read: the attributes of those of a few thousand customers that exist.
    fileprivate func update(
        _ changed: ChunkedBitmap,
        _ derivation: Derivation,
        slots: Int,
        read: ([Ordinal]) throws(StoreError) -> [Ordinal: [StoredAttribute]]
    ) throws(StoreError) {
        self.derivation = derivation
        for set in moves { set.subtract(changed) }
        failures?.subtract(changed)
        let deriver = Deriver(derivation, slots: slots, failures: failures.map { _ in RuleFailures() })
        let ordinals = changed.members
        for start in stride(from: 0, to: ordinals.count, by: 5_000) {
            let part = Array(ordinals[start..<min(start + 5_000, ordinals.count)])
            let found = try read(part)
            for ordinal in part {
                guard let attributes = found[ordinal] else { continue }
                try deriver.derive(ordinal) { () throws(StoreError) in attributes }
            }
        }
        for (own, found) in zip(moves, deriver.moves) { own.formUnion(found) }
        if let found = deriver.failures { failures?.formUnion(found) }
    }
}

/// Builds the membership of a new rule beside the writes, and has the committer switch to it between two commits.
///
/// Every customer is evaluated once, while the committer notes who changes. Those are evaluated again, round after round,
/// until they are so few that the committer can do the rest while writes wait: only then are sets and entry written. A
/// crash before that leaves nothing.
struct VersionBuilder {
    /// What the committer says of a new rule before its membership is built.
    enum Plan<Answer: Sendable> {
        /// There is nothing to build.
        case answer(Answer)
        case build(CompiledRule)
    }

    private enum Start<Answer: Sendable>: Sendable {
        case answer(Answer)
        case scan(BuiltMembership, MembershipBuilder)
    }

    private enum Round<Answer: Sendable>: Sendable {
        case answer(Answer)
        case update(Derivation, ChangedCustomers)
    }

    /// Rounds after which the rest is done while writes wait, however much it is: writes come faster than they can be
    /// followed.
    private static let maximumRounds = 20

    let shared: EngineShared
    let progress: BuildProgress

    /// - Parameters:
    ///   - explaining: also keep why the rule cannot be decided.
    ///   - plan: checks and compiles.
    ///   - announce: called by the committer before a build that takes longer than a moment.
    ///   - finish: takes what was built into effect. By then all of it is of the committer's sequence.
    func run<Answer: Sendable>(
        explaining: Bool = false,
        plan: @escaping @Sendable (Committer) throws(DomainError) -> Plan<Answer>,
        announce: @escaping @Sendable (Committer) throws(DomainError) -> Void = { (_) throws(DomainError) in },
        finish: @escaping @Sendable (Committer, BuiltMembership) throws(DomainError) -> Answer
    ) throws(DomainError) -> Answer {
        let start = try onCommitter { (committer) throws(DomainError) -> Start<Answer> in
            switch try plan(committer) {
            case .answer(let answer): return .answer(answer)
            case .build(let rule): return try begin(rule, committer, explaining, announce, finish)
            }
        }
        switch start {
        case .answer(let answer): return answer
        case .scan(let built, let builder):
            do throws(DomainError) {
                do throws(StoreError) {
                    built.moves = try builder.build(built.derivation, failures: built.failures)
                } catch {
                    throw failure(error)
                }
                return try catchUp(built, finish)
            } catch {
                _ = try? onCommitter { (committer) throws(DomainError) in committer.changed = nil }
                throw error
            }
        }
    }

    private func begin<Answer: Sendable>(
        _ rule: CompiledRule,
        _ committer: Committer,
        _ explaining: Bool,
        _ announce: (Committer) throws(DomainError) -> Void,
        _ finish: (Committer, BuiltMembership) throws(DomainError) -> Answer
    ) throws(DomainError) -> Start<Answer> {
        progress.begin(customers: UInt64(committer.nextOrdinal), at: shared.environment.now())
        // A few are evaluated while writes wait.
        let isSmall = Int(committer.nextOrdinal) <= shared.configuration.buildSwitchCustomers
        if !isSmall { try announce(committer) }
        let built = BuiltMembership(
            rule,
            Derivation(publishing: rule, committer, copying: !isSmall),
            failures: explaining ? RuleFailures() : nil
        )
        let builder = MembershipBuilder(
            store: shared.store,
            pending: shared.pending.snapshot(),
            nextOrdinal: committer.nextOrdinal,
            slots: committer.catalog.attributes.count,
            threads: shared.configuration.loadThreads,
            progress: progress
        )
        guard isSmall else {
            committer.changed = ChangedCustomers()
            return .scan(built, builder)
        }
        do throws(StoreError) {
            built.moves = try builder.build(built.derivation, failures: built.failures)
        } catch {
            throw failure(error)
        }
        progress.enter(.switching)
        return .answer(try finish(committer, built))
    }

    private func catchUp<Answer: Sendable>(
        _ built: BuiltMembership,
        _ finish: @escaping @Sendable (Committer, BuiltMembership) throws(DomainError) -> Answer
    ) throws(DomainError) -> Answer {
        progress.enter(.catchingUp)
        var rounds = 0
        while true {
            let isLast = rounds == Self.maximumRounds
            let round = try onCommitter { (committer) throws(DomainError) -> Round<Answer> in
                let changed = committer.changed ?? ChangedCustomers()
                guard Int(changed.set.count) <= shared.configuration.buildSwitchCustomers || isLast else {
                    committer.changed = ChangedCustomers()
                    return .update(Derivation(publishing: built.rule, committer, copying: true), changed)
                }
                committer.changed = nil
                progress.enter(.switching)
                do throws(StoreError) {
                    try built.update(
                        changed.set,
                        Derivation(publishing: built.rule, committer),
                        slots: committer.catalog.attributes.count
                    ) { (ordinals) throws(StoreError) in try committer.load(ordinals).mapValues(\.record.attributes) }
                } catch {
                    throw committer.answer(to: error)
                }
                return .answer(try finish(committer, built))
            }
            switch round {
            case .answer(let answer): return answer
            case .update(let derivation, let changed):
                rounds += 1
                progress.extend(by: changed.set.count)
                do throws(StoreError) {
                    try built.update(changed.set, derivation, slots: 0) { (ordinals) throws(StoreError) in
                        defer { _ = try? progress.advance(by: ordinals.count) }
                        return try readAttributes(of: ordinals)
                    }
                    try progress.advance(by: 0)
                } catch {
                    throw failure(error)
                }
            }
        }
    }

    /// The attributes of those who exist, as late as they are at hand: who changes meanwhile is noted.
    private func readAttributes(of ordinals: [Ordinal]) throws(StoreError) -> [Ordinal: [StoredAttribute]] {
        var result: [Ordinal: [StoredAttribute]] = [:]
        func add(_ ordinal: Ordinal, _ bytes: UnsafeRawBufferPointer) throws(StoreError) {
            do throws(CodecError) {
                result[ordinal] = try CustomerRecord.attributes(of: bytes)
            } catch {
                throw .corrupt("the record of customer \(ordinal) cannot be read: \(error.message)")
            }
        }
        var stored: [Ordinal] = []
        for (ordinal, lookup) in zip(ordinals, shared.pending.lookup(ordinals)) {
            switch lookup {
            case .absent: stored.append(ordinal)
            case .erased: break
            case .record(let bytes):
                try bytes.withUnsafeRecord { (bytes) throws(StoreError) in try add(ordinal, bytes) }
            }
        }
        if !stored.isEmpty {
            try shared.store.readCustomers(stored) { (i, bytes) throws(StoreError) in try add(stored[i], bytes) }
        }
        return result
    }

    /// Runs `body` between two commits, before what waits.
    private func onCommitter<R: Sendable>(
        _ body: @escaping @Sendable (Committer) throws(DomainError) -> R
    ) throws(DomainError) -> R {
        if progress.isEnded { throw BuildQueue.stopping(shared.configuration.retryAfter) }
        let result = try shared.betweenCommits(ahead: true) { committer in
            Result { () throws(DomainError) in try body(committer) }
        }
        return try result.get()
    }

    private func failure(_ error: StoreError) -> DomainError {
        if error == BuildProgress.ended { return BuildQueue.stopping(shared.configuration.retryAfter) }
        shared.log(.error, "building a membership failed", [("cohort", progress.cohort), ("error", error.message)])
        shared.setProblem(.tables, error)
        if case .corrupt = error {
            return .dataLoss(message: "A stored record cannot be read. Nothing was changed.")
        }
        return .unavailable(
            reason: UnavailableReason.storeUnavailable,
            message: "The store does not answer. Nothing was changed.",
            retryAfter: shared.configuration.retryAfter
        )
    }
}

/// Customers whom entries concern, noted by the committer while a build runs.
final class ChangedCustomers: @unchecked Sendable {
    // Unchecked: the committer's, and once it has let it go the build's.
    let set = ChunkedBitmap()

    func add(_ entry: LogEntry) {
        switch entry.change {
        case .customerPut(let put): set.insert(put.ordinal)
        case .customerErased(let ordinal): set.insert(ordinal)
        case .assignmentsChanged(let assignments): for assignment in assignments { set.insert(assignment.ordinal) }
        default: break
        }
        for transition in entry.transitions { set.insert(transition.ordinal) }
    }

    func add(_ change: BulkChange) {
        set.formUnion(change.toIn)
        set.formUnion(change.toOut)
        set.formUnion(change.toUnknown)
    }

    func add(_ change: AssignmentChange) {
        for part in change.parts {
            set.formUnion(part.added)
            set.formUnion(part.removed)
        }
    }
}
