package import CohortAPI
import CohortCore
import Foundation
package import RPC
import SwiftProtobuf

extension MembershipService {
    package func combineCohorts(
        _ request: CombineCohortsRequest,
        _ responses: ResponseWriter<CombineCohortsResponse>,
        _ call: ServerCall
    ) async throws(RPCError) {
        if call.isRestricted {
            let cohorts = try answering { () throws(DomainError) in try engine.cohorts(named: request.expression) }
            for cohort in cohorts { try call.requireCohort(cohort) }
        }
        let limit = request.pageSize == 0 ? 1_000 : request.pageSize
        guard (1...10_000).contains(limit) else {
            throw .invalid("page_size", "is \(limit); it takes 1 to 10000, or 0 for 1000")
        }
        let combination = try await answering { () async throws(DomainError) in
            try await engine.combine(
                request.expression,
                notMeansOut: request.notMeansOut,
                minSequence: request.minSequence,
                cursor: [UInt8](request.cursor),
                deadline: call.waitDeadline
            )
        }
        let members = combination.members
        let counts = CombineCohortsResponse.with {
            $0.sequence = members.sequence
            $0.count = members.total
            $0.unknown = combination.unknown
        }
        if request.countOnly { return try await responses.write(counts) }
        // An empty list is one empty page, so that its sequence and counts are told as well.
        var isFirst = true
        while true {
            let ids = members.nextPage(limit: Int(limit))
            if ids.isEmpty && !isFirst { return }
            isFirst = false
            var page = counts
            page.customerIds = ids
            page.cursor = Data(members.cursor)
            try await responses.write(page)
        }
    }
}
