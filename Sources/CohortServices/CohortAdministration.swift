package import CohortAPI
package import CohortCore
package import RPC
import SwiftProtobuf

/// `cohort.v1.CohortService` over an engine.
package struct CohortAdministration: CohortServiceHandler {
    private let engine: Engine

    package init(engine: Engine) {
        self.engine = engine
    }

    package func createCohort(
        _ request: CreateCohortRequest,
        _ call: ServerCall
    ) async throws(RPCError) -> CreateCohortResponse {
        call.audited(cohort: request.cohortID)
        let rule: String?
        switch request.definition {
        case .rule(let source): rule = source
        case .static(true): rule = nil
        case .static(false), nil:
            throw .invalid("definition", "is missing; give a rule, or static = true")
        }
        let definition = CohortDefinition(
            id: request.cohortID,
            kind: rule == nil ? .list : .rule,
            rule: rule,
            failPolicy: try request.failPolicy.domain(field: "fail_policy"),
            description: request.description_p,
            approvalRequired: request.approvalRequired
        )
        let result = try await answering { () async throws(DomainError) in
            try await engine.createCohort(definition, context: call.writeContext)
        }
        if result.changed { call.audited(sequence: result.sequence) }
        return .with {
            $0.cohort = CohortAPI.Cohort(result.cohort)
            $0.sequence = result.sequence
        }
    }

    package func getCohort(
        _ request: GetCohortRequest,
        _ call: ServerCall
    ) throws(RPCError) -> InlineResult<GetCohortResponse> {
        try call.requireCohort(request.cohortID)
        let sequence = engine.status.sequence
        _ = try engine.loadedCatalog()
        let view = try answering { () throws(DomainError) in try engine.cohort(request.cohortID) }
        return .reply(
            .with {
                $0.cohort = CohortAPI.Cohort(view)
                $0.sequence = sequence
            }
        )
    }

    package func listCohorts(
        _ request: ListCohortsRequest,
        _ call: ServerCall
    ) throws(RPCError) -> InlineResult<ListCohortsResponse> {
        let sequence = engine.status.sequence
        let allowed = call[AllowedResources.self]
        let cohorts = try engine.loadedCatalog().cohorts
            .filter { request.includeArchived || $0.state != .archived }
            .filter { allowed?.contains($0.id) ?? true }
            .sorted { $0.id < $1.id }
        return .reply(
            .with {
                $0.cohorts = cohorts.map { CohortAPI.Cohort($0) }
                $0.sequence = sequence
            }
        )
    }

    package func updateCohortRule(
        _ request: UpdateCohortRuleRequest,
        _ call: ServerCall
    ) async throws(RPCError) -> UpdateCohortRuleResponse {
        call.audited(cohort: request.cohortID)
        let result = try await answering { () async throws(DomainError) in
            try await engine.updateRule(
                cohort: request.cohortID,
                rule: request.rule,
                note: request.note,
                context: call.writeContext
            )
        }
        if result.changed { call.audited(sequence: result.sequence) }
        return .with {
            $0.cohort = CohortAPI.Cohort(result.cohort)
            $0.sequence = result.sequence
            $0.entered = result.entered
            $0.left = result.left
            if let pending = result.pending { $0.pendingChange = PendingChange(pending) }
        }
    }

    package func setOverrides(
        _ request: SetOverridesRequest,
        _ call: ServerCall
    ) async throws(RPCError) -> SetOverridesResponse {
        call.audited(cohort: request.cohortID)
        let result = try await answering { () async throws(DomainError) in
            try await engine.setOverrides(
                cohort: request.cohortID,
                include: request.include,
                exclude: request.exclude,
                clear: request.clear,
                context: call.writeContext
            )
        }
        if result.changed { call.audited(sequence: result.sequence) }
        return .with {
            $0.cohort = CohortAPI.Cohort(result.cohort)
            $0.sequence = result.sequence
        }
    }

    package func modifyStaticMembers(
        _ request: ModifyStaticMembersRequest,
        _ call: ServerCall
    ) async throws(RPCError) -> ModifyStaticMembersResponse {
        call.audited(cohort: request.cohortID)
        let result = try await answering { () async throws(DomainError) in
            try await engine.changeList(
                cohort: request.cohortID,
                add: request.add,
                remove: request.remove,
                context: call.writeContext
            )
        }
        if result.added + result.removed > 0 { call.audited(sequence: result.sequence) }
        return .with {
            $0.cohort = CohortAPI.Cohort(result.cohort)
            $0.sequence = result.sequence
            $0.added = result.added
            $0.alreadyListed = result.alreadyListed
            $0.removed = result.removed
            $0.notListed = result.notListed
            $0.unknownCustomers = result.unknownCustomers
            $0.invalidIds = result.invalidIDs
        }
    }

    package func uploadAssignments(
        _ requests: RequestStream<UploadAssignmentsRequest>,
        _ call: ServerCall
    ) async throws(RPCError) -> UploadAssignmentsResponse {
        var session = UploadSession(engine: engine, context: call.writeContext)
        for try await request in requests {
            if !request.cohortID.isEmpty { call.audited(cohort: request.cohortID) }
            guard let receipt = try await session.take(request) else { continue }
            if receipt.added + receipt.removed > 0 { call.audited(sequence: receipt.sequence) }
            return receipt
        }
        throw UploadSession.incomplete
    }

    package func archiveCohort(
        _ request: ArchiveCohortRequest,
        _ call: ServerCall
    ) async throws(RPCError) -> ArchiveCohortResponse {
        call.audited(cohort: request.cohortID)
        let result = try await answering { () async throws(DomainError) in
            try await engine.archive(cohort: request.cohortID, context: call.writeContext)
        }
        if result.changed { call.audited(sequence: result.sequence) }
        return .with {
            $0.sequence = result.sequence
            if let pending = result.pending { $0.pendingChange = PendingChange(pending) }
        }
    }

    package func setApprovalRequired(
        _ request: SetApprovalRequiredRequest,
        _ call: ServerCall
    ) async throws(RPCError) -> SetApprovalRequiredResponse {
        call.audited(cohort: request.cohortID)
        let result = try await answering { () async throws(DomainError) in
            try await engine.setApproval(
                cohort: request.cohortID,
                required: request.required,
                context: call.writeContext
            )
        }
        return .with {
            $0.cohort = CohortAPI.Cohort(result.cohort)
            $0.sequence = result.sequence
            if let pending = result.pending { $0.pendingChange = PendingChange(pending) }
        }
    }
}
