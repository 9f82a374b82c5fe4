import CohortAPI
import CohortCore
import CohortServices
import Foundation
import Logging
import NIOPosix
import RPC
import ServiceLifecycle
import Synchronization
import UnixSignals

/// The RPC side: listens from the start, answers, drains at the end.
struct RPCService: Service {
    private let engine: Engine
    private let health: ServiceHealth
    private let server: Server
    private let drain: Duration
    private let listen: Endpoint
    private let logger: Logger

    init(
        settings: ServerSettings,
        engine: Engine,
        health: ServiceHealth,
        access: AccessControl,
        logger: Logger
    ) {
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
                    overload: overload
                ),
                access.service, health.service,
            ],
            interceptors: [
                LoggingInterceptor(logger: logger),
                AuditInterceptor(engine: engine, administrative: AccessTable.administrative),
                DeadlineInterceptor(longestUpload: settings.upload),
                AuthenticationInterceptor(access.authenticator),
                AuthorizationInterceptor(methods: AccessTable.methods, errorDomain: CohortRelease.errorDomain),
            ] + overload.interceptors,
            eventLoopGroup: MultiThreadedEventLoopGroup(numberOfThreads: settings.threads),
            logger: logger
        )
        connections.server.withLock { [server] in $0 = server }
        drain = settings.drain
        listen = settings.listen
        self.engine = engine
        self.health = health
        self.logger = logger
    }

    /// - Throws: ``SettingsError`` when it cannot listen or use the certificates.
    func run() async throws {
        // Trapped before anyone can know that there is a server to send it to.
        let signals = await UnixSignalsSequence(trapping: .sighup)
        try await start()
        await withTaskGroup(of: Void.self) { group in
            group.addTask { for await _ in signals { server.reloadCertificates() } }
            await withTaskCancellationOrGracefulShutdownHandler {
                try? await server.run()
            } onCancelOrGracefulShutdown: {
                logger.info("draining", metadata: ["seconds": "\(drain / .seconds(1))"])
                health.drain()
                // They would run for ever; their clients go on elsewhere.
                engine.endWatches()
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

/// Resident memory of this process in bytes, 0 where the system does not tell.
@Sendable
func residentBytes() -> UInt64 {
    // The second number of statm is the resident size in pages.
    guard let text = try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8),
        let pages = UInt64(text.split(separator: " ").dropFirst().first ?? "")
    else { return 0 }
    return pages * UInt64(sysconf(Int32(_SC_PAGESIZE)))
}
