package import CohortAPI
package import CohortCore
package import RPC
import SwiftProtobuf

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
        if !request.cohortID.isEmpty { try call.requireCohort(request.cohortID) }
        let history = try await answering { () async throws(DomainError) in
            try await engine.history(
                HistoryRequest(
                    customer: request.customerID,
                    cohort: request.cohortID.isEmpty ? nil : request.cohortID,
                    since: request.hasSince ? try request.since.domain(field: "since") : nil,
                    until: request.hasUntil ? try request.until.domain(field: "until") : nil,
                    minSequence: request.minSequence,
                    limit: request.limit == 0
                        ? min(1_000, engine.configuration.maximumHistoryIntervals) : Int(request.limit)
                ),
                deadline: call.waitDeadline
            )
        }
        var response = GetMembershipHistoryResponse(history)
        if let allowed = call[AllowedResources.self] {
            response.intervals.removeAll { !allowed.contains($0.cohortID) }
        }
        return response
    }
}

extension GetMembershipHistoryResponse {
    init(_ history: MembershipHistory) {
        self.init()
        intervals = history.intervals.map { CohortAPI.MembershipInterval($0) }
        sequence = history.sequence
        if let time = history.completeSince { completeSince = Google_Protobuf_Timestamp(time) }
        truncated = history.isTruncated
        customerCreatedAt = Google_Protobuf_Timestamp(history.customerCreatedAt)
    }
}

extension CohortAPI.MembershipInterval {
    init(_ interval: CohortCore.MembershipInterval) {
        self.init()
        cohortID = interval.cohort
        membership = CohortAPI.Membership(interval.membership)
        entered = CohortAPI.MembershipChange(interval.entered)
        if let change = interval.left { left = CohortAPI.MembershipChange(change) }
    }
}

extension CohortAPI.MembershipChange {
    init(_ change: CohortCore.MembershipChange) {
        self.init()
        sequence = change.sequence
        time = Google_Protobuf_Timestamp(change.time)
        cohortVersion = change.version
        cause = CohortAPI.ChangeCause(change.cause)
    }
}

extension CohortAPI.ChangeCause {
    init(_ cause: TransitionCause) {
        self =
            switch cause {
            case .attribute: .attribute
            case .rule: .rule
            case .override: .override
            case .list: .list
            case .cohort: .cohort
            case .time: .time
            case .erase: .erase
            }
    }
}
