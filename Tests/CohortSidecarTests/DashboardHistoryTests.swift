import OTLP
import SwiftProtobuf
import Testing

@testable import cohort_sidecar

@Suite("Dashboard history")
struct DashboardHistoryTests {
    private static let second: UInt64 = 1_000_000_000
    private static let bounds = [0.001, 0.01, 0.1]

    /// Totals of a run that began at `start`, read at `time`, both in seconds.
    private func reading(
        at time: UInt64,
        start: UInt64 = 0,
        calls: UInt64 = 0,
        latency: [UInt64] = [0, 0, 0, 0],
        processor: Double = 0
    ) -> DashboardReading {
        var reading = DashboardReading()
        reading.time = time * Self.second
        reading.startedAt = start * Self.second
        reading.calls = calls
        reading.latency = .init(bounds: Self.bounds, counts: latency)
        reading.processor = processor
        return reading
    }

    private func history(_ readings: [DashboardReading?]) -> DashboardHistory {
        var history = DashboardHistory(length: .seconds(20), interval: .seconds(2))
        for (index, reading) in readings.enumerated() { history.take(reading, at: Int64(index) * 2000) }
        return history
    }

    @Test("Rates are differences over the server's time; the first reading has none")
    func rates() {
        let samples = history([
            reading(at: 100, calls: 1000, processor: 5), reading(at: 102, calls: 1500, processor: 8),
        ]).samples
        #expect(samples[0].up && samples[0].calls == nil && samples[0].cores == nil && samples[0].buckets == nil)
        #expect(samples[1].calls == 250 && samples[1].cores == 1.5)
        #expect(samples.map(\.n) == [1, 2] && samples.map(\.t) == [0, 2000])
    }

    @Test("After a restart totals count from 0 and from the new start")
    func restart() {
        let samples = history([
            reading(at: 100, calls: 1000, latency: [900, 100, 0, 0]), nil, nil,
            reading(at: 120, start: 110, calls: 50, latency: [0, 50, 0, 0]),
        ]).samples
        #expect(samples.map(\.up) == [true, false, false, true])
        #expect(samples[1].calls == nil && samples[1].resident == nil)
        #expect(samples[3].calls == 5)
        #expect(samples[3].buckets == [0, 50, 0, 0])
        // Also one that has more calls than the run before it.
        let more = history([reading(at: 100, calls: 10), reading(at: 120, start: 110, calls: 50)]).samples
        #expect(more[1].calls == 5)
    }

    @Test("A pause of the server's answers is spread over its whole time")
    func pause() {
        let samples = history([reading(at: 100, calls: 0), nil, nil, reading(at: 106, calls: 600)]).samples
        #expect(samples[3].calls == 100)
    }

    @Test("An answer that served twice, or a clock set back, makes no rate")
    func sameAnswer() {
        let samples = history([
            reading(at: 100, calls: 1), reading(at: 100, calls: 1), reading(at: 99, calls: 2),
            reading(at: 101, calls: 4),
        ]).samples
        #expect(samples[1].calls == nil && samples[2].calls == nil)
        #expect(samples[3].calls == 1)
    }

    @Test("Percentiles are those of the calls between two readings")
    func percentiles() {
        let samples = history([
            reading(at: 100, latency: [1_000_000, 0, 0, 0]), reading(at: 102, latency: [1_000_000, 100, 100, 0]),
        ]).samples
        #expect(samples[1].buckets == [0, 100, 100, 0])
        #expect(samples[1].p50 == 0.01)
        #expect(samples[1].p99 == 0.0982)
        let beyond = DashboardReading.Distribution(bounds: Self.bounds, counts: [0, 0, 0, 4])
        #expect(beyond.quantile(0.5) == 0.1)
        #expect(DashboardReading.Distribution(bounds: Self.bounds, counts: [0, 0, 0, 0]).quantile(0.5) == nil)
    }

    @Test("The history is bounded, and hands out what is new")
    func increments() {
        let full = history((0..<25).map { reading(at: UInt64($0 + 1)) })
        #expect(full.capacity == 10 && full.samples.count == 10 && full.newest == 25)
        #expect(full.samples(after: 25).isEmpty)
        #expect(full.samples(after: 23).map(\.n) == [24, 25])
        // Too old, or of another run: all there is.
        for number in [0, 3, 26, -1] { #expect(full.samples(after: number).count == 10, "\(number)") }
        let none = DashboardHistory(length: .seconds(1), interval: .seconds(60))
        #expect(none.samples(after: 0).isEmpty && none.base(0) == 0 && none.base(1) == 0)
    }

    @Test("However many pages ask for whatever, there are few answers: what a page lacks, or all")
    func bases() {
        var long = DashboardHistory(length: .seconds(1_000), interval: .seconds(1))
        for number in 1...1_200 { long.take(nil, at: Int64(number)) }
        #expect(long.base(1_200) == 1_200 && long.base(1_170) == 1_170)
        for number in [1_201, 1_169, 201, 1, 0, -1, .min, .max] { #expect(long.base(number) == 0, "\(number)") }
        #expect(Set((-10...1_300).map(long.base)).count == DashboardHistory.increments + 2)
    }

    @Test("Calls are those of callers, by whose fault they failed; latency is that of unary ones")
    func calls() {
        let reading = DashboardReading(
            Self.data([
                Self.calls("cohort.v1.MembershipService/CheckMembership", "OK", 100),
                Self.calls("cohort.v1.MembershipService/CheckMembership", "NOT_FOUND", 7),
                Self.calls("cohort.v1.CustomerService/PutCustomer", "UNAVAILABLE", 3),
                Self.calls("cohort.v1.HistoryService/WatchMemberships", "OK", 2),
                Self.calls("cohort.v1.OperationsService/ScrapeMetrics", "OK", 1000),
                Self.calls("grpc.health.v1.Health/Check", "OK", 1000),
            ])
        )
        #expect(reading.calls == 112 && reading.mistaken == 7 && reading.failed == 3)
        #expect(reading.latency.bounds == Self.bounds)
        #expect(reading.latency.counts == [0, 110, 0, 0])
    }

    private static func calls(_ method: String, _ code: String, _ count: UInt64) -> OTLPHistogramDataPoint {
        .with {
            $0.attributes = [("rpc.method", method), ("rpc.response.status_code", code)].map { key, value in
                .with {
                    $0.key = key
                    $0.value.stringValue = value
                }
            }
            $0.explicitBounds = bounds
            $0.bucketCounts = [0, count, 0, 0]
            $0.count = count
        }
    }

    private static func data(_ points: [OTLPHistogramDataPoint]) -> OTLPMetricsData {
        let metric = OTLPMetric.with {
            $0.name = "rpc.server.call.duration"
            $0.histogram.dataPoints = points
        }
        return .with { $0.resourceMetrics = [.with { $0.scopeMetrics = [.with { $0.metrics = [metric] }] }] }
    }
}

@Suite("Dashboard page")
struct DashboardPageTests {
    @Test("The page is one small document that names no other place, and whose policy lets only its own parts run")
    func page() {
        let page = DashboardPage()
        #expect(page.document.utf8.count < 60 << 10)
        #expect(page.document.contains("<style>:root") && page.document.contains("<script>\"use strict\""))
        let addresses = page.document.matches(of: #/https?://[^"'\s]+/#).map { String($0.output) }
        #expect(addresses.allSatisfy { $0.hasPrefix("http://www.w3.org/2000/svg") }, "\(addresses)")
        for word in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", " onclick=", " style="]
        {
            #expect(!page.document.contains(word), "\(word)")
        }
        #expect(page.policy.hasPrefix("default-src 'none'; script-src 'sha256-"))
        #expect(!page.policy.contains("unsafe") && !page.policy.contains("*"))
    }
}
