import CohortAPI
import Foundation
import RPC
import SwiftProtobuf
import Testing

@Suite("Memberships over TLS")
struct MembershipTests {
    private func put(
        _ cohort: CohortClient,
        _ id: String,
        _ attributes: [String: AttributeValue],
        at seconds: Int64? = nil
    ) async throws -> PutCustomerResponse {
        try await cohort.customers.putCustomer(
            .with {
                $0.customerID = id
                $0.attributes = attributes
                if let seconds { $0.eventTime = .init(seconds: seconds, nanos: 0) }
            }
        )
    }

    private func check(_ cohort: CohortClient, _ id: String, _ name: String) async throws -> CheckMembershipResponse {
        try await cohort.membership.checkMembership(
            .with {
                $0.customerID = id
                $0.cohortID = name
            }
        )
    }

    private func double(_ value: Double) -> AttributeValue { .with { $0.doubleValue = value } }
    private func string(_ value: String) -> AttributeValue { .with { $0.stringValue = value } }

    private func create(_ cohort: CohortClient, _ id: String, _ rule: String, _ policy: FailPolicy = .unknown)
        async throws
        -> CreateCohortResponse
    {
        try await cohort.cohorts.createCohort(
            .with {
                $0.cohortID = id
                $0.rule = rule
                $0.failPolicy = policy
            }
        )
    }

    private static let premium =
        "customer.daily_spend > 5000.0 || (customer.daily_spend > 3000.0 && customer.user_type == \"PAID\")"

    @Test("Customers enter and leave with their attributes, and with the rule")
    func attributesAndRules() async throws {
        let directory = try TemporaryDirectory()
        let server = try await TestServer(dataDirectory: directory.path)
        try await server.withClient { client in
            let cohort = CohortClient(client)
            _ = try await create(cohort, "PREMIUM", Self.premium)

            let first = try await put(cohort, "anna", ["daily_spend": double(3500), "user_type": string("PAID")])
            #expect(first.outcome == .created && first.entered == ["PREMIUM"] && first.left.isEmpty)
            let inside = try await check(cohort, "anna", "PREMIUM")
            #expect(inside.membership == .in && inside.member && inside.reason == .ruleMatch)
            #expect(inside.sequence >= first.sequence && inside.cohortVersion == 1)

            let second = try await put(cohort, "anna", ["user_type": string("FREE")])
            #expect(second.outcome == .updated && second.left == ["PREMIUM"])
            #expect(try await check(cohort, "anna", "PREMIUM").membership == .out)
            let again = try await put(cohort, "anna", ["user_type": string("FREE")])
            #expect(again.outcome == .unchanged && again.sequence >= second.sequence)

            let update = try await cohort.cohorts.updateCohortRule(
                .with {
                    $0.cohortID = "PREMIUM"
                    $0.rule = "customer.daily_spend > 3000.0"
                }
            )
            #expect(update.entered == 1 && update.left == 0 && update.cohort.version == 2)
            #expect(try await check(cohort, "anna", "PREMIUM").membership == .in)
            let narrower = try await cohort.cohorts.updateCohortRule(
                .with {
                    $0.cohortID = "PREMIUM"
                    $0.rule = "customer.daily_spend > 9000.0"
                }
            )
            #expect(narrower.entered == 0 && narrower.left == 1)
            #expect(try await check(cohort, "anna", "PREMIUM").membership == .out)
        }
        #expect(try await server.stop() == 0)
    }

    @Test("UNKNOWN is told with the attribute at fault, and the fail policy gives the boolean")
    func unknown() async throws {
        let directory = try TemporaryDirectory()
        let server = try await TestServer(dataDirectory: directory.path)
        try await server.withClient { client in
            let cohort = CohortClient(client)
            _ = try await create(cohort, "OPEN", "customer.daily_spend > 10.0")
            _ = try await create(cohort, "CLOSED", "customer.daily_spend > 10.0", .out)
            _ = try await create(cohort, "LENIENT", "customer.daily_spend > 10.0", .in)
            _ = try await put(cohort, "bob", ["user_type": string("FREE")])
            let open = try await check(cohort, "bob", "OPEN")
            #expect(open.membership == .unknown && !open.hasMember && open.reason == .ruleError)
            #expect(open.detail.contains("daily_spend"))
            let closed = try await check(cohort, "bob", "CLOSED")
            #expect(closed.membership == .unknown && closed.hasMember && !closed.member)
            let lenient = try await check(cohort, "bob", "LENIENT")
            #expect(lenient.hasMember && lenient.member)
            let nobody = try await check(cohort, "nobody", "OPEN")
            #expect(
                nobody.membership == .out && nobody.reason == .customerNotFound && nobody.hasMember && !nobody.member
            )
            let count = try await cohort.membership.countMembers(.with { $0.cohortID = "OPEN" })
            #expect(count.members == 0 && count.unknown == 1)
        }
        #expect(try await server.stop() == 0)
    }

    @Test("Two sources whose events cross in time both keep what is theirs")
    func crossingSources() async throws {
        let directory = try TemporaryDirectory()
        let server = try await TestServer(dataDirectory: directory.path)
        try await server.withClient { client in
            let cohort = CohortClient(client)
            _ = try await create(cohort, "PREMIUM", Self.premium)
            // The till speaks of spending at 100 and 300, the account system of the plan at 200 and 50.
            _ = try await put(cohort, "cleo", ["daily_spend": double(4000)], at: 300)
            _ = try await put(cohort, "cleo", ["user_type": string("PAID")], at: 200)
            let stale = try await put(cohort, "cleo", ["daily_spend": double(1)], at: 100)
            #expect(stale.outcome == .stale)
            // Half of it is stale: the newer half is kept.
            let half = try await put(cohort, "cleo", ["daily_spend": double(2), "user_type": string("PAID")], at: 250)
            #expect(half.outcome != .stale)
            let old = try await put(cohort, "cleo", ["user_type": string("FREE")], at: 50)
            #expect(old.outcome == .stale)
            let customer = try await cohort.customers.getCustomer(.with { $0.customerID = "cleo" })
            #expect(customer.attributes["daily_spend"]?.value.doubleValue == 4000)
            #expect(customer.attributes["daily_spend"]?.eventTime.seconds == 300)
            #expect(customer.attributes["user_type"]?.value.stringValue == "PAID")
            #expect(try await check(cohort, "cleo", "PREMIUM").membership == .in)
            // A deletion has a time as well.
            let delete = try await put(cohort, "cleo", ["user_type": .with { $0.nullValue = .nullValue }], at: 400)
            #expect(delete.left == ["PREMIUM"])
            let late = try await put(cohort, "cleo", ["user_type": string("PAID")], at: 350)
            #expect(late.outcome == .stale)
        }
        #expect(try await server.stop() == 0)
    }

    @Test("Overrides and lists decide before the rule; an erased customer is gone; all of it outlives a restart")
    func overridesListsErasure() async throws {
        let directory = try TemporaryDirectory()
        var server = try await TestServer(dataDirectory: directory.path)
        try await server.withClient { client in
            let cohort = CohortClient(client)
            _ = try await create(cohort, "RICH", "customer.daily_spend > 100.0")
            _ = try await cohort.cohorts.createCohort(
                .with {
                    $0.cohortID = "PRESS"
                    $0.static = true
                }
            )
            for (id, spend) in [("a", 50.0), ("b", 500.0), ("c", 500.0), ("d", 500.0)] {
                _ = try await put(cohort, id, ["daily_spend": double(spend)])
            }
            _ = try await cohort.cohorts.setOverrides(
                .with {
                    $0.cohortID = "RICH"
                    $0.include = ["a"]
                    $0.exclude = ["b"]
                }
            )
            let list = try await cohort.cohorts.modifyStaticMembers(
                .with {
                    $0.cohortID = "PRESS"
                    $0.add = ["a", "d", "nobody"]
                }
            )
            #expect(list.added == 2 && list.unknownCustomers == ["nobody"])
            let erased = try await cohort.customers.eraseCustomer(.with { $0.customerID = "d" })
            #expect(erased.left.sorted() == ["PRESS", "RICH"])
        }
        try await checkOverrides(server)
        #expect(try await server.stop() == 0)
        server = try await TestServer(dataDirectory: directory.path)
        try await checkOverrides(server)
        #expect(try await server.stop() == 0)
    }

    private func checkOverrides(_ server: TestServer) async throws {
        try await server.withClient { client in
            let cohort = CohortClient(client)
            let a = try await check(cohort, "a", "RICH")
            #expect(a.membership == .in && a.reason == .overrideInclude)
            let b = try await check(cohort, "b", "RICH")
            #expect(b.membership == .out && b.reason == .overrideExclude)
            #expect(try await check(cohort, "c", "RICH").reason == .ruleMatch)
            #expect(try await check(cohort, "a", "PRESS").reason == .listed)
            #expect(try await check(cohort, "b", "PRESS").reason == .notListed)
            #expect(try await check(cohort, "d", "RICH").reason == .customerNotFound)
            let cohorts = try await cohort.membership.listCustomerCohorts(.with { $0.customerID = "a" })
            #expect(cohorts.cohorts.map(\.cohortID) == ["PRESS", "RICH"])
        }
    }

    @Test("A read can require a write, and says since when a state holds")
    func sequences() async throws {
        let directory = try TemporaryDirectory()
        let server = try await TestServer(dataDirectory: directory.path)
        try await server.withClient { client in
            let cohort = CohortClient(client)
            _ = try await create(cohort, "RICH", "customer.daily_spend > 100.0")
            let write = try await put(cohort, "e", ["daily_spend": double(500)])
            let answer = try await cohort.membership.checkMembership(
                .with {
                    $0.customerID = "e"
                    $0.cohortID = "RICH"
                    $0.minSequence = write.sequence
                    $0.includeSince = true
                }
            )
            #expect(answer.membership == .in && answer.sequence >= write.sequence && answer.hasSince)
            let error = await #expect(throws: RPCError.self) {
                _ = try await cohort.membership.checkMembership(
                    .with {
                        $0.customerID = "e"
                        $0.cohortID = "RICH"
                        $0.minSequence = write.sequence + 1_000
                    }
                )
            }
            #expect(error?.code == .unavailable && error?.errorInfo?.reason == "SEQUENCE_NOT_REACHED")
            #expect(error?.retryDelay != nil)
        }
        #expect(try await server.stop() == 0)
    }

    @Test("A batch answers for many customers, or for many cohorts, at one sequence")
    func batch() async throws {
        let directory = try TemporaryDirectory()
        let server = try await TestServer(dataDirectory: directory.path)
        try await server.withClient { client in
            let cohort = CohortClient(client)
            _ = try await create(cohort, "BIG", "customer.daily_spend > 100.0", .in)
            _ = try await create(cohort, "ALL", "true")
            for i in 0..<50 {
                let attributes = i % 5 == 0 ? ["user_type": string("NEW")] : ["daily_spend": double(Double(i) * 10)]
                _ = try await put(cohort, "c\(i)", attributes)
            }
            let last = try await put(cohort, "last", ["daily_spend": double(1)])
            let ids = (0..<50).map { "c\($0)" } + ["nobody"]
            let answer = try await cohort.membership.batchCheckMembership(
                .with {
                    $0.customerIds = ids
                    $0.cohortIds = ["BIG"]
                    $0.minSequence = last.sequence
                }
            )
            #expect(answer.sequence == last.sequence && answer.cohortVersions == [1] && answer.failPolicies == [.in])
            for (i, id) in ids.enumerated() {
                let single = try await check(cohort, id, "BIG")
                #expect(answer.memberships[i] == single.membership && answer.reasons[i] == single.reason, "\(id)")
            }
            let many = try await cohort.membership.batchCheckMembership(
                .with {
                    $0.customerIds = ["c49"]
                    $0.cohortIds = ["ALL", "BIG"]
                }
            )
            #expect(many.memberships == [.in, .in] && many.failPolicies == [.unknown, .in])
            let refused = await #expect(throws: RPCError.self) {
                try await cohort.membership.batchCheckMembership(
                    .with {
                        $0.customerIds = ["a", "b\n"]
                        $0.cohortIds = ["BIG"]
                    }
                )
            }
            #expect(refused?.code == .invalidArgument && refused?.message.contains("customer_ids[1]") == true)
            let early = await #expect(throws: RPCError.self) {
                try await cohort.membership.batchCheckMembership(
                    .with {
                        $0.customerIds = ["a"]
                        $0.cohortIds = ["ALL"]
                        $0.minSequence = last.sequence + 1
                    },
                    options: CallOptions(timeout: .milliseconds(200))
                )
            }
            #expect(early?.code == .unavailable || early?.code == .deadlineExceeded)
        }
        #expect(try await server.stop() == 0)
    }
}
