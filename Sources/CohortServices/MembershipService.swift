package import CohortAPI
package import CohortCore
import Foundation
import NIOCore
package import RPC
import SwiftProtobuf

/// `cohort.v1.MembershipService` over an engine.
package struct MembershipService: MembershipServiceHandler {
    let engine: Engine

    package init(engine: Engine) {
        self.engine = engine
    }

    package func register(with router: inout Router) {
        registerMethods(with: &router)
        router.inline(
            MembershipServiceMethods.checkMembership,
            inPlace: { request, call, response in
                !call.isRestricted && request.withUnsafeBytes { checkInPlace($0, &response) }
            },
            checkMembership
        )
        router.inline(
            MembershipServiceMethods.batchCheckMembership,
            inPlace: { request, call, response in
                !call.isRestricted && request.withUnsafeBytes { batchCheckInPlace($0, &response) }
            },
            batchCheckMembership
        )
    }

    /// Answers from the request's bytes where it is of the common form. False, with nothing appended, where it is not.
    private func checkInPlace(_ bytes: UnsafeRawBufferPointer, _ response: inout ByteBuffer) -> Bool {
        guard let fields = CheckMembershipCodec.parse(bytes),
            let answer = engine.checkMembership(
                customer: UnsafeRawBufferPointer(rebasing: bytes[fields.customer]),
                cohort: UnsafeRawBufferPointer(rebasing: bytes[fields.cohort]),
                minSequence: fields.minSequence
            )
        else { return false }
        CheckMembershipCodec.write(answer, to: &response)
        return true
    }

    package func checkMembership(
        _ request: CheckMembershipRequest,
        _ call: ServerCall
    ) throws(RPCError) -> InlineResult<CheckMembershipResponse> {
        try call.requireCohort(request.cohortID)
        if let point = request.asOf {
            return .park { () async throws(RPCError) in try await checkPastMembership(request, at: point, call) }
        }
        if !request.includeSince {
            let attempt = try answering { () throws(DomainError) in
                try engine.checkMembership(
                    customer: request.customerID,
                    cohort: request.cohortID,
                    minSequence: request.minSequence
                )
            }
            if case .answer(let answer) = attempt { return .reply(CheckMembershipResponse(answer)) }
        }
        return .park { [engine] () async throws(RPCError) in
            let answer = try await answering { () async throws(DomainError) in
                try await engine.checkMembershipWaiting(
                    customer: request.customerID,
                    cohort: request.cohortID,
                    minSequence: request.minSequence,
                    includeSince: request.includeSince,
                    deadline: call.waitDeadline
                )
            }
            return CheckMembershipResponse(answer)
        }
    }

    package func listCustomerCohorts(
        _ request: ListCustomerCohortsRequest,
        _ call: ServerCall
    ) throws(RPCError) -> InlineResult<ListCustomerCohortsResponse> {
        let attempt = try answering { () throws(DomainError) in
            try engine.cohorts(ofCustomer: request.customerID, minSequence: request.minSequence)
        }
        if case .answer(let cohorts) = attempt { return .reply(ListCustomerCohortsResponse(cohorts, for: call)) }
        return .park { [engine] () async throws(RPCError) in
            let cohorts = try await answering { () async throws(DomainError) in
                try await engine.cohortsWaiting(
                    ofCustomer: request.customerID,
                    minSequence: request.minSequence,
                    deadline: call.waitDeadline
                )
            }
            return ListCustomerCohortsResponse(cohorts, for: call)
        }
    }

    package func listMembers(
        _ request: ListMembersRequest,
        _ responses: ResponseWriter<ListMembersResponse>,
        _ call: ServerCall
    ) async throws(RPCError) {
        try call.requireCohort(request.cohortID)
        let limit = request.pageSize == 0 ? 1_000 : request.pageSize
        guard (1...10_000).contains(limit) else {
            throw .invalid("page_size", "is \(limit); it takes 1 to 10000, or 0 for 1000")
        }
        let state: CohortCore.Membership
        switch request.membership {
        case .unspecified, .in: state = .in
        case .unknown: state = .unknown
        case .out, .UNRECOGNIZED: throw .invalid("membership", "takes IN or UNKNOWN; who is OUT is not listed")
        }
        let point = try answering { () throws(DomainError) in try request.asOf?.domain() }
        let snapshot = try await answering { () async throws(DomainError) in
            try await engine.members(
                cohort: request.cohortID,
                state: state,
                at: point,
                minSequence: request.minSequence,
                cursor: [UInt8](request.cursor),
                deadline: call.waitDeadline
            )
        }
        // An empty list is one empty page, so that its sequence is told as well.
        var isFirst = true
        while true {
            let ids = snapshot.nextPage(limit: Int(limit))
            if ids.isEmpty && !isFirst { return }
            isFirst = false
            try await responses.write(
                .with {
                    $0.customerIds = ids
                    $0.sequence = snapshot.sequence
                    $0.cursor = Data(snapshot.cursor)
                    $0.cohortVersion = snapshot.cohortVersion
                }
            )
        }
    }

    package func countMembers(
        _ request: CountMembersRequest,
        _ call: ServerCall
    ) throws(RPCError) -> InlineResult<CountMembersResponse> {
        try call.requireCohort(request.cohortID)
        if let point = request.asOf {
            return .park { () async throws(RPCError) in try await countPastMembers(request, at: point, call) }
        }
        let attempt = try answering { () throws(DomainError) in
            try engine.countMembers(cohort: request.cohortID, minSequence: request.minSequence)
        }
        if case .answer(let count) = attempt { return .reply(CountMembersResponse(count)) }
        return .park { [engine] () async throws(RPCError) in
            let count = try await answering { () async throws(DomainError) in
                try await engine.countMembersWaiting(
                    cohort: request.cohortID,
                    minSequence: request.minSequence,
                    deadline: call.waitDeadline
                )
            }
            return CountMembersResponse(count)
        }
    }
}

extension CheckMembershipResponse {
    init(_ answer: MembershipAnswer) {
        self.init()
        membership = CohortAPI.Membership(answer.membership)
        if let member = answer.member { self.member = member }
        reason = CohortAPI.Reason(answer.reason)
        sequence = answer.sequence
        cohortVersion = answer.cohortVersion
        if let since = answer.since { self.since = Google_Protobuf_Timestamp(since) }
        detail = answer.detail
    }
}

extension ListCustomerCohortsResponse {
    /// Of the cohorts that the caller may see.
    init(_ cohorts: CustomerCohorts, for call: ServerCall) {
        self.init()
        let allowed = call[AllowedResources.self]
        self.cohorts = cohorts.memberships
            .filter { allowed?.contains($0.cohort) ?? true }
            .map(CustomerCohort.init).sorted { $0.cohortID < $1.cohortID }
        sequence = cohorts.sequence
        customerFound = cohorts.found
    }
}

extension CountMembersResponse {
    init(_ count: MemberCount) {
        self.init()
        members = count.members
        unknown = count.unknown
        sequence = count.sequence
        cohortVersion = count.cohortVersion
    }
}
