import Testing

@testable import CohortCore

@Suite("Memberships")
struct EngineMembershipTests {
    @Test("A customer enters and leaves with the attributes")
    func entersAndLeaves() async throws {
        try await withEngine { engine, _ in
            let created = try await engine.create("BIG", "customer.daily_spend > 100.0")
            #expect(created.sequence == 3)
            let first = try await engine.put("ann", ["daily_spend": .double(150)])
            #expect(first == PutResult(sequence: 4, outcome: .created, entered: ["BIG"]))
            #expect(try await engine.check("ann", "BIG").membership == .in)
            let second = try await engine.put("ann", ["daily_spend": .double(50)])
            #expect(second == PutResult(sequence: 5, outcome: .updated, left: ["BIG"]))
            let answer = try await engine.check("ann", "BIG")
            #expect(answer.membership == .out && answer.member == false && answer.reason == .ruleNoMatch)
            #expect(answer.sequence == 5 && answer.cohortVersion == 1)
            #expect(try await engine.memberIDs("BIG") == [])
        }
    }

    @Test("An absent attribute makes UNKNOWN, and the detail names it")
    func unknown() async throws {
        try await withEngine { engine, _ in
            try await engine.create("BIG", "customer.daily_spend > 100.0")
            try await engine.create("RISK", "customer.daily_spend > 100.0", .memberIn)
            try await engine.create("SAFE", "customer.daily_spend > 100.0", .memberOut)
            let result = try await engine.put("ann", ["user_type": .string("PAID")])
            #expect(result.newlyUnknown == ["BIG", "RISK", "SAFE"] && result.entered.isEmpty)
            guard case .wait = try engine.checkMembership(customer: "ann", cohort: "BIG") else {
                Issue.record("the detail comes from the store")
                return
            }
            let answer = try await engine.check("ann", "BIG")
            #expect(answer.membership == .unknown && answer.member == nil && answer.reason == .ruleError)
            #expect(answer.detail.contains("daily_spend"))
            #expect(try await engine.check("ann", "RISK").member == true)
            #expect(try await engine.check("ann", "SAFE").member == false)
            #expect(try await engine.memberIDs("BIG", .unknown) == ["ann"])
            let count = try await engine.countMembersWaiting(cohort: "BIG", deadline: .far)
            #expect(count.members == 0 && count.unknown == 1)
            let left = try await engine.put("ann", ["daily_spend": .double(500)])
            #expect(left.entered == ["BIG", "RISK", "SAFE"])
        }
    }

    @Test("A customer never seen is OUT, a cohort that is not there an error")
    func neverSeen() async throws {
        try await withEngine { engine, _ in
            try await engine.create("PREMIUM", "true")
            guard case .answer(let answer) = try engine.checkMembership(customer: "nobody", cohort: "PREMIUM") else {
                Issue.record("answered from memory")
                return
            }
            #expect(answer.membership == .out && answer.reason == .customerNotFound && answer.member == false)
            #expect(
                await domainError { try engine.checkMembership(customer: "nobody", cohort: "PREMIMU") }
                    == .notFound(resourceType: "cohort", name: "PREMIMU", suggestion: "PREMIUM")
            )
            #expect(try await engine.check("nobody", "PREMIUM").reason == .customerNotFound)
            let cohorts = try await engine.cohortsWaiting(ofCustomer: "nobody", deadline: .far)
            #expect(!cohorts.found && cohorts.memberships.isEmpty)
        }
    }

    @Test("A new rule removes as well as adds, in one step", arguments: [2, 40])
    func ruleChange(customers: Int) async throws {
        try await withEngine { engine, _ in
            for i in 0..<customers { try await engine.put("c\(i)", ["daily_spend": .double(Double(i))]) }
            try await engine.put("none", ["user_type": .string("x")])
            let half = Double(customers) / 2
            let created = try await engine.create("COHORT", "customer.daily_spend >= \(half)")
            #expect(created.entered == UInt64(customers / 2) && created.newlyUnknown == 1)
            #expect(try await engine.memberIDs("COHORT") == (customers / 2..<customers).map { "c\($0)" })
            let updated = try await engine.updateRule(
                cohort: "COHORT",
                rule: "has(customer.daily_spend) && customer.daily_spend < \(half)",
                context: tester
            )
            #expect(updated.entered == UInt64(customers / 2) && updated.left == UInt64(customers / 2))
            #expect(updated.cohort.version == 2 && updated.sequence == created.sequence + 1)
            #expect(try await engine.memberIDs("COHORT") == (0..<customers / 2).map { "c\($0)" })
            #expect(try await engine.memberIDs("COHORT", .unknown) == [])
            // The records know of it too: since when, and what a later put then does.
            let answer = try await engine.check("c0", "COHORT", since: true)
            #expect(answer.since != nil && answer.cohortVersion == 2)
            let put = try await engine.put("c0", ["daily_spend": .double(1_000)])
            #expect(put.left == ["COHORT"])
            let again = try await engine.updateRule(
                cohort: "COHORT",
                rule: "has(customer.daily_spend) && customer.daily_spend < \(half)",
                context: tester
            )
            #expect(!again.changed && again.sequence == put.sequence)
        }
    }

    @Test("Overrides decide before the rule, and give way when cleared")
    func overrides() async throws {
        try await withEngine { engine, _ in
            try await engine.create("BIG", "customer.daily_spend > 100.0")
            for (id, spend) in [("a", 1.0), ("b", 200.0), ("c", 1.0)] {
                try await engine.put(id, ["daily_spend": .double(spend)])
            }
            try await engine.put("n", [:])
            let set = try await engine.setOverrides(
                cohort: "BIG",
                include: ["a", "n"],
                exclude: ["b"],
                clear: [],
                context: tester
            )
            #expect(set.entered == 2 && set.left == 1 && set.cohort.includeCount == 2 && set.cohort.excludeCount == 1)
            #expect(try await engine.check("a", "BIG").reason == .overrideInclude)
            #expect(try await engine.check("b", "BIG").reason == .overrideExclude)
            #expect(try await engine.check("n", "BIG").membership == .in)
            // Attributes do not move an overridden customer, nor does a new rule.
            #expect(try await engine.put("b", ["daily_spend": .double(900)]).entered == [])
            _ = try await engine.updateRule(cohort: "BIG", rule: "customer.daily_spend > 50.0", context: tester)
            #expect(try await engine.memberIDs("BIG") == ["a", "n"])
            let cleared = try await engine.setOverrides(
                cohort: "BIG",
                include: [],
                exclude: [],
                clear: ["a", "b", "c", "n"],
                context: tester
            )
            #expect(cleared.entered == 1 && cleared.left == 2 && cleared.newlyUnknown == 1)
            #expect(try await engine.memberIDs("BIG") == ["b"])
            #expect(try await engine.memberIDs("BIG", .unknown) == ["n"])
            let nothing = try await engine.setOverrides(
                cohort: "BIG",
                include: [],
                exclude: [],
                clear: ["a"],
                context: tester
            )
            #expect(!nothing.changed)
        }
    }

    @Test("Overrides are of known customers and disjoint")
    func overrideErrors() async throws {
        try await withEngine { engine, _ in
            try await engine.create("BIG", "true")
            try await engine.put("a", [:])
            let error = await domainError {
                try await engine.setOverrides(
                    cohort: "BIG",
                    include: ["a", "ghost"],
                    exclude: ["a"],
                    clear: [],
                    context: tester
                )
            }
            guard case .invalidArgument(let violations) = error else {
                Issue.record("\(String(describing: error))")
                return
            }
            #expect(violations.map(\.field) == ["include[1]", "exclude[0]"])
        }
    }

    @Test("A static list holds whom it is told to", arguments: [3, 30])
    func lists(customers: Int) async throws {
        try await withEngine { engine, _ in
            let ids = (0..<customers).map { "c\($0)" }
            for id in ids { try await engine.put(id, [:]) }
            _ = try await engine.createCohort(CohortDefinition(id: "VIP", kind: .list, rule: nil), context: tester)
            let added = try await engine.changeList(
                cohort: "VIP",
                add: ids + [ids[0], "ghost", ""],
                remove: [],
                context: tester
            )
            #expect(added.added == UInt64(customers) && added.alreadyListed == 1)
            #expect(added.unknownCustomers == ["ghost"] && added.invalidIDs == [""])
            #expect(try await engine.memberIDs("VIP") == ids)
            #expect(try await engine.check("c0", "VIP").reason == .listed)
            _ = try await engine.setOverrides(
                cohort: "VIP",
                include: [],
                exclude: ["c1"],
                clear: [],
                context: tester
            )
            let removed = try await engine.changeList(
                cohort: "VIP",
                add: [],
                remove: ["c0", "c1", "ghost"],
                context: tester
            )
            #expect(removed.removed == 2)
            #expect(try await engine.check("c0", "VIP").reason == .notListed)
            _ = try await engine.setOverrides(
                cohort: "VIP",
                include: [],
                exclude: [],
                clear: ["c1"],
                context: tester
            )
            #expect(try await engine.memberIDs("VIP") == Array(ids.dropFirst(2)))
        }
    }

    @Test("An archived cohort is gone, and its id stays taken")
    func archive() async throws {
        try await withEngine { engine, _ in
            for i in 0..<9 { try await engine.put("c\(i)", ["daily_spend": .double(1)]) }
            try await engine.create("OLD", "customer.daily_spend > 0.0")
            let archived = try await engine.archive(cohort: "OLD", context: tester)
            #expect(archived.left == 9 && archived.cohort.state == .archived)
            let check = await domainError { try engine.checkMembership(customer: "c1", cohort: "OLD") }
            #expect(check == .notFound(resourceType: "cohort", name: "OLD", suggestion: nil))
            let again = await domainError { try await engine.create("OLD", "true") }
            guard case .alreadyExists = again else {
                Issue.record("\(String(describing: again))")
                return
            }
            // Nobody is moved in it any more.
            #expect(try await engine.put("c1", ["daily_spend": .double(-5)]).left == [])
        }
    }

    @Test("Erasing takes everything at once, and the next put is a new customer")
    func erase() async throws {
        try await withEngine { engine, _ in
            try await engine.create("BIG", "customer.daily_spend > 100.0")
            try await engine.create("ANY", "true")
            try await engine.put("ann", ["daily_spend": .double(150)])
            _ = try await engine.setOverrides(
                cohort: "ANY",
                include: [],
                exclude: ["ann"],
                clear: [],
                context: tester
            )
            let erased = try await engine.erase(customer: "ann", context: tester)
            #expect(erased.left == ["BIG"])
            #expect(try await engine.check("ann", "BIG").reason == .customerNotFound)
            #expect(engine.catalog.cohort("ANY")?.excludeCount == 0)
            #expect(
                await domainError { try await engine.customer(id: "ann", deadline: .far) }
                    == .notFound(resourceType: "customer", name: "ann", suggestion: nil)
            )
            #expect(
                await domainError { try await engine.erase(customer: "ann", context: tester) }
                    == .notFound(resourceType: "customer", name: "ann", suggestion: nil)
            )
            let back = try await engine.put("ann", ["user_type": .string("FREE")])
            #expect(back.outcome == .created && back.entered == ["ANY"] && back.newlyUnknown == ["BIG"])
            #expect(engine.status.customers == 1)
        }
    }

    @Test("A customer's view is of one sequence")
    func customerView() async throws {
        try await withEngine { engine, clock in
            try await engine.create("BIG", "customer.daily_spend > 100.0")
            try await engine.put("ann", ["daily_spend": .double(150), "user_type": .string("PAID")], at: 1_600_000_000)
            let put = try await engine.put("ann", ["user_type": nil], at: 1_600_000_001)
            let view = try await engine.customer(id: "ann", deadline: .far)
            #expect(view.attributes.map(\.name) == ["daily_spend"])
            #expect(view.attributes.first?.eventTime == Timestamp(seconds: 1_600_000_000))
            #expect(view.cohorts == [CohortMembership(cohort: "BIG", membership: .in, version: 1)])
            #expect(view.sequence == put.sequence && view.createdAt == clock.now)
        }
    }

    @Test("Pages go on behind a cursor, also in a later snapshot")
    func cursors() async throws {
        try await withEngine { engine, _ in
            try await engine.create("ALL", "true")
            for i in 0..<10 { try await engine.put("c\(i)", [:]) }
            let first = try await engine.members(cohort: "ALL", deadline: .far)
            #expect(first.nextPage(limit: 4) == ["c0", "c1", "c2", "c3"] && first.total == 10)
            _ = try await engine.erase(customer: "c5", context: tester)
            try await engine.put("late", [:])
            let second = try await engine.members(cohort: "ALL", cursor: first.cursor, deadline: .far)
            #expect(second.sequence > first.sequence)
            #expect(second.nextPage(limit: 100) == ["c4", "c6", "c7", "c8", "c9", "late"])
            #expect(second.nextPage(limit: 100) == [])
            // The first snapshot goes on too, without who has been erased since.
            #expect(first.nextPage(limit: 100) == ["c4", "c6", "c7", "c8", "c9"])
            for bad in [[UInt8](), [9], Array(first.cursor.dropLast())].dropFirst() {
                let error = await domainError {
                    try await engine.members(cohort: "ALL", cursor: bad, deadline: .far)
                }
                guard case .invalidArgument(let violations) = error else {
                    Issue.record("\(String(describing: error))")
                    return
                }
                #expect(violations.first?.field == "cursor")
            }
        }
    }

    @Test("A batch of the greatest size is taken in one group")
    func largeBatches() async throws {
        var configuration = EngineConfiguration()
        configuration.maximumBatchRows = 10_000
        try await withEngine(configuration: configuration) { engine, _ in
            try await engine.create("EVEN", "customer.daily_spend > 0.0")
            for batch in 0..<2 {
                let rows = (0..<10_000).map { i in
                    CustomerPut(
                        customerID: "customer-\(batch)-\(i)",
                        attributes: [("daily_spend", .double(Double(i % 2)))]
                    )
                }
                let results = try await engine.put(batch: rows, context: tester)
                #expect(results.allSatisfy { (try? $0.get())?.outcome == .created })
            }
            let count = try await engine.countMembersWaiting(cohort: "EVEN", deadline: .far)
            #expect(count.members == 10_000)
            #expect(try await engine.check("customer-1-9999", "EVEN").membership == .in)
        }
    }
}
