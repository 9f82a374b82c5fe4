/// The last minutes of a server, as the dashboard draws them: rates and percentiles between two readings of its totals.
///
/// A value of bounded size: the time is passed in, and the oldest sample goes when the history is full.
struct DashboardHistory: Sendable {
    /// What happened between two readings, and what was at the second. Rates are per second, durations in seconds.
    struct Sample: Sendable, Equatable, Encodable {
        /// Counts the samples, from 1.
        var n: Int
        /// When it was taken, in milliseconds since 1970 by the sidecar's clock.
        var t: Int64
        /// Whether the server answered. Nothing else is known where it did not.
        var up = false
        var calls: Double?
        var failed: Double?
        var mistaken: Double?
        var p50: Double?
        var p99: Double?
        var p999: Double?
        /// Calls by bucket of their duration.
        var buckets: [UInt64]?
        var running: Double?
        /// Those that run, that may, and that wait.
        var reads: [Double]?
        var writes: [Double]?
        var breakers: [String: Double] = [:]
        var rows: Double?
        var entries: Double?
        var commits: Double?
        var commit99: Double?
        var customers: Double?
        var resident: Double?
        var index: Double?
        var cores: Double?
    }

    /// The most samples that are kept.
    let capacity: Int
    private(set) var samples: [Sample] = []
    /// Upper bounds of the buckets, in seconds; there is one bucket more.
    private(set) var bounds: [Double] = []
    private var last: DashboardReading?
    private var taken = 0

    /// - Parameters:
    ///   - length: Seconds that are kept.
    ///   - interval: Seconds between two samples.
    init(length: Duration, interval: Duration) {
        capacity = max(2, Int((length / interval).rounded(.up)))
    }

    /// Samples that a page may be behind and still get what it lacks alone, so that there are few different answers.
    static let increments = 30

    /// The number of the last sample; 0 before the first one.
    var newest: Int { taken }

    /// The sample after which the answer begins for who has got all up to `number`: that one, or 0 for all there is where it is long
    /// ago or no number of a sample.
    func base(_ number: Int) -> Int {
        guard let first = samples.first, number >= first.n, number >= taken - Self.increments, number <= taken else {
            return 0
        }
        return number
    }

    /// Samples after this one. What is no number of a sample gets all.
    func samples(after number: Int) -> ArraySlice<Sample> {
        guard let first = samples.first, number >= first.n, number <= taken else { return samples[...] }
        return samples[(number - first.n + 1)...]
    }

    /// Takes a reading, or nil for a server that has not answered.
    ///
    /// - Parameter time: Milliseconds since 1970.
    mutating func take(_ reading: DashboardReading?, at time: Int64) {
        taken += 1
        var sample = Sample(n: taken, t: time)
        if let reading {
            sample.take(levelsOf: reading)
            // The same answer serves who asks at nearly the same time: no time has passed between the two.
            if let last, reading.time > last.time { sample.take(reading, since: last) }
            if !reading.latency.bounds.isEmpty { bounds = reading.latency.bounds }
            last = reading
        }
        samples.append(sample)
        if samples.count > capacity { samples.removeFirst(samples.count - capacity) }
    }
}

extension DashboardHistory.Sample {
    fileprivate mutating func take(levelsOf reading: DashboardReading) {
        up = true
        running = reading.running
        reads = reading.queues["read"]
        writes = reading.queues["write"]
        breakers = reading.breakers
        customers = reading.customers
        resident = reading.resident
        index = reading.index
    }

    fileprivate mutating func take(_ reading: DashboardReading, since last: DashboardReading) {
        // Another run counts from 0 and from its own start.
        let isRestart = reading.startedAt != last.startedAt
        let earlier = isRestart ? DashboardReading() : last
        let begin = isRestart ? max(reading.startedAt, last.time) : last.time
        guard reading.time > begin else { return }
        let seconds = Double(reading.time - begin) / 1e9
        func rate(_ total: KeyPath<DashboardReading, UInt64>) -> Double {
            let (now, before) = (reading[keyPath: total], earlier[keyPath: total])
            return Self.rounded(Double(now >= before ? now - before : now) / seconds)
        }
        calls = rate(\.calls)
        failed = rate(\.failed)
        mistaken = rate(\.mistaken)
        rows = rate(\.rows)
        entries = rate(\.entries)
        let latency = reading.latency.since(earlier.latency)
        buckets = latency.counts
        p50 = latency.quantile(0.5).map(Self.rounded)
        p99 = latency.quantile(0.99).map(Self.rounded)
        p999 = latency.quantile(0.999).map(Self.rounded)
        let commit = reading.commits.since(earlier.commits)
        commits = Self.rounded(Double(commit.count) / seconds)
        commit99 = commit.quantile(0.99).map(Self.rounded)
        cores = Self.rounded(max(0, reading.processor - earlier.processor) / seconds)
    }

    /// Four digits: more are noise, and a page that opens gets hundreds of samples.
    private static func rounded(_ value: Double) -> Double {
        guard value > 1e-12, value.isFinite else { return 0 }
        var scale = 1.0
        while value * scale < 1000 { scale *= 10 }
        return (value * scale).rounded() / scale
    }
}
