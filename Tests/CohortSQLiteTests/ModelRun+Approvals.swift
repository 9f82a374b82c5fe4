import Testing

@testable import CohortCore

private let ann = WriteContext(principal: "ann", method: "test")
private let bob = WriteContext(principal: "bob", method: "test")

extension Model {
    /// A change that waits for approval, or waited.
    struct Request {
        /// `nil` has later changes need none.
        var rule: ModelRule?
        var version: UInt32 = 0
        var over: UInt32 = 0
        var state = ChangeRequest.State.pending
    }

    /// The cohort whose changes need approval now and then; other operations leave its rule alone.
    static let guarded = "GUARDED"
    /// One that follows it.
    static let guardedReader = "GUARDED_READER"

    func pending(publish: Bool) -> (number: UInt64, request: Request)? {
        requests.first { $0.value.state == .pending && ($0.value.rule != nil) == publish }
            .map { ($0.key, $0.value) }
    }
}

/// Approvals among the random operations: what is asked for, approved and rejected outlives every restart.
extension ModelRun {
    func approval() async throws {
        guard model.cohorts[Model.guarded] != nil else { return try await createGuarded() }
        switch Int.random(in: 0..<10, using: &approvals) {
        case 0..<4: try await changeGuarded()
        case 4..<7: try await approve(publish: true)
        case 7: try await approve(publish: false)
        case 8: try await rejectOne()
        default: try await switchApproval()
        }
    }

    private func createGuarded() async throws {
        let rule = ModelRule(source: "true") { _ in true }
        let definition = CohortDefinition(id: Model.guarded, kind: .rule, rule: rule.source, approvalRequired: true)
        _ = try await engine.createCohort(definition, context: ann)
        model.cohorts[Model.guarded] = Model.Cohort(rule: rule, isFixed: true)
        model.cohortOrder.append(Model.guarded)
        model.guardedVersions = 1
        model.isGuarded = true
        let announced: UInt64 = model.ordinals > engine.configuration.buildSwitchCustomers ? 1 : 0
        model.sequence += 1 + announced
        let source = "!in_cohort('\(Model.guarded)')"
        _ = try await engine.createCohort(
            CohortDefinition(id: Model.guardedReader, kind: .rule, rule: source),
            context: ann
        )
        let reader = ModelRule(source: source, references: [Model.guarded]) { _, standing in
            standing(Model.guarded) == .out
        }
        model.cohorts[Model.guardedReader] = Model.Cohort(rule: reader, isFixed: true)
        model.cohortOrder.append(Model.guardedReader)
        model.sequence += 1 + announced
    }

    private func changeGuarded() async throws {
        let cohort = model.cohorts[Model.guarded] ?? Model.Cohort()
        let isTrue = cohort.rule?.source != "true"
        let rule = ModelRule(source: isTrue ? "true" : "false") { _ in isTrue }
        if model.isGuarded, let (number, request) = model.pending(publish: true) {
            guard request.over != cohort.version else {
                let refusal = await domainError {
                    try await self.engine.updateRule(cohort: Model.guarded, rule: rule.source, context: ann)
                }
                guard case .failedPrecondition("CHANGE_PENDING", _) = refusal else {
                    Issue.record("one publish at a time")
                    return
                }
                return
            }
            model.requests[number]?.state = .superseded
            model.sequence += 1
        }
        let result = try await engine.updateRule(cohort: Model.guarded, rule: rule.source, context: ann)
        let version = model.guardedVersions + 1
        model.guardedVersions = version
        guard model.isGuarded else {
            model.cohorts[Model.guarded]?.rule = rule
            model.cohorts[Model.guarded]?.version = version
            model.sequence += 1
            #expect(result.changed && result.pending == nil && result.sequence == model.sequence)
            return
        }
        let request = Model.Request(rule: rule, version: version, over: cohort.version)
        model.requests[model.sequence + 2] = request
        // One by one: the model is kept at each.
        for _ in 0..<2 { model.sequence += 1 }
        #expect(!result.changed && result.pending?.request.number == model.sequence)
    }

    private func approve(publish: Bool) async throws {
        guard let (number, request) = model.pending(publish: publish) else { return }
        let before = Set(model.members(Model.guarded, .in))
        let refusal = await domainError { try await self.engine.approve(change: number, context: ann) }
        guard case .permissionDenied("APPROVAL_BY_AUTHOR", _) = refusal else {
            Issue.record("not by its author: \(String(describing: refusal))")
            return
        }
        if let rule = request.rule {
            guard request.over == model.cohorts[Model.guarded]?.version else {
                let refusal = await domainError { try await self.engine.approve(change: number, context: bob) }
                guard case .failedPrecondition("CHANGE_SUPERSEDED", _) = refusal else {
                    Issue.record("another version serves: \(String(describing: refusal))")
                    return
                }
                model.requests[number]?.state = .superseded
                model.sequence += 1
                return
            }
            model.cohorts[Model.guarded]?.rule = rule
            model.cohorts[Model.guarded]?.version = request.version
        } else {
            model.isGuarded = false
        }
        model.requests[number]?.state = .approved
        for _ in 0..<2 { model.sequence += 1 }
        let result = try await engine.approve(change: number, note: "step", context: bob)
        let after = Set(model.members(Model.guarded, .in))
        #expect(result.sequence == model.sequence - 1)
        #expect(result.entered == UInt64(after.subtracting(before).count))
        #expect(result.left == UInt64(before.subtracting(after).count))
    }

    private func rejectOne() async throws {
        guard let (number, _) = model.pending(publish: true) ?? model.pending(publish: false) else { return }
        model.requests[number]?.state = .rejected
        model.sequence += 1
        #expect(try await engine.reject(change: number, context: bob).sequence == model.sequence)
    }

    private func switchApproval() async throws {
        if model.isGuarded, model.pending(publish: false) != nil { return }
        let result = try await engine.setApproval(cohort: Model.guarded, required: !model.isGuarded, context: ann)
        if model.isGuarded {
            model.requests[model.sequence + 1] = Model.Request()
        } else {
            model.isGuarded = true
        }
        model.sequence += 1
        #expect(result.sequence == model.sequence)
    }

    func compareApprovals() throws {
        let found = try engine.changeRequests(includingDecided: true).requests
        #expect(
            Dictionary(uniqueKeysWithValues: found.map { ($0.request.number, $0.request.state) })
                == model.requests.mapValues(\.state)
        )
        guard model.cohorts[Model.guarded] != nil else { return }
        #expect(try engine.cohort(Model.guarded).approvalRequired == model.isGuarded)
        #expect(try engine.versions(ofCohort: Model.guarded).count == Int(model.guardedVersions))
    }
}
