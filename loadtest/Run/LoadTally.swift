import Histogram
import NIOCore
import RPC

/// Counts what a load does: latencies from when a call was due, codes, calls under way, and how late the generator was. A value
/// with the time passed in.
struct LoadTally {
    struct Method {
        var sent: UInt64 = 0
        var errors: [String: UInt64] = [:]
        var latency = LatencyRecord.makeHistogram()
        /// Calls under way that count, by the second in which they were due.
        var waiting: [UInt64] = []
    }

    /// By the parts of the mix.
    private(set) var methods: [Method]
    private(set) var intervals: [LoadResult.Interval] = []
    /// Of the calls that failed, of all methods.
    private(set) var failed = LatencyRecord.makeHistogram()
    /// Answered well from the begin of the measurement to the end of the last interval, whenever they were due.
    private(set) var answeredWithin: UInt64 = 0
    private var completed: UInt64 = 0
    private(set) var lag = LatencyRecord.makeHistogram()
    private var currentLag = LatencyRecord.makeHistogram()
    private var current: [Histogram<UInt64>]
    private var interval = Counts()
    private(set) var intervalBegin: NIODeadline
    private let begin: NIODeadline
    /// Calls sent and not ended now, and what the number of those due and not ended is over the time since the interval began, in
    /// calls times nanoseconds.
    private(set) var inFlight = 0
    private var inFlightArea = 0.0
    private var inFlightSince: NIODeadline

    private struct Counts {
        var wanted: UInt64 = 0
        var sent: UInt64 = 0
        var answered: UInt64 = 0
        var errors: UInt64 = 0
    }

    /// - Parameter begin: When the measurement begins; calls that were due before count nowhere.
    init(methods count: Int, begin: NIODeadline) {
        methods = Array(repeating: Method(), count: count)
        current = Array(repeating: LatencyRecord.makeHistogram(), count: count)
        self.begin = begin
        intervalBegin = begin
        inFlightSince = begin
    }

    /// When the interval ends that is being counted.
    var intervalEnd: NIODeadline { intervalBegin + .seconds(1) }

    mutating func sent(_ method: Int, due: NIODeadline, at now: NIODeadline) {
        started(at: now)
        guard due >= begin else { return }
        methods[method].sent += 1
        let second = second(of: due)
        while methods[method].waiting.count <= second { methods[method].waiting.append(0) }
        methods[method].waiting[second] += 1
        interval.wanted += 1
        interval.sent += 1
        // It is under way from when it was due, as its latency counts from then: Little's law would not hold otherwise. What of
        // this lies before the interval counts in it all the same.
        inFlightArea += Double(max(0, (now - due).nanoseconds))
        currentLag.record(Self.nanoseconds(now - due))
    }

    /// A call was due and could not be sent.
    mutating func notSent(_ method: Int, due: NIODeadline, _ reason: String) {
        guard due >= begin else { return }
        methods[method].sent += 1
        methods[method].errors[reason, default: 0] += 1
        interval.wanted += 1
        interval.errors += 1
    }

    /// - Parameter code: Nil for an answer, else why there is none.
    mutating func ended(_ method: Int, due: NIODeadline, at now: NIODeadline, code: String?) {
        area(until: now)
        inFlight -= 1
        if code == nil, now >= begin { completed += 1 }
        guard due >= begin else { return }
        let time = Self.nanoseconds(now - due)
        current[method].record(time)
        methods[method].waiting[second(of: due)] -= 1
        if let code {
            failed.record(time)
            methods[method].errors[code, default: 0] += 1
            interval.errors += 1
        } else {
            interval.answered += 1
        }
    }

    /// Ends the interval and begins the next.
    mutating func endInterval(at end: NIODeadline) {
        area(until: end)
        let length = Double((end - intervalBegin).nanoseconds)
        answeredWithin += completed
        completed = 0
        let all = takeLatencies()
        intervals.append(
            LoadResult.Interval(
                at: Double((intervalBegin - begin).nanoseconds) / 1e9,
                wanted: interval.wanted,
                sent: interval.sent,
                answered: interval.answered,
                errors: interval.errors,
                inFlight: length > 0 ? inFlightArea / length : 0,
                lagP99: takeLag(),
                latency: LatencyRecord(all, significantDigits: .two)
            )
        )
        interval = Counts()
        inFlightArea = 0
        intervalBegin = end
    }

    /// Ends the count. What ended or was sent after the last interval counts in it, but for the number of calls sent.
    ///
    /// Calls that have no answer yet took at least from the end of the second in which they were due until now, and count with it:
    /// left out, they would make the percentiles better than they are.
    mutating func finish(at now: NIODeadline) {
        for index in methods.indices {
            for (second, count) in methods[index].waiting.enumerated() where count > 0 {
                let time = Self.nanoseconds(now - (begin + .seconds(Int64(second) + 1)))
                methods[index].errors[LoadResult.unansweredName, default: 0] += count
                interval.errors += count
                current[index].record(time, count: count)
                failed.record(time, count: count)
            }
            methods[index].waiting = []
        }
        let late = takeLatencies()
        let lateLag = takeLag()
        guard !intervals.isEmpty else { return }
        let last = intervals.count - 1
        intervals[last].wanted += interval.wanted
        intervals[last].answered += interval.answered
        intervals[last].answeredLate += interval.answered
        intervals[last].errors += interval.errors
        intervals[last].latency.merge(LatencyRecord(late, significantDigits: .two))
        if let lateLag { intervals[last].lagP99 = max(lateLag, intervals[last].lagP99 ?? 0) }
        interval = Counts()
    }

    /// Adds what was recorded since the last time to the methods' own.
    ///
    /// - Returns: Those of all methods.
    private mutating func takeLatencies() -> Histogram<UInt64> {
        var all = LatencyRecord.makeHistogram()
        for index in current.indices where current[index].totalCount > 0 {
            methods[index].latency.add(current[index])
            all.add(current[index])
            current[index].reset()
        }
        return all
    }

    /// Adds the lag since the last time to all of it.
    ///
    /// - Returns: Its p99 in milliseconds; nil where nothing was sent.
    private mutating func takeLag() -> Double? {
        guard currentLag.totalCount > 0 else { return nil }
        defer { currentLag.reset() }
        lag.add(currentLag)
        return Double(currentLag.valueAtPercentile(99)) / 1e6
    }

    private mutating func started(at now: NIODeadline) {
        area(until: now)
        inFlight += 1
    }

    private mutating func area(until now: NIODeadline) {
        guard now > inFlightSince else { return }
        inFlightArea += Double(inFlight) * Double((now - inFlightSince).nanoseconds)
        inFlightSince = now
    }

    private func second(of due: NIODeadline) -> Int { Int((due - begin).nanoseconds / 1_000_000_000) }

    private static func nanoseconds(_ time: TimeAmount) -> UInt64 {
        min(UInt64(max(0, time.nanoseconds)), LatencyRecord.longest)
    }
}
