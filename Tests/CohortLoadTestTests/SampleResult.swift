import Foundation
import Histogram

@testable import cohort_loadtest

/// Results as a run would give them, without one.
enum SampleResult {
    /// A run at a rate whose calls take log-normal times.
    ///
    /// - Parameters:
    ///   - median: In milliseconds.
    ///   - spread: The standard deviation of the logarithm of the times.
    static func make(
        rate: Double = 2_000,
        seconds: Int = 10,
        median: Double = 1,
        spread: Double = 0.5,
        errorRatio: Double = 0.001,
        seed: UInt64 = 42,
        scenario: String = "mixed",
        server: LoadResult.Server? = server()
    ) -> LoadResult {
        var generator = SplitMix64(state: seed)
        var whole = LatencyRecord.makeHistogram()
        var intervals: [LoadResult.Interval] = []
        var (sent, failed) = (UInt64(0), UInt64(0))
        for second in 0..<seconds {
            var histogram = LatencyRecord.makeHistogram()
            let calls = Int(rate * Double.random(in: 0.97..<1.03, using: &generator))
            // Seconds differ from each other as a whole, as they do in life.
            let shift = 0.05 * normal(&generator)
            var errors: UInt64 = 0
            for _ in 0..<calls {
                histogram.record(UInt64(median * 1e6 * exp(shift + spread * normal(&generator))))
                if Double.random(in: 0..<1, using: &generator) < errorRatio { errors += 1 }
            }
            whole.add(histogram)
            sent += UInt64(calls)
            failed += errors
            let record = LatencyRecord(histogram, significantDigits: .two)
            intervals.append(
                LoadResult.Interval(
                    at: Double(second),
                    wanted: UInt64(rate),
                    sent: UInt64(calls),
                    answered: UInt64(calls) - errors,
                    errors: errors,
                    inFlight: Double(calls) * record.mean / 1_000,
                    lagP99: 0.05,
                    latency: record
                )
            )
        }
        let errors = failed == 0 ? [:] : ["UNAVAILABLE": failed]
        let latency = LatencyRecord(whole)
        return LoadResult(
            toolVersion: "1.0.0",
            startTime: Date(timeIntervalSince1970: 1_777_629_600.25),
            endpoint: "127.0.0.1:7443",
            scenario: scenario,
            model: .open,
            arrivals: "poisson",
            seed: seed,
            rateWanted: rate,
            rateReached: Double(sent - failed) / Double(seconds),
            duration: Double(seconds),
            warmup: 1,
            sent: sent,
            answered: sent - failed,
            errors: errors,
            latency: latency,
            methods: [
                LoadResult.Method(
                    method: "cohort.v1.MembershipService/CheckMembership",
                    sent: sent,
                    errors: errors,
                    latency: latency
                )
            ],
            intervals: intervals,
            generator: LoadResult.Generator(
                lagP99: 0.05,
                lagMax: 0.4,
                cpuRatio: 0.3,
                isBottleneck: false,
                reason: nil
            ),
            server: server,
            slo: [LoadResult.SLOOutcome(term: "p99<5ms", measured: latency.p99, isMet: latency.p99 < 5)]
        )
    }

    static func server(cores: Double = 0.6) -> LoadResult.Server {
        func series(_ name: String, _ unit: String, _ value: Double) -> LoadResult.Series {
            LoadResult.Series(
                name: name,
                unit: unit,
                points: (0..<10).map { LoadResult.Series.Point(at: Double($0), value: value + 0.01 * Double($0 % 3)) }
            )
        }
        return LoadResult.Server(
            version: "1.0.0",
            processors: 2,
            series: [
                series("process.cpu.time rate", "s/s", cores), series("cohort.eventloop.lag p99", "s", 0.0004),
                series("cohort.commit.duration p99", "s", 0.003), series("cohort.queue.rows", "{row}", 3),
            ]
        )
    }

    static func normal(_ generator: inout SplitMix64) -> Double {
        let (u, v) = (Double.random(in: 0..<1, using: &generator), Double.random(in: 0..<1, using: &generator))
        return (-2 * log(1 - u)).squareRoot() * cos(2 * .pi * v)
    }
}
