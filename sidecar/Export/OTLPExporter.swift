import Logging
import Metrics
import OTLP
import RPC
import ServiceLifecycle
import SwiftProtobuf
import Synchronization

/// Sends the server's metrics and spans, and the sidecar's own metrics, to an OpenTelemetry collector.
///
/// At the end it gathers once more, and gives the collector `drain` to take what waits.
final class OTLPExporter: Service {
    private let settings: OTLPSettings
    private let drain: Duration
    private let link: ServerLink
    private let own: @Sendable () -> OTLPMetricsData
    private let sender: OTLPSender
    private let lanes: [ExportKind: ExportLane]
    private let batcher = Mutex(SpanBatcher())
    private let logger: Logger

    /// - Parameter own: The sidecar's own metrics, as they are now.
    init(
        _ settings: OTLPSettings,
        drain: Duration,
        link: ServerLink,
        own: @escaping @Sendable () -> OTLPMetricsData,
        logger: Logger
    ) throws {
        self.settings = settings
        self.drain = drain
        self.link = link
        self.own = own
        self.logger = logger
        let sender = try OTLPSender(settings)
        self.sender = sender
        lanes = Dictionary(
            uniqueKeysWithValues: settings.kinds.map {
                ($0, ExportLane($0, settings, sender: sender, logger: logger))
            }
        )
    }

    /// Brings its gauges up to date.
    func update() { for lane in lanes.values { lane.update() } }

    func run() async throws {
        await withTaskGroup(of: Void.self) { senders in
            for lane in lanes.values { senders.addTask { await lane.run() } }
            await cancelWhenGracefulShutdown { [self] in await gather() }
            await pushMetrics()
            push(batcher.withLock { $0.take() })
            for lane in lanes.values { lane.hurry() }
            let end = ContinuousClock.now + drain
            while lanes.values.contains(where: { !$0.isEmpty }), ContinuousClock.now < end, !Task.isCancelled {
                try? await Task.sleep(for: .milliseconds(20))
            }
            senders.cancelAll()
        }
        for lane in lanes.values { lane.close() }
        await sender.shutdown()
    }

    private func gather() async {
        await withTaskGroup(of: Void.self) { tasks in
            if lanes[.metrics] != nil {
                tasks.addTask { [self] in
                    await every(settings.interval) { [self] in await pushMetrics() }
                }
            }
            if lanes[.spans] != nil {
                tasks.addTask { [self] in await readSpans() }
                tasks.addTask { [self] in
                    await every(.milliseconds(200)) { [self] in push(batcher.withLock { $0.take(at: .now) }) }
                }
            }
        }
    }

    private func every(_ interval: Duration, _ body: @Sendable () async -> Void) async {
        while !Task.isCancelled {
            try? await Task.sleep(for: interval)
            if !Task.isCancelled { await body() }
        }
    }

    // MARK: Metrics

    private func pushMetrics() async {
        guard let lane = lanes[.metrics] else { return }
        let data = [await link.metrics(), own()].compactMap { $0 }
        for (request, points) in MetricRequests.split(data.flatMap(\.resourceMetrics)) {
            lane.add(request, items: points)
        }
    }

    // MARK: Spans

    private func push(_ spans: (spans: [OTLPResourceSpans], count: Int)?) {
        guard let (spans, count) = spans else { return }
        lanes[.spans]?.add(OTLPExportTraceServiceRequest.with { $0.resourceSpans = spans }, items: count)
    }

    /// Follows the server's spans, and comes back to it when the stream ends. What was on its way then is lost: the server hands
    /// out each span once.
    private func readSpans() async {
        var backoff = Backoff()
        backoff.maximum = .seconds(5)
        var failures = 0
        while !Task.isCancelled {
            do throws(RPCError) {
                let stream = try await link.spans()
                var iterator = stream.makeAsyncIterator()
                while let data = try await iterator.next(isolation: nil) {
                    if failures > 0 { logger.info("the server hands out spans again") }
                    failures = 0
                    push(batcher.withLock { $0.add(data, at: .now) })
                }
                count("ended")
            } catch {
                guard !Task.isCancelled else { return }
                count(error.errorInfo?.reason == "SPANS_ARE_READ" ? "taken" : "failed")
                if failures == 0 {
                    logger.warning("the server hands out no spans", metadata: ["error": "\(error.message)"])
                }
            }
            failures += 1
            try? await Task.sleep(for: backoff.delay(afterFailures: failures, random: .random(in: 0..<1)))
        }
    }

    private func count(_ outcome: String) {
        Counter(label: "sidecar.spans.streams", dimensions: [("outcome", outcome)]).increment()
    }
}

/// Metrics as requests to a collector.
enum MetricRequests {
    /// Points of one request, unless one metric has more: collectors refuse what is larger than some MiB.
    static let most = 2_000

    static func split(_ all: [OTLPResourceMetrics]) -> [(OTLPExportMetricsServiceRequest, points: Int)] {
        var requests: [(OTLPExportMetricsServiceRequest, points: Int)] = []
        for resource in all {
            for scope in resource.scopeMetrics {
                var part = scope
                part.metrics = []
                var points = 0
                func finish() {
                    guard points > 0 else { return }
                    var whole = resource
                    whole.scopeMetrics = [part]
                    requests.append((.with { $0.resourceMetrics = [whole] }, points))
                    part.metrics = []
                    points = 0
                }
                for metric in scope.metrics {
                    if points + metric.points > most { finish() }
                    part.metrics.append(metric)
                    points += metric.points
                }
                finish()
            }
        }
        return requests
    }
}

extension OTLPMetric {
    /// How many points it has.
    var points: Int {
        switch data {
        case .gauge(let gauge): gauge.dataPoints.count
        case .sum(let sum): sum.dataPoints.count
        case .histogram(let histogram): histogram.dataPoints.count
        case nil: 0
        }
    }
}
