import CohortAPI
import OTLP
import RPC

/// What the dashboard takes from the server's metrics: totals since the server's start, and levels of now.
struct DashboardReading: Sendable, Equatable {
    /// A histogram's totals.
    struct Distribution: Sendable, Equatable {
        /// Upper bounds of all buckets but the last one.
        var bounds: [Double] = []
        var counts: [UInt64] = []
    }

    /// The server's clock when it read its metrics, in nanoseconds since 1970.
    var time: UInt64 = 0
    /// The same for its start: it tells one run from another.
    var startedAt: UInt64 = 0

    /// Calls that have ended, but for what operators and probes ask.
    var calls: UInt64 = 0
    /// Of these, that the server failed or refused.
    var failed: UInt64 = 0
    /// Of these, that ended with another code than OK.
    var mistaken: UInt64 = 0
    /// Durations of the unary ones, in seconds: how long a stream takes is its reader's choice.
    var latency = Distribution()
    var rows: UInt64 = 0
    var entries: UInt64 = 0
    var commits = Distribution()
    /// Seconds of processor time.
    var processor = 0.0

    var running: Double?
    /// Calls that run, may run and wait, by class.
    var queues: [String: [Double]] = [:]
    /// 0 closed, 1 half open, 2 open.
    var breakers: [String: Double] = [:]
    var customers: Double?
    var resident: Double?
    var index: Double?

    init() {}

    init(_ data: OTLPMetricsData) {
        for metric in data.resourceMetrics.flatMap(\.scopeMetrics).flatMap(\.metrics) { take(metric) }
    }

    private mutating func take(_ metric: OTLPMetric) {
        switch metric.name {
        case "rpc.server.call.duration": for point in metric.histogram.dataPoints { takeCalls(point) }
        case "cohort.commit.duration": for point in metric.histogram.dataPoints { commits.add(point) }
        case "cohort.ingest.rows": rows = metric.total
        case "cohort.log.entries": entries = metric.total
        case "process.cpu.time":
            processor = metric.sum.dataPoints.reduce(0) { $0 + $1.number }
            time = metric.sum.dataPoints.first?.timeUnixNano ?? time
            startedAt = metric.sum.dataPoints.first?.startTimeUnixNano ?? startedAt
        // Without the call that asks.
        case "rpc.server.calls.running": running = metric.level.map { max(0, $0 - 1) }
        case "rpc.breaker.state":
            for point in metric.gauge.dataPoints where point.number.isFinite {
                breakers[point.attributes["breaker"]] = point.number
            }
        case "cohort.customers": customers = metric.level
        case "process.memory.usage": resident = metric.level
        case "cohort.index.bytes": index = metric.level
        default: break
        }
    }

    private mutating func takeCalls(_ point: OTLPHistogramDataPoint) {
        let method = point.attributes["rpc.method"]
        guard !Self.isOperators(method) else { return }
        calls += point.count
        let code = point.attributes["rpc.response.status_code"]
        if Self.failures.contains(code) { failed += point.count } else if code != "OK" { mistaken += point.count }
        if !Self.streams.contains(method) { latency.add(point) }
    }

    /// Limits come with the status: as metrics they are there once a call has waited for them.
    mutating func take(_ overload: OverloadStatus) {
        for queue in overload.queues {
            queues[queue.methodClass] = [Double(queue.inFlight), Double(queue.limit), Double(queue.waiting)]
        }
    }

    /// The sidecar's own questions are among them: a server that nobody else calls has no calls.
    private static func isOperators(_ method: String) -> Bool {
        method.hasPrefix("cohort.v1.OperationsService/") || method.hasPrefix("grpc.health.v1.Health/")
    }

    private static let failures: Set = [
        "UNKNOWN", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "UNAVAILABLE", "INTERNAL", "DATA_LOSS",
    ]

    private static let streams = Set(
        [
            AccessServiceMethods.all, ApprovalServiceMethods.all, AuditServiceMethods.all, CohortServiceMethods.all,
            CustomerServiceMethods.all, HistoryServiceMethods.all, MembershipServiceMethods.all,
            VersionServiceMethods.all,
        ].joined().filter { $0.kind != .unary }.map(\.fullName)
    )
}

extension DashboardReading.Distribution {
    /// Adds a series; one with other bounds than the first is left out.
    mutating func add(_ point: OTLPHistogramDataPoint) {
        if counts.isEmpty {
            (bounds, counts) = (point.explicitBounds, Array(repeating: 0, count: point.bucketCounts.count))
        }
        guard point.explicitBounds == bounds, point.bucketCounts.count == counts.count else { return }
        for index in counts.indices { counts[index] += point.bucketCounts[index] }
    }

    var count: UInt64 { counts.reduce(0, +) }

    /// What has come since an earlier reading of the same run.
    func since(_ earlier: Self) -> Self {
        guard earlier.bounds == bounds else { return self }
        return Self(bounds: bounds, counts: zip(counts, earlier.counts).map { $0 >= $1 ? $0 - $1 : $0 })
    }

    /// The value that this part of all lies below, as if those of a bucket were spread evenly over it (Prometheus'
    /// `histogram_quantile`). Nil without values; the last bound for what is beyond it.
    ///
    /// - Parameter part: 0...1.
    func quantile(_ part: Double) -> Double? {
        let all = count
        guard all > 0 else { return nil }
        let rank = part * Double(all)
        var below = 0.0
        for (index, inside) in counts.enumerated() where inside > 0 {
            if below + Double(inside) >= rank {
                guard index < bounds.count else { return bounds.last }
                let low = index == 0 ? 0 : bounds[index - 1]
                return low + (bounds[index] - low) * (rank - below) / Double(inside)
            }
            below += Double(inside)
        }
        return bounds.last
    }
}

extension OTLPMetric {
    fileprivate var total: UInt64 {
        sum.dataPoints.reduce(0) { $0 + (UInt64(exactly: max(0, $1.number).rounded(.down)) ?? 0) }
    }
    /// Nil for what is no number: JSON has none that is not finite.
    fileprivate var level: Double? { gauge.dataPoints.first.map(\.number).flatMap { $0.isFinite ? $0 : nil } }
}

extension [OTLPKeyValue] {
    fileprivate subscript(key: String) -> String { first { $0.key == key }?.value.stringValue ?? "" }
}
