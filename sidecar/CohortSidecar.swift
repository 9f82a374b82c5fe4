import CohortAPI
import Foundation
import Logging
import Metrics
import NIOPosix
import RPC
import ServiceLifecycle
import ServiceSettings
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
        let telemetry = TelemetrySystem(settings)
        LoggingSystem.bootstrap { label in
            JSONLinesLogHandler(label: label, levels: telemetry.levels, output: .standardError)
        }
        MetricsSystem.bootstrap(telemetry.metrics)
        let logger = Logger(label: "cohort-sidecar")
        do {
            try await run(settings, client, telemetry, logger)
            logger.info("stopped")
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
        _ logger: Logger
    ) async throws {
        let process = ProcessMetrics(telemetry: telemetry, prefix: "sidecar.")
        telemetry.beforeReading { process.update() }
        let link = ServerLink(settings, client: client, logger: logger)
        let dashboard = Dashboard(settings, link: link)
        let http = HTTPServer(
            settings,
            link: link,
            dashboard: dashboard,
            own: telemetry.metrics,
            refresh: { telemetry.refresh() },
            logger: logger
        )
        var lifecycleLogger = Logger(label: "lifecycle")
        lifecycleLogger.logLevel = .warning
        let group = ServiceGroup(
            configuration: ServiceGroupConfiguration(
                services: [
                    .init(service: link, failureTerminationBehavior: .gracefullyShutdownGroup),
                    .init(service: dashboard, failureTerminationBehavior: .gracefullyShutdownGroup),
                    .init(service: http.application, failureTerminationBehavior: .gracefullyShutdownGroup),
                ],
                gracefulShutdownSignals: [.sigterm, .sigint],
                logger: lifecycleLogger
            )
        )
        try await group.run()
    }
}

extension TelemetrySystem {
    fileprivate convenience init(_ settings: SidecarSettings) {
        let resource = [("service.name", "cohort-sidecar"), ("service.version", CohortRelease.version)]
        self.init(
            metrics: MetricsRegistry(
                resource: resource,
                scope: "cohort-sidecar",
                descriptions: SidecarMetrics.all
            ),
            tracer: SpanTracer(buffer: SpanBuffer(capacity: 0), sampler: Sampler(ratio: 0)),
            levels: LogLevels(Logger.Level(rawValue: settings.logLevel) ?? .info),
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
        MetricDescription("sidecar.http.requests", "{request}", "HTTP requests, by path and status"),
        MetricDescription("sidecar.process.cpu.time", "s", "processor time, by cpu.mode"),
        MetricDescription("sidecar.process.memory.usage", "By", "resident memory"),
        MetricDescription("sidecar.process.uptime", "s", "time since the start"),
        MetricDescription("sidecar.process.file_descriptors", "{file_descriptor}", "file descriptors open"),
        MetricDescription("sidecar.process.threads", "{thread}", "threads"),
        MetricDescription("sidecar.telemetry.metrics.series", "{series}", "series of all metrics of the sidecar"),
        MetricDescription(
            "sidecar.telemetry.metrics.series_overflowed",
            "{series}",
            "requests for a series beyond the most of its metric"
        ),
    ]
}
