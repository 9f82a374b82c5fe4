import Foundation
import Testing

@testable import cohort_loadtest

@Suite("The analysis of a search")
struct AnalysisTests {
    @Test("Little's law holds where it should, and a step that breaks it is found")
    func littlesLaw() {
        var result = SampleResult.make()
        #expect(LittlesLaw(result).holds && LittlesLaw(result).deviation < 0.02)
        for index in result.intervals.indices { result.intervals[index].inFlight *= 1.2 }
        let broken = LittlesLaw(result)
        #expect(!broken.holds && abs(broken.deviation - 0.2) < 0.02)
    }

    @Test("The knee of a queue's curve is found, and a straight line has none")
    func knee() throws {
        let rates = [0.1, 0.25, 0.4, 0.55, 0.7, 0.8, 0.9, 0.95, 1.0].map { $0 * 1_000 }
        let queue = rates.map { (rate: $0, latency: 1_000 / (1_050 - $0)) }
        let knee = try #require(Knee.find(queue))
        #expect((700...900).contains(knee), "\(knee)")
        #expect(Knee.find(rates.map { (rate: $0, latency: 2 + $0 / 100) }) == nil)
        #expect(Knee.find(rates.map { (rate: $0, latency: 3) }) == nil)
        #expect(Knee.find([]) == nil)
    }

    private func limiting(
        _ values: [String: Double],
        processors: Int? = 2,
        _ change: (inout LoadResult) -> Void = { _ in }
    ) -> LimitingResource {
        let series = values.map { LoadResult.Series(name: $0, unit: "1", points: [.init(at: 0, value: $1)]) }
        var result = SampleResult.make(
            seconds: 2,
            errorRatio: 0,
            server: .init(version: nil, processors: processors, series: series)
        )
        change(&result)
        return LimitingResource(at: result)
    }

    @Test("Each resource is named by its own figures, with the evidence first")
    func limitingResource() {
        let cpu = limiting(["process.cpu.time rate": 1.9, "cohort.eventloop.lag p99": 0.5])
        #expect(cpu.resource == .cpu && cpu.evidence.first == "the server used 1.9 of 2 processors")
        let loop = limiting(["process.cpu.time rate": 1.0, "cohort.eventloop.lag p99": 0.5])
        #expect(loop.resource == .eventLoop && loop.evidence.first == "the event loops were 500 ms late at p99")
        let commit = limiting([
            "process.cpu.time rate": 1.0, "cohort.commit.duration mean": 0.004, "cohort.commit.duration rate": 240,
        ])
        #expect(commit.resource == .commit)
        #expect(commit.evidence.first == "the committer was busy 96 % of the time, 4 ms for a commit")
        #expect(limiting(["cohort.queue.rows": 95, "cohort.queue.rows.limit": 100]).resource == .commit)
        let client = limiting(["process.cpu.time rate": 1.9]) { $0.generator.isBottleneck = true }
        #expect(client.resource == .client)
        #expect(limiting(["process.cpu.time rate": 1.0]).resource == .unknown)
        let refused = limiting([:]) { $0.errors = ["RESOURCE_EXHAUSTED": 50, "UNAVAILABLE": 2] }
        #expect(refused.resource == .limits)
        let unknown = limiting(["process.cpu.time rate": 1.9], processors: nil)
        #expect(unknown.resource == .unknown && unknown.evidence.contains { $0.contains("how many it has") })
    }

    /// A search against a server whose latency grows as M/M/1 does, 10,000 calls a second at most.
    static func capacityResult(targetRate: Double? = 50_000) throws -> CapacityResult {
        let slo = try SLO(parsing: "p99<20ms,errors<0.1%")
        var search = CapacitySearch(.init(tolerance: 0.05))
        var steps: [(step: CapacitySearch.Step, result: LoadResult)] = []
        while let step = search.next() {
            // Times of an M/M/1 queue are exponential; this is near enough to them, p99 a little over 4.6 means.
            let median = 1_000 / max(10_000 - step.rate, 10)
            let seed = UInt64(steps.count + 1)
            var result = SampleResult.make(
                rate: step.rate,
                seconds: step.kind == .hold ? 6 : 3,
                median: median,
                spread: 0.8,
                errorRatio: 0,
                seed: seed,
                server: SampleResult.server(cores: min(2, 0.1 + step.rate / 5_200))
            )
            // What it cannot answer it does not.
            result.rateReached = min(result.rateReached, 9_900)
            steps.append((step, result))
            search.observe(.init(result, slo: slo))
        }
        return CapacityAnalysis(search: search, steps: steps, slo: slo, targetRate: targetRate).result()
    }

    @Test("A search becomes an answer: capacity, operating point, instances, thresholds, all in words")
    func result() throws {
        let result = try Self.capacityResult()
        #expect(result.finding == .found)
        let capacity = try #require(result.capacityRate)
        let operating = try #require(result.operatingRate)
        #expect(operating <= 0.7 * capacity + 1 && operating > 0.3 * capacity)
        #expect(result.target?.instances == Int((50_000 / operating).rounded(.up)) + 1)
        let autoscaling = try #require(result.autoscaling)
        #expect(autoscaling.scaleOutRate == operating && autoscaling.scaleInRate < operating)
        let cpu = try #require(autoscaling.cpuPercent)
        #expect(abs(cpu - 50 * (0.1 + operating / 5_200)) < 5, "\(cpu)")
        #expect(result.limiting.resource == .cpu)
        for word in [
            "Capacity: ", "Limiting resource: the server's processors", "instances", "Autoscaling", "Little's law",
        ] {
            #expect(result.summary.contains(word), "\(word) in \(result.summary)")
        }
        let data = try ResultFiles.encode(result)
        let decoder = JSONDecoder()
        decoder.dateDecodingStrategy = .iso8601
        let decoded = try decoder.decode(CapacityResult.self, from: data)
        #expect(decoded.capacityRate == result.capacityRate && decoded.summary == result.summary)
    }

    @Test("The instances for a rate: what carries it, and one more")
    func instances() {
        #expect(CapacityResult.instances(for: 1, operatingRate: 1_000) == 2)
        #expect(CapacityResult.instances(for: 1_000, operatingRate: 1_000) == 2)
        #expect(CapacityResult.instances(for: 1_001, operatingRate: 1_000) == 3)
    }

    @Test("Without a capacity the words say why")
    func nothing() throws {
        let slo = try SLO(parsing: "p99<1us")
        var search = CapacitySearch(.init(start: 100, lowest: 50))
        var steps: [(step: CapacitySearch.Step, result: LoadResult)] = []
        while let step = search.next() {
            let result = SampleResult.make(rate: step.rate, seconds: 2)
            steps.append((step, result))
            search.observe(.init(result, slo: slo))
        }
        let result = CapacityAnalysis(search: search, steps: steps, slo: slo).result()
        #expect(result.capacityRate == nil && result.operatingRate == nil && result.autoscaling == nil)
        #expect(result.summary.hasPrefix("Capacity: none. p99<1us was missed even at 50/s."))
    }
}

@Suite("Numbers for readers")
struct FormatTests {
    @Test("No more digits than mean something")
    func numbers() {
        #expect(
            Format.number(12_345) == "12,300" && Format.number(4.5678) == "4.57" && Format.number(0.0123) == "0.0123"
        )
        #expect(Format.number(1_000) == "1,000" && Format.number(0) == "0" && Format.number(0.5) == "0.5")
        #expect(Format.number(999.9) == "1,000" && Format.number(-1_500) == "−1,500")
        #expect(Format.count(1_234_567) == "1,234,567")
        #expect(Format.milliseconds(0.42) == "420 µs" && Format.milliseconds(3.1) == "3.1 ms")
        #expect(Format.milliseconds(2_500) == "2.5 s" && Format.percent(0.0005) == "0.05 %")
    }
}
