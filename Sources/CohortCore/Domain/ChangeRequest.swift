/// A change of a cohort that waits for the approval of a principal other than its author, or waited for it.
package struct ChangeRequest: Sendable, Hashable {
    /// The sequence of the entry that made it.
    package var number: UInt64
    package var cohort: CohortNumber
    package var action: Action
    /// Who asked for it.
    package var author: String
    package var createdAt: Timestamp
    /// From then on it cannot be approved; `nil` if that never comes.
    package var expiresAt: Timestamp?
    package var state: State
    /// `nil` while it is pending.
    package var decision: Decision?

    /// What it does.
    package enum Action: Sendable, Hashable {
        /// Has a draft serve. `over` is the version that served when it was asked for.
        case publish(version: UInt32, over: UInt32)
        case archive
        case eraseMembers(MemberSelection)
        /// Has later changes need no approval.
        case waiveApproval
    }

    /// Raw values are stored and never change meaning.
    package enum State: UInt8, Sendable, Hashable {
        case pending = 1
        case approved
        case rejected
        case expired
        /// What it was about has changed since.
        case superseded
    }

    /// How it ended.
    package struct Decision: Sendable, Hashable {
        package var time: Timestamp
        /// Empty where nobody decided.
        package var principal: String
        /// What they said.
        package var note = ""
        /// What was in its way.
        package var detail = ""
        /// The sequence at which it took effect; 0 if it did not, or has not yet.
        package var effect: UInt64 = 0
        /// Of an approved `eraseMembers`.
        package var erasure: MemberErasure?
    }

    /// Whether it cannot be approved any more because of the time.
    package func isExpired(at now: Timestamp) -> Bool { expiresAt.map { now >= $0 } ?? false }

    func decided(_ state: State, _ decision: Decision) -> ChangeRequest {
        var result = self
        result.state = state
        result.decision = decision
        return result
    }

    /// The request that nobody decided in time.
    var expired: ChangeRequest {
        decided(.expired, Decision(time: expiresAt ?? createdAt, principal: ""))
    }
}

extension ChangeRequest.Action {
    /// Whether one cohort may have only one of both pending.
    func isOfKind(_ other: Self) -> Bool {
        switch (self, other) {
        case (.publish, .publish), (.archive, .archive), (.eraseMembers, .eraseMembers),
            (.waiveApproval, .waiveApproval):
            true
        default: false
        }
    }

    /// For messages, before the cohort's id.
    var text: String {
        switch self {
        case .publish(let version, _): "to publish version \(version) of"
        case .archive: "to archive"
        case .eraseMembers: "to erase members of"
        case .waiveApproval: "to require no approval for"
        }
    }
}

/// Which members of a cohort to erase.
package struct MemberSelection: Sendable, Hashable {
    /// How many there must be.
    package var expected: UInt64
    /// The most to erase; 0 for all.
    package var limit: UInt64

    package init(expected: UInt64, limit: UInt64 = 0) {
        self.expected = expected
        self.limit = limit
    }
}

/// How far an erasure of members is.
package struct MemberErasure: Sendable, Hashable {
    package var total: UInt64
    /// Of one that was interrupted, at least so many.
    package var erased: UInt64 = 0
    /// Those that others had erased before.
    package var alreadyGone: UInt64 = 0
    package var isDone = false
}

/// A request as callers see it.
package struct ChangeRequestView: Sendable, Hashable {
    package var request: ChangeRequest
    /// The cohort's id.
    package var cohort: String
    /// Whether its erasure goes on.
    package var isRunning = false
}

/// The answer to a decision.
package struct ChangeDecisionResult: Sendable, Hashable {
    package var request: ChangeRequestView
    package var cohort: CohortView
    /// The sequence of what it did: of the last entry for an erasure.
    package var sequence: UInt64
    package var entered: UInt64 = 0
    package var left: UInt64 = 0
    package var newlyUnknown: UInt64 = 0
}

/// The answer to an erasure of members.
package struct EraseMembersResult: Sendable, Hashable {
    package var erasure: MemberErasure
    /// The sequence of the last erasure, or the current one if nobody was erased.
    package var sequence: UInt64
    /// Set where nothing was erased yet, as it has to be approved.
    package var pending: ChangeRequestView?
}

/// The changes that wait for approval, for operators.
package struct ApprovalStatus: Sendable, Hashable {
    package var pending: Int
    /// When the one was asked for that waits longest.
    package var oldest: Timestamp?
    package var erasuresRunning: Int
}

/// The requests that are kept: all that are pending, and those decided last.
struct ChangeRequests: Sendable {
    /// Decided ones that are kept.
    static let decidedKept = 1_000

    /// By number.
    private(set) var all: [UInt64: ChangeRequest] = [:]

    init() {}

    init(_ stored: [ChangeRequest]) { for request in stored { all[request.number] = request } }

    /// Adds one, or replaces the one of its number.
    ///
    /// - Returns: the numbers of those that are no longer kept.
    mutating func keep(_ request: ChangeRequest) -> [UInt64] {
        all[request.number] = request
        guard request.state != .pending else { return [] }
        let decided = all.values.filter { $0.state != .pending }
        guard decided.count > Self.decidedKept else { return [] }
        let order = decided.sorted {
            ($0.decision?.time ?? .epoch, $0.number) < ($1.decision?.time ?? .epoch, $1.number)
        }
        let dropped = order.prefix(decided.count - Self.decidedKept).map(\.number)
        for number in dropped { all[number] = nil }
        return dropped
    }

    /// Those that can still be approved, the first one first.
    func pending(at now: Timestamp) -> [ChangeRequest] {
        all.values.filter { $0.state == .pending && !$0.isExpired(at: now) }.sorted { $0.number < $1.number }
    }

    /// Those that have expired and do not say so yet.
    func overdue(at now: Timestamp) -> [ChangeRequest] {
        all.values.filter { $0.state == .pending && $0.isExpired(at: now) }.sorted { $0.number < $1.number }
    }

    /// The pending one of a kind, also if it has expired.
    func pending(_ action: ChangeRequest.Action, of cohort: CohortNumber) -> ChangeRequest? {
        all.values.first { $0.state == .pending && $0.cohort == cohort && $0.action.isOfKind(action) }
    }
}
