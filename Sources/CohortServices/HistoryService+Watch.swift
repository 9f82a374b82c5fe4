package import CohortAPI
package import RPC

extension HistoryService {
    package func watchMemberships(
        _ request: WatchMembershipsRequest,
        _ responses: ResponseWriter<WatchMembershipsResponse>,
        _ call: ServerCall
    ) async throws(RPCError) {
        throw RPCError(.unimplemented, "not yet")
    }
}
