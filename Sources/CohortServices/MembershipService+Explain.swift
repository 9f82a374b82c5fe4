package import CohortAPI
package import RPC

extension MembershipService {
    package func explainMembership(
        _ request: ExplainMembershipRequest,
        _ call: ServerCall
    ) async throws(RPCError) -> ExplainMembershipResponse {
        throw RPCError(.unimplemented, "not yet")
    }
}
