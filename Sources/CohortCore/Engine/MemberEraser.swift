import Synchronization

/// The erasures of members that run.
final class MemberErasures: Sendable {
    private struct State {
        var running = 0
        /// The requests of those that were approved.
        var requests: Set<UInt64> = []
    }

    private let state = Mutex(State())

    var running: Int { state.withLock { $0.running } }

    func isRunning(_ request: UInt64) -> Bool { state.withLock { $0.requests.contains(request) } }

    /// - Returns: whether there was a place for one more.
    func begin(limit: Int) -> Bool {
        state.withLock { state in
            guard state.running < limit else { return false }
            state.running += 1
            return true
        }
    }

    /// Says which request the erasure grants that has begun.
    func name(_ request: UInt64) { state.withLock { _ = $0.requests.insert(request) } }

    func end(_ request: UInt64?) {
        state.withLock { state in
            state.running -= 1
            if let request { state.requests.remove(request) }
        }
    }
}

/// Erases the customers that were in a cohort when it began, a batch at a time through the queue of all writes.
///
/// After each batch it notes with its request how far it is. What is left when the process ends is not erased: a request
/// whose erasure is neither done nor running was interrupted.
final class MemberEraser: @unchecked Sendable {
    // Unchecked: the committer's, and once it has let it go that of the thread that runs it.
    private let shared: EngineShared
    private let members: ChunkedBitmap
    private let context: WriteContext
    private var sequence: UInt64
    private(set) var progress: MemberErasure
    /// The request that it grants; `nil` where none was needed.
    private(set) var request: ChangeRequest?
    private var hasPlace = true

    /// Of an erasure that has taken its place.
    fileprivate init(
        shared: EngineShared,
        members: ChunkedBitmap,
        total: UInt64,
        sequence: UInt64,
        context: WriteContext
    ) {
        self.shared = shared
        self.members = members
        self.context = context
        self.sequence = sequence
        progress = MemberErasure(total: total)
    }

    deinit { giveBack() }

    /// Says which request it grants.
    func grant(_ request: ChangeRequest) {
        self.request = request
        shared.memberErasures.name(request.number)
    }

    private func giveBack() {
        if hasPlace { shared.memberErasures.end(request?.number) }
        hasPlace = false
    }

    /// Blocks until the end.
    fileprivate func run() -> Result<EraseMembersResult, DomainError> {
        defer { giveBack() }
        do throws(DomainError) {
            var next: Ordinal? = 0
            while let start = next, left > 0 {
                let wanted = Int(min(UInt64(shared.configuration.memberErasureRows), left))
                var batch: [Ordinal] = []
                members.forEach(from: start) {
                    batch.append($0)
                    return batch.count < wanted
                }
                next = batch.last.flatMap { $0 < .max ? $0 + 1 : nil }
                try erase(batch)
                if left > 0 { try note() }
            }
            progress.isDone = true
            try note()
            return .success(EraseMembersResult(erasure: progress, sequence: sequence))
        } catch {
            shared.log(.error, "an erasure of members was interrupted", [("erased", "\(progress.erased)")])
            return .failure(interrupted(error))
        }
    }

    private var left: UInt64 { progress.total - progress.erased - progress.alreadyGone }

    private func erase(_ batch: [Ordinal]) throws(DomainError) {
        let rows = shared.index.identifiers(of: batch).map { RowOperation.erase($0.id, only: $0.ordinal) }
        progress.alreadyGone += UInt64(batch.count - rows.count)
        guard !rows.isEmpty else { return }
        for result in try shared.submitAndWait(rows, context) {
            switch result {
            case .success(let erased):
                progress.erased += 1
                sequence = max(sequence, erased.sequence)
            case .failure(.notFound): progress.alreadyGone += 1
            case .failure(let error): throw error
            }
        }
    }

    /// Keeps with the request how far it is.
    private func note() throws(DomainError) {
        guard var noted = request else { return }
        noted.decision?.erasure = progress
        if progress.isDone { noted.decision?.effect = sequence }
        let (kept, context) = (noted, context)
        let result = try shared.betweenCommits { committer in
            Result { () throws(DomainError) in try committer.commit(.changeRequest(kept), context) }
        }
        try result.get()
        request = noted
    }

    private func interrupted(_ error: DomainError) -> DomainError {
        let text = "\(progress.erased) of \(progress.total) customers were erased, the others were not."
        return switch error {
        case .unavailable(let reason, let message, let retryAfter):
            .unavailable(reason: reason, message: "\(message) \(text)", retryAfter: retryAfter)
        case .dataLoss(let message): .dataLoss(message: "\(message) \(text)")
        default: .internal(message: text)
        }
    }
}

extension Committer {
    func memberCount(_ cohort: CohortRecord) -> UInt64 {
        Int(cohort.number) < shared.index.bitmaps.count ? shared.index.bitmaps[Int(cohort.number)].members.count : 0
    }

    /// Asks for an erasure where the cohort requires approval, or begins it.
    func eraseMembers(
        of id: String,
        _ selection: MemberSelection,
        _ context: WriteContext
    ) throws(DomainError) -> EraseMembersStart {
        let cohort = try catalog.cohort(id)
        guard cohort.state == .active else {
            throw .failedPrecondition(
                code: "COHORT_BUILDING",
                message: "\(id) is being built; who is in it is not known yet."
            )
        }
        let members = memberCount(cohort)
        guard members == selection.expected else {
            throw .failedPrecondition(
                code: "MEMBERS_DIFFER",
                message:
                    "\(id) has \(members) members, and not \(selection.expected); nobody was erased. Look at them, and "
                    + "send expected_members = \(members) to erase them."
            )
        }
        guard cohort.approvalRequired else { return .run(try eraser(of: cohort, selection, context)) }
        return .pending(try request(.eraseMembers(selection), of: cohort, context))
    }

    /// An erasure that has a place, to be run or given up.
    func eraser(
        of cohort: CohortRecord,
        _ selection: MemberSelection,
        _ context: WriteContext
    ) throws(DomainError) -> MemberEraser {
        let limit = configuration.maximumMemberErasures
        guard shared.memberErasures.begin(limit: limit) else {
            throw .resourceExhausted(
                limit: "member_erasures",
                message: "\(limit) erasures of members run already, the most at once; nobody was erased.",
                retryAfter: .seconds(10)
            )
        }
        let members = shared.index.bitmaps[Int(cohort.number)].members.copy()
        return MemberEraser(
            shared: shared,
            members: members,
            total: selection.limit == 0 ? members.count : min(members.count, selection.limit),
            sequence: sequence,
            context: context
        )
    }
}

/// What comes of asking for an erasure of members.
enum EraseMembersStart: Sendable {
    case run(MemberEraser)
    case pending(CohortChangeResult)
}

extension Engine {
    /// Erases the customers that are IN a cohort now, each by an entry of its own, in batches between other writes. Goes on
    /// without its caller.
    ///
    /// - Throws: `.failedPrecondition(MEMBERS_DIFFER)` unless there are as many as expected; `.resourceExhausted` while
    ///   others run; `.unavailable` where it was interrupted, with how many were erased.
    package func eraseMembers(
        cohort: String,
        _ selection: MemberSelection,
        context: WriteContext
    ) async throws(DomainError) -> EraseMembersResult {
        let context = context.bounded
        let start = try await alone { committer throws(DomainError) in
            try committer.eraseMembers(of: cohort, selection, context)
        }
        switch start {
        case .run(let eraser): return try await run(eraser)
        case .pending(let result):
            return EraseMembersResult(
                erasure: MemberErasure(total: 0),
                sequence: result.sequence,
                pending: result.pending
            )
        }
    }

    func run(_ eraser: MemberEraser) async throws(DomainError) -> EraseMembersResult {
        try await onEraserThread { eraser.run() }
    }
}

extension EngineShared {
    /// Has rows committed, and waits for it; also for room in the queue, as long as the engine runs.
    fileprivate func submitAndWait(
        _ rows: [RowOperation],
        _ context: WriteContext
    ) throws(DomainError) -> [Result<PutResult, DomainError>] {
        while true {
            let answer = Monitor<Result<[Result<PutResult, DomainError>], DomainError>?>(nil)
            let request = RowsRequest(rows: rows, context: context) { result in answer.update { $0 = result } }
            switch queue.submit(.rows(request)) {
            case .resourceExhausted: _ = Monitor(0).wait(seconds: 0.05) { _ -> Bool? in nil }
            case .some(let refusal): throw refusal
            case nil:
                guard let result = answer.wait(until: { $0 }) else { throw .internal(message: "no answer") }
                return try result.get()
            }
        }
    }
}

extension MembershipIndex {
    /// The ids of those of the customers that are not erased.
    fileprivate func identifiers(of ordinals: [Ordinal]) -> [(ordinal: Ordinal, id: [UInt8])] {
        var result: [(ordinal: Ordinal, id: [UInt8])] = []
        for start in stride(from: 0, to: ordinals.count, by: 128) {
            // A few at a time: the writer waits as long as ids are being read.
            lock.withReadLock {
                for ordinal in ordinals[start..<min(start + 128, ordinals.count)] {
                    let id = customers.arena.id(ordinal)
                    // The bytes of an erased id are zero, which none begins with.
                    if let first = id.first, first != 0 { result.append((ordinal, Array(id))) }
                }
            }
        }
        return result
    }
}
