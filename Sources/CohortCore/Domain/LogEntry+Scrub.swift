extension LogEntry {
    /// The entry without what it says of these customers; `nil` if it says nothing of them.
    ///
    /// Sequence, time, principal and method stay. A put keeps the ordinal and whether the customer was new, an erasure the
    /// ordinal: replayed over older tables, they end where the whole entries would, as the erasure follows.
    package func scrubbed(of ordinals: Set<Ordinal>) -> LogEntry? {
        var result = self
        var concerned = false
        switch change {
        case .customerPut(let put):
            if ordinals.contains(put.ordinal) {
                result.change = .customerPutScrubbed(ordinal: put.ordinal, isNew: put.newID != nil)
                concerned = true
            }
        case .assignmentsChanged(let assignments):
            let kept = assignments.filter { !ordinals.contains($0.ordinal) }
            if kept.count < assignments.count {
                result.change = .assignmentsChanged(kept)
                concerned = true
            }
        case .attributeDeclared, .customerErased, .customerPutScrubbed, .cohortCreated, .ruleUpdated, .versionDrafted,
            .versionDiscarded, .versionPublished, .cohortArchived, .assignmentsStaged, .approvalRequired,
            .changeRequest:
            break
        }
        result.transitions.removeAll { ordinals.contains($0.ordinal) }
        return concerned || result.transitions.count < transitions.count ? result : nil
    }
}

extension LogEntry {
    var erasure: Erasure? {
        guard case .customerErased(let ordinal) = change else { return nil }
        return Erasure(ordinal: ordinal, sequence: sequence, time: time)
    }
}
