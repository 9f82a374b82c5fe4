package import CohortAPI
import CohortCore
import Foundation
package import RPC
import SwiftProtobuf

extension HistoryService {
    package func watchMemberships(
        _ request: WatchMembershipsRequest,
        _ responses: ResponseWriter<WatchMembershipsResponse>,
        _ call: ServerCall
    ) async throws(RPCError) {
        for cohort in request.cohortIds { try call.requireCohort(cohort) }
        if request.cohortIds.isEmpty, call.isRestricted {
            throw .invalid("cohort_ids", "is empty, which means all cohorts; name those that you may read")
        }
        let limit = request.pageSize == 0 ? 1_000 : request.pageSize
        guard (1...10_000).contains(limit) else {
            throw .invalid("page_size", "is \(limit); it takes 1 to 10000, or 0 for 1000")
        }
        let heartbeat = request.heartbeatMs == 0 ? 10_000 : request.heartbeatMs
        guard (100...60_000).contains(heartbeat) else {
            throw .invalid("heartbeat_ms", "is \(heartbeat); it takes 100 to 60000, or 0 for 10000")
        }
        do throws(DomainError) {
            let watch = try await engine.watch(
                cohorts: request.cohortIds,
                cursor: [UInt8](request.cursor),
                snapshot: request.snapshot,
                pageSize: Int(limit),
                heartbeat: .milliseconds(Int64(heartbeat))
            )
            try await send(watch, responses)
        } catch {
            throw RPCError(error)
        }
    }

    /// Sends pages until the call or the watch is over.
    private func send(
        _ watch: MembershipWatch,
        _ responses: ResponseWriter<WatchMembershipsResponse>
    ) async throws(DomainError) {
        while true {
            let page = try await watch.next()
            // Suspends while the client reads nothing. Once it is gone, nobody is left to be told of it.
            do { try await responses.write(WatchMembershipsResponse(page)) } catch { return }
        }
    }
}

extension WatchMembershipsResponse {
    init(_ page: WatchPage) {
        self.init()
        phase = page.phase == .snapshot ? .snapshot : .changes
        events = page.events.map { MembershipEvent($0, sequence: page.sequence) }
        cursor = Data(page.cursor)
        sequence = page.sequence
        latestSequence = page.latestSequence
        if let time = page.behindSince { behindSince = Google_Protobuf_Timestamp(time) }
        snapshotBegins = page.snapshotBegins
        snapshotEnds = page.snapshotEnds
    }
}

extension MembershipEvent {
    /// - Parameter sequence: of the snapshot, for an event that has no change of its own.
    init(_ event: WatchEvent, sequence: UInt64) {
        self.init()
        customerID = event.customerID
        customerNumber = event.ordinal
        cohortID = event.cohort
        membership = CohortAPI.Membership(event.membership)
        guard let change = event.change else {
            self.change.sequence = sequence
            return
        }
        self.change = CohortAPI.MembershipChange(change)
    }
}
