/// What a log entry does to memberships: all that the change stream needs of it.
struct WatchEntry: Sendable {
    let sequence: UInt64
    let time: Timestamp
    /// A customer that leaves everything; nothing else is in the entry then.
    let erased: Ordinal?
    /// In order of cohort number, then ordinal.
    let transitions: [Transition]
    /// In order of cohort number; none of a cohort that `transitions` has.
    let bulks: [BulkReference]

    init(_ entry: LogEntry) {
        sequence = entry.sequence
        time = entry.time
        if case .customerErased(let ordinal) = entry.change {
            // Whether the transitions have been scrubbed yet must make no difference.
            (erased, transitions, bulks) = (ordinal, [], [])
            return
        }
        erased = nil
        transitions = entry.transitions.count < 2 ? entry.transitions : entry.transitions.sorted { $0.step < $1.step }
        bulks = entry.bulks.count < 2 ? entry.bulks : entry.bulks.sorted { $0.cohort < $1.cohort }
    }

    /// About what it takes in memory.
    var bytes: Int {
        MemoryLayout<WatchEntry>.stride + transitions.count * MemoryLayout<Transition>.stride
            + bulks.count * MemoryLayout<BulkReference>.stride
    }
}

extension Transition {
    var step: WatchPosition.Step { WatchPosition.Step(cohort: cohort, ordinal: ordinal) }
}

/// One change of the stream, without names.
struct WatchMove: Sendable {
    var ordinal: Ordinal
    /// `nil` for an erasure.
    var cohort: CohortNumber?
    var membership: Membership
    var change: MembershipChange?

    init(ordinal: Ordinal, cohort: CohortNumber?, membership: Membership, change: MembershipChange?) {
        self.ordinal = ordinal
        self.cohort = cohort
        self.membership = membership
        self.change = change
    }

    init(_ transition: Transition, of entry: WatchEntry) {
        self.init(
            ordinal: transition.ordinal,
            cohort: transition.cohort,
            membership: transition.to,
            change: MembershipChange(entry, version: transition.version, cause: transition.cause)
        )
    }

    var step: WatchPosition.Step { WatchPosition.Step(cohort: cohort ?? .max, ordinal: ordinal) }
}

extension MembershipChange {
    init(_ entry: WatchEntry, version: UInt32, cause: TransitionCause) {
        self.init(sequence: entry.sequence, time: entry.time, version: version, cause: cause)
    }
}

extension BulkChange {
    /// The first `limit` customers that it moves, from an ordinal on, in order of ordinal.
    func moves(from start: Ordinal, limit: Int) -> [(ordinal: Ordinal, membership: Membership)] {
        var result: [(ordinal: Ordinal, membership: Membership)] = []
        for (set, membership) in [(toIn, Membership.in), (toOut, .out), (toUnknown, .unknown)] {
            let end = result.count + limit
            set.forEach(from: start) {
                result.append(($0, membership))
                return result.count < end
            }
        }
        // Three ascending runs: the sort merges them.
        result.sort { $0.ordinal < $1.ordinal }
        return Array(result.prefix(limit))
    }
}

/// The cohorts that a watch is about.
struct CohortFilter: Sendable {
    /// One bit for each cohort number; `nil` for all cohorts, later ones included.
    private let words: [UInt64]?

    init(_ cohorts: [CohortNumber]?) {
        words = cohorts.map { cohorts in
            var words = [UInt64](repeating: 0, count: Int(cohorts.max() ?? 0) >> 6 + 1)
            for cohort in cohorts { words[Int(cohort) >> 6] |= 1 << UInt64(cohort & 63) }
            return words
        }
    }

    func contains(_ cohort: CohortNumber) -> Bool {
        guard let words else { return true }
        let word = Int(cohort) >> 6
        return word < words.count && words[word] & (1 << UInt64(cohort & 63)) != 0
    }
}
