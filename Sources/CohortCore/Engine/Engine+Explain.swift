import CEL
import Synchronization

extension Engine {
    /// Why a customer is in a cohort, or not: every part of the rule with its value, what decides, since when and through
    /// what.
    ///
    /// - Parameter version: explains what this version makes of the customer, a draft or an earlier one; 0 for the one that
    ///   serves.
    /// - Throws: `.notFound` for a cohort or version that does not exist, `.failedPrecondition(VERSION_DOES_NOT_COMPILE)` for
    ///   a version that reads what is no longer there.
    package func explain(
        customer: String,
        cohort id: String,
        version: UInt32 = 0,
        minSequence: UInt64 = 0,
        deadline: ContinuousClock.Instant
    ) async throws(DomainError) -> MembershipExplanation {
        try await waitForSequence(minSequence, deadline: deadline)
        let shared = shared
        while true {
            let found = try membership(customer, id)
            let explainer = Explainer(shared: shared, customer: customer, found: found, version: version)
            guard let ordinal = found.ordinal else { return try explainer.unknownCustomer() }
            switch try await onReadThread({ explainer.explain(ordinal) }) {
            case .explanation(let explanation): return explanation
            case .newer(let sequence):
                // The customer, or the rule, has changed since: look again at what is newer.
                if ContinuousClock.now >= deadline {
                    throw .unavailable(
                        reason: UnavailableReason.sequenceNotReached,
                        message: "The customer changes faster than it can be explained.",
                        retryAfter: configuration.retryAfter
                    )
                }
                try await waitForSequence(sequence, deadline: deadline)
            }
        }
    }
}

/// Explains one answer of the index from the customer's record, at the answer's sequence. Blocks on the store.
struct Explainer: Sendable {
    let shared: EngineShared
    let customer: String
    let found: IndexedMembership
    /// 0 for the one that serves.
    let version: UInt32

    enum Outcome: Sendable {
        case explanation(MembershipExplanation)
        /// What was read is of a later sequence than the answer.
        case newer(UInt64)
    }

    /// What is explained: a rule, or the list of a static cohort.
    private struct Subject {
        var cohort: CohortRecord
        var number: UInt32
        var rule: CompiledRule?
        var source: String
        var serves: Bool
    }

    func unknownCustomer() throws(DomainError) -> MembershipExplanation {
        let subject = try subject(shared.published.withLock { $0 }, compiling: false)
        var explanation = empty(subject)
        explanation.summary =
            "There is no customer \(SummaryText.clip(customer)): it is OUT of \(subject.cohort.id) as of every cohort."
        return explanation
    }

    func explain(_ ordinal: Ordinal) -> Result<Outcome, DomainError> {
        let query = IntervalQuery(ordinal: ordinal, cohort: found.cohort, through: found.sequence, limit: 1)
        return HistoryReader(shared: shared).find(query).flatMap { history in
            guard let history else { return .success(.newer(found.sequence + 1)) }
            return Result { () throws(DomainError) in try explain(history) }
        }
    }

    private func explain(_ history: HistoryReader.Found) throws(DomainError) -> Outcome {
        let published = shared.published.withLock { $0 }
        if history.recordSequence > found.sequence { return .newer(history.recordSequence) }
        let subject = try subject(published, compiling: true)
        if subject.serves, subject.number != found.version { return .newer(found.sequence + 1) }
        var explanation = empty(subject)
        if subject.serves {
            explanation.since = history.intervals.first.flatMap { interval in
                found.membership == .out ? interval.end : interval.began.change
            }
        }
        guard let rule = subject.rule else {
            if subject.cohort.kind == .rule, found.reason != .building {
                explanation.detail = "the rule no longer compiles; memberships stand still"
            }
            explanation.summary = SummaryText(explanation, subject.cohort.id, customer, serves: true).text
            return .explanation(explanation)
        }
        let classifier = Classifier()
        classifier.load(history.record.attributes, slots: published.catalog.attributes.count)
        // The record says as well what the customer was in other cohorts at that sequence.
        let evaluation = classifier.explain(rule) { history.record.membership(in: $0) }
        explanation.expressions = evaluation.steps.compactMap { MembershipExplanation.Expression($0) }
        explanation.attributes = rule.attributes(of: history.record)
        let says = evaluation.outcome.standing
        // Index and record are of one sequence here: where they differ, or differ from the rule, the server is at fault. The
        // answer stays what every other read says.
        let recorded = history.record.membership(in: found.cohort)
        if found.reason != .building, recorded != found.membership {
            explanation.detail = "the customer's record says \(recorded.text): the index has drifted from it"
            shared.log(.error, "a membership differs from its record", [("cohort", subject.cohort.id)])
        }
        let isOverridden = found.reason == .overrideInclude || found.reason == .overrideExclude
        if isOverridden {
            explanation.reason = found.reason
        } else if !subject.serves {
            (explanation.membership, explanation.reason) = (says.membership, says.reason)
        } else if says.membership != found.membership, found.reason != .building {
            explanation.detail = "the rule says \(says.membership.text): the membership has drifted from it"
            shared.log(.error, "a membership differs from its rule", [("cohort", subject.cohort.id)])
        }
        if explanation.reason == .ruleError, case .error(let error) = evaluation.outcome {
            explanation.detail = error.description
        }
        explanation.summary =
            SummaryText(
                explanation,
                subject.cohort.id,
                customer,
                serves: subject.serves,
                says: says.membership,
                reading: evaluation.decidingAttributes
            ).text
        return .explanation(explanation)
    }

    private func empty(_ subject: Subject) -> MembershipExplanation {
        MembershipExplanation(
            membership: found.membership,
            reason: found.reason,
            detail: "",
            sequence: found.sequence,
            cohortVersion: subject.number,
            rule: subject.source,
            expressions: [],
            since: nil,
            attributes: [:],
            summary: ""
        )
    }

    private func subject(
        _ published: EngineShared.Published,
        compiling: Bool
    ) throws(DomainError) -> Subject {
        let cohort = published.catalog.cohorts[Int(found.cohort)]
        if version == 0 || version == cohort.version {
            return Subject(
                cohort: cohort,
                number: cohort.version,
                rule: published.rules.rule(of: cohort.number),
                source: cohort.rule ?? "",
                serves: true
            )
        }
        guard let other = cohort.version(version) else {
            throw .notFound(resourceType: "version", name: "\(cohort.id)/\(version)", suggestion: nil)
        }
        guard compiling, let source = other.rule else {
            return Subject(cohort: cohort, number: version, rule: nil, source: other.rule ?? "", serves: false)
        }
        do throws(DomainError) {
            let rule = try published.rules.compile(source, cohort: cohort, version: version, published.catalog)
            return Subject(cohort: cohort, number: version, rule: rule, source: source, serves: false)
        } catch {
            guard case .ruleRejected(let rejection) = error else { throw error }
            throw .failedPrecondition(
                code: "VERSION_DOES_NOT_COMPILE",
                message: "version \(version) of \(cohort.id) can no longer be evaluated: \(rejection.message)"
            )
        }
    }
}

extension MembershipExplanation.Expression {
    /// `nil` for what was not evaluated.
    fileprivate init?(_ step: Explanation.Step) {
        let (value, error): (String, String)
        switch step.result {
        case .notEvaluated: return nil
        case .value(let found): (value, error) = (found.description, "")
        case .error(let failure): (value, error) = ("", failure.message)
        }
        self.init(
            source: step.text,
            value: value,
            error: error,
            offset: step.range.lowerBound,
            depth: step.depth,
            isDeciding: step.isDeciding,
            evaluations: step.count
        )
    }
}

extension CEL.Outcome {
    fileprivate var standing: (membership: Membership, reason: Reason) {
        switch self {
        case .match: (.in, .ruleMatch)
        case .noMatch: (.out, .ruleNoMatch)
        case .error: (.unknown, .ruleError)
        }
    }
}
