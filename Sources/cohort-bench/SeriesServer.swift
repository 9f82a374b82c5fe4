import CohortAPI
import Logging
import Metrics
import NIOPosix
import OTLP
import RPC
import SwiftProtobuf
import Telemetry

/// A server with so many series and nothing else, for `scripts/bench sidecar`: what a scrape of it costs is what the series cost.
///
/// Registry, messages, RPC and TLS are those of `cohort-server`.
struct SeriesServer: OperationsServiceHandler {
    private let metrics: MetricsRegistry

    /// - Parameters:
    ///   - histograms: Distributions with 10,000 values each, in every bucket. Prometheus counts each as 25 series.
    ///   - totals: Totals.
    init(histograms: Int, totals: Int) {
        metrics = MetricsRegistry(
            resource: [("service.name", "cohort-bench")],
            scope: "cohort",
            descriptions: [
                MetricDescription("rpc.server.call.duration", "s", "calls"),
                MetricDescription("bench.total", "{call}", "calls"),
            ],
            seriesLimit: max(histograms, totals, 1)
        )
        for number in 0..<histograms {
            let timer = metrics.makeTimer(label: "rpc.server.call.duration", dimensions: Self.dimensions(number))
            for value in 0..<10_000 { timer.recordNanoseconds(1_000 << (value % 27)) }
        }
        for number in 0..<totals {
            metrics.makeCounter(label: "bench.total", dimensions: Self.dimensions(number)).increment(by: Int64(number))
        }
    }

    /// As the calls of a server have them.
    private static func dimensions(_ number: Int) -> [(String, String)] {
        [
            ("rpc.system.name", "ttrpc"), ("rpc.method", "cohort.v1.BenchService/Method\(number / 4)"),
            ("rpc.response.status_code", ["OK", "NOT_FOUND", "INVALID_ARGUMENT", "UNAVAILABLE"][number % 4]),
        ]
    }

    func register(with router: inout Router) {
        registerMethods(with: &router)
        router.unaryRaw(OperationsServiceMethods.scrapeMetrics) { [metrics] (_: ScrapeMetricsRequest, _) in
            metrics.serialized()
        }
    }

    /// Serves until the process is ended.
    func run(certificate: String, key: String) async throws {
        let health = HealthService()
        health.set(.serving)
        let server = Server(
            configuration: ServerConfiguration(
                listen: Endpoint(host: "127.0.0.1", port: 0),
                tls: ServerTLS(certificateChainPath: certificate, privateKeyPath: key)
            ),
            services: [self, health],
            eventLoopGroup: MultiThreadedEventLoopGroup.singleton,
            logger: Logger(label: "cohort-bench") { _ in SwiftLogNoOpLogHandler() }
        )
        print("listening \(try await server.start())")
        try await server.run()
    }

    func getStatus(_ request: GetStatusRequest, _ call: ServerCall) throws(RPCError) -> InlineResult<GetStatusResponse>
    {
        .reply(.with { $0.state = .serving })
    }

    func scrapeMetrics(_ request: ScrapeMetricsRequest, _ call: ServerCall) async throws(RPCError) -> OTLPMetricsData {
        metrics.snapshot()
    }

    func getCapacity(_ request: GetCapacityRequest, _ call: ServerCall) async throws(RPCError) -> GetCapacityResponse {
        throw RPCError(.unimplemented, "a server for measurements")
    }

    func streamSpans(
        _ request: StreamSpansRequest,
        _ responses: ResponseWriter<OTLPTracesData>,
        _ call: ServerCall
    ) async throws(RPCError) { throw RPCError(.unimplemented, "a server for measurements") }

    func setLogLevel(_ request: SetLogLevelRequest, _ call: ServerCall) async throws(RPCError) -> SetLogLevelResponse {
        throw RPCError(.unimplemented, "a server for measurements")
    }
}
