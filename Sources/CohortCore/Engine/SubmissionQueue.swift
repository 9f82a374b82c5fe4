import Foundation

/// A write on its way to the committer.
enum Submission: Sendable {
    case rows(RowsRequest)
    case barrier(BarrierRequest)
}

/// Puts and erasures, each an entry of its own.
struct RowsRequest: Sendable {
    var rows: [RowOperation]
    var context: WriteContext
    /// Called once, from the committer's thread: as many results as rows, or one error for all.
    var complete: @Sendable (Result<[Result<PutResult, DomainError>], DomainError>) -> Void
}

/// One validated row.
enum RowOperation: Sendable {
    case put(ResolvedPut)
    /// - Parameter only: the ordinal of the customer who is meant, and not one of the same id who came later.
    case erase([UInt8], only: Ordinal? = nil)
    /// Refused before it came this far; keeps its place among the results.
    case rejected(DomainError)
}

/// A put whose names are resolved and whose values are checked.
struct ResolvedPut: Sendable {
    var id: [UInt8]
    var attributes: [(slot: Int, value: AttributeValue?)]
    var eventTime: Timestamp?
}

/// A change that is committed alone, with everything before it applied.
struct BarrierRequest: Sendable {
    var run: @Sendable (Committer) -> Void
}

/// Writes in order of arrival, bounded in rows.
final class SubmissionQueue: Sendable {
    fileprivate struct State {
        /// Taken before all else.
        var ahead = FIFO<BarrierRequest>()
        var items = FIFO<Submission>()
        var rows = 0
        var closed = false
    }

    enum Work {
        case rows([RowsRequest])
        case barrier(BarrierRequest)
    }

    let capacity: Int
    private let retryAfter: Duration
    private let state = Monitor(State())

    init(capacity: Int, retryAfter: Duration) {
        self.capacity = capacity
        self.retryAfter = retryAfter
    }

    var depth: Int { state.read { $0.rows } }

    /// - Returns: why the write is refused, or `nil` if it is taken.
    func submit(_ submission: Submission) -> DomainError? {
        state.update { state in
            if state.closed { return stopping }
            let weight = submission.weight
            if state.rows > 0, state.rows + weight > capacity {
                return .resourceExhausted(
                    limit: "write_queue",
                    message: "\(state.rows) rows wait to be written; nothing was written.",
                    retryAfter: retryAfter
                )
            }
            state.rows += weight
            state.items.append(submission)
            return nil
        }
    }

    /// Takes a barrier, however full the queue is, to be run before what waits.
    ///
    /// - Returns: why it is refused, or `nil` if it is taken.
    func submitAhead(_ request: BarrierRequest) -> DomainError? {
        state.update { state in
            if state.closed { return stopping }
            state.ahead.append(request)
            return nil
        }
    }

    private var stopping: DomainError {
        .unavailable(
            reason: UnavailableReason.shuttingDown,
            message: "The server is stopping; nothing was written.",
            retryAfter: retryAfter
        )
    }

    /// Waits for work; `nil` once the queue is closed and empty.
    func take(rows limit: Int) -> Work? {
        let work = state.wait { (state: inout State) -> Work?? in
            if let work = state.take(limit) { return .some(work) }
            return state.closed ? .some(.none) : .none
        }
        return work ?? nil
    }

    /// Answers the rows that wait with this. What is committed alone keeps its place.
    func refuseRows(_ refusal: DomainError) {
        let refused = state.update { state -> [RowsRequest] in
            var kept = FIFO<Submission>()
            var refused: [RowsRequest] = []
            while let item = state.items.popFirst() {
                if case .rows(let request) = item { refused.append(request) } else { kept.append(item) }
            }
            state.items = kept
            state.rows -= refused.reduce(0) { $0 + Submission.rows($1).weight }
            return refused
        }
        for request in refused { request.complete(.failure(refusal)) }
    }

    func close() { state.update { $0.closed = true } }
}

extension SubmissionQueue.State {
    /// Up to about `limit` rows, or one barrier; `nil` if nothing waits.
    mutating func take(_ limit: Int) -> SubmissionQueue.Work? {
        if let request = ahead.popFirst() { return .barrier(request) }
        if case .barrier(let request)? = items.first {
            _ = items.popFirst()
            rows -= 1
            return .barrier(request)
        }
        var group: [RowsRequest] = []
        var taken = 0
        while taken < limit, case .rows(let request)? = items.first {
            _ = items.popFirst()
            group.append(request)
            taken += max(request.rows.count, 1)
        }
        rows -= taken
        return group.isEmpty ? nil : .rows(group)
    }
}

extension Submission {
    fileprivate var weight: Int {
        switch self {
        case .rows(let request): max(request.rows.count, 1)
        case .barrier: 1
        }
    }
}
