/// Bounds of buckets in whole ticks, and the way from a value to its bucket.
final class HistogramScale: @unchecked Sendable {
    // Unchecked: nothing changes once it is made.

    /// Durations: a tick is a nanosecond, bounds are 10, 25, 50, 100 µs and so on, up to 100 s.
    static let durations = HistogramScale(from: 10_000, to: 100_000_000_000, ticksPerUnit: 1e9)
    /// Everything else: a tick is a thousandth, bounds are 1, 2.5, 5, 10 and so on, up to ten million.
    static let amounts = HistogramScale(from: 1_000, to: 10_000_000_000, ticksPerUnit: 1e3)

    let bounds: [Int64]
    let ticksPerUnit: Double
    /// The bounds in the unit of the metric.
    let explicitBounds: [Double]
    /// The same as the field `explicit_bounds` of a data point.
    let encodedBounds: [UInt8]
    private let ends: UnsafeMutablePointer<Int64>
    /// For each number of leading zeros, the first bucket that a value with so many can be in.
    private let first: UnsafeMutablePointer<UInt8>

    private init(from lowest: Int64, to highest: Int64, ticksPerUnit: Double) {
        self.ticksPerUnit = ticksPerUnit
        var bounds: [Int64] = []
        var decade = lowest
        while decade <= highest {
            for bound in [decade, decade * 5 / 2, decade * 5] where bound <= highest { bounds.append(bound) }
            decade *= 10
        }
        self.bounds = bounds
        explicitBounds = bounds.map { Double($0) / ticksPerUnit }
        encodedBounds = MetricsEncoder.bounds(explicitBounds)
        ends = .allocate(capacity: bounds.count + 1)
        for (index, bound) in (bounds + [.max]).enumerated() { (ends + index).initialize(to: bound) }
        first = .allocate(capacity: 65)
        for zeros in 0...64 {
            let least: Int64 = zeros == 64 ? 0 : zeros == 0 ? .max : 1 << (63 - Int64(zeros))
            let bucket = bounds.firstIndex { $0 >= least } ?? bounds.count
            (first + zeros).initialize(to: UInt8(bucket))
        }
    }

    deinit {
        ends.deallocate()
        first.deallocate()
    }

    var buckets: Int { bounds.count + 1 }

    /// The bucket of a value that is not negative: its upper bound is inclusive.
    @inline(__always)
    func bucket(_ ticks: Int64) -> Int {
        var bucket = Int(first[ticks.leadingZeroBitCount])
        // At most twice: bounds are a factor of 2 or more apart.
        while ticks > ends[bucket] { bucket += 1 }
        return bucket
    }
}
