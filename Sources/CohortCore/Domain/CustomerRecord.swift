/// The number of a customer, given in order of first arrival and never used again.
package typealias Ordinal = UInt32

/// The number of a cohort, given in order of creation and never used again.
package typealias CohortNumber = UInt32

/// The latest that is known of one attribute of one customer.
package struct StoredAttribute: Sendable, Hashable {
    package var slot: Int
    /// `nil` if deleted: the deletion's event time still holds back older values.
    package var value: AttributeValue?
    package var eventTime: Timestamp

    package init(slot: Int, value: AttributeValue?, eventTime: Timestamp) {
        self.slot = slot
        self.value = value
        self.eventTime = eventTime
    }
}

/// A membership that goes on: IN or UNKNOWN, never OUT.
package struct OpenInterval: Sendable, Hashable {
    package var cohort: CohortNumber
    package var membership: Membership
    /// When it began, and through what.
    package var sequence: UInt64
    package var time: Timestamp
    package var version: UInt32
    package var cause: TransitionCause

    package init(
        cohort: CohortNumber,
        membership: Membership,
        sequence: UInt64,
        time: Timestamp,
        version: UInt32,
        cause: TransitionCause
    ) {
        self.cohort = cohort
        self.membership = membership
        self.sequence = sequence
        self.time = time
        self.version = version
        self.cause = cause
    }
}

/// A membership that is over.
package struct ClosedInterval: Sendable, Hashable {
    package var ordinal: Ordinal
    package var began: OpenInterval
    package var endSequence: UInt64
    package var endTime: Timestamp
    package var endVersion: UInt32
    package var endCause: TransitionCause

    package init(
        ordinal: Ordinal,
        began: OpenInterval,
        endSequence: UInt64,
        endTime: Timestamp,
        endVersion: UInt32,
        endCause: TransitionCause
    ) {
        self.ordinal = ordinal
        self.began = began
        self.endSequence = endSequence
        self.endTime = endTime
        self.endVersion = endVersion
        self.endCause = endCause
    }
}

/// One change of one customer's membership in one cohort.
package struct Transition: Sendable, Hashable {
    package var ordinal: Ordinal
    package var cohort: CohortNumber
    package var from: Membership
    package var to: Membership
    package var version: UInt32
    package var cause: TransitionCause
}

/// All that is stored of a customer, besides the id.
package struct CustomerRecord: Sendable, Hashable {
    /// The last log entry, of this customer alone or in bulk, that the record takes into account.
    package var sequence: UInt64
    package var createdSequence: UInt64
    package var createdAt: Timestamp
    /// In order of slot.
    package var attributes: [StoredAttribute]
    /// In order of cohort number.
    package var intervals: [OpenInterval]

    package init(createdSequence: UInt64, createdAt: Timestamp) {
        sequence = createdSequence
        self.createdSequence = createdSequence
        self.createdAt = createdAt
        attributes = []
        intervals = []
    }

    package func attribute(_ slot: Int) -> StoredAttribute? {
        place(ofSlot: slot).found
    }

    package mutating func set(_ attribute: StoredAttribute) {
        let (index, found) = place(ofSlot: attribute.slot)
        if found == nil { attributes.insert(attribute, at: index) } else { attributes[index] = attribute }
    }

    package func membership(in cohort: CohortNumber) -> Membership {
        for interval in intervals where interval.cohort >= cohort {
            return interval.cohort == cohort ? interval.membership : .out
        }
        return .out
    }

    /// Moves the customer to `to` in one cohort, and returns the interval that ends by it, if one was open.
    ///
    /// Nothing happens if that is the membership already.
    package mutating func move(
        ordinal: Ordinal,
        cohort: CohortNumber,
        to: Membership,
        version: UInt32,
        cause: TransitionCause,
        sequence: UInt64,
        time: Timestamp
    ) -> ClosedInterval? {
        let index = intervals.firstIndex { $0.cohort >= cohort } ?? intervals.count
        let open = index < intervals.count && intervals[index].cohort == cohort ? intervals[index] : nil
        if (open?.membership ?? .out) == to { return nil }
        let next = OpenInterval(
            cohort: cohort,
            membership: to,
            sequence: sequence,
            time: time,
            version: version,
            cause: cause
        )
        switch (open, to) {
        case (nil, _): intervals.insert(next, at: index)
        case (_, .out): intervals.remove(at: index)
        default: intervals[index] = next
        }
        return open.map {
            ClosedInterval(
                ordinal: ordinal,
                began: $0,
                endSequence: sequence,
                endTime: time,
                endVersion: version,
                endCause: cause
            )
        }
    }

    private func place(ofSlot slot: Int) -> (index: Int, found: StoredAttribute?) {
        // Records are short and mostly filled in order of slot: from the end is the shortest way.
        var index = attributes.count
        while index > 0, attributes[index - 1].slot > slot { index -= 1 }
        if index > 0, attributes[index - 1].slot == slot { return (index - 1, attributes[index - 1]) }
        return (index, nil)
    }
}
