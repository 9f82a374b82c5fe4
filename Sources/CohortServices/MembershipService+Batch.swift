package import CohortAPI
import CohortCore
import NIOCore
package import RPC

/// `BatchCheckMembership`.
extension MembershipService {
    package func batchCheckMembership(
        _ request: BatchCheckMembershipRequest,
        _ call: ServerCall
    ) throws(RPCError) -> InlineResult<BatchCheckMembershipResponse> {
        for cohort in request.cohortIds { try call.requireCohort(cohort) }
        let attempt = try answering { () throws(DomainError) in
            try engine.checkMemberships(
                customers: request.customerIds,
                cohorts: request.cohortIds,
                minSequence: request.minSequence
            )
        }
        if case .answer(let found) = attempt {
            return .reply(BatchCheckMembershipResponse(found.answer, found.memberships))
        }
        return .park { [engine] () async throws(RPCError) in
            let found = try await answering { () async throws(DomainError) in
                try await engine.checkMembershipsWaiting(
                    customers: request.customerIds,
                    cohorts: request.cohortIds,
                    minSequence: request.minSequence,
                    deadline: call.waitDeadline
                )
            }
            return BatchCheckMembershipResponse(found.answer, found.memberships)
        }
    }

    /// Answers from the request's bytes where it is of the common form. False, with nothing appended, where it is not.
    func batchCheckInPlace(_ bytes: UnsafeRawBufferPointer, _ response: inout ByteBuffer) -> Bool {
        guard let request = BatchCheckMembershipCodec.parse(bytes) else { return false }
        return withUnsafeTemporaryAllocation(byteCount: 2 * request.customers, alignment: 1) { room in
            var customers = BatchCheckMembershipCodec.Customers(bytes)
            var count = 0
            let answer = engine.checkMemberships(
                cohort: UnsafeRawBufferPointer(rebasing: bytes[request.cohort]),
                minSequence: request.minSequence
            ) {
                customers.next($0)
            } each: { membership, reason in
                room[count] = CheckMembershipCodec.membership(membership)
                room[request.customers + count] = CheckMembershipCodec.reason(reason)
                count += 1
            }
            guard let answer else { return false }
            BatchCheckMembershipCodec.write(
                answer,
                memberships: UnsafeRawBufferPointer(rebasing: room[..<count]),
                reasons: UnsafeRawBufferPointer(rebasing: room[request.customers...]),
                to: &response
            )
            return true
        }
    }
}

extension BatchCheckMembershipResponse {
    init(_ answer: BatchAnswer, _ found: [BatchedMembership]) {
        self.init()
        memberships = found.map { CohortAPI.Membership($0.membership) }
        reasons = found.map { CohortAPI.Reason($0.reason) }
        sequence = answer.sequence
        cohortVersions = answer.cohorts.map(\.version)
        failPolicies = answer.cohorts.map { CohortAPI.FailPolicy($0.failPolicy) }
    }
}
