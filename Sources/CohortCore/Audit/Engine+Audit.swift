import Synchronization

/// A call that the audit takes note of, as its transport sees it.
package struct AuditedCall: Sendable {
    package var kind: AuditEvent.Kind
    package var principal: String
    package var method: String
    /// The canonical status code, 0 for OK.
    package var outcome: UInt8
    /// A stable word, never a message: that could name a customer or a value.
    package var reason: String
    package var peer: String
    /// Only a keyed hash of it is kept.
    package var customerID: String?
    package var cohort: String
    /// The log entry that the call made; 0 for none.
    package var sequence: UInt64

    package init(
        kind: AuditEvent.Kind,
        principal: String,
        method: String,
        outcome: UInt8 = 0,
        reason: String = "",
        peer: String = "",
        customerID: String? = nil,
        cohort: String = "",
        sequence: UInt64 = 0
    ) {
        self.kind = kind
        self.principal = principal
        self.method = method
        self.outcome = outcome
        self.reason = reason
        self.peer = peer
        self.customerID = customerID
        self.cohort = cohort
        self.sequence = sequence
    }
}

/// The audit: rows for calls, reading them, verifying the chain.
extension Engine {
    /// Notes a call. Never waits; what has no room is counted. Fit for event loops.
    package func note(_ call: AuditedCall) { shared.audit.add(event(call)) }

    /// Notes a call, and returns once that is durable.
    ///
    /// - Throws: `.unavailable`, `.resourceExhausted(audit_rows)`: the call is then not to be answered.
    package func noteDurably(_ call: AuditedCall, deadline: ContinuousClock.Instant) async throws(DomainError) {
        try shared.requireReadable()
        try await shared.audit.addDurably(event(call), deadline: deadline)
    }

    private func event(_ call: AuditedCall) -> AuditEvent {
        AuditEvent(
            kind: call.kind,
            time: shared.environment.now(),
            principal: call.principal,
            method: call.method,
            outcome: call.outcome,
            reason: call.reason,
            peer: call.peer,
            customer: call.customerID.map { shared.store.audit.keys.current.customerHash($0) } ?? [],
            // Whatever else stands in its place could be a customer's id.
            cohort: InputRules.cohortID(call.cohort) == nil ? call.cohort : "",
            sequence: call.sequence
        )
    }

    /// The keys have been replaced: the chain notes it at once.
    package func auditKeysChanged() { shared.audit.announce() }

    func auditStatus(_ upkeep: AuditUpkeepStatus) -> AuditStatus {
        let audit = shared.store.audit
        return AuditStatus(
            head: audit.head,
            keyID: audit.keys.current.id,
            lost: shared.audit.lost,
            buffered: shared.audit.buffered,
            bufferLimit: configuration.maximumAuditRows,
            isVerifying: shared.isVerifying.load(ordering: .relaxed),
            upkeep: upkeep
        )
    }

    /// Begins a verification of the whole chain.
    ///
    /// - Parameter known: a head that was noted elsewhere.
    /// - Throws: `.resourceExhausted(audit_verifications)` while another goes on.
    package func verifyAudit(known: AuditHead? = nil) throws(DomainError) -> AuditVerification {
        try shared.requireReadable()
        guard !shared.isVerifying.exchange(true, ordering: .acquiringAndReleasing) else {
            throw .resourceExhausted(
                limit: "audit_verifications",
                message: "The audit is being verified already; one verification goes on at a time.",
                retryAfter: .seconds(10)
            )
        }
        return AuditVerification(self, known: known)
    }
}

/// A verification that goes on as long as somebody asks for the next step. No other can begin until it is done or let go
/// of.
package final class AuditVerification: Sendable {
    package enum Step: Sendable {
        /// Rows that are done, and about how many there are.
        case checked(UInt64, of: UInt64)
        case done(AuditVerdict)
    }

    private static let rows = 1_000
    private static let entries = 4_000
    /// The longest that one step takes, give or take a piece.
    private static let stepDuration = Duration.milliseconds(250)

    private let engine: Engine
    private let verifier: Mutex<AuditVerifier>
    private let end: AuditHead
    private let isReleased = Atomic<Bool>(false)

    fileprivate init(_ engine: Engine, known: AuditHead?) {
        self.engine = engine
        let audit = engine.shared.store.audit
        end = audit.head ?? AuditHead(position: 0, mac: AuditChain.origin)
        verifier = Mutex(AuditVerifier(keys: audit.keys, end: end, known: known))
    }

    deinit { release() }

    /// Lets another one begin.
    private func release() {
        if !isReleased.exchange(true, ordering: .acquiringAndReleasing) {
            engine.shared.isVerifying.store(false, ordering: .releasing)
        }
    }

    /// Verifies some more, on a thread of its own, beside the commits.
    ///
    /// - Throws: `.unavailable` and `.dataLoss` where the store cannot be read.
    package func next() async throws(DomainError) -> Step {
        let shared = engine.shared
        return try await engine.onAuditThread { [self] in
            shared.reading(
                orLog: "reading the audit failed",
                damage: "The audit cannot be read."
            ) { () throws(StoreError) in try advance(shared) }
        }
    }

    private func advance(_ shared: EngineShared) throws(StoreError) -> Step {
        let begin = ContinuousClock.now
        var verifier = verifier.withLock { $0 }
        let audit = shared.store.audit
        while !verifier.isDone, ContinuousClock.now - begin < Self.stepDuration {
            verifier.take(try audit.piece(from: verifier.next, limit: Self.rows, entries: Self.entries))
        }
        if verifier.isDone { verifier.take(unaccounted: try audit.figures().unaccounted) }
        self.verifier.withLock { $0 = verifier }
        guard verifier.isDone else { return .checked(verifier.next - 1, of: end.position) }
        let verdict = verifier.verdict
        shared.finish(verdict)
        // Not only once the last reference goes, on another thread.
        release()
        return .done(verdict)
    }
}

extension EngineShared {
    fileprivate func finish(_ verdict: AuditVerdict) {
        updateUpkeep {
            $0.audit.verification = AuditVerificationStatus(
                completedAt: environment.now(),
                rows: verdict.rowsChecked,
                entries: verdict.entriesChecked,
                findings: verdict.findingCount
            )
        }
        guard verdict.findingCount > 0 else {
            setProblem(.chain, nil)
            return
        }
        let first = verdict.findings.first?.text ?? ""
        setProblem(.chain, "\(verdict.findingCount) findings in the audit: \(first)")
        log(
            .error,
            "the audit does not verify",
            [("findings", "\(verdict.findingCount)"), ("first", first)]
        )
    }
}
