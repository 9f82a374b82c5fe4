import CohortAPI
import Foundation
import Logging
import Metrics
import NIOPosix
import OTLP
import RPC
import ServiceLifecycle
import ServiceSettings
import Synchronization
import Telemetry
import UnixSignals

/// The sidecar's entry point. Exit status: 0 stopped as asked, 1 failed, 2 wrong settings.
@main
enum CohortSidecar {
    static func main() async {
        let arguments = CommandLine.arguments
        if arguments.contains("--help") || arguments.contains("-h") {
            print(SettingCatalogue.sidecar.help)
            return
        }
        if arguments.contains("--version") {
            print(CohortRelease.version)
            return
        }
        // Before the settings: what reads files again later has a logger of its own.
        let levels = LogLevels(.info)
        let output = LogOutput.standardError()
        LoggingSystem.bootstrap { label in JSONLinesLogHandler(label: label, levels: levels, output: output) }
        let settings: SidecarSettings
        let client: Client
        do {
            let reader = try await SettingsReader(
                .sidecar,
                arguments: arguments,
                environment: ProcessInfo.processInfo.environment
            )
            settings = try SidecarSettings(reader)
            client = try makeClient(settings)
        } catch {
            FileHandle.standardError.write(Data("cohort-sidecar: \(error)\n".utf8))
            exit(2)
        }
        // A peer that goes away is an error of the write, not the end of the process.
        signal(SIGPIPE, SIG_IGN)
        levels.set(Logger.Level(rawValue: settings.logLevel) ?? .info)
        let telemetry = TelemetrySystem(levels)
        MetricsSystem.bootstrap(telemetry.metrics)
        let logger = Logger(label: "cohort-sidecar")
        do {
            try await run(settings, client, telemetry, output, logger)
            logger.info("stopped")
            output.flush()
        } catch let error as SettingsError {
            FileHandle.standardError.write(Data("cohort-sidecar: \(error)\n".utf8))
            exit(2)
        } catch {
            logger.critical("stopped by a failure", metadata: ["error": "\(error)"])
            exit(1)
        }
    }

    private static func makeClient(_ settings: SidecarSettings) throws -> Client {
        do {
            return try Client(settings.client, eventLoopGroup: MultiThreadedEventLoopGroup.singleton)
        } catch {
            let flag = ["trustRootsPath": "--ca", "certificateChainPath": "--cert", "privateKeyPath": "--key"][
                error.setting
            ]
            throw SettingsError("\(flag ?? error.setting): \(error.message)")
        }
    }

    private static func run(
        _ settings: SidecarSettings,
        _ client: Client,
        _ telemetry: TelemetrySystem,
        _ output: LogOutput,
        _ logger: Logger
    ) async throws {
        let process = ProcessMetrics(telemetry: telemetry, prefix: "sidecar.", linesLost: { output.linesLost })
        telemetry.beforeReading { process.update() }
        let link = ServerLink(settings, client: client, logger: logger)
        let dashboard = Dashboard(settings, link: link)
        let own: @Sendable () -> OTLPMetricsData = {
            telemetry.refresh()
            return telemetry.metrics.snapshot()
        }
        // Stopped in reverse: first nobody is let in, then what waits is sent, last the connection to the server ends.
        var services: [any Service] = [link, dashboard]
        services += try Self.exporters(settings, link, own, telemetry, logger)
        if let reloader = settings.http.reloader { services.append(reloader) }
        services.append(
            try HTTPServer(settings, link: link, dashboard: dashboard, own: own, logger: logger).application()
        )
        let connections = Gauge(label: "sidecar.http.connections")
        telemetry.beforeReading { connections.record(ConnectionGuard.open.load(ordering: .relaxed)) }
        var lifecycleLogger = Logger(label: "lifecycle")
        lifecycleLogger.logLevel = .warning
        let group = ServiceGroup(
            configuration: ServiceGroupConfiguration(
                services: services.map {
                    .init(service: $0, failureTerminationBehavior: .gracefullyShutdownGroup)
                },
                gracefulShutdownSignals: [.sigterm, .sigint],
                logger: lifecycleLogger
            )
        )
        try await group.run()
    }

    /// What sends metrics and spans elsewhere, where that is wanted.
    private static func exporters(
        _ settings: SidecarSettings,
        _ link: ServerLink,
        _ own: @escaping @Sendable () -> OTLPMetricsData,
        _ telemetry: TelemetrySystem,
        _ logger: Logger
    ) throws -> [any Service] {
        var services: [any Service] = []
        if let emf = settings.emf { services.append(try EMFWriter(emf, link: link, own: own, logger: logger)) }
        if let otlp = settings.otlp {
            let exporter = try OTLPExporter(otlp, drain: settings.drain, link: link, own: own, logger: logger)
            telemetry.beforeReading { exporter.update() }
            services.append(exporter)
        }
        return services
    }
}

extension TelemetrySystem {
    fileprivate convenience init(_ levels: LogLevels) {
        let resource = [("service.name", "cohort-sidecar"), ("service.version", CohortRelease.version)]
        self.init(
            metrics: MetricsRegistry(
                resource: resource,
                scope: "cohort-sidecar",
                descriptions: SidecarMetrics.all
            ),
            tracer: SpanTracer(buffer: SpanBuffer(capacity: 0), sampler: Sampler(ratio: 0)),
            levels: levels,
            resource: resource
        )
    }
}

/// What each metric of the sidecar itself tells, and in which unit.
enum SidecarMetrics {
    static let all = [
        MetricDescription("sidecar.server.up", "1", "whether the server has answered the last question: 1 or 0"),
        MetricDescription("sidecar.polls", "{poll}", "questions about how the server is, by outcome"),
        MetricDescription("sidecar.scrapes", "{scrape}", "questions for the server's metrics, by outcome"),
        MetricDescription("sidecar.scrape.duration", "s", "time until the server has handed out its metrics"),
        MetricDescription("sidecar.dashboard.samples", "{sample}", "samples kept for the dashboard"),
        MetricDescription(
            "sidecar.render.duration",
            "s",
            "time to make a page of metrics of what the server has handed out"
        ),
        MetricDescription("sidecar.http.requests", "{request}", "HTTP requests, by path and status"),
        MetricDescription("sidecar.http.connections", "{connection}", "HTTP connections now"),
        MetricDescription(
            "sidecar.http.connections.closed",
            "{connection}",
            "HTTP connections closed because they took too long or sent too much, by reason"
        ),
        MetricDescription(
            "sidecar.spans.streams",
            "{stream}",
            "streams of spans that the server has ended, by outcome"
        ),
        MetricDescription(
            "sidecar.export.items",
            "{item}",
            "spans and points of metrics that are done with, by kind and outcome"
        ),
        MetricDescription("sidecar.export.requests", "{request}", "requests to the collector, by kind and outcome"),
        MetricDescription("sidecar.export.duration", "s", "time for an answer of the collector, by kind"),
        MetricDescription(
            "sidecar.export.queue.items",
            "{item}",
            "spans and points that wait for the collector, by kind"
        ),
        MetricDescription("sidecar.export.queue.bytes", "By", "bytes that wait for the collector, by kind"),
        MetricDescription("sidecar.emf.lines", "{line}", "lines for CloudWatch, and values left out, by outcome"),
        MetricDescription("sidecar.process.cpu.time", "s", "processor time, by cpu.mode"),
        MetricDescription("sidecar.process.memory.usage", "By", "resident memory"),
        MetricDescription("sidecar.process.uptime", "s", "time since the start"),
        MetricDescription("sidecar.process.file_descriptors", "{file_descriptor}", "file descriptors open"),
        MetricDescription("sidecar.process.threads", "{thread}", "threads"),
        MetricDescription("sidecar.telemetry.spans.waiting", "{span}", "spans of the sidecar, which has none"),
        MetricDescription("sidecar.telemetry.spans.dropped", "{span}", "of these, lost"),
        MetricDescription("sidecar.telemetry.access_log.suppressed", "{line}", "access lines, of which it has none"),
        MetricDescription("sidecar.telemetry.log.lines_lost", "{line}", "log lines that could not be written"),
        MetricDescription("sidecar.telemetry.metrics.series", "{series}", "series of all metrics of the sidecar"),
        MetricDescription(
            "sidecar.telemetry.metrics.series_overflowed",
            "{series}",
            "requests for a series beyond the most of its metric"
        ),
    ]
}
