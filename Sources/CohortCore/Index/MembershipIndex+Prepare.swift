/// What is made ready beside the readers, so that they are out for the swap alone. By the committer's thread.
extension MembershipIndex {
    /// Bitmaps with a bulk change applied, ready to be swapped in.
    struct PreparedBulk {
        var cohort: CohortNumber
        var members: ChunkedBitmap
        var unknown: ChunkedBitmap
    }

    /// Prepares a bulk change beside the readers.
    func prepare(_ change: BulkChange) -> PreparedBulk {
        // A cohort that the same entry creates has no bitmaps yet.
        let known = Int(change.cohort) < bitmaps.count
        let members = known ? bitmaps[Int(change.cohort)].members.copy() : ChunkedBitmap()
        let unknown = known ? bitmaps[Int(change.cohort)].unknown.copy() : ChunkedBitmap()
        members.subtract(change.toOut)
        members.subtract(change.toUnknown)
        members.formUnion(change.toIn)
        unknown.subtract(change.toOut)
        unknown.subtract(change.toIn)
        unknown.formUnion(change.toUnknown)
        return PreparedBulk(cohort: change.cohort, members: members, unknown: unknown)
    }

    /// An assignment change applied beside the readers, ready to be swapped in.
    struct PreparedAssignments {
        var bitmaps: [(AssignmentKind, ChunkedBitmap)]
    }

    /// Prepares an assignment change beside the readers.
    func prepare(_ change: AssignmentChange) -> PreparedAssignments {
        PreparedAssignments(
            bitmaps: change.parts.map { part in
                let bitmap = bitmaps[Int(change.cohort)].assignments(part.kind).copy()
                bitmap.subtract(part.removed)
                bitmap.formUnion(part.added)
                return (part.kind, bitmap)
            }
        )
    }
}
