import Histogram
import NIOCore
import Testing

@testable import cohort_loadtest

@Suite("Tally of a load")
struct LoadTallyTests {
    private let begin = NIODeadline.uptimeNanoseconds(1_000_000_000_000)

    private func at(_ milliseconds: Int64) -> NIODeadline { begin + .milliseconds(milliseconds) }

    @Test("Latency counts from when a call was due, not from when it was sent")
    func intendedStart() {
        var tally = LoadTally(methods: 1, begin: begin)
        tally.sent(0, due: at(0), at: at(400))
        tally.ended(0, due: at(0), at: at(500), code: nil)
        tally.endInterval(at: at(1_000))
        tally.finish(at: at(1_000))
        let latency = LatencyRecord(tally.methods[0].latency)
        #expect(abs(latency.p50 - 500) < 1)
        #expect(abs(LatencyRecord(tally.lag).p99 - 400) < 1 && abs((tally.intervals[0].lagP99 ?? 0) - 400) < 1)
        #expect(tally.intervals[0].answered == 1 && tally.intervals[0].sent == 1)
    }

    @Test("Calls that are never answered count as errors that took at least as long as was waited")
    func unanswered() {
        var tally = LoadTally(methods: 2, begin: begin)
        for _ in 0..<3 { tally.sent(1, due: at(10), at: at(10)) }
        tally.ended(1, due: at(10), at: at(11), code: "INTERNAL")
        tally.endInterval(at: at(1_000))
        tally.finish(at: at(6_000))
        #expect(tally.methods[1].errors == ["INTERNAL": 1, "UNANSWERED": 2])
        #expect(tally.methods[1].sent == 3 && tally.methods[0].sent == 0)
        #expect(LatencyRecord(tally.methods[1].latency).p99 > 4_980)
        #expect(tally.intervals[0].errors == 3)
        #expect(tally.failed.totalCount == 3)
    }

    @Test("Calls under way are averaged over the time of the interval")
    func inFlight() {
        var tally = LoadTally(methods: 1, begin: begin)
        // One call for the second half, another one for the last quarter: 0.5 + 0.25.
        tally.sent(0, due: at(500), at: at(500))
        tally.sent(0, due: at(750), at: at(750))
        tally.endInterval(at: at(1_000))
        #expect(abs(tally.intervals[0].inFlight - 0.75) < 1e-9)
        tally.ended(0, due: at(500), at: at(1_500), code: nil)
        tally.endInterval(at: at(2_000))
        #expect(abs(tally.intervals[1].inFlight - 1.5) < 1e-9 && tally.inFlight == 1)
    }

    @Test("A call that is sent late is under way from when it was due, so that Little's law holds")
    func lateInFlight() {
        var tally = LoadTally(methods: 1, begin: begin)
        tally.sent(0, due: at(0), at: at(400))
        tally.ended(0, due: at(0), at: at(500), code: nil)
        tally.sent(0, due: at(600), at: at(600))
        tally.ended(0, due: at(600), at: at(700), code: nil)
        tally.endInterval(at: at(1_000))
        // 500 ms and 100 ms within a second.
        #expect(abs(tally.intervals[0].inFlight - 0.6) < 1e-9 && tally.inFlight == 0)
    }

    @Test("The warm-up counts nowhere, not even where its answers come later")
    func warmup() {
        var tally = LoadTally(methods: 1, begin: begin)
        tally.sent(0, due: at(-10), at: at(-10))
        tally.notSent(0, due: at(-5), "NOT_SENT")
        tally.ended(0, due: at(-10), at: at(5), code: nil)
        tally.endInterval(at: at(1_000))
        tally.finish(at: at(1_000))
        #expect(tally.methods[0].sent == 0 && tally.methods[0].errors.isEmpty)
        #expect(tally.intervals[0].answered == 0 && tally.intervals[0].latency.count == 0)
    }

    @Test("A call that could not be sent is an error of its interval and has no latency")
    func notSent() {
        var tally = LoadTally(methods: 1, begin: begin)
        tally.notSent(0, due: at(5), "NOT_SENT")
        tally.endInterval(at: at(1_000))
        tally.finish(at: at(1_000))
        #expect(tally.methods[0].errors == ["NOT_SENT": 1] && tally.methods[0].sent == 1)
        #expect(tally.intervals[0].wanted == 1 && tally.intervals[0].sent == 0 && tally.intervals[0].errors == 1)
        #expect(tally.methods[0].latency.totalCount == 0)
    }

    @Test("How late calls were sent is told for each second, and of all together")
    func lagOverTime() {
        var tally = LoadTally(methods: 1, begin: begin)
        tally.sent(0, due: at(0), at: at(1))
        tally.endInterval(at: at(1_000))
        tally.sent(0, due: at(1_500), at: at(1_580))
        tally.endInterval(at: at(2_000))
        tally.endInterval(at: at(3_000))
        // Due in the third second, sent in the fourth.
        tally.sent(0, due: at(2_900), at: at(3_150))
        tally.endInterval(at: at(4_000))
        let lags = tally.intervals.map { $0.lagP99.map { $0.rounded() } }
        #expect(lags == [1, 80, nil, 250])
        tally.sent(0, due: at(3_990), at: at(4_490))
        tally.finish(at: at(5_000))
        #expect(tally.intervals.last?.lagP99.map { $0.rounded() } == 500)
        #expect(tally.lag.totalCount == 4 && abs(LatencyRecord(tally.lag).maximum - 500) < 1)
    }

    @Test("A generator that is late is the limit, and says so")
    func bottleneck() {
        var record = LatencyRecord.makeHistogram()
        for _ in 0..<97 { record.record(100_000) }
        for _ in 0..<3 { record.record(9_000_000) }
        let late = LoadResult.Generator(LatencyRecord(record), cpuRatio: 0.97, longest: 2)
        #expect(late.isBottleneck && late.reason?.contains("--max-lag") == true)
        #expect(!LoadResult.Generator(LatencyRecord(record), cpuRatio: 0.97, longest: 10).isBottleneck)
    }

    @Test("Answers that come after the end are no throughput, and a call that nobody answered took from its own second")
    func late() {
        var tally = LoadTally(methods: 1, begin: begin)
        for second in 0..<3 { tally.sent(0, due: at(Int64(second) * 1_000), at: at(Int64(second) * 1_000)) }
        tally.endInterval(at: at(1_000))
        tally.endInterval(at: at(2_000))
        tally.ended(0, due: at(1_000), at: at(2_500), code: nil)
        tally.endInterval(at: at(3_000))
        tally.ended(0, due: at(2_000), at: at(4_000), code: nil)
        tally.finish(at: at(5_000))
        #expect(tally.answeredWithin == 1)
        #expect(tally.methods[0].errors == ["UNANSWERED": 1])
        // Due in the first second: four seconds at least.
        #expect(abs(LatencyRecord(tally.failed).maximum - 4_000) < 5)
        #expect(tally.intervals[2].answered == 2)
    }
}
