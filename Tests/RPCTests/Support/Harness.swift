import Logging
import MetricsTestKit
import NIOCore
import NIOPosix
import RPC
import Synchronization

/// A server with the echo service on a port of its own, for the time of a test.
struct Harness: Sendable {
    let service: EchoService
    let server: Server
    let endpoint: Endpoint
    let group: any EventLoopGroup
    let log: LogRecorder
    let metrics: TestMetrics

    /// What the metrics system was told of a limit.
    func reached(_ limit: LimitReached) -> Int64 {
        let counter = try? metrics.expectCounter("rpc.server.limit.reached", [("limit", limit.rawValue)])
        return counter?.totalValue ?? 0
    }

    func clientConfiguration(stock: Bool = false) -> ClientConfiguration {
        var configuration = ClientConfiguration(
            endpoints: [endpoint],
            tls: ClientTLS(trustRootsPath: TestCertificates.shared.path("ca.pem"))
        )
        if stock { configuration.applicationProtocols = [] }
        return configuration
    }

    func client(
        stock: Bool = false,
        _ change: (inout ClientConfiguration) -> Void = { _ in }
    ) throws -> Client {
        var configuration = clientConfiguration(stock: stock)
        change(&configuration)
        return try Client(configuration, eventLoopGroup: group)
    }
}

func serverTLS(_ clientCertificates: ClientCertificateMode = .off) -> ServerTLS {
    let certificates = TestCertificates.shared
    return ServerTLS(
        certificateChainPath: certificates.path("server.pem"),
        privateKeyPath: certificates.path("server.key"),
        trustRootsPath: certificates.path("ca.pem"),
        clientCertificates: clientCertificates
    )
}

func withServer(
    limits: ServerLimits = ServerLimits(),
    tls: ServerTLS = serverTLS(),
    interceptors: [any ServerInterceptor] = [],
    _ body: (Harness) async throws -> Void
) async throws {
    let group = MultiThreadedEventLoopGroup.singleton
    let service = EchoService()
    let log = LogRecorder()
    let metrics = TestMetrics()
    let server = Server(
        configuration: ServerConfiguration(
            listen: Endpoint(host: "127.0.0.1", port: 0),
            tls: tls,
            limits: limits,
            metrics: metrics
        ),
        services: [service, HealthService()],
        interceptors: interceptors,
        eventLoopGroup: group,
        logger: log.logger
    )
    let endpoint = try await server.start()
    let harness = Harness(
        service: service,
        server: server,
        endpoint: endpoint,
        group: group,
        log: log,
        metrics: metrics
    )
    do {
        try await body(harness)
    } catch {
        await server.shutdown(grace: .zero)
        throw error
    }
    await server.shutdown(grace: .zero)
}

/// Waits for a condition that another task brings about; gives up after 20 s.
func eventually(_ condition: () async throws -> Bool) async throws -> Bool {
    for _ in 0..<4000 {
        if try await condition() { return true }
        try await Task.sleep(for: .milliseconds(5))
    }
    return false
}

/// Waits until a count stands still, above what is given; gives up after 20 s. Returns the count.
func settled(above least: Int, _ count: () -> Int) async throws -> Int {
    var before = -1
    for _ in 0..<100 {
        let now = count()
        if now == before, now > least { return now }
        before = now
        try await Task.sleep(for: .milliseconds(200))
    }
    return before
}

/// Keeps what is logged.
final class LogRecorder: Sendable {
    struct Line: Sendable {
        let level: Logger.Level
        let message: String
        let metadata: [String: String]
    }

    private let recorded = Mutex<[Line]>([])

    var lines: [Line] { recorded.withLock { $0 } }
    var closeReasons: [String] { lines.compactMap { $0.message == "connection closed" ? $0.metadata["reason"] : nil } }

    var logger: Logger {
        var logger = Logger(label: "test") { _ in Handler(recorder: self) }
        logger.logLevel = .trace
        return logger
    }

    private struct Handler: LogHandler {
        let recorder: LogRecorder
        var metadata: Logger.Metadata = [:]
        var logLevel: Logger.Level = .trace

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            var all: [String: String] = [:]
            for (key, value) in event.metadata ?? [:] { all[key] = "\(value)" }
            let line = Line(level: event.level, message: "\(event.message)", metadata: all)
            recorder.recorded.withLock { $0.append(line) }
        }
    }
}
