import Foundation
import Synchronization
import Testing

@testable import CohortCore
@testable import CohortSQLite

@Suite("Explanations")
struct ExplainTests {
    private let clock = ManualClock()

    private func withEngine(
        _ change: (inout EngineConfiguration) -> Void = { _ in },
        _ body: (Engine) async throws -> Void
    ) async throws {
        var configuration = EngineConfiguration.byHand
        change(&configuration)
        let engine = try await started(MemoryStore(), configuration: configuration, now: { [clock] in clock.now })
        do {
            try await body(engine)
        } catch {
            try await engine.stop()
            throw error
        }
        try await engine.stop()
    }

    private func explain(_ engine: Engine, _ customer: String, _ cohort: String, version: UInt32 = 0) async throws
        -> MembershipExplanation
    {
        try await engine.explain(customer: customer, cohort: cohort, version: version, deadline: .far)
    }

    private static let premium =
        #"customer.daily_spend > 5000.0 || (customer.daily_spend > 3000.0 && customer.user_type == "PAID")"#

    @Test("A rule is told with the value of every part, what decides, since when, and in a sentence")
    func rule() async throws {
        try await withEngine { engine in
            try await engine.rule("PREMIUM", Self.premium)
            try await engine.set("C42", [("daily_spend", .double(5_200.5)), ("user_type", .string("FREE"))])  // 4
            let entered = clock.now
            clock.advance(100)
            let found = try await explain(engine, "C42", "PREMIUM")
            #expect(found.membership == .in && found.reason == .ruleMatch && found.detail.isEmpty)
            #expect(found.sequence == 4 && found.cohortVersion == 1 && found.rule == Self.premium)
            #expect(found.since == MembershipChange(sequence: 4, time: entered, version: 1, cause: .attribute))
            #expect(found.attributes == ["daily_spend": "5200.5", "user_type": "\"FREE\""])
            #expect(found.expressions[0].source == Self.premium && found.expressions[0].depth == 0)
            #expect(found.expressions.map(\.offset)[1] == 0)
            let deciding = found.expressions.filter(\.isDeciding)
            #expect(deciding.map(\.source) == ["customer.daily_spend > 5000.0"])
            #expect(deciding.map(\.value) == ["true"] && deciding.map(\.depth) == [1])
            #expect(!found.expressions.contains { $0.source.contains("PAID") && $0.depth > 0 }, "not evaluated")
            #expect(
                found.summary == "C42 is IN PREMIUM since 2025-06-15T15:06:40Z (sequence 4) because "
                    + "customer.daily_spend > 5000.0 is true: daily_spend is 5200.5."
            )
            try await engine.set("C42", spend: 100)  // 5
            let left = try await explain(engine, "C42", "PREMIUM")
            #expect(left.membership == .out && left.reason == .ruleNoMatch)
            #expect(left.since?.sequence == 5 && left.since?.cause == .attribute)
            #expect(left.expressions.first { $0.isDeciding }?.depth == 0, "both sides together")
            try await engine.set("new", spend: 1)
            let never = try await explain(engine, "new", "PREMIUM")
            #expect(never.since == nil && never.reason == .ruleNoMatch)
            #expect(never.summary.hasPrefix("new is OUT of PREMIUM because "))
            #expect(never.summary.hasSuffix("is false: daily_spend is 1.0, user_type is absent."), "\(never.summary)")
        }
    }

    @Test("What failed is named, also through another cohort")
    func failures() async throws {
        try await withEngine { engine in
            try await engine.rule("PREMIUM", Self.premium)
            try await engine.rule("TARGET", #"!in_cohort("PREMIUM") && customer.user_type == "FREE""#)
            try await engine.set("a", [("user_type", .string("FREE"))])
            let failed = try await explain(engine, "a", "PREMIUM")
            #expect(failed.membership == .unknown && failed.reason == .ruleError)
            #expect(failed.detail == "1:10: attribute 'daily_spend' is absent")
            let marked = failed.expressions.filter(\.isDeciding)
            let deciding = try #require(marked.first)
            #expect(deciding.source == "customer.daily_spend" && deciding.value.isEmpty)
            #expect(deciding.error == "attribute 'daily_spend' is absent")
            #expect(failed.attributes == ["user_type": "\"FREE\""])
            #expect(failed.summary.hasSuffix("cannot be evaluated: attribute 'daily_spend' is absent."))
            #expect(failed.summary.contains("a is UNKNOWN in PREMIUM since "))
            let target = try await explain(engine, "a", "TARGET")
            #expect(target.membership == .unknown)
            #expect(target.expressions.first { $0.isDeciding }?.source == #"in_cohort("PREMIUM")"#)
            try await engine.set("a", spend: 1)
            let now = try await explain(engine, "a", "TARGET")
            #expect(now.membership == .in && now.since?.cause == .cohort)
            #expect(now.expressions.contains { $0.source == #"in_cohort("PREMIUM")"# && $0.value == "false" })
        }
    }

    @Test("An override decides, and the rule is told all the same; a list has no rule")
    func overridesAndLists() async throws {
        try await withEngine { engine in
            try await engine.rule("PREMIUM", Self.premium)
            _ = try await engine.createCohort(CohortDefinition(id: "PRESS", kind: .list, rule: nil), context: tester)
            try await engine.set("a", spend: 1)
            try await engine.set("b", spend: 9_000)
            _ = try await engine.setOverrides(
                cohort: "PREMIUM",
                include: ["a"],
                exclude: ["b"],
                clear: [],
                context: tester
            )
            let a = try await explain(engine, "a", "PREMIUM")
            #expect(a.membership == .in && a.reason == .overrideInclude && a.since?.cause == .override)
            #expect(a.expressions[0].value == "false" || !a.expressions[0].error.isEmpty)
            #expect(a.summary.hasSuffix("because an override includes it; the rule says OUT."), "\(a.summary)")
            let b = try await explain(engine, "b", "PREMIUM")
            #expect(b.membership == .out && b.reason == .overrideExclude && b.since?.cause == .override)
            #expect(b.expressions[0].value == "true" && b.summary.hasSuffix("; the rule says IN."))
            _ = try await engine.changeList(cohort: "PRESS", add: ["a"], remove: [], context: tester)
            let listed = try await explain(engine, "a", "PRESS")
            #expect(listed.reason == .listed && listed.expressions.isEmpty && listed.rule.isEmpty)
            #expect(listed.since?.cause == .list && listed.summary.hasSuffix("because it is on the list."))
            let unlisted = try await explain(engine, "b", "PRESS")
            #expect(unlisted.reason == .notListed && unlisted.since == nil)
            #expect(unlisted.summary == "b is OUT of PRESS because it is not on the list.")
        }
    }

    @Test("Another version tells what it would make of the customer, and an override stays one")
    func versions() async throws {
        try await withEngine { engine in
            try await engine.rule("BIG", "customer.daily_spend > 5.0")
            try await engine.set("a", spend: 7)
            try await engine.set("b", spend: 1)
            _ = try await engine.setOverrides(cohort: "BIG", include: ["b"], exclude: [], clear: [], context: tester)
            _ = try await engine.updateRule(cohort: "BIG", rule: "customer.daily_spend > 9.0", context: tester)
            let now = try await explain(engine, "a", "BIG", version: 2)
            #expect(now.membership == .out && now.since?.cause == .rule && now.cohortVersion == 2)
            let then = try await explain(engine, "a", "BIG", version: 1)
            #expect(then.membership == .in && then.reason == .ruleMatch && then.since == nil)
            #expect(then.cohortVersion == 1 && then.rule == "customer.daily_spend > 5.0")
            #expect(then.summary.hasPrefix("By version 1, which does not serve, a would be IN BIG because "))
            #expect(try await explain(engine, "b", "BIG", version: 1).reason == .overrideInclude)
            let missing = await domainError { try await explain(engine, "a", "BIG", version: 3) }
            #expect(missing == .notFound(resourceType: "version", name: "BIG/3", suggestion: nil))
            try await engine.rule("OTHER", "true")
            try await engine.rule("READS", #"in_cohort("OTHER")"#)
            _ = try await engine.updateRule(cohort: "READS", rule: "true", context: tester)
            _ = try await engine.archive(cohort: "OTHER", context: tester)
            let gone = await domainError { try await explain(engine, "a", "READS", version: 1) }
            guard case .failedPrecondition(code: "VERSION_DOES_NOT_COMPILE", let message)? = gone else {
                Issue.record("\(String(describing: gone))")
                return
            }
            #expect(message.contains("'OTHER' is archived"))
        }
    }

    @Test("Nobody is explained, and what does not exist is not found")
    func unknowns() async throws {
        try await withEngine { engine in
            try await engine.rule("BIG", "customer.daily_spend > 5.0")
            let nobody = try await explain(engine, "nobody", "BIG")
            #expect(nobody.membership == .out && nobody.reason == .customerNotFound)
            #expect(nobody.expressions.isEmpty && nobody.since == nil && nobody.summary.contains("no customer nobody"))
            let missing = await domainError { try await explain(engine, "a", "BAG") }
            #expect(missing == .notFound(resourceType: "cohort", name: "BAG", suggestion: "BIG"))
            guard case .invalidArgument? = await domainError({ try await explain(engine, "\n", "BIG") }) else {
                Issue.record("a malformed id is accepted")
                return
            }
        }
    }

    @Test("A membership that has drifted from its rule is shown as it is, with the difference")
    func drift() async throws {
        try await withEngine { engine in
            try await engine.rule("BIG", "customer.daily_spend > 5.0")
            try await engine.set("a", spend: 7)
            let ordinal = try #require(engine.ordinal(of: "a"))
            // Both index and record wrong, as by a rule that was evaluated wrongly.
            _ = try await engine.alone { committer in
                var record = CustomerRecord(createdSequence: 4, createdAt: .epoch)
                record.sequence = 4
                record.attributes = [StoredAttribute(slot: 0, value: .double(1), eventTime: .epoch)]
                record.intervals = [
                    OpenInterval(
                        cohort: 0,
                        membership: .in,
                        sequence: 4,
                        time: .epoch,
                        version: 1,
                        cause: .attribute
                    )
                ]
                var changes = PendingChanges(sequence: 4, time: .epoch, nextOrdinal: 1)
                changes.customers = [(ordinal, .update(record: record.encoded()))]
                committer.shared.pending.add(changes)
            }
            let found = try await explain(engine, "a", "BIG")
            #expect(found.membership == .in && found.reason == .ruleMatch)
            #expect(found.detail.contains("the rule says OUT") && found.summary.contains("has drifted"))
        }
    }

    @Test("While everything is written and rules change, an explanation agrees with itself", arguments: [0, 1_024])
    func underWrites(threshold: Int) async throws {
        try await withEngine({
            $0.bulkThreshold = threshold
            $0.maximumBulkChanges = 2
            $0.materializeRows = 10
        }) { engine in
            try await engine.rule("BIG", "customer.daily_spend > 5.0")
            try await engine.rule("NOT_BIG", #"!in_cohort("BIG")"#)
            for i in 0..<20 { try await engine.set("c\(i)", spend: Double(i % 10)) }
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask {
                    for round in 0..<80 {
                        for i in 0..<5 {
                            try await engine.set("c\((round + i * 3) % 20)", spend: Double((round + i) % 11))
                        }
                        let rule = "customer.daily_spend > \(round % 9).0"
                        _ = try await engine.updateRule(cohort: "BIG", rule: rule, context: tester)
                    }
                }
                for task in 0..<2 {
                    group.addTask {
                        for i in 0..<200 {
                            let cohort = i % 2 == 0 ? "BIG" : "NOT_BIG"
                            let found = try await explain(engine, "c\((i + task) % 20)", cohort)
                            let says = found.expressions[0].value
                            #expect(says == (found.membership == .in ? "true" : "false"), "\(found)")
                            #expect(found.detail.isEmpty && found.expressions.count { $0.isDeciding } == 1)
                        }
                    }
                }
                try await group.waitForAll()
            }
        }
    }
}
