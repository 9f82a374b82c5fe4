import Testing

@testable import CohortCore

private let ann = WriteContext(principal: "ann", method: "test")
private let bob = WriteContext(principal: "bob", method: "test")
private let cat = WriteContext(principal: "cat", method: "test")
private let anonymous = WriteContext(principal: WriteContext.anonymous, method: "test")

extension EngineConfiguration {
    /// No background work but by `Engine.upkeep`.
    fileprivate static var byHand: EngineConfiguration {
        var configuration = EngineConfiguration.small
        configuration.upkeepInterval = 0
        return configuration
    }
}

extension Engine {
    fileprivate func guarded(_ id: String, _ rule: String = "customer.daily_spend > 5.0") async throws {
        _ = try await createCohort(
            CohortDefinition(id: id, kind: .rule, rule: rule, approvalRequired: true),
            context: tester
        )
    }

    fileprivate func request(_ number: UInt64) throws -> ChangeRequest? {
        try changeRequests(includingDecided: true).requests.map(\.request).first { $0.number == number }
    }

    fileprivate func rule(of id: String) throws -> String? { try cohort(id).rule }
}

/// The code of a refusal.
private func code(_ error: DomainError?) -> String? {
    switch error {
    case .failedPrecondition(let code, _), .permissionDenied(let code, _): code
    default: nil
    }
}

@Suite("Approval by a second person")
struct ApprovalTests {
    @Test("A publish waits until someone else approves it")
    func publish() async throws {
        try await withEngine(configuration: .byHand) { engine, clock in
            for i in 0..<10 { try await engine.put("C\(i)", ["daily_spend": .double(Double(i))]) }
            try await engine.guarded("HIGH")
            let draft = try await engine.draft(cohort: "HIGH", rule: "customer.daily_spend > 7.0", context: bob)
            let asked = try await engine.publish(cohort: "HIGH", version: draft.version.version.number, context: ann)
            let pending = try #require(asked.pending)
            #expect(!asked.changed && asked.entered == 0 && asked.left == 0)
            #expect(pending.request.action == .publish(version: 2, over: 1))
            #expect(pending.request.author == "ann" && pending.cohort == "HIGH")
            #expect(pending.request.number == asked.sequence)
            #expect(pending.request.createdAt == clock.now)
            #expect(pending.request.expiresAt == clock.now.advanced(bySeconds: 7 * 86_400))
            #expect(try engine.rule(of: "HIGH") == "customer.daily_spend > 5.0")
            #expect(try await engine.memberIDs("HIGH").count == 4)
            #expect(engine.status.approvals == ApprovalStatus(pending: 1, oldest: clock.now, erasuresRunning: 0))

            for author in [ann, bob] {
                let refusal = await domainError {
                    try await engine.approve(change: pending.request.number, context: author)
                }
                #expect(code(refusal) == "APPROVAL_BY_AUTHOR", "\(author.principal)")
            }
            #expect(try engine.changeRequests().requests == [pending], "a refused approval changes nothing")
            clock.advance(seconds: 60)
            let approved = try await engine.approve(change: pending.request.number, note: "seen", context: cat)
            #expect(approved.left == 2 && approved.entered == 0 && approved.cohort.version == 2)
            #expect(try await engine.memberIDs("HIGH").count == 2)
            #expect(approved.request.request.state == .approved)
            let decision = try #require(approved.request.request.decision)
            #expect(decision.principal == "cat" && decision.note == "seen" && decision.time == clock.now)
            #expect(decision.effect == approved.sequence)
            let version = try #require(try engine.versions(ofCohort: "HIGH").first?.version)
            #expect(version.published?.sequence == approved.sequence)
            #expect(version.created.principal == "bob" && version.published?.principal == "cat")
            #expect(try engine.changeRequests().requests.isEmpty)
            #expect(try engine.request(pending.request.number) == approved.request.request)

            let again = await domainError {
                try await engine.approve(change: pending.request.number, context: cat)
            }
            #expect(code(again) == "CHANGE_DECIDED")
            #expect(code(await domainError { try await engine.reject(change: asked.sequence, context: cat) }) != nil)
        }
    }

    @Test("A new rule and a revert are drafted at once, and their publish waits")
    func updateAndRevert() async throws {
        try await withEngine(configuration: .byHand) { engine, _ in
            for i in 0..<10 { try await engine.put("C\(i)", ["daily_spend": .double(Double(i))]) }
            try await engine.guarded("HIGH")
            let same = try await engine.updateRule(cohort: "HIGH", rule: "customer.daily_spend > 5.0", context: ann)
            #expect(same.pending == nil && !same.changed, "what serves already needs no approval")
            let updated = try await engine.updateRule(
                cohort: "HIGH",
                rule: "customer.daily_spend > 8.0",
                note: "fewer",
                context: ann
            )
            let request = try #require(updated.pending?.request)
            #expect(request.action == .publish(version: 2, over: 1))
            let drafted = try #require(try engine.versions(ofCohort: "HIGH").first)
            #expect(drafted.state == .draft && drafted.version.note == "fewer")
            #expect(drafted.version.created.principal == "ann")
            #expect(try await engine.preview(cohort: "HIGH", .version(2)).diffs[0].leaving == 3)
            _ = try await engine.approve(change: request.number, context: bob)
            #expect(try await engine.memberIDs("HIGH") == ["C9"])

            let reverted = try await engine.revert(cohort: "HIGH", note: "back", context: bob)
            let back = try #require(reverted.pending?.request)
            #expect(try engine.versions(ofCohort: "HIGH")[0].version.revertsTo == 1)
            #expect(try await engine.memberIDs("HIGH") == ["C9"])
            #expect(try await engine.approve(change: back.number, context: ann).entered == 3)
            #expect(try engine.rule(of: "HIGH") == "customer.daily_spend > 5.0")
            #expect(try engine.versions(ofCohort: "HIGH")[0].state == .active)
        }
    }

    @Test("An archive waits, and what is in use is refused before and after")
    func archive() async throws {
        try await withEngine(configuration: .byHand) { engine, _ in
            try await engine.put("A", ["daily_spend": .double(9)])
            try await engine.guarded("HIGH")
            let request = try #require(try await engine.archive(cohort: "HIGH", context: ann).pending?.request)
            #expect(try await engine.check("A", "HIGH").membership == .in)
            try await engine.create("READER", "in_cohort('HIGH')")
            let inUse = await domainError { try await engine.approve(change: request.number, context: bob) }
            #expect(code(inUse) == "COHORT_IN_USE")
            #expect(try engine.request(request.number)?.state == .pending, "it may be approved once nobody reads it")
            _ = try await engine.archive(cohort: "READER", context: ann)
            let approved = try await engine.approve(change: request.number, context: bob)
            #expect(approved.left == 1 && approved.cohort.state == .archived)
            #expect(try engine.cohort("HIGH").state == .archived)
        }
    }

    @Test("Approval is required at once, and waived only by someone else")
    func waive() async throws {
        try await withEngine(configuration: .byHand) { engine, _ in
            try await engine.create("HIGH", "customer.daily_spend > 5.0")
            #expect(try await engine.setApproval(cohort: "HIGH", required: false, context: ann).changed == false)
            let on = try await engine.setApproval(cohort: "HIGH", required: true, context: ann)
            #expect(on.changed && on.cohort.approvalRequired && on.pending == nil)
            let off = try await engine.setApproval(cohort: "HIGH", required: false, context: ann)
            let request = try #require(off.pending?.request)
            #expect(off.cohort.approvalRequired)
            #expect(code(await domainError { try await engine.approve(change: request.number, context: ann) }) != nil)
            #expect(try await engine.updateRule(cohort: "HIGH", rule: "true", context: ann).pending != nil)
            let approved = try await engine.approve(change: request.number, context: bob)
            #expect(!approved.cohort.approvalRequired && approved.sequence == approved.request.request.decision?.effect)
            #expect(try await engine.updateRule(cohort: "HIGH", rule: "false", context: ann).changed)
        }
    }

    @Test("The author withdraws, anyone rejects, and nothing has changed")
    func reject() async throws {
        try await withEngine(configuration: .byHand) { engine, _ in
            try await engine.guarded("HIGH")
            for context in [ann, bob] {
                let request = try #require(
                    try await engine.updateRule(cohort: "HIGH", rule: "true", context: ann).pending?.request
                )
                let rejected = try await engine.reject(change: request.number, note: "no", context: context)
                #expect(rejected.request.request.state == .rejected)
                #expect(rejected.request.request.decision?.principal == context.principal)
                #expect(rejected.request.request.decision?.note == "no")
                let late = await domainError { try await engine.approve(change: request.number, context: cat) }
                #expect(code(late) == "CHANGE_DECIDED")
            }
            #expect(try engine.rule(of: "HIGH") == "customer.daily_spend > 5.0")
            let long = String(repeating: "x", count: 1_025)
            let request = try #require(try await engine.archive(cohort: "HIGH", context: ann).pending?.request)
            #expect(
                await domainError { try await engine.reject(change: request.number, note: long, context: bob) } != nil
            )
            #expect(
                await domainError { try await engine.approve(change: request.number, note: long, context: bob) } != nil
            )
            #expect(try engine.request(request.number)?.state == .pending)
            guard
                case .notFound(let type, _, _) = await domainError({
                    try await engine.approve(change: 9_999, context: bob)
                })
            else { return #expect(Bool(false), "an unknown change is not found") }
            #expect(type == "change")
        }
    }

    @Test("A change that nobody decides in time expires, by the clock alone")
    func expiry() async throws {
        var configuration = EngineConfiguration.byHand
        configuration.approvalExpiry = 100
        try await withEngine(configuration: configuration) { engine, clock in
            try await engine.guarded("HIGH")
            let request = try #require(try await engine.archive(cohort: "HIGH", context: ann).pending?.request)
            clock.advance(seconds: 99)
            #expect(try engine.changeRequests().requests.count == 1)
            clock.advance(seconds: 1)
            #expect(try engine.changeRequests().requests.isEmpty)
            #expect(engine.status.approvals.pending == 0)
            #expect(try engine.request(request.number)?.state == .expired)
            #expect(try engine.request(request.number)?.decision?.time == request.expiresAt)
            let before = engine.status.sequence
            let late = await domainError { try await engine.approve(change: request.number, context: bob) }
            #expect(code(late) == "CHANGE_EXPIRED")
            let rejected = await domainError { try await engine.reject(change: request.number, context: bob) }
            #expect(code(rejected) == "CHANGE_EXPIRED")
            #expect(engine.status.sequence == before)
            #expect(try engine.cohort("HIGH").state == .active)

            try await blocking { engine.upkeep() }
            #expect(engine.status.sequence == before + 1, "upkeep closes it")
            #expect(try engine.request(request.number)?.state == .expired)
            try await blocking { engine.upkeep() }
            #expect(engine.status.sequence == before + 1)

            let next = try #require(try await engine.archive(cohort: "HIGH", context: ann).pending?.request)
            clock.advance(seconds: 200)
            // An expired one that upkeep has not met yet is no obstacle.
            let third = try #require(try await engine.archive(cohort: "HIGH", context: ann).pending?.request)
            #expect(try engine.request(next.number)?.state == .expired)
            #expect(try engine.changeRequests().requests.map(\.request) == [third])
            _ = try await engine.approve(change: third.number, context: bob)
        }
    }

    @Test("A change never expires where that is configured")
    func forever() async throws {
        var configuration = EngineConfiguration.byHand
        configuration.approvalExpiry = nil
        try await withEngine(configuration: configuration) { engine, clock in
            try await engine.guarded("HIGH")
            let request = try #require(try await engine.archive(cohort: "HIGH", context: ann).pending?.request)
            #expect(request.expiresAt == nil)
            clock.advance(seconds: 1_000 * 86_400)
            try await blocking { engine.upkeep() }
            _ = try await engine.approve(change: request.number, context: bob)
        }
    }

    @Test("What has changed since closes the change", arguments: ["discarded", "published", "other", "archived"])
    func superseded(_ case: String) async throws {
        try await withEngine(configuration: .byHand) { engine, _ in
            try await engine.guarded("HIGH")
            let request = try #require(
                try await engine.updateRule(cohort: "HIGH", rule: "true", context: ann).pending?.request
            )
            switch `case` {
            case "discarded": _ = try await engine.discard(cohort: "HIGH", version: 2, context: cat)
            case "archived":
                let archive = try #require(try await engine.archive(cohort: "HIGH", context: ann).pending?.request)
                _ = try await engine.approve(change: archive.number, context: bob)
            default:
                let waiver = try await engine.setApproval(cohort: "HIGH", required: false, context: ann).pending?
                    .request
                _ = try await engine.approve(change: try #require(waiver).number, context: bob)
                if `case` == "published" {
                    _ = try await engine.publish(cohort: "HIGH", version: 2, context: ann)
                } else {
                    _ = try await engine.updateRule(cohort: "HIGH", rule: "false", context: ann)
                }
            }
            let refusal = await domainError { try await engine.approve(change: request.number, context: bob) }
            #expect(code(refusal) == "CHANGE_SUPERSEDED")
            let closed = try #require(try engine.request(request.number))
            #expect(closed.state == .superseded && closed.decision?.detail.isEmpty == false)
            #expect(
                code(await domainError { try await engine.approve(change: request.number, context: bob) })
                    == "CHANGE_DECIDED"
            )
            #expect(try engine.cohort("HIGH").rule != "true" || `case` == "published")
        }
    }

    @Test("One change of a kind waits for a cohort; the second is told of the first")
    func duplicates() async throws {
        try await withEngine(configuration: .byHand) { engine, _ in
            try await engine.guarded("HIGH")
            try await engine.guarded("LOW")
            let first = try #require(
                try await engine.updateRule(cohort: "HIGH", rule: "true", context: ann).pending?.request
            )
            let before = engine.status.sequence
            let second = await domainError { try await engine.updateRule(cohort: "HIGH", rule: "false", context: bob) }
            guard case .failedPrecondition("CHANGE_PENDING", let message) = second else {
                return #expect(Bool(false), "\(String(describing: second))")
            }
            #expect(message.contains("change \(first.number) of ann"))
            #expect(engine.status.sequence == before, "no draft is left behind")
            #expect(
                code(await domainError { try await engine.publish(cohort: "HIGH", version: 2, context: bob) })
                    == "CHANGE_PENDING"
            )
            #expect(
                code(await domainError { try await engine.revert(cohort: "HIGH", context: bob) }) == "NOTHING_TO_REVERT"
            )
            // Other kinds and other cohorts are not concerned.
            #expect(try await engine.archive(cohort: "HIGH", context: ann).pending != nil)
            #expect(try await engine.updateRule(cohort: "LOW", rule: "true", context: ann).pending != nil)
            // One that cannot be approved any more is no obstacle.
            _ = try await engine.discard(cohort: "HIGH", version: 2, context: ann)
            let third = try #require(
                try await engine.updateRule(cohort: "HIGH", rule: "false", context: bob).pending?.request
            )
            #expect(third.action == .publish(version: 3, over: 1))
            #expect(try engine.request(first.number)?.state == .superseded)
        }
    }

    @Test("Only so many changes wait at once, and drafts have their limit too")
    func limits() async throws {
        var configuration = EngineConfiguration.byHand
        configuration.maximumPendingChanges = 2
        configuration.maximumDrafts = 1
        try await withEngine(configuration: configuration) { engine, clock in
            for id in ["A1", "A2", "A3"] { try await engine.guarded(id) }
            let first = try #require(try await engine.archive(cohort: "A1", context: ann).pending?.request)
            _ = try await engine.updateRule(cohort: "A2", rule: "true", context: ann)
            let full = await domainError { try await engine.archive(cohort: "A3", context: ann) }
            guard case .resourceExhausted("maximum_pending_changes", _, nil) = full else {
                return #expect(Bool(false), "\(String(describing: full))")
            }
            #expect(
                engine.capacity.limits.contains {
                    $0.name == "limits.approvals.pending" && $0.used == 2 && $0.limit == 2
                }
            )
            _ = try await engine.reject(change: first.number, context: ann)
            _ = try await engine.archive(cohort: "A3", context: ann)
            // Those that have expired do not count.
            clock.advance(seconds: 8 * 86_400)
            _ = try await engine.archive(cohort: "A1", context: ann)
            _ = try await engine.archive(cohort: "A3", context: ann)
            guard
                case .resourceExhausted("maximum_drafts", _, nil) = await domainError({
                    try await engine.updateRule(cohort: "A2", rule: "false", context: ann)
                })
            else { return #expect(Bool(false), "drafts are limited") }
        }
    }

    @Test("Who is anonymous can neither approve nor have a change approved")
    func anonymousCallers() async throws {
        try await withEngine(configuration: .byHand) { engine, _ in
            try await engine.guarded("HIGH")
            let unnamed = try #require(try await engine.archive(cohort: "HIGH", context: anonymous).pending?.request)
            // Two of them are the same principal.
            #expect(
                code(await domainError { try await engine.approve(change: unnamed.number, context: anonymous) })
                    == "APPROVAL_BY_AUTHOR"
            )
            #expect(
                code(await domainError { try await engine.approve(change: unnamed.number, context: ann) })
                    == "APPROVAL_ANONYMOUS"
            )
            let named = try #require(
                try await engine.updateRule(cohort: "HIGH", rule: "true", context: ann).pending?.request
            )
            #expect(
                code(await domainError { try await engine.approve(change: named.number, context: anonymous) })
                    == "APPROVAL_ANONYMOUS"
            )
            #expect(try engine.changeRequests().requests.count == 2)
            _ = try await engine.reject(change: unnamed.number, context: anonymous)
        }
    }

    @Test("Approval that comes to be required during a build keeps its version from serving")
    func requiredDuringBuild() async throws {
        var configuration = EngineConfiguration.byHand
        configuration.buildSwitchCustomers = 0
        try await withEngine(configuration: configuration) { engine, _ in
            for i in 0..<50 { try await engine.put("C\(i)", ["daily_spend": .double(Double(i))]) }
            try await engine.create("HIGH", "customer.daily_spend > 5.0")
            _ = try await engine.setApproval(cohort: "HIGH", required: true, context: ann)
            // A cohort that requires approval from the start is built without.
            try await engine.guarded("LOW", "customer.daily_spend < 5.0")
            #expect(try await engine.memberIDs("LOW").count == 5)
            let request = try #require(
                try await engine.updateRule(cohort: "HIGH", rule: "customer.daily_spend > 40.0", context: ann).pending?
                    .request
            )
            #expect(try await engine.approve(change: request.number, context: bob).left == 35)
        }
    }

    @Test("Changes are listed in pages, of one cohort or of all, and the oldest decided ones go")
    func lists() async throws {
        try await withEngine(configuration: .byHand) { engine, _ in
            for id in ["A1", "A2", "A3"] { try await engine.guarded(id) }
            var numbers: [UInt64] = []
            for id in ["A1", "A2", "A3"] {
                numbers.append(try #require(try await engine.archive(cohort: id, context: ann).pending?.request.number))
            }
            let first = try engine.changeRequests(limit: 2)
            #expect(first.requests.map(\.request.number) == [numbers[2], numbers[1]] && first.more)
            let second = try engine.changeRequests(before: numbers[1], limit: 2)
            #expect(second.requests.map(\.request.number) == [numbers[0]] && !second.more)
            #expect(try engine.changeRequests(cohort: "A2").requests.map(\.request.number) == [numbers[1]])
            #expect(await domainError { try engine.changeRequests(cohort: "NONE") } != nil)
            var kept = ChangeRequests()
            let time = Timestamp.epoch
            for i in 1...(ChangeRequests.decidedKept + 5) {
                let request = ChangeRequest(
                    number: UInt64(i),
                    cohort: 0,
                    action: .archive,
                    author: "ann",
                    createdAt: time,
                    state: i == 2 ? .pending : .rejected,
                    decision: i == 2 ? nil : .init(time: time.advanced(bySeconds: Int64(i)), principal: "bob")
                )
                let dropped = kept.keep(request)
                #expect(dropped == (i <= ChangeRequests.decidedKept + 1 ? [] : [i == 1_002 ? 1 : UInt64(i - 1_000)]))
            }
            #expect(kept.all.count == ChangeRequests.decidedKept + 1 && kept.all[2] != nil)
        }
    }
}
