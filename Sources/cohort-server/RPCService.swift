import CohortAPI
import CohortCore
import CohortServices
import Foundation
import Logging
import NIOCore
import NIOPosix
import RPC
import ServiceLifecycle
import ServiceSettings
import Synchronization
import Telemetry
import UnixSignals

/// The RPC side: listens from the start, answers, drains at the end.
struct RPCService: Service {
    private let engine: Engine
    private let health: ServiceHealth
    private let server: Server
    private let drain: Duration
    private let listen: Endpoint
    private let loops: MultiThreadedEventLoopGroup
    private let telemetry: TelemetrySystem
    private let logger: Logger

    init(
        settings: ServerSettings,
        engine: Engine,
        health: ServiceHealth,
        access: AccessControl,
        telemetry: TelemetrySystem,
        log: LogOutput,
        logger: Logger
    ) {
        let accessLog = AccessLog(
            logger: Logger(label: "cohort.access_log"),
            policy: settings.telemetry.access,
            tracer: telemetry.tracer
        )
        let process = ProcessMetrics(
            telemetry: telemetry,
            linesSuppressed: { accessLog.suppressed },
            linesLost: { log.linesLost }
        )
        telemetry.beforeReading { process.update() }
        // Outermost, so that it sees what the others refuse.
        let watching: [any ServerInterceptor] =
            settings.telemetry.watchesCalls
            ? [
                CallTelemetry(
                    TracingInterceptor(telemetry.tracer),
                    MetricsInterceptor(telemetry.metrics),
                    AccessLogInterceptor(accessLog)
                )
            ] : []
        loops = MultiThreadedEventLoopGroup(numberOfThreads: settings.threads)
        let connections = ConnectionCount(limit: settings.limits.maxConnections)
        let overload = OverloadControl(settings.overload, classify: AccessTable.methodClass)
        var configuration = ServerConfiguration(listen: settings.listen, tls: settings.tls, limits: settings.limits)
        configuration.overload = overload
        server = Server(
            configuration: configuration,
            services: [
                MembershipService(engine: engine), CustomerService(engine: engine),
                CohortAdministration(engine: engine), VersionService(engine: engine), HistoryService(engine: engine),
                ApprovalService(engine: engine), AuditService(engine: engine),
                OperationsService(
                    engine: engine,
                    startedAt: SystemClock.now(),
                    residentBytes: residentBytes,
                    connections: { connections.now },
                    telemetry: telemetry,
                    telemetryLosses: { (accessLog.suppressed, log.linesLost) },
                    overload: overload
                ),
                access.service, health.service,
            ],
            interceptors: watching + [
                AuditInterceptor(engine: engine, administrative: AccessTable.administrative),
                DeadlineInterceptor(longestUpload: settings.upload),
                AuthenticationInterceptor(access.authenticator),
                AuthorizationInterceptor(methods: AccessTable.methods, errorDomain: CohortRelease.errorDomain),
            ] + overload.interceptors,
            eventLoopGroup: loops,
            logger: logger
        )
        connections.server.withLock { [server] in $0 = server }
        drain = settings.drain
        listen = settings.listen
        self.engine = engine
        self.health = health
        self.telemetry = telemetry
        self.logger = logger
    }

    /// - Throws: ``SettingsError`` when it cannot listen or use the certificates.
    func run() async throws {
        // Trapped before anyone can know that there is a server to send it to.
        let signals = await UnixSignalsSequence(trapping: .sighup)
        try await start()
        await withTaskGroup(of: Void.self) { group in
            group.addTask { for await _ in signals { server.reloadCertificates() } }
            group.addTask { await EventLoopLag(loops).run() }
            await withTaskCancellationOrGracefulShutdownHandler {
                try? await server.run()
            } onCancelOrGracefulShutdown: {
                logger.info("draining", metadata: ["seconds": "\(drain / .seconds(1))"])
                health.drain()
                // They would run for ever; their clients go on elsewhere.
                engine.endWatches()
                telemetry.tracer.buffer.close()
                Task { await server.shutdown(grace: drain) }
            }
            group.cancelAll()
        }
        logger.info("drained")
    }

    private func start() async throws {
        do {
            try await server.start()
        } catch let error as TLSSettingsError {
            throw SettingsError("\(Self.flag(for: error.setting)): \(error.message)")
        } catch {
            throw SettingsError("--listen: cannot listen on \(listen): \(error)")
        }
    }

    private static func flag(for setting: String) -> String {
        switch setting {
        case "certificateChainPath": "--tls-certificate"
        case "privateKeyPath": "--tls-key"
        case "trustRootsPath": "--tls-ca"
        default: setting
        }
    }
}

/// The connections of a server that is made after the services that tell of them.
private final class ConnectionCount: Sendable {
    let server = Mutex<Server?>(nil)
    private let limit: Int

    init(limit: Int) { self.limit = limit }

    var now: (open: Int, limit: Int)? {
        server.withLock { $0 }.map { ($0.statistics.connectionsOpen, limit) }
    }
}
