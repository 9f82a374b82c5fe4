/// Memberships that follow from a change, on the committer's thread.
extension Committer {
    /// A change of memberships, and what it changes in the cohorts that depend on that one.
    func changes(following change: BulkChange) throws(DomainError) -> [BulkChange] {
        guard change.count > 0 else { return [change] }
        let derivation = Derivation(following: change, self)
        return derivation.steps.count == 1 ? [change] : try derive(derivation)
    }

    private func derive(_ derivation: Derivation) throws(DomainError) -> [BulkChange] {
        let moves: [Moves]
        do throws(StoreError) {
            moves = try self.moves(derivation)
        } catch {
            throw answer(to: error)
        }
        return bulkChanges(derivation, moves)
    }

    /// Moves as changes of the next entry.
    ///
    /// - Parameter version: the number of the version that a new rule gets; `nil` for the one that it was compiled as.
    func bulkChanges(_ derivation: Derivation, _ moves: [Moves], version: UInt32? = nil) -> [BulkChange] {
        var result: [BulkChange] = []
        for (place, step) in derivation.steps.enumerated() {
            let cause: TransitionCause
            switch step.source {
            case .given(let change):
                result.append(change)
                continue
            case .published, .evaluated: cause = .rule
            case .dependent: cause = .cohort
            }
            if place > 0, moves[place].isEmpty { continue }
            result.append(
                BulkChange(
                    stage: BulkChange.stage(sequence: sequence + 1, part: result.count),
                    cohort: step.cohort,
                    version: place == 0 ? version ?? step.version : step.version,
                    cause: cause,
                    toIn: moves[place].toIn,
                    toOut: moves[place].toOut,
                    toUnknown: moves[place].toUnknown
                )
            )
        }
        return result
    }

    func moves(_ derivation: Derivation) throws(StoreError) -> [Moves] {
        let slots = catalog.attributes.count
        guard let concerned = derivation.concerned,
            concerned.count < max(10_000, UInt64(nextOrdinal) / 8)
                || !derivation.readsAttributes
        else {
            return try MembershipBuilder(
                store: shared.store,
                pending: shared.pending.snapshot(),
                nextOrdinal: nextOrdinal,
                slots: slots,
                threads: configuration.loadThreads
            ).build(derivation)
        }
        let deriver = Deriver(derivation, slots: slots)
        let ordinals = concerned.members
        // In parts, so that the records of many need not fit into memory.
        for start in stride(from: 0, to: ordinals.count, by: 10_000) {
            let part = Array(ordinals[start..<min(start + 10_000, ordinals.count)])
            let loaded = derivation.readsAttributes ? try load(part) : [:]
            for ordinal in part {
                try deriver.derive(ordinal) { () throws(StoreError) in
                    guard let customer = loaded[ordinal] else {
                        throw .corrupt("customer \(ordinal) is in the index but not in the store")
                    }
                    return customer.record.attributes
                }
            }
        }
        return deriver.moves
    }
}
