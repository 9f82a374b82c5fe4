import CohortAPI
import OTLP
import RPC

/// Reads the server's own metrics each second while a load runs, over a connection of its own.
struct ServerProbe {
    private let client: CohortClient
    private var last: (at: ContinuousClock.Instant, data: OTLPMetricsData)?
    private var series: [String: LoadResult.Series] = [:]
    private(set) var version: String?
    private(set) var processors: Int?

    init(_ client: CohortClient) { self.client = client }

    /// What was read, in order of name; nil when nothing was.
    var server: LoadResult.Server? {
        series.isEmpty
            ? nil
            : LoadResult.Server(
                version: version,
                processors: processors,
                series: series.sorted { $0.key < $1.key }.map(\.value)
            )
    }

    /// Reads once. A server that does not answer or does not let this caller read leaves a gap.
    ///
    /// - Parameters:
    ///   - start: When the measurement begins.
    ///   - length: Of it, in seconds: what is read after its end is of a server that waits.
    mutating func read(_ start: ContinuousClock.Instant, for length: Double) async {
        let options = CallOptions(timeout: .seconds(1))
        guard let data = try? await client.operations.scrapeMetrics(.init(), options: options) else { return }
        let now = ContinuousClock.now
        if version == nil {
            version =
                data.resourceMetrics.first?.resource.attributes.first { $0.key == "service.version" }?.value
                .stringValue
        }
        defer { last = (now, data) }
        guard let last else { return }
        let at = start.duration(to: now) / .seconds(1)
        guard (0...(length + 0.5)).contains(at) else { return }
        add(Change(from: last.data, to: data, seconds: last.at.duration(to: now) / .seconds(1)), at)
    }

    private mutating func add(_ change: Change, _ at: Double) {
        if processors == nil, let count = change.level("process.cpu.available"), (1...1e6).contains(count) {
            processors = Int(count)
        }
        point(LimitingResource.SeriesName.cpu, "s/s", at, change.rate("process.cpu.time"))
        point("process.memory.usage", "By", at, change.level("process.memory.usage"))
        point("rpc.server.call.duration rate", "{call}/s", at, change.countRate("rpc.server.call.duration"))
        point("rpc.server.call.duration p99", "s", at, change.quantile("rpc.server.call.duration", 0.99))
        point("rpc.server.calls.running", "{call}", at, change.level("rpc.server.calls.running"))
        point("rpc.server.overload.in_flight", "{call}", at, change.level("rpc.server.overload.in_flight"))
        point("rpc.server.overload.limit", "{call}", at, change.level("rpc.server.overload.limit"))
        point("rpc.server.overload.rejected rate", "{call}/s", at, change.rate("rpc.server.overload.rejected"))
        point(LimitingResource.SeriesName.eventLoopLag, "s", at, change.quantile("cohort.eventloop.lag", 0.99))
        point("cohort.commit.duration p99", "s", at, change.quantile("cohort.commit.duration", 0.99))
        point(LimitingResource.SeriesName.commitMean, "s", at, change.mean("cohort.commit.duration"))
        point(LimitingResource.SeriesName.commitRate, "{commit}/s", at, change.countRate("cohort.commit.duration"))
        point("cohort.ingest.rows rate", "{row}/s", at, change.rate("cohort.ingest.rows"))
        point(LimitingResource.SeriesName.queue, "{row}", at, change.level("cohort.queue.rows"))
        point(LimitingResource.SeriesName.queueLimit, "{row}", at, change.level("cohort.queue.rows.limit"))
    }

    private mutating func point(_ name: String, _ unit: String, _ at: Double, _ value: Double?) {
        guard let value, value.isFinite else { return }
        series[name, default: LoadResult.Series(name: name, unit: unit, points: [])].points.append(
            .init(at: at, value: value)
        )
    }
}

/// What two readings of a server's metrics differ by.
struct Change {
    private let before: [String: OTLPMetric]
    private let after: [String: OTLPMetric]
    private let seconds: Double

    init(from before: OTLPMetricsData, to after: OTLPMetricsData, seconds: Double) {
        func byName(_ data: OTLPMetricsData) -> [String: OTLPMetric] {
            let metrics = data.resourceMetrics.flatMap(\.scopeMetrics).flatMap(\.metrics)
            return Dictionary(metrics.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        }
        self.before = byName(before)
        self.after = byName(after)
        self.seconds = seconds
    }

    /// The sum of a level over its series.
    func level(_ name: String) -> Double? {
        guard case .gauge(let gauge)? = after[name]?.data else { return nil }
        return gauge.dataPoints.reduce(0) { $0 + $1.number }
    }

    /// What a total grows by each second, over all its series; nil after a restart of the server.
    func rate(_ name: String) -> Double? {
        guard let now = total(after[name]) else { return nil }
        let grown = now - (total(before[name]) ?? 0)
        return grown >= 0 && seconds > 0 ? grown / seconds : nil
    }

    /// How many are counted by a distribution each second.
    func countRate(_ name: String) -> Double? {
        guard let grown = grown(name), seconds > 0 else { return nil }
        return Double(grown.counts.reduce(0, +)) / seconds
    }

    /// The mean of what was counted; nil when nothing was.
    func mean(_ name: String) -> Double? {
        guard case .histogram(let now)? = after[name]?.data else { return nil }
        var (sum, count) = (now.dataPoints.reduce(0) { $0 + $1.sum }, now.dataPoints.reduce(0) { $0 + $1.count })
        if case .histogram(let then)? = before[name]?.data {
            sum -= then.dataPoints.reduce(0) { $0 + $1.sum }
            let counted = then.dataPoints.reduce(0) { $0 + $1.count }
            guard counted < count else { return nil }
            count -= counted
        }
        return count > 0 ? max(0, sum) / Double(count) : nil
    }

    /// The bound of the bucket that a quantile of what was counted lies in; nil when nothing was counted.
    func quantile(_ name: String, _ quantile: Double) -> Double? {
        guard let grown = grown(name) else { return nil }
        let total = grown.counts.reduce(0, +)
        guard total > 0 else { return nil }
        var seen: UInt64 = 0
        for (index, count) in grown.counts.enumerated() {
            seen += count
            if Double(seen) >= quantile * Double(total) { return grown.bounds[min(index, grown.bounds.count - 1)] }
        }
        return grown.bounds.last
    }

    private func total(_ metric: OTLPMetric?) -> Double? {
        guard case .sum(let sum)? = metric?.data else { return nil }
        return sum.dataPoints.reduce(0) { $0 + $1.number }
    }

    private func counts(_ metric: OTLPMetric?) -> (bounds: [Double], counts: [UInt64])? {
        guard case .histogram(let histogram)? = metric?.data, let first = histogram.dataPoints.first,
            !first.explicitBounds.isEmpty
        else { return nil }
        var counts = first.bucketCounts
        for point in histogram.dataPoints.dropFirst() where point.bucketCounts.count == counts.count {
            for index in counts.indices { counts[index] += point.bucketCounts[index] }
        }
        return (first.explicitBounds, counts)
    }

    private func grown(_ name: String) -> (bounds: [Double], counts: [UInt64])? {
        guard let now = counts(after[name]) else { return nil }
        guard let then = counts(before[name]) else { return now }
        guard then.counts.count == now.counts.count, zip(then.counts, now.counts).allSatisfy({ $0 <= $1 }) else {
            return nil
        }
        return (now.bounds, zip(now.counts, then.counts).map { $0 - $1 })
    }
}
