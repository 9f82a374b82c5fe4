import CohortAPI
import CohortServices
import Foundation
import Logging
import NIOPosix
import OTLP
import RPC
import SwiftProtobuf
import Synchronization
import Telemetry
import Testing

/// Answers as the test says: some calls are slow, some fail.
private final class Handler: RegistrableService {
    static let method = MethodDescriptor(service: "probe.v1.Probe", method: "Call", kind: .unary)
    private let calls = Atomic<Int>(0)
    /// How long each took, in seconds.
    let times = Mutex<[Double]>([])

    func register(with router: inout Router) {
        router.unary(Self.method) {
            [self] (request: GetStatusRequest, call) async throws(RPCError) -> GetStatusResponse in
            let number = calls.wrappingAdd(1, ordering: .relaxed).oldValue
            let begin = ContinuousClock.now
            // 2 of 100 are slow, 1 of 100 fails.
            if number % 50 == 7 { try? await Task.sleep(for: .milliseconds(50)) }
            times.withLock { $0.append(begin.duration(to: .now) / .seconds(1)) }
            if number % 100 == 13 { throw RPCError(.internalError, "as the test wants it") }
            return GetStatusResponse()
        }
    }
}

/// What the sidecar asks of a server, from a registry of metrics.
private struct Operations: OperationsServiceHandler {
    let telemetry: TelemetrySystem

    func getStatus(_ request: GetStatusRequest, _ call: ServerCall) throws(RPCError) -> InlineResult<GetStatusResponse>
    {
        .reply(.with { $0.state = .serving })
    }

    func scrapeMetrics(_ request: ScrapeMetricsRequest, _ call: ServerCall) async throws(RPCError) -> OTLPMetricsData {
        telemetry.metrics.snapshot()
    }

    func getCapacity(_ request: GetCapacityRequest, _ call: ServerCall) async throws(RPCError) -> GetCapacityResponse {
        throw RPCError(.unimplemented, "not in this test")
    }

    func streamSpans(
        _ request: StreamSpansRequest,
        _ responses: ResponseWriter<OTLPTracesData>,
        _ call: ServerCall
    ) async throws(RPCError) { throw RPCError(.unimplemented, "not in this test") }

    func setLogLevel(_ request: SetLogLevelRequest, _ call: ServerCall) async throws(RPCError) -> SetLogLevelResponse {
        throw RPCError(.unimplemented, "not in this test")
    }
}

@Suite("Sidecar's figures")
struct SidecarCountTests {
    @Test(
        "Calls and errors in Prometheus are exactly what the client has sent, and p99 is in the bucket of the slow calls"
    )
    func counts() async throws {
        let directory = try TemporaryDirectory()
        let authority = try TestAuthority(directory: directory.file("tls"))
        let telemetry = TelemetrySystem(
            metrics: MetricsRegistry(resource: [("service.name", "probe")]),
            tracer: SpanTracer(buffer: SpanBuffer(capacity: 0), sampler: Sampler(ratio: 0)),
            levels: LogLevels(.error),
            resource: []
        )
        let logger = Logger(label: "probe") { _ in SwiftLogNoOpLogHandler() }
        let handler = Handler()
        let health = HealthService()
        health.set(.serving)
        let server = Server(
            configuration: ServerConfiguration(
                listen: Endpoint(host: "127.0.0.1", port: 0),
                tls: ServerTLS(
                    certificateChainPath: authority.file("server.pem"),
                    privateKeyPath: authority.file("server.key")
                )
            ),
            services: [handler, Operations(telemetry: telemetry), health],
            interceptors: [
                CallTelemetry(
                    TracingInterceptor(telemetry.tracer),
                    MetricsInterceptor(telemetry.metrics),
                    AccessLogInterceptor(
                        AccessLog(logger: logger, policy: AccessLogPolicy(), tracer: telemetry.tracer)
                    )
                )
            ],
            eventLoopGroup: MultiThreadedEventLoopGroup.singleton,
            logger: logger
        )
        let endpoint = try await server.start()
        let sidecar = try await TestSidecar(server: endpoint, ca: authority.file("ca.pem"))
        let prometheus = try await TestPrometheus(target: sidecar.address)

        let failed = Atomic<Int>(0)
        let slowest = Mutex<[Double]>([])
        try await withClient(
            ClientConfiguration(
                endpoints: [endpoint],
                tls: ClientTLS(trustRootsPath: authority.file("ca.pem")),
                defaultTimeout: .seconds(60)
            )
        ) { client in
            try await forEachConcurrently(Array(0..<2_000), width: 8) { _ in
                let begin = ContinuousClock.now
                do throws(RPCError) {
                    let _: GetStatusResponse = try await client.unary(Handler.method, GetStatusRequest())
                } catch {
                    #expect(error.code == .internalError)
                    failed.wrappingAdd(1, ordering: .relaxed)
                }
                slowest.withLock { $0.append(begin.duration(to: .now) / .seconds(1)) }
            }
        }
        #expect(failed.load(ordering: .relaxed) == 20)
        let method = #"rpc_method="probe.v1.Probe/Call""#
        let calls = { (code: String) in
            #"sum(rpc_server_call_duration_seconds_count{\#(method),rpc_response_status_code="\#(code)"})"#
        }
        try await eventually("not 1980 calls: \(prometheus.program.errors)") {
            await prometheus.query(calls("OK")) == 1_980
        }
        #expect(await prometheus.query(calls("INTERNAL")) == 20)
        let all = "sum by (le) (rpc_server_call_duration_seconds_bucket{\(method)})"
        let p99 = try #require(await prometheus.query("histogram_quantile(0.99, \(all))"))
        let bounds = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100]
        let above = try #require(bounds.first { $0 >= p99 })
        let below = bounds.last { $0 < p99 } ?? 0
        // The server's time lies between that of the handler and that of the client.
        let quantile = { (values: [Double]) in values.sorted()[Int(Double(values.count) * 0.99) - 1] }
        let (inner, outer) = (handler.times.withLock { quantile($0) }, slowest.withLock { quantile($0) })
        #expect(inner >= 0.05)
        #expect(above >= inner && below <= outer && above >= 0.1, "\(below) < \(p99) <= \(above): \(inner) \(outer)")
        #expect(try await sidecar.stop() == 0)
        await server.shutdown(grace: .seconds(5))
    }
}
