/// An instant on the UTC time line with nanosecond resolution, within the years 1 to 9999
/// (the range of `google.protobuf.Timestamp`).
package struct Timestamp: Sendable, Hashable, Comparable {
    /// Whole seconds since 1970-01-01T00:00:00Z, negative before it.
    package let seconds: Int64
    /// Nanoseconds within the second, 0 to 999,999,999, counting forward also before 1970.
    package let nanoseconds: Int32

    /// 0001-01-01T00:00:00Z.
    package static let minimum = Timestamp(unchecked: -62_135_596_800, 0)
    /// 9999-12-31T23:59:59.999999999Z.
    package static let maximum = Timestamp(unchecked: 253_402_300_799, 999_999_999)
    /// 1970-01-01T00:00:00Z.
    package static let epoch = Timestamp(unchecked: 0, 0)

    /// `nil` outside the years 1 to 9999, or when the nanoseconds are not within one second.
    package init?(seconds: Int64, nanoseconds: Int32 = 0) {
        guard
            seconds >= Self.minimum.seconds, seconds <= Self.maximum.seconds,
            nanoseconds >= 0, nanoseconds <= 999_999_999
        else { return nil }
        self.init(unchecked: seconds, nanoseconds)
    }

    private init(unchecked seconds: Int64, _ nanoseconds: Int32) {
        self.seconds = seconds
        self.nanoseconds = nanoseconds
    }

    package static func < (a: Timestamp, b: Timestamp) -> Bool {
        a.seconds != b.seconds ? a.seconds < b.seconds : a.nanoseconds < b.nanoseconds
    }

    /// This instant moved by whole seconds, held within the representable range.
    package func advanced(bySeconds delta: Int64) -> Timestamp {
        let (sum, overflow) = seconds.addingReportingOverflow(delta)
        if overflow { return delta > 0 ? .maximum : .minimum }
        if sum > Self.maximum.seconds { return .maximum }
        if sum < Self.minimum.seconds { return .minimum }
        return Timestamp(unchecked: sum, nanoseconds)
    }
}
