import CohortAPI
import CohortCore
import RPC
import Testing

@testable import cohort_server

@Suite("Health")
struct ServiceHealthTests {
    @Test("It serves while the engine answers reads, and not any more once it drains")
    func states() {
        let health = ServiceHealth()
        #expect(health.service.status(of: "") == .notServing)
        #expect(health.service.status(of: OperationsServiceMethods.service) == .serving)
        for (state, serves) in [
            (EngineState.loading, false), (.serving, true), (.storeUnavailable, true), (.failed, false),
            (.serving, true),
        ] {
            health.engine(is: state)
            #expect(health.service.status(of: "") == (serves ? .serving : .notServing))
            #expect(health.service.status(of: MembershipServiceMethods.service) == (serves ? .serving : .notServing))
        }
        health.drain()
        health.engine(is: .serving)
        #expect(health.service.status(of: "") == .notServing)
    }
}
