package import CohortAPI
package import CohortCore
package import RPC

/// `cohort.v1.HistoryService` over an engine.
package struct HistoryService: HistoryServiceHandler {
    let engine: Engine

    package init(engine: Engine) {
        self.engine = engine
    }

    package func getMembershipHistory(
        _ request: GetMembershipHistoryRequest,
        _ call: ServerCall
    ) async throws(RPCError) -> GetMembershipHistoryResponse {
        throw RPCError(.unimplemented, "not yet")
    }
}
