import Testing

@testable import Telemetry

@Suite("Histograms")
struct HistogramTests {
    @Test("Durations have bounds of 10 µs to 100 s, 1, 2.5 and 5 in each decade")
    func bounds() {
        let bounds = HistogramScale.durations.explicitBounds
        #expect(bounds.first == 0.00001)
        #expect(bounds.last == 100)
        #expect(bounds.count == 22)
        #expect(bounds.prefix(4) == [0.00001, 0.000025, 0.00005, 0.0001])
    }

    @Test("Every value falls below the first bound that is not smaller", arguments: [true, false])
    func buckets(isDuration: Bool) {
        let scale = isDuration ? HistogramScale.durations : .amounts
        var values: [Int64] = [0, 1, .max, .max - 1]
        for bound in scale.bounds { values += [bound - 1, bound, bound + 1] }
        for shift in 0..<63 { values += [1 << shift, (1 << shift) - 1, (1 << shift) + 1] }
        var random = SystemRandomNumberGenerator()
        for _ in 0..<10_000 { values.append(Int64(random.next() >> UInt64(Int.random(in: 1...63)))) }
        for value in values {
            #expect(scale.bucket(value) == scale.bounds.firstIndex { value <= $0 } ?? scale.bounds.count, "\(value)")
        }
    }

    @Test("Values below zero and what is no number count as zero")
    func odd() {
        let histogram = HistogramInstrument(.amounts)
        histogram.record(-5 as Int64)
        histogram.record(Double.nan)
        histogram.record(-Double.infinity)
        #expect(histogram.reading.buckets.first == 3)
        #expect(histogram.reading.sum == 0)
        histogram.record(Double.infinity)
        #expect(histogram.reading.buckets.last == 1)
    }

    @Test("Whole and broken values are kept to a thousandth, durations to a nanosecond")
    func sums() {
        let amounts = HistogramInstrument(.amounts)
        amounts.record(2 as Int64)
        amounts.record(0.125)
        #expect(amounts.reading.sum == 2.125)
        let durations = HistogramInstrument(.durations)
        durations.recordNanoseconds(1_500_000_001)
        #expect(durations.reading.sum == 1.500000001)
    }

    @Test("Nothing is lost where many threads record at once")
    func threads() {
        let histogram = HistogramInstrument(.durations)
        onThreads(8) { thread in
            for value in 0..<20_000 { histogram.record(ticks: Int64(value * (thread + 1))) }
        }
        #expect(histogram.reading.count == 160_000)
        #expect(histogram.reading.sum == Double(36 * (19_999 * 20_000 / 2)) / 1e9)
    }

    @Test("Each bucket keeps the last value that was part of a trace")
    func exemplars() {
        let histogram = HistogramInstrument(.durations)
        let first = TraceContext(traceID: .random(), spanID: .random(), isSampled: true)
        let second = TraceContext(traceID: .random(), spanID: .random(), isSampled: true)
        histogram.record(ticks: 11_000, in: first)
        histogram.record(ticks: 12_000, in: second)
        histogram.record(ticks: 13_000)
        histogram.record(ticks: 2_000_000, in: first)
        let exemplars = histogram.reading.exemplars
        #expect(exemplars.map(\.ticks) == [12_000, 2_000_000])
        #expect(exemplars.map(\.context) == [second, first])
        #expect(histogram.reading.count == 4)
    }
}
