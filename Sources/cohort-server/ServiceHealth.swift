import CohortAPI
import CohortCore
import RPC
import Synchronization

/// What grpc.health.v1 says of this server: it serves while its engine answers reads and nobody drains it.
final class ServiceHealth: Sendable {
    let service: HealthService
    private let isDraining = Mutex(false)

    init() {
        service = HealthService(services: [
            MembershipServiceMethods.service, CustomerServiceMethods.service, CohortServiceMethods.service,
            VersionServiceMethods.service, HistoryServiceMethods.service, ApprovalServiceMethods.service,
            AuditServiceMethods.service, OperationsServiceMethods.service, AccessServiceMethods.service,
        ])
        service.setAll(.notServing)
        // It answers in every state of the engine.
        service.set(.serving, for: OperationsServiceMethods.service)
    }

    /// The engine has another state.
    func engine(is state: EngineState) {
        isDraining.withLock { isDraining in
            guard !isDraining else { return }
            // Reads go on while the store does not answer: a balancer that took every server out would end them too.
            let serves = state == .serving || state == .storeUnavailable
            service.setAll(serves ? .serving : .notServing)
            service.set(.serving, for: OperationsServiceMethods.service)
        }
    }

    /// The server is about to stop, whatever the engine says from now on.
    func drain() {
        isDraining.withLock { isDraining in
            isDraining = true
            service.setAll(.notServing)
        }
    }
}
