/// Overrides or list members of one cohort that are made and taken back together.
///
/// Never changed once made, which is what makes sharing it between threads safe.
package final class AssignmentChange: @unchecked Sendable {
    /// What happens to one kind of assignment: two disjoint sets, of customers that have it not, and that have it.
    package struct Part {
        package var kind: AssignmentKind
        package var added: ChunkedBitmap
        package var removed: ChunkedBitmap

        package init(kind: AssignmentKind, added: ChunkedBitmap, removed: ChunkedBitmap) {
            self.kind = kind
            self.added = added
            self.removed = removed
        }

        var isEmpty: Bool { added.isEmpty && removed.isEmpty }
    }

    package let stage: UInt64
    package let cohort: CohortNumber
    /// In order of kind, each at most once.
    package let parts: [Part]

    package init(stage: UInt64, cohort: CohortNumber, parts: [Part]) {
        self.stage = stage
        self.cohort = cohort
        self.parts = parts
    }

    package var count: UInt64 { parts.reduce(0) { $0 + $1.added.count + $1.removed.count } }
    package var bytes: Int { parts.reduce(0) { $0 + $1.added.bytes + $1.removed.bytes } }

    package var reference: AssignmentReference {
        AssignmentReference(
            stage: stage,
            cohort: cohort,
            added: parts.reduce(0) { $0 + $1.added.count },
            removed: parts.reduce(0) { $0 + $1.removed.count }
        )
    }

    /// One by one, in order of kind and customer.
    package var assignments: [Assignment] {
        parts.flatMap { part in
            [(part.added, true), (part.removed, false)].flatMap { set, present in
                set.members.map {
                    Assignment(cohort: cohort, kind: part.kind, ordinal: $0, present: present)
                }
            }
        }
    }
}

/// Names assignments that were staged in the store before the entry.
package struct AssignmentReference: Sendable, Hashable {
    package var stage: UInt64
    package var cohort: CohortNumber
    package var added: UInt64
    package var removed: UInt64

    package init(stage: UInt64, cohort: CohortNumber, added: UInt64, removed: UInt64) {
        self.stage = stage
        self.cohort = cohort
        self.added = added
        self.removed = removed
    }
}

/// What several changes together do to one kind of assignment of one cohort: the order in which they were made no
/// longer matters.
///
/// Changed by its owner alone, and handed over whole.
package struct AssignmentDelta: @unchecked Sendable {
    package var cohort: CohortNumber
    package var kind: AssignmentKind
    package var added: ChunkedBitmap
    package var removed: ChunkedBitmap

    package init(cohort: CohortNumber, kind: AssignmentKind, added: ChunkedBitmap, removed: ChunkedBitmap) {
        self.cohort = cohort
        self.kind = kind
        self.added = added
        self.removed = removed
    }
}

/// The deltas of all cohorts since the tables were last written.
struct AssignmentDeltas: @unchecked Sendable {
    // Unchecked: the bitmaps belong to whoever holds the value, who guards it.
    private struct Key: Hashable {
        var cohort: CohortNumber
        var kind: AssignmentKind
    }

    private var deltas: [Key: AssignmentDelta] = [:]

    mutating func add(_ assignments: [Assignment]) {
        for assignment in assignments {
            let delta = delta(assignment.cohort, assignment.kind)
            let (to, from) = assignment.present ? (delta.added, delta.removed) : (delta.removed, delta.added)
            to.insert(assignment.ordinal)
            from.remove(assignment.ordinal)
        }
    }

    mutating func add(_ change: AssignmentChange) {
        for part in change.parts { add(part.added, part.removed, to: delta(change.cohort, part.kind)) }
    }

    mutating func add(_ later: AssignmentDeltas) {
        for (key, change) in later.deltas { add(change.added, change.removed, to: delta(key.cohort, key.kind)) }
    }

    /// Bytes that the bitmaps hold.
    var bytes: Int { deltas.values.reduce(0) { $0 + $1.added.bytes + $1.removed.bytes } }

    private func add(_ added: ChunkedBitmap, _ removed: ChunkedBitmap, to delta: AssignmentDelta) {
        delta.added.formUnion(added)
        delta.added.subtract(removed)
        delta.removed.formUnion(removed)
        delta.removed.subtract(added)
    }

    /// In order of cohort and kind, without what concerns cohorts that were archived or customers that were erased.
    func list(archived: (CohortNumber) -> Bool, erased: [Ordinal]) -> [AssignmentDelta] {
        let kept = deltas.values.filter { !archived($0.cohort) }
        // Of an erased customer none is made after the erasure.
        for delta in kept { for ordinal in erased { delta.added.remove(ordinal) } }
        return kept.sorted { ($0.cohort, $0.kind.rawValue) < ($1.cohort, $1.kind.rawValue) }
    }

    private mutating func delta(_ cohort: CohortNumber, _ kind: AssignmentKind) -> AssignmentDelta {
        let key = Key(cohort: cohort, kind: kind)
        if let known = deltas[key] { return known }
        let new = AssignmentDelta(cohort: cohort, kind: kind, added: ChunkedBitmap(), removed: ChunkedBitmap())
        deltas[key] = new
        return new
    }
}
