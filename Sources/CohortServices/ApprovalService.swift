package import CohortAPI
package import CohortCore
package import RPC
import SwiftProtobuf

/// `cohort.v1.ApprovalService` over an engine.
package struct ApprovalService: ApprovalServiceHandler {
    /// Changes in one answer. With notes of the greatest length they fit a frame.
    private static let maximumPageSize: UInt32 = 1_000

    private let engine: Engine

    package init(engine: Engine) {
        self.engine = engine
    }

    package func listPendingChanges(
        _ request: ListPendingChangesRequest,
        _ call: ServerCall
    ) throws(RPCError) -> InlineResult<ListPendingChangesResponse> {
        guard request.pageSize <= Self.maximumPageSize else {
            throw .invalid(
                "page_size",
                "is \(request.pageSize); it takes 1 to \(Self.maximumPageSize), or 0 for \(Self.maximumPageSize)"
            )
        }
        // Before the changes: they may be newer than it says, never older.
        let sequence = engine.status.sequence
        let page = try answering { () throws(DomainError) in
            try engine.changeRequests(
                cohort: request.cohortID.isEmpty ? nil : request.cohortID,
                includingDecided: request.includeDecided,
                before: request.beforeID == 0 ? nil : request.beforeID,
                limit: Int(request.pageSize == 0 ? Self.maximumPageSize : request.pageSize)
            )
        }
        return .reply(
            .with {
                $0.changes = page.requests.map { PendingChange($0) }
                $0.more = page.more
                $0.sequence = sequence
            }
        )
    }

    package func approveChange(
        _ request: ApproveChangeRequest,
        _ call: ServerCall
    ) async throws(RPCError) -> ApproveChangeResponse {
        let result = try await answering { () async throws(DomainError) in
            try await engine.approve(change: request.id, note: request.note, context: call.writeContext)
        }
        call.audited(cohort: result.request.cohort)
        call.audited(sequence: result.sequence)
        return .with {
            $0.change = PendingChange(result.request)
            $0.cohort = CohortAPI.Cohort(result.cohort)
            $0.sequence = result.sequence
            $0.entered = result.entered
            $0.left = result.left
            $0.newlyUnknown = result.newlyUnknown
        }
    }

    package func rejectChange(
        _ request: RejectChangeRequest,
        _ call: ServerCall
    ) async throws(RPCError) -> RejectChangeResponse {
        let result = try await answering { () async throws(DomainError) in
            try await engine.reject(change: request.id, note: request.note, context: call.writeContext)
        }
        call.audited(cohort: result.request.cohort)
        call.audited(sequence: result.sequence)
        return .with {
            $0.change = PendingChange(result.request)
            $0.sequence = result.sequence
        }
    }
}

extension PendingChange {
    init(_ view: ChangeRequestView) {
        self.init()
        let request = view.request
        id = request.number
        cohortID = view.cohort
        switch request.action {
        case .publish(let number, _): (kind, version) = (.publish, number)
        case .archive: kind = .archive
        case .eraseMembers(let selection):
            (kind, expectedMembers, limit) = (.eraseMembers, selection.expected, selection.limit)
        case .waiveApproval: kind = .waiveApproval
        }
        author = request.author
        createdAt = Google_Protobuf_Timestamp(request.createdAt)
        if let time = request.expiresAt { expiresAt = Google_Protobuf_Timestamp(time) }
        state =
            switch request.state {
            case .pending: .pending
            case .approved: .approved
            case .rejected: .rejected
            case .expired: .expired
            case .superseded: .superseded
            }
        guard let decision = request.decision else { return }
        decidedBy = decision.principal
        decidedAt = Google_Protobuf_Timestamp(decision.time)
        note = decision.note
        detail = decision.detail
        effectSequence = decision.effect
        guard let progress = decision.erasure else { return }
        erasure = .with {
            $0.total = progress.total
            $0.erased = progress.erased
            $0.alreadyGone = progress.alreadyGone
            $0.state = progress.isDone ? .done : view.isRunning ? .running : .interrupted
        }
        if erasure.state == .interrupted {
            detail = "interrupted after at least \(progress.erased) of \(progress.total) customers"
        }
    }
}
