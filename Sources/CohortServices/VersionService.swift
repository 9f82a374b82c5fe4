package import CohortAPI
package import CohortCore
package import RPC
import SwiftProtobuf

/// `cohort.v1.VersionService` over an engine.
package struct VersionService: VersionServiceHandler {
    private let engine: Engine

    package init(engine: Engine) {
        self.engine = engine
    }

    package func draftVersion(
        _ request: DraftVersionRequest,
        _ call: ServerCall
    ) async throws(RPCError) -> DraftVersionResponse {
        call.audited(cohort: request.cohortID)
        let result = try await answering { () async throws(DomainError) in
            try await engine.draft(
                cohort: request.cohortID,
                rule: request.rule,
                note: request.note,
                context: call.writeContext
            )
        }
        return .with {
            $0.version = CohortAPI.CohortVersion(result.version)
            $0.sequence = result.sequence
        }
    }

    package func discardVersion(
        _ request: DiscardVersionRequest,
        _ call: ServerCall
    ) async throws(RPCError) -> DiscardVersionResponse {
        call.audited(cohort: request.cohortID)
        let result = try await answering { () async throws(DomainError) in
            try await engine.discard(
                cohort: request.cohortID,
                version: request.version,
                context: call.writeContext
            )
        }
        return .with {
            $0.version = CohortAPI.CohortVersion(result.version)
            $0.sequence = result.sequence
        }
    }

    package func previewVersion(
        _ request: PreviewVersionRequest,
        _ call: ServerCall
    ) async throws(RPCError) -> PreviewVersionResponse {
        call.audited(cohort: request.cohortID)
        let candidate: PreviewCandidate
        switch request.candidate {
        case .version(let number): candidate = .version(number)
        case .rule(let rule): candidate = .rule(rule)
        case nil: throw .invalid("candidate", "is missing; give the version of a draft, or a rule")
        }
        let preview = try await answering { () async throws(DomainError) in
            try await engine.preview(
                cohort: request.cohortID,
                candidate,
                sample: request.sampleSize == 0 ? 10 : Int(request.sampleSize)
            )
        }
        return PreviewVersionResponse(preview)
    }

    package func publishVersion(
        _ request: PublishVersionRequest,
        _ call: ServerCall
    ) async throws(RPCError) -> PublishVersionResponse {
        call.audited(cohort: request.cohortID)
        let result = try await answering { () async throws(DomainError) in
            try await engine.publish(
                cohort: request.cohortID,
                version: request.version,
                context: call.writeContext
            )
        }
        return .with {
            $0.cohort = CohortAPI.Cohort(result.cohort)
            $0.sequence = result.sequence
            $0.entered = result.entered
            $0.left = result.left
            $0.newlyUnknown = result.newlyUnknown
            if let pending = result.pending { $0.pendingChange = PendingChange(pending) }
        }
    }

    package func revertCohort(
        _ request: RevertCohortRequest,
        _ call: ServerCall
    ) async throws(RPCError) -> RevertCohortResponse {
        call.audited(cohort: request.cohortID)
        let result = try await answering { () async throws(DomainError) in
            try await engine.revert(
                cohort: request.cohortID,
                version: request.version,
                note: request.note,
                context: call.writeContext
            )
        }
        return .with {
            $0.cohort = CohortAPI.Cohort(result.cohort)
            $0.sequence = result.sequence
            $0.entered = result.entered
            $0.left = result.left
            $0.newlyUnknown = result.newlyUnknown
            if let pending = result.pending { $0.pendingChange = PendingChange(pending) }
        }
    }

    package func listVersions(
        _ request: ListVersionsRequest,
        _ call: ServerCall
    ) throws(RPCError) -> InlineResult<ListVersionsResponse> {
        try call.requireCohort(request.cohortID)
        // Before the versions: they may be newer than it says, never older.
        let sequence = engine.status.sequence
        let versions = try answering { () throws(DomainError) in try engine.versions(ofCohort: request.cohortID) }
        return .reply(
            .with {
                $0.versions = versions.map { CohortAPI.CohortVersion($0) }
                $0.sequence = sequence
            }
        )
    }
}

extension CohortAPI.CohortVersion {
    init(_ view: VersionView) {
        self.init()
        let found = view.version
        version = found.number
        state =
            switch view.state {
            case .draft: .draft
            case .building: .building
            case .active: .active
            case .retired: .retired
            case .discarded: .discarded
            }
        rule = found.rule ?? ""
        note = found.note
        author = found.created.principal
        createdAt = Google_Protobuf_Timestamp(found.created.time)
        createdSequence = found.created.sequence
        if let published = found.published {
            publisher = published.principal
            publishedAt = Google_Protobuf_Timestamp(published.time)
            publishedSequence = published.sequence
        }
        revertsTo = found.revertsTo
    }
}

extension PreviewVersionResponse {
    init(_ preview: PublishPreview) {
        self.init()
        sequence = preview.sequence
        if let own = preview.diffs.first { diff = CohortAPI.MembershipDiff(own) }
        dependents = preview.diffs.dropFirst().map { CohortAPI.MembershipDiff($0) }
        customers = preview.customers
        errors = preview.errors.map { error in
            .with {
                $0.attribute = error.attribute
                $0.detail = error.detail
                $0.customers = error.customers
            }
        }
    }
}

extension CohortAPI.MembershipDiff {
    init(_ diff: CohortCore.MembershipDiff) {
        self.init()
        cohortID = diff.cohort
        entering = diff.entering
        leaving = diff.leaving
        becomingUnknown = diff.becomingUnknown
        unknownToOut = diff.unknownToOut
        membersBefore = diff.membersBefore
        membersAfter = diff.membersAfter
        unknownBefore = diff.unknownBefore
        unknownAfter = diff.unknownAfter
        enteringSample = diff.enteringSample.map { CohortAPI.PreviewedCustomer($0) }
        leavingSample = diff.leavingSample.map { CohortAPI.PreviewedCustomer($0) }
        becomingUnknownSample = diff.becomingUnknownSample.map { CohortAPI.PreviewedCustomer($0) }
    }
}

extension CohortAPI.PreviewedCustomer {
    init(_ customer: CohortCore.PreviewedCustomer) {
        self.init()
        customerID = customer.id
        before = CohortAPI.Membership(customer.before)
        after = CohortAPI.Membership(customer.after)
        attributes = customer.attributes
        deciding = customer.deciding
        detail = customer.detail
    }
}
