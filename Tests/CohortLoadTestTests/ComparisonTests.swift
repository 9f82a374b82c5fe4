import Histogram
import Testing

@testable import cohort_loadtest

@Suite("Comparisons")
struct ComparisonTests {
    private func difference(
        _ figure: Comparison.Figure,
        _ before: LoadResult,
        _ after: LoadResult
    ) throws -> Comparison.Difference {
        let comparison = try Comparison(before: before, after: after, draws: 100)
        return try #require(comparison.differences.first { $0.figure == figure })
    }

    private func judge(_ gate: String, _ before: LoadResult, _ after: LoadResult) throws -> [RegressionGate.Verdict] {
        try RegressionGate(parsing: gate).judge(Comparison(before: before, after: after, draws: 100)).map(\.verdict)
    }

    @Test("A slower server is found and the gate is missed, a like one passes")
    func regression() throws {
        let before = SampleResult.make(rate: 1_000, seconds: 20, seed: 1)
        let same = SampleResult.make(rate: 1_000, seconds: 20, seed: 2)
        let slower = SampleResult.make(rate: 1_000, seconds: 20, median: 1.25, seed: 3)
        let p99 = try difference(.p99, before, slower)
        #expect(p99.isCertain && p99.change.low > 0.1 && p99.change.high < 0.4, "\(p99)")
        #expect(try judge("p99=10%,rate=5%", before, slower) == [.failed, .passed])
        #expect(try judge("p99=50%,rate=5%", before, slower) == [.passed, .passed])
        #expect(try judge("p99=10%,p50=10%,rate=5%,errors=1%", before, same) == [.passed, .passed, .passed, .passed])
        // Better is no regression.
        #expect(try judge("p99=0%", slower, before) == [.passed])
    }

    @Test("A lower rate and more errors are worse")
    func rateAndErrors() throws {
        let before = SampleResult.make(rate: 1_000, seconds: 20, seed: 1)
        var slower = SampleResult.make(rate: 900, seconds: 20, seed: 2)
        slower.rateWanted = 1_000
        #expect(try judge("rate=5%", before, slower) == [.failed])
        let failing = SampleResult.make(rate: 1_000, seconds: 20, errorRatio: 0.05, seed: 2)
        #expect(try judge("errors=1%", before, failing) == [.failed])
        #expect(try abs(difference(.errors, before, failing).change.value - 0.049) < 0.005)
    }

    @Test("Answers after the end are no part of a drawn run's rate, and a short last second counts for what it is")
    func rateWithin() throws {
        let before = SampleResult.make(rate: 1_000, seconds: 20, seed: 1)
        var after = SampleResult.make(rate: 1_000, seconds: 20, seed: 2)
        after.intervals[19].answered += 5_000
        after.intervals[19].answeredLate = 5_000
        let late = try difference(.rate, before, after).change
        #expect(late.low > -0.05 && late.high < 0.05, "\(late)")
        var shorter = SampleResult.make(rate: 1_000, seconds: 6, seed: 3)
        shorter.duration = 5.5
        shorter.intervals[5].answered /= 2
        let short = try difference(.rate, before, shorter).change
        #expect(short.low > -0.05 && short.high < 0.05, "\(short)")
    }

    @Test("What may be chance does not fail, and is said to be uncertain")
    func uncertain() throws {
        // Few seconds that differ much among themselves.
        func make(_ medians: [Double], _ seed: UInt64) -> LoadResult {
            var result = SampleResult.make(rate: 300, seconds: medians.count, seed: seed)
            var whole = LatencyRecord(significantDigits: .two)
            for (index, median) in medians.enumerated() {
                let second = SampleResult.make(rate: 300, seconds: 1, median: median, seed: seed + UInt64(index))
                result.intervals[index].latency = second.intervals[0].latency
                whole.merge(second.intervals[0].latency)
            }
            result.latency = whole
            return result
        }
        let before = make([1, 3, 0.8, 2.5, 1, 0.9], 1)
        let after = make([3, 1, 2.8, 1.2, 2.2, 0.9], 20)
        let mean = try difference(.mean, before, after)
        #expect(mean.change.value > 0.1 && !mean.isCertain, "\(mean)")
        #expect(try judge("mean=10%", before, after) == [.uncertain])
    }

    @Test("The intervals hold the true difference as often as they promise")
    func coverage() throws {
        var held = 0
        let runs = 40
        for seed in 0..<UInt64(runs) {
            let before = SampleResult.make(rate: 200, seconds: 20, seed: 2 * seed + 100)
            let after = SampleResult.make(rate: 200, seconds: 20, median: 1.2, seed: 2 * seed + 101)
            if try difference(.p50, before, after).change.contains(0.2) { held += 1 }
        }
        // Blocks of few seconds make intervals somewhat narrow: 95 % is promised, 80 % is beyond that.
        #expect(held >= 32, "\(held) of \(runs)")
    }

    @Test("Results of different loads are told apart, with what differs")
    func obstacles() {
        let before = SampleResult.make()
        #expect(Comparison.obstacles(before: before, after: SampleResult.make(seed: 7)).isEmpty)
        var after = SampleResult.make(rate: 3_000, scenario: "writes")
        after.closed = .init(connections: 4, inFlight: 2, ended: 9, members: 4)
        after.sent += 7
        after.methods = []
        after.generator.isBottleneck = true
        let text = Comparison.obstacles(before: before, after: after).joined(separator: "\n")
        for word in [
            "scenario: 'mixed' before, 'writes' after", "closed loop: none before, 4 x 2", "methods: ",
            "rate wanted: 2,000/s",
            "bottleneck", "7 calls of the result after were never sent",
        ] {
            #expect(text.contains(word), "\(word) in \(text)")
        }
    }

    @Test("An open load and a closed loop are never compared")
    func models() throws {
        var closed = SampleResult.make(seed: 2)
        closed.model = .closed
        let error = #expect(throws: FileProblem.self) { try Comparison(before: SampleResult.make(), after: closed) }
        #expect(try #require(error).description.contains("the open model, the one after of the closed model"))
        #expect(try !Comparison(before: closed, after: closed, draws: 10).differences.isEmpty)
    }

    @Test("A run of a few seconds is refused")
    func short() {
        #expect(throws: FileProblem.self) {
            try Comparison(before: SampleResult.make(seconds: 4), after: SampleResult.make())
        }
    }

    @Test(
        "A gate that does not parse says what would be right",
        arguments: [
            ("", "'' is no limit; write it as p99=10%"), ("p99", "'p99' is no limit"),
            ("p98=5%", "'p98' is no figure; use rate"),
            ("p99=5", "'5' is no percentage; write it as p99=10%"), ("p99=-5%", "'-5%' is no percentage"),
        ]
    )
    func gates(text: String, reason: String) throws {
        let error = #expect(throws: RegressionGate.SyntaxError.self) { try RegressionGate(parsing: text) }
        #expect("\(try #require(error))".contains(reason))
    }
}
