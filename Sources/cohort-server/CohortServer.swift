import CohortAPI
import CohortCore
import CohortSQLite
import CohortServices
import Foundation
import Logging
import Metrics
import RPC
import ServiceLifecycle
import ServiceSettings
import Telemetry
import Tracing
import UnixSignals

/// The server's entry point. Exit status: 0 stopped as asked, 1 failed, 2 wrong settings.
@main
enum CohortServer {
    static func main() async {
        let arguments = CommandLine.arguments
        if arguments.contains("--help") || arguments.contains("-h") {
            print(SettingCatalogue.server.help)
            return
        }
        if arguments.contains("--version") {
            print(CohortRelease.version)
            return
        }
        let settings: ServerSettings
        do {
            let reader = try await SettingsReader(
                .server,
                arguments: arguments,
                environment: ProcessInfo.processInfo.environment
            )
            settings = try ServerSettings(reader)
        } catch {
            FileHandle.standardError.write(Data("cohort-server: \(error)\n".utf8))
            exit(2)
        }
        // What the server writes holds customers' data and keys: for its own account alone.
        umask(0o077)
        // A peer that goes away is an error of the write, not the end of the process.
        signal(SIGPIPE, SIG_IGN)
        let file: LogFile?
        do throws(LogFile.Unusable) { file = try settings.telemetry.file.map(LogFile.init) } catch {
            let path = settings.telemetry.file?.path ?? ""
            let problem = "cohort-server: --log-file-path: cannot write '\(path)': \(error.reason)\n"
            FileHandle.standardError.write(Data(problem.utf8))
            exit(2)
        }
        let telemetry = TelemetrySystem(settings)
        let lines = settings.telemetry.logLines
        let output =
            file.map { file in LogOutput(capacity: lines) { file.write($0) } } ?? .standardError(capacity: lines)
        LoggingSystem.bootstrap(
            { label, provider in
                JSONLinesLogHandler(label: label, levels: telemetry.levels, output: output, metadataProvider: provider)
            },
            metadataProvider: JSONLinesLogHandler.traceFields
        )
        MetricsSystem.bootstrap(telemetry.metrics)
        InstrumentationSystem.bootstrap(telemetry.tracer)
        let logger = Logger(label: "cohort-server")
        do {
            try await run(settings, telemetry, (file, output), logger)
            output.flush()
        } catch {
            logger.critical("stopped by a failure", metadata: ["error": "\(Self.describe(error))"])
            exit(1)
        }
    }

    /// The message alone, where there is one for people.
    private static func describe(_ error: any Error) -> String {
        switch error as? DomainError {
        case .failedPrecondition(_, let message), .dataLoss(let message), .internal(let message): message
        default: "\(error)"
        }
    }

    private static func breaker(_ name: String, _ policy: CircuitBreaker.Policy, _ logger: Logger) -> StoreCircuit {
        StoreCircuit(
            DependencyBreaker(
                name: name,
                policy: policy,
                onTransition: { state in
                    let metadata: Logger.Metadata = ["breaker": "\(name)", "state": "\(state.rawValue)"]
                    logger.warning("circuit breaker changed", metadata: metadata)
                }
            )
        )
    }

    private static func run(
        _ settings: ServerSettings,
        _ telemetry: TelemetrySystem,
        _ log: (file: LogFile?, output: LogOutput),
        _ logger: Logger
    ) async throws {
        try settings.checkFiles()
        if settings.isDevelopment {
            let files = DevelopmentCertificates(directory: settings.dataDirectory + "/tls")
            let isNew = try files.ensure()
            logger.warning(
                "development mode: who shows no credentials may do everything",
                metadata: ["certificates": "\(files.directory)", "new": "\(isNew)"]
            )
        }
        let engineLogger = Logger(label: "cohort.engine")
        let health = ServiceHealth()
        let keyring = AuditKeyring(try settings.auditKeys.load())
        let engine = Engine(
            store: SQLiteStore(directory: settings.dataDirectory, audit: keyring),
            configuration: settings.engine,
            environment: EngineEnvironment(
                log: { engineLogger.log($0) },
                stateChanged: { health.engine(is: $0) },
                observed: StoreMetrics().observe,
                writeBreaker: breaker("store_writes", settings.breaker, engineLogger),
                readBreaker: breaker("store_reads", settings.breaker, engineLogger)
            )
        )
        let access = try await AccessControl(settings.access, logger: Logger(label: "cohort.access"))
        let rpc = RPCService(
            settings: settings,
            engine: engine,
            health: health,
            access: access,
            telemetry: telemetry,
            log: log.output,
            logger: Logger(label: "cohort.rpc")
        )
        // It logs the services themselves at debug, which tells an operator nothing.
        var lifecycleLogger = Logger(label: "cohort.lifecycle")
        lifecycleLogger.logLevel = max(settings.logLevel, .info)
        let engineMetrics = EngineMetrics(engine: engine)
        telemetry.beforeReading { engineMetrics.update() }
        let resources = ResourceMetrics()
        telemetry.beforeReading { resources.update() }
        // Stopped in reverse: first the calls end, then the engine finishes its queue and closes the store.
        var services: [ServiceGroupConfiguration.ServiceConfiguration] = [
            .init(
                service: EngineService(engine: engine, logger: engineLogger),
                failureTerminationBehavior: .gracefullyShutdownGroup
            )
        ]
        var readers: [any FileReader] = [access]
        if case .file(let file) = settings.auditKeys {
            readers.append(AuditKeyReader(file: file, keyring: keyring, engine: engine, logger: logger))
        }
        if let file = log.file { readers.append(LogFileReopen(file: file)) }
        services.append(.init(service: FileReload(readers: readers)))
        services.append(.init(service: rpc, failureTerminationBehavior: .gracefullyShutdownGroup))
        let group = ServiceGroup(
            configuration: ServiceGroupConfiguration(
                services: services,
                gracefulShutdownSignals: [.sigterm, .sigint],
                logger: lifecycleLogger
            )
        )
        try await group.run()
        logger.info("stopped")
    }
}

/// Opens the log's file anew at SIGHUP.
private struct LogFileReopen: FileReader {
    let file: LogFile

    func reload(all: Bool) { if all { file.reopen() } }
}

extension TelemetrySystem {
    fileprivate convenience init(_ settings: ServerSettings) {
        let resource = [
            ("service.name", "cohort-server"), ("service.version", CohortRelease.version),
            ("service.instance.id", UUID().uuidString.lowercased()),
        ]
        let given = settings.telemetry
        self.init(
            metrics: MetricsRegistry(
                resource: resource,
                scope: "cohort",
                descriptions: MetricCatalogue.all,
                seriesLimit: given.series
            ),
            tracer: SpanTracer(
                buffer: SpanBuffer(capacity: given.spans),
                sampler: Sampler(ratio: given.tracingRatio)
            ),
            levels: LogLevels(settings.logLevel),
            resource: resource
        )
    }
}

extension Logger {
    fileprivate func log(_ event: EngineEvent) {
        let level: Logger.Level =
            switch event.level {
            case .debug: .debug
            case .info: .info
            case .warning: .warning
            case .error: .error
            }
        log(
            level: level,
            "\(event.message)",
            metadata: Logger.Metadata(
                event.metadata.map { ($0.0, .string($0.1)) },
                uniquingKeysWith: { first, _ in first }
            )
        )
    }
}
