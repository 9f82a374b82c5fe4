import CohortAPI
import CohortCore
import CohortServices
import Foundation
import Logging
import NIOPosix
import RPC
import ServiceLifecycle

/// The RPC side: listens from the start, answers, drains at the end.
struct RPCService: Service {
    let health: HealthService
    private let server: Server
    private let drain: Duration
    private let logger: Logger

    init(settings: ServerSettings, engine: Engine, logger: Logger) {
        let health = HealthService(services: [
            MembershipServiceMethods.service, CustomerServiceMethods.service, CohortServiceMethods.service,
            OperationsServiceMethods.service,
        ])
        health.setAll(.notServing)
        // It answers in every state.
        health.set(.serving, for: OperationsServiceMethods.service)
        server = Server(
            configuration: ServerConfiguration(listen: settings.listen, tls: settings.tls, limits: settings.limits),
            services: [
                MembershipService(engine: engine), CustomerService(engine: engine),
                CohortAdministration(engine: engine),
                OperationsService(engine: engine, startedAt: SystemClock.now(), residentBytes: residentBytes),
                health,
            ],
            interceptors: [LoggingInterceptor(logger: logger), DeadlineInterceptor()],
            eventLoopGroup: MultiThreadedEventLoopGroup.singleton,
            logger: logger
        )
        drain = settings.drain
        self.health = health
        self.logger = logger
    }

    func run() async throws {
        let address = try await server.start()
        logger.info("listening", metadata: ["address": "\(address)"])
        await withGracefulShutdownHandler {
            try? await server.run()
        } onGracefulShutdown: {
            logger.info("draining", metadata: ["seconds": "\(drain / .seconds(1))"])
            health.setAll(.notServing)
            Task { await server.shutdown(grace: drain) }
        }
        logger.info("drained")
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
