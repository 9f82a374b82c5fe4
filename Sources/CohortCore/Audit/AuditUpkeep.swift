import Synchronization

/// What the audit chain needs from time to time: its figures, a head for the server's log, and its own retention.
struct AuditUpkeep {
    private static let headPeriod: Int64 = 3_600
    private static let figuresPeriod: Int64 = 10
    /// Rows looked at in one step.
    private static let rows = 1_000

    private var headDue: Timestamp?
    private var figuresDue: Timestamp?
    /// Where retention goes on.
    private var next: UInt64 = 1

    /// - Returns: whether there is more to do at once.
    mutating func step(_ shared: EngineShared, _ now: Timestamp) throws(StoreError) -> Bool {
        let audit = shared.store.audit
        // The first figures are taken, and the first head is logged, at start.
        let isFigures = figuresDue.map { now >= $0 } ?? false
        if figuresDue == nil || isFigures { figuresDue = now.advanced(bySeconds: Self.figuresPeriod) }
        if isFigures { try shared.noteAuditFigures() }
        let due = headDue ?? now.advanced(bySeconds: Self.headPeriod)
        headDue = due
        if now >= due {
            headDue = now.advanced(bySeconds: Self.headPeriod)
            try shared.logAuditHead(now)
        }
        guard let age = shared.configuration.auditRetentionAge else { return false }
        let (deleted, next) = try audit.deleteRows(
            from: next,
            before: now.advanced(bySeconds: -age),
            limit: Self.rows
        )
        let hasMoved = next > self.next
        self.next = next
        if deleted > 0 { shared.updateUpkeep { $0.audit.rowsDeleted += UInt64(deleted) } }
        return hasMoved
    }

}

extension EngineShared {
    /// Takes the figures of the chain into the status, and tells of what they say.
    func noteAuditFigures() throws(StoreError) {
        let figures = try store.audit.figures()
        updateUpkeep {
            $0.audit.rows = figures.rows
            $0.audit.oldest = figures.oldest
        }
        if let range = figures.unaccounted { reportUnaccounted(range) }
    }

    /// Entries that the server did not commit.
    func reportUnaccounted(_ range: ClosedRange<UInt64>) {
        let problem =
            "the change log holds the entries \(range.lowerBound) to \(range.upperBound), of which the audit chain does not know: "
            + "verify the audit"
        // Told once.
        guard figures.withLock({ $0.problems[.chain] }) != problem else { return }
        setProblem(.chain, problem)
        log(
            .error,
            "the change log holds entries that the audit chain does not know",
            [("first", "\(range.lowerBound)"), ("last", "\(range.upperBound)")]
        )
    }

    /// Why rows of the audit cannot be written, or `nil` once they can.
    func setAuditProblem(_ problem: String?) {
        let isNew = figures.withLock { problem != nil && $0.problems[.audit] == nil }
        setProblem(.audit, problem)
        if isNew { log(.error, "rows of the audit cannot be written", [("error", problem ?? "")]) }
    }

    /// As `logAuditHead`; returns what it fails with.
    func tryLogAuditHead() -> String? {
        do throws(StoreError) {
            try logAuditHead(environment.now())
            return nil
        } catch {
            return error.message
        }
    }

    /// Names the end of the chain in the server's log: who has that can tell later whether something was cut off. The row
    /// that is named is one that outlives the log's retention.
    func logAuditHead(_ now: Timestamp) throws(StoreError) {
        let audit = store.audit
        if audit.head != loggedHead.withLock({ $0 }) {
            try audit.append([AuditRecord(.head)], at: now)
        }
        guard let head = audit.head else { return }
        loggedHead.withLock { $0 = head }
        log(.info, "audit head", [("head", "\(head)"), ("key", audit.keys.current.id.hex)])
    }
}
