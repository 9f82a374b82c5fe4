package import CohortAPI
package import CohortCore
package import RPC

/// `cohort.v1.VersionService` over an engine.
package struct VersionService: VersionServiceHandler {
    let engine: Engine

    package init(engine: Engine) {
        self.engine = engine
    }

    package func draftVersion(
        _ request: DraftVersionRequest,
        _ call: ServerCall
    ) async throws(RPCError) -> DraftVersionResponse { throw RPCError(.unimplemented, "not yet") }

    package func discardVersion(
        _ request: DiscardVersionRequest,
        _ call: ServerCall
    ) async throws(RPCError) -> DiscardVersionResponse { throw RPCError(.unimplemented, "not yet") }

    package func previewVersion(
        _ request: PreviewVersionRequest,
        _ call: ServerCall
    ) async throws(RPCError) -> PreviewVersionResponse { throw RPCError(.unimplemented, "not yet") }

    package func publishVersion(
        _ request: PublishVersionRequest,
        _ call: ServerCall
    ) async throws(RPCError) -> PublishVersionResponse { throw RPCError(.unimplemented, "not yet") }

    package func revertCohort(
        _ request: RevertCohortRequest,
        _ call: ServerCall
    ) async throws(RPCError) -> RevertCohortResponse { throw RPCError(.unimplemented, "not yet") }

    package func listVersions(
        _ request: ListVersionsRequest,
        _ call: ServerCall
    ) throws(RPCError) -> InlineResult<ListVersionsResponse> {
        throw RPCError(.unimplemented, "not yet")
    }
}
