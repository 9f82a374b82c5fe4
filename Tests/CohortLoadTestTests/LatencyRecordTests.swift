import Foundation
import Histogram
import Testing

@testable import cohort_loadtest

@Suite("Latency records")
struct LatencyRecordTests {
    /// Log-normal times round a millisecond, and a few outliers.
    static func histogram(
        _ count: Int,
        seed: UInt64,
        digits: SignificantDigits = .three
    ) -> Histogram<UInt64> {
        var generator = SplitMix64(state: seed)
        var histogram = LatencyRecord.makeHistogram(digits)
        for _ in 0..<count {
            let z = (0..<12).reduce(-6.0) { sum, _ in sum + Double.random(in: 0..<1, using: &generator) }
            histogram.record(UInt64(1e6 * exp(0.8 * z)))
        }
        if count > 10 { histogram.record(45_123_456_789) }
        return histogram
    }

    @Test("A record gives the histogram back, and its figures", arguments: [0, 1, 2, 9, 5_000])
    func roundTrip(count: Int) throws {
        let histogram = Self.histogram(count, seed: 1)
        let record = LatencyRecord(histogram)
        #expect(record.histogram == histogram)
        #expect(record.histogram.maxRecorded == histogram.maxRecorded)
        #expect(record.count == histogram.totalCount)
        for percentile in [0.1, 25, 50, 90, 95, 99, 99.9, 99.999, 100] {
            let wanted = Double(histogram.valueAtPercentile(percentile)) / 1e6
            #expect(record.milliseconds(atPercentile: percentile) == wanted, "at \(percentile)")
        }
        #expect(abs(record.mean - histogram.mean / 1e6) < 1e-9)
        let decoded = try JSONDecoder().decode(LatencyRecord.self, from: JSONEncoder().encode(record))
        #expect(decoded == record)
    }

    @Test("Merging records is recording both")
    func merging() {
        let (one, other) = (Self.histogram(4_000, seed: 1), Self.histogram(700, seed: 2))
        var both = one
        both.add(other)
        var merged = LatencyRecord(one)
        merged.merge(LatencyRecord(other))
        #expect(merged.histogram == both)
        #expect(merged == LatencyRecord(both))
        merged.merge(LatencyRecord())
        #expect(merged == LatencyRecord(both))
    }

    @Test("A coarser record keeps counts and the greatest value, and is within its precision")
    func coarser() {
        let histogram = Self.histogram(5_000, seed: 3)
        let (fine, coarse) = (LatencyRecord(histogram), LatencyRecord(histogram, significantDigits: .two))
        #expect(coarse.count == fine.count && coarse.max == fine.max)
        #expect(coarse.buckets.count < fine.buckets.count / 2)
        for percentile in [10, 50, 99, 99.9] {
            let (exact, rough) = (
                fine.milliseconds(atPercentile: percentile), coarse.milliseconds(atPercentile: percentile)
            )
            #expect(abs(rough - exact) <= exact * 0.01, "at \(percentile)")
        }
    }

    @Test("Calls that took for ever count in percentiles, and are endless where they decide")
    func endless() {
        var histogram = LatencyRecord.makeHistogram()
        histogram.record(1_000_000, count: 98)
        let record = LatencyRecord(histogram)
        #expect(record.milliseconds(atPercentile: 98, endless: 2) == record.p50)
        #expect(record.milliseconds(atPercentile: 98.1, endless: 2) == .infinity)
        #expect(record.milliseconds(atPercentile: 100, endless: 2) == .infinity)
        #expect(record.milliseconds(atPercentile: 100) == record.maximum)
        #expect(LatencyRecord().milliseconds(atPercentile: 50, endless: 1) == .infinity)
    }

    @Test(
        "A damaged histogram is refused",
        arguments: [
            (#"{"significant_digits":9,"max_ns":0,"counts_ns":[]}"#, "significant_digits"),
            (#"{"significant_digits":3,"max_ns":5,"counts_ns":[[5]]}"#, "pairs"),
            (#"{"significant_digits":3,"max_ns":5,"counts_ns":[[5,0]]}"#, "pairs"),
            (#"{"significant_digits":3,"max_ns":5,"counts_ns":[[5,1],[5,1]]}"#, "ascending"),
            (#"{"significant_digits":3,"max_ns":5,"counts_ns":[[1000001,1]]}"#, "no bucket"),
            (#"{"significant_digits":3,"max_ns":7,"counts_ns":[[5,1]]}"#, "max_ns"),
            (#"{"significant_digits":3,"max_ns":9999999999999,"counts_ns":[[9999999999999,1]]}"#, "hour"),
            (#"{"significant_digits":3,"max_ns":6,"counts_ns":[[5,18446744073709551615],[6,1]]}"#, "64 bits"),
        ]
    )
    func damaged(json: String, word: String) throws {
        let error = #expect(throws: DecodingError.self) {
            try JSONDecoder().decode(LatencyRecord.self, from: Data(#"{"histogram":\#(json)}"#.utf8))
        }
        #expect("\(try #require(error))".contains(word))
    }
}

@Suite("Parts of latency records")
struct LatencyPartTests {
    @Test("What is left without the failed calls has the percentiles of the others")
    func subtracting() {
        var all = LatencyRecord.makeHistogram()
        var failed = LatencyRecord.makeHistogram()
        for number in 1...1_000 {
            all.record(UInt64(number) * 1_000_000)
            if number <= 900 { failed.record(UInt64(number) * 1_000_000) }
        }
        let left = LatencyRecord(all).subtracting(LatencyRecord(failed))
        #expect(left.count == 100)
        #expect(abs(left.p50 - 950) < 2 && abs(left.maximum - 1_000) < 1)
        #expect(LatencyRecord(all).subtracting(LatencyRecord(all)) == LatencyRecord())
    }
}
