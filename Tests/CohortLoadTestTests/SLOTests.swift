import Testing

@testable import cohort_loadtest

@Suite("Objectives")
struct SLOTests {
    @Test("Terms of every kind are taken, with spaces or without")
    func terms() throws {
        let slo = try SLO(parsing: "p99<5ms, errors <= 0.1%,rate>=1000, p99.9 < 0.02s,mean<300us,max<=1.5µs,p50<1 ms")
        #expect(slo.terms.map(\.figure) == [.p99, .errors, .rate, .p999, .mean, .max, .p50])
        let limits = slo.terms.map(\.scaledLimit)
        for (limit, wanted) in zip(limits, [5, 0.1, 1_000, 20, 0.3, 0.0015, 1]) { #expect(abs(limit - wanted) < 1e-9) }
        #expect(slo.terms.map(\.comparison) == [.less, .atMost, .atLeast, .less, .less, .atMost, .less])
        #expect(slo.terms[1].text == "errors <= 0.1%")
        #expect(slo.latencyLimit() == 5 && slo.latencyLimit(.p95) == nil)
    }

    @Test(
        "What does not parse names the term, the place and what would be right",
        arguments: [
            ("", 1, 1, "a term is missing"),
            ("p99<5ms,", 2, 9, "a term is missing"),
            ("p98<5ms", 1, 1, "'p98' is no figure; use p50"),
            ("p99<5ms,latency<3ms", 2, 9, "'latency' is no figure"),
            ("p99=5ms", 1, 4, "it takes < or <="),
            ("p99>5ms", 1, 4, "it takes < or <="),
            ("p99", 1, 4, "followed by nothing"),
            ("rate<5", 1, 5, "it takes > or >="),
            ("p99<", 1, 5, "no number follows; write it as p99<5ms"),
            ("p99<1.2.3ms", 1, 5, "'1.2.3' is no number"),
            ("p99<-5ms", 1, 5, "no number follows"),
            ("p99<5", 1, 6, "the unit is missing; use us, ms or s"),
            ("p99<5m", 1, 6, "'m' is no unit of time"),
            ("errors<0.1", 1, 11, "errors takes a percentage"),
            ("rate>=10ms", 1, 9, "rate is in calls a second"),
            ("p99<5ms p50<1ms", 1, 9, "terms are separated by commas"),
        ]
    )
    func refusals(text: String, term: Int, position: Int, reason: String) throws {
        let error = #expect(throws: SLO.SyntaxError.self) { try SLO(parsing: text) }
        let refusal = try #require(error)
        #expect(refusal.term == term && refusal.position == position, "\(refusal)")
        #expect(refusal.reason.contains(reason), "\(refusal)")
    }

    @Test("Every term is held against its figure, in its own unit")
    func evaluation() throws {
        let result = SampleResult.make(rate: 1_000, errorRatio: 0.01)
        let outcomes = try SLO(parsing: "p99<20ms,p99<1us,errors<5%,errors<0.01%,rate>=900,rate>2000,max<=60s")
            .evaluate(result)
        #expect(outcomes.map(\.isMet) == [true, false, true, false, true, false, true])
        #expect(abs(outcomes[1].measured - result.latency.p99 * 1_000) < 1e-6)
        #expect(abs(outcomes[2].measured - result.errorRatio * 100) < 1e-12)
        #expect(outcomes[0].measuredText.hasSuffix(" ms") && outcomes[1].measuredText.hasSuffix(" us"))
        #expect(outcomes[2].measuredText.hasSuffix(" %") && outcomes[4].measuredText.hasSuffix("/s"))
    }

    /// A thousand calls were due; so many were never sent, the others took a millisecond or less.
    private func unsent(_ count: UInt64) -> LoadResult {
        var result = SampleResult.make(rate: 1_000, seconds: 1, median: 0.5, spread: 0.01, errorRatio: 0)
        result.sent = result.latency.count + count
        result.errors = ["NOT_SENT": count]
        return result
    }

    @Test("Calls that were never sent miss every objective on latency that their share is too great for")
    func neverSent() throws {
        let few = try SLO(parsing: "p99<5ms,p999<5ms,max<5ms,mean<5ms,p50<5ms").evaluate(unsent(5))
        #expect(few.map(\.isMet) == [true, false, false, false, true])
        #expect(few[1].measured == .infinity && few[1].measuredText == "endless")
        let many = unsent(20)
        #expect(try !SLO(parsing: "p99<5ms").isMet(by: many) && SLO(parsing: "p95<5ms").isMet(by: many))
        #expect(many.notSent == 20 && many.latency.p99 < 5)
        #expect(many.warnings.contains { $0.hasPrefix("20 of ") })
        #expect(unsent(0).warnings.isEmpty)
    }

    @Test("A limit that is met exactly: < misses it, <= meets it")
    func edges() throws {
        var result = SampleResult.make(seconds: 1, errorRatio: 0)
        result.sent = 1_000
        result.errors = ["UNAVAILABLE": 1]
        #expect(try SLO(parsing: "errors<=0.1%").isMet(by: result))
        #expect(try !SLO(parsing: "errors<0.1%").isMet(by: result))
    }

    @Test("Without an answer nothing is met")
    func empty() throws {
        var result = SampleResult.make(seconds: 0)
        result.rateReached = 0
        #expect(try !SLO(parsing: "p99<5ms").isMet(by: result))
        #expect(try !SLO(parsing: "errors<5%").isMet(by: result))
        var refused = SampleResult.make(errorRatio: 1)
        refused.answered = 0
        #expect(try refused.latency.count > 0 && !SLO(parsing: "p99<60s").isMet(by: refused))
    }

    @Test("What is never answered takes for ever")
    func unanswered() throws {
        var result = SampleResult.make(errorRatio: 0)
        result.errors = [LoadResult.unansweredName: result.sent / 50]
        result.answered = result.sent - result.sent / 50
        #expect(try SLO(parsing: "p50<60s,p90<60s").isMet(by: result))
        for term in ["p99<60s", "p999<60s", "max<60s", "mean<60s"] {
            #expect(try SLO(parsing: term).evaluate(result).map(\.measured) == [.infinity], "\(term)")
        }
    }

    @Test("A generator whose own lag misses an objective on the slowest calls is the limit")
    func spoiled() throws {
        var result = SampleResult.make()
        result.generator.lagMax = 900
        let slo = try SLO(parsing: "max<1ms")
        result.judge(by: try SLO(parsing: "p99<60s,max<60s"))
        #expect(!result.generator.isBottleneck && result.slo.count == 2)
        result.judge(by: slo)
        #expect(result.generator.isBottleneck && result.generator.reason?.contains("max<1ms") == true)
        var server = SampleResult.make()
        server.generator.lagMax = 0.5
        server.judge(by: slo)
        #expect(!server.generator.isBottleneck && !server.slo[0].isMet)
    }
}
