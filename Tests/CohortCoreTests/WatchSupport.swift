@testable import CohortCore

/// What a watcher knows who takes in pages and nothing else.
struct WatchReplica: Equatable {
    /// By cohort id, then customer number.
    var members: [String: [Ordinal: Membership]] = [:]
    var ids: [Ordinal: String] = [:]

    mutating func apply(_ page: WatchPage) {
        if page.snapshotBegins { self = WatchReplica() }
        for event in page.events {
            if !event.customerID.isEmpty { ids[event.ordinal] = event.customerID }
            if event.cohort.isEmpty {
                for cohort in members.keys { members[cohort]?[event.ordinal] = nil }
            } else {
                members[event.cohort, default: [:]][event.ordinal] = event.membership == .out ? nil : event.membership
            }
        }
    }

    func ids(_ cohort: String, _ state: Membership = .in) -> [String] {
        (members[cohort] ?? [:]).filter { $0.value == state }.keys.sorted().map { ids[$0] ?? "?" }
    }
}

extension Engine {
    /// All pages of a watch up to the latest sequence.
    func pages(
        _ cohorts: [String] = [],
        from cursor: [UInt8] = [],
        snapshot: Bool = false,
        pageSize: Int = 1_000
    ) async throws -> [WatchPage] {
        let watch = try await watch(cohorts: cohorts, cursor: cursor, snapshot: snapshot, pageSize: pageSize)
        var pages: [WatchPage] = []
        while true {
            let page = try await watch.next()
            pages.append(page)
            if page.phase == .changes || page.snapshotEnds, page.sequence >= status.sequence { return pages }
        }
    }

    /// A cursor at the latest sequence.
    func cursorNow() async throws -> [UInt8] { try await watch().next().cursor }
}

extension WatchEvent {
    /// As `BIG a IN attribute`.
    var text: String {
        let state = ["OUT", "IN", "UNKNOWN"][Int(membership.rawValue)]
        return [cohort, customerID, state, change.map { "\($0.cause)" } ?? ""].filter { !$0.isEmpty }
            .joined(separator: " ")
    }
}
