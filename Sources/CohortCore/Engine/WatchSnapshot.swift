/// Who is in some cohorts at one sequence, as far as it is still to be sent.
struct WatchSnapshot: @unchecked Sendable {
    // Unchecked: the sets are copies that nobody changes.
    struct Part {
        var cohort: CohortNumber
        var membership: Membership
        var set: ChunkedBitmap
    }

    let sequence: UInt64
    private(set) var isFirst = true
    /// The next one last.
    private var parts: [Part]
    private var nextOrdinal: Ordinal = 0
    /// Kept as long as the copies are.
    private let place: WatchRegistry.SnapshotPlace

    init(_ found: (parts: [Part], sequence: UInt64), _ place: WatchRegistry.SnapshotPlace) {
        sequence = found.sequence
        parts = found.parts.reversed().filter { !$0.set.isEmpty }
        self.place = place
    }

    var isComplete: Bool { parts.isEmpty }

    mutating func next(limit: Int) -> [WatchMove] {
        isFirst = false
        var result: [WatchMove] = []
        while result.count < limit, let part = parts.last {
            var last: Ordinal?
            var isDone = true
            part.set.forEach(from: nextOrdinal) { ordinal in
                // One more is looked at, to know whether there is one.
                guard result.count < limit else {
                    isDone = false
                    return false
                }
                result.append(
                    WatchMove(ordinal: ordinal, cohort: part.cohort, membership: part.membership, change: nil)
                )
                last = ordinal
                return true
            }
            nextOrdinal = isDone ? 0 : (last ?? nextOrdinal) + 1
            if isDone { parts.removeLast() }
        }
        return result
    }
}

extension MembershipIndex {
    /// Copies of the bitmaps of those cohorts that are not archived, at one sequence.
    func watchSnapshot(_ filter: CohortFilter) -> (parts: [WatchSnapshot.Part], sequence: UInt64) {
        lock.withReadLock {
            var parts: [WatchSnapshot.Part] = []
            // An archived cohort has no members.
            for (number, bitmaps) in bitmaps.enumerated() where filter.contains(CohortNumber(number)) {
                for (membership, set) in [(Membership.in, bitmaps.members), (.unknown, bitmaps.unknown)] {
                    guard !set.isEmpty else { continue }
                    parts.append(
                        WatchSnapshot.Part(cohort: CohortNumber(number), membership: membership, set: set.copy())
                    )
                }
            }
            return (parts, sequence)
        }
    }

    /// The ids of these ordinals, in the same order; empty for customers that have been erased.
    func ids(of ordinals: [Ordinal]) -> [String] {
        var result: [String] = []
        result.reserveCapacity(ordinals.count)
        var start = 0
        while start < ordinals.count {
            // A few at a time: the writer waits as long as ids are being read.
            let end = min(start + 128, ordinals.count)
            lock.withReadLock {
                for ordinal in ordinals[start..<end] {
                    let id = customers.arena.id(ordinal)
                    // The bytes of an erased id are zero, which none begins with.
                    result.append(id.first ?? 0 == 0 ? "" : String(decoding: id, as: UTF8.self))
                }
            }
            start = end
        }
        return result
    }

    /// The sequence of what reads see.
    var currentSequence: UInt64 { lock.withReadLock { sequence } }
}
