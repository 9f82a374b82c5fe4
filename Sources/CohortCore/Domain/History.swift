/// A point of the past at which memberships are asked for.
package enum PastPoint: Sendable, Hashable {
    /// After this sequence, and before the next one.
    case sequence(UInt64)
    /// After everything that was committed up to this time.
    case time(Timestamp)

    /// Whether a change of this sequence and time had happened.
    package func includes(_ sequence: UInt64, _ time: Timestamp) -> Bool {
        switch self {
        case .sequence(let last): sequence <= last
        case .time(let last): time <= last
        }
    }

    /// Whether a membership that is over held then.
    package func isWithin(_ interval: ClosedInterval) -> Bool {
        includes(interval.began.sequence, interval.began.time) && !includes(interval.endSequence, interval.endTime)
    }
}

/// Which closed intervals of a customer to read from the store.
package struct IntervalQuery: Sendable, Hashable {
    package var ordinal: Ordinal
    /// `nil` for all cohorts.
    package var cohort: CohortNumber?
    /// Intervals that began after this sequence are left out, and those that ended after it count as not ended.
    package var through: UInt64
    /// Only those that had begun by this time.
    package var begunBy: Timestamp?
    /// Only those that had not ended by this time.
    package var notEndedBy: Timestamp?
    /// The most to read, those that began last.
    package var limit: Int

    package init(
        ordinal: Ordinal,
        cohort: CohortNumber? = nil,
        through: UInt64,
        begunBy: Timestamp? = nil,
        notEndedBy: Timestamp? = nil,
        limit: Int
    ) {
        self.ordinal = ordinal
        self.cohort = cohort
        self.through = through
        self.begunBy = begunBy
        self.notEndedBy = notEndedBy
        self.limit = limit
    }

    package func matches(_ interval: ClosedInterval) -> Bool {
        interval.ordinal == ordinal
            && matches(interval.began, end: (sequence: interval.endSequence, time: interval.endTime))
    }

    /// As `matches`, for an interval of the customer that may go on.
    func matches(_ began: OpenInterval, end: (sequence: UInt64, time: Timestamp)?) -> Bool {
        if let cohort, cohort != began.cohort { return false }
        if began.sequence > through { return false }
        if let begunBy, began.time > begunBy { return false }
        guard let notEndedBy, let end, end.sequence <= through else { return true }
        return end.time > notEndedBy
    }
}

/// How far back closed intervals are complete: those that retention has deleted ended by here.
package struct HistoryHorizon: Sendable, Hashable {
    /// The largest sequence at which a deleted interval ended: the first one that can be asked for.
    package var sequence: UInt64
    /// Every deleted interval ended before this time: the first one that can be asked for.
    package var time: Timestamp

    package init(sequence: UInt64, time: Timestamp) {
        self.sequence = sequence
        self.time = time
    }

    /// Takes in what was deleted besides.
    package mutating func formUnion(_ other: HistoryHorizon) {
        sequence = max(sequence, other.sequence)
        time = max(time, other.time)
    }

    func covers(_ point: PastPoint) -> Bool {
        switch point {
        case .sequence(let asked): asked >= sequence
        case .time(let asked): asked >= time
        }
    }
}

/// How a membership began or ended.
package struct MembershipChange: Sendable, Hashable {
    package var sequence: UInt64
    package var time: Timestamp
    /// The version of the cohort that served; 0 for an erasure, which concerns all cohorts.
    package var version: UInt32
    package var cause: TransitionCause
}

/// A time in which a customer was IN or UNKNOWN in a cohort.
package struct MembershipInterval: Sendable, Hashable {
    package var cohort: String
    package var membership: Membership
    package var entered: MembershipChange
    /// `nil` while it goes on.
    package var left: MembershipChange?
}

/// The memberships of a customer, past and present.
package struct MembershipHistory: Sendable, Hashable {
    /// The latest beginning first; those of one sequence in order of cohort id.
    package var intervals: [MembershipInterval]
    /// The sequence at which the answer holds.
    package var sequence: UInt64
    /// Intervals that ended before this may have been deleted; `nil` if none ever was.
    package var completeSince: Timestamp?
    /// Whether there are more than were asked for.
    package var isTruncated: Bool
    package var customerCreatedAt: Timestamp
}

/// What to tell of a customer's history.
package struct HistoryRequest: Sendable {
    package var customer: String
    /// `nil` for all, archived ones included.
    package var cohort: String?
    /// Only intervals that had not ended by this time.
    package var since: Timestamp?
    /// Only intervals that had begun by this time.
    package var until: Timestamp?
    package var minSequence: UInt64
    /// 1 to `maximumHistoryIntervals`.
    package var limit: Int

    package init(
        customer: String,
        cohort: String? = nil,
        since: Timestamp? = nil,
        until: Timestamp? = nil,
        minSequence: UInt64 = 0,
        limit: Int = 1_000
    ) {
        self.customer = customer
        self.cohort = cohort
        self.since = since
        self.until = until
        self.minSequence = minSequence
        self.limit = limit
    }
}

extension OpenInterval {
    /// In the order of a history: the latest beginning first, those of one sequence in order of cohort.
    func isBefore(_ other: OpenInterval) -> Bool {
        sequence != other.sequence ? sequence > other.sequence : cohort < other.cohort
    }

    var change: MembershipChange {
        MembershipChange(sequence: sequence, time: time, version: version, cause: cause)
    }
}

extension ClosedInterval {
    var endChange: MembershipChange {
        MembershipChange(sequence: endSequence, time: endTime, version: endVersion, cause: endCause)
    }
}
