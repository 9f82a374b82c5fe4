import Histogram

/// How long calls took: an HdrHistogram with its empty buckets left out, so that a second of a run can carry one.
///
/// Percentiles, mean and maximum are those that the histogram itself gives. In JSON they stand beside it for the reader,
/// in milliseconds (`p50_ms`, `p90_ms`, …); a decoder believes the histogram alone. Records of the same precision merge
/// without loss.
struct LatencyRecord: Sendable, Hashable {
    struct Bucket: Sendable, Hashable {
        /// The lowest value of the bucket, in nanoseconds.
        var value: UInt64
        var count: UInt64
    }

    /// The longest time that is told apart: an hour, in nanoseconds. Longer ones are to be recorded as this.
    static let longest: UInt64 = 3_600_000_000_000

    private(set) var significantDigits: SignificantDigits
    /// By ascending value; none is empty.
    private(set) var buckets: [Bucket]
    private(set) var count: UInt64
    /// The longest time recorded, in nanoseconds; 0 when there is none.
    private(set) var max: UInt64

    /// An empty histogram to record nanoseconds in, up to `longest`.
    static func makeHistogram(_ digits: SignificantDigits = .three) -> Histogram<UInt64> {
        Histogram(highestTrackableValue: longest, numberOfSignificantValueDigits: digits)
    }

    /// - Parameters:
    ///   - histogram: Of nanoseconds, made by `makeHistogram`.
    ///   - significantDigits: The precision to keep, if it is less than the histogram's.
    init(_ histogram: Histogram<UInt64>, significantDigits: SignificantDigits? = nil) {
        var kept = histogram
        if let significantDigits, significantDigits.rawValue < histogram.numberOfSignificantValueDigits.rawValue {
            kept = Self.makeHistogram(significantDigits)
            for entry in histogram.recordedValues() {
                kept.record(histogram.lowestEquivalentForValue(entry.value), count: entry.count)
            }
        }
        self.significantDigits = kept.numberOfSignificantValueDigits
        buckets = kept.recordedValues().map { entry in
            Bucket(value: kept.lowestEquivalentForValue(entry.value), count: entry.count)
        }
        count = histogram.totalCount
        max = histogram.totalCount == 0 ? 0 : histogram.maxRecorded
    }

    init(significantDigits: SignificantDigits = .three) {
        self.significantDigits = significantDigits
        buckets = []
        count = 0
        max = 0
    }

    /// The same as a histogram.
    var histogram: Histogram<UInt64> {
        var histogram = Self.makeHistogram(significantDigits)
        for (index, bucket) in buckets.enumerated() {
            // The library keeps the greatest value as it came; the bucket's own value would be a little less.
            let isLast = index == buckets.count - 1
            histogram.record(bucket.value, count: isLast ? bucket.count - 1 : bucket.count)
        }
        if count > 0 { histogram.record(max) }
        return histogram
    }

    /// Adds what another generator measured.
    ///
    /// - Precondition: Both have the same precision; a file's reader refuses any other than it expects.
    mutating func merge(_ other: LatencyRecord) {
        precondition(significantDigits == other.significantDigits, "records of different precision do not merge")
        var merged: [Bucket] = []
        merged.reserveCapacity(Swift.max(buckets.count, other.buckets.count))
        var (left, right) = (buckets[...], other.buckets[...])
        while let first = left.first, let second = right.first {
            if first.value < second.value {
                merged.append(left.removeFirst())
            } else if second.value < first.value {
                merged.append(right.removeFirst())
            } else {
                merged.append(Bucket(value: first.value, count: first.count + second.count))
                left.removeFirst()
                right.removeFirst()
            }
        }
        buckets = merged + left + right
        count += other.count
        max = Swift.max(max, other.max)
    }

    /// What is left without some of the calls that were recorded here.
    ///
    /// - Precondition: Both have the same precision, and all of `part` are among these.
    func subtracting(_ part: LatencyRecord) -> LatencyRecord {
        precondition(significantDigits == part.significantDigits, "records of different precision do not subtract")
        let counts = Dictionary(uniqueKeysWithValues: part.buckets.map { ($0.value, $0.count) })
        var rest = LatencyRecord(significantDigits: significantDigits)
        for bucket in buckets {
            let left = bucket.count - (counts[bucket.value] ?? 0)
            guard left > 0 else { continue }
            rest.buckets.append(Bucket(value: bucket.value, count: left))
            rest.count += left
        }
        // Which call of the last bucket was the longest is not known; it is the longest of all where that bucket is the last.
        let highest = rest.buckets.last.map { Self.layout(significantDigits).highestEquivalentForValue($0.value) }
        rest.max = Swift.min(highest ?? 0, max)
        return rest
    }

    /// The value that `percentile` percent of the calls do not exceed, in milliseconds, to the precision of the buckets.
    ///
    /// - Parameters:
    ///   - percentile: Over 0, up to 100.
    ///   - endless: Calls beside those recorded that took longer than any: endless where the percentile is one of them.
    ///   - unended: How many of those recorded had no answer when they were: endless as well.
    /// - Returns: 0 when there were no calls.
    func milliseconds(atPercentile percentile: Double, endless: UInt64 = 0, unended: UInt64 = 0) -> Double {
        guard count + endless > 0 else { return 0 }
        guard percentile < 100 else { return endless + unended > 0 ? .infinity : Double(max) / 1e6 }
        // As HdrHistogram: one unit in the last place less, so that 50 % of two calls is one call.
        let wanted = Swift.max(1, UInt64((percentile.nextDown * Double(count + endless) / 100).rounded(.up)))
        guard wanted + Swift.min(unended, count) <= count else { return .infinity }
        var seen: UInt64 = 0
        let empty = Self.layout(significantDigits)
        for bucket in buckets {
            seen += bucket.count
            if seen >= wanted {
                return Double(Swift.min(empty.highestEquivalentForValue(bucket.value), max)) / 1e6
            }
        }
        return Double(max) / 1e6
    }

    var p50: Double { milliseconds(atPercentile: 50) }
    var p90: Double { milliseconds(atPercentile: 90) }
    var p95: Double { milliseconds(atPercentile: 95) }
    var p99: Double { milliseconds(atPercentile: 99) }
    var p999: Double { milliseconds(atPercentile: 99.9) }
    var maximum: Double { Double(max) / 1e6 }

    /// In milliseconds; 0 when nothing was recorded.
    var mean: Double {
        guard count > 0 else { return 0 }
        let layout = Self.layout(significantDigits)
        let sum = buckets.reduce(0.0) { $0 + Double(layout.medianEquivalentForValue($1.value)) * Double($1.count) }
        return sum / Double(count) / 1e6
    }

    private static let layouts = (0...5).map { digits in
        // The widths of buckets depend on the precision alone, so the smallest histogram tells them.
        Histogram<UInt64>(
            highestTrackableValue: 2,
            numberOfSignificantValueDigits: SignificantDigits(rawValue: digits) ?? .three
        )
    }

    private static func layout(_ digits: SignificantDigits) -> Histogram<UInt64> { layouts[Int(digits.rawValue)] }
}

extension LatencyRecord: Codable {
    private enum CodingKeys: String, CodingKey {
        case p50 = "p50_ms"
        case p90 = "p90_ms"
        case p95 = "p95_ms"
        case p99 = "p99_ms"
        case p999 = "p999_ms"
        case max = "max_ms"
        case mean = "mean_ms"
        case histogram
    }

    private struct Sparse: Codable {
        var significantDigits: Int8
        /// In nanoseconds.
        var max: UInt64
        /// Pairs of a bucket's lowest value, in nanoseconds, and its count.
        var counts: [[UInt64]]

        enum CodingKeys: String, CodingKey {
            case significantDigits = "significant_digits"
            case max = "max_ns"
            case counts = "counts_ns"
        }
    }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        if count > 0 {
            try container.encode(p50, forKey: .p50)
            try container.encode(p90, forKey: .p90)
            try container.encode(p95, forKey: .p95)
            try container.encode(p99, forKey: .p99)
            try container.encode(p999, forKey: .p999)
            try container.encode(maximum, forKey: .max)
            try container.encode(mean, forKey: .mean)
        }
        let counts = buckets.map { [$0.value, $0.count] }
        let sparse = Sparse(significantDigits: significantDigits.rawValue, max: max, counts: counts)
        try container.encode(sparse, forKey: .histogram)
    }

    init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        let sparse = try container.decode(Sparse.self, forKey: .histogram)
        func refuse(_ why: String) -> DecodingError {
            .dataCorruptedError(forKey: .histogram, in: container, debugDescription: why)
        }
        guard let digits = SignificantDigits(rawValue: sparse.significantDigits) else {
            throw refuse("significant_digits is \(sparse.significantDigits); it takes 0 to 5")
        }
        let layout = Self.layout(digits)
        self.init(significantDigits: digits)
        for pair in sparse.counts {
            guard pair.count == 2, pair[1] > 0, pair[0] <= Self.longest else {
                throw refuse("counts_ns has \(pair); it takes pairs of a value up to an hour and a count")
            }
            guard layout.lowestEquivalentForValue(pair[0]) == pair[0], buckets.last.map({ $0.value < pair[0] }) ?? true
            else { throw refuse("counts_ns has \(pair[0]), which is no bucket or not in ascending order") }
            let (sum, overflows) = count.addingReportingOverflow(pair[1])
            guard !overflows else { throw refuse("counts_ns adds up to more than 64 bits hold") }
            count = sum
            buckets.append(Bucket(value: pair[0], count: pair[1]))
        }
        guard layout.lowestEquivalentForValue(sparse.max) == buckets.last?.value ?? 0 else {
            throw refuse("max_ns is \(sparse.max), which is not in the last bucket")
        }
        max = sparse.max
    }
}
