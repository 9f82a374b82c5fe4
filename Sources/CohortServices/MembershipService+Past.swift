import CohortAPI
import CohortCore
import RPC
import SwiftProtobuf

/// Reads of the past, which wait for the store.
extension MembershipService {
    func checkPastMembership(
        _ request: CheckMembershipRequest,
        at point: CheckMembershipRequest.OneOf_AsOf,
        _ call: ServerCall
    ) async throws(RPCError) -> CheckMembershipResponse {
        let answer = try await answering { () async throws(DomainError) in
            try await engine.checkMembership(
                customer: request.customerID,
                cohort: request.cohortID,
                at: try point.domain(),
                minSequence: request.minSequence,
                includeSince: request.includeSince,
                deadline: call.waitDeadline
            )
        }
        return CheckMembershipResponse(answer)
    }

    func countPastMembers(
        _ request: CountMembersRequest,
        at point: CountMembersRequest.OneOf_AsOf,
        _ call: ServerCall
    ) async throws(RPCError) -> CountMembersResponse {
        let count = try await answering { () async throws(DomainError) in
            try await engine.countMembers(
                cohort: request.cohortID,
                at: try point.domain(),
                minSequence: request.minSequence,
                deadline: call.waitDeadline
            )
        }
        return CountMembersResponse(count)
    }
}

extension CheckMembershipRequest.OneOf_AsOf {
    func domain() throws(DomainError) -> PastPoint {
        switch self {
        case .asOfSequence(let sequence): .sequence(sequence)
        case .asOfTime(let time): .time(try time.domain(field: "as_of_time"))
        }
    }
}

extension ListMembersRequest.OneOf_AsOf {
    func domain() throws(DomainError) -> PastPoint {
        switch self {
        case .asOfSequence(let sequence): .sequence(sequence)
        case .asOfTime(let time): .time(try time.domain(field: "as_of_time"))
        }
    }
}

extension CountMembersRequest.OneOf_AsOf {
    func domain() throws(DomainError) -> PastPoint {
        switch self {
        case .asOfSequence(let sequence): .sequence(sequence)
        case .asOfTime(let time): .time(try time.domain(field: "as_of_time"))
        }
    }
}
