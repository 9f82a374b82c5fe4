import Testing

@testable import CohortCore

@Suite("Bad input")
struct InputTests {
    private func violations(_ error: DomainError?) -> [String: String] {
        guard case .invalidArgument(let violations) = error else { return [:] }
        return Dictionary(violations.map { ($0.field, $0.description) }) { $0 + "; " + $1 }
    }

    @Test("Customer ids")
    func customerIDs() {
        for good in ["a", "日本", String(repeating: "x", count: 256), "a b", "\u{A0}x"] {
            #expect(InputRules.customerID(good) == nil)
        }
        for bad in ["", "a\nb", "\0", "\u{7F}", "a\u{85}", String(repeating: "x", count: 257)] {
            #expect(InputRules.customerID(bad) != nil)
        }
    }

    @Test("Attribute names and cohort ids")
    func names() {
        for good in ["a", "daily_spend", "x9", String(repeating: "a", count: 63)] {
            #expect(InputRules.attributeName(good) == nil)
        }
        for bad in ["", "A", "9a", "_a", "a-b", "in", "true", String(repeating: "a", count: 64), "é"] {
            #expect(InputRules.attributeName(bad) != nil)
        }
        for good in ["A", "BIG_DAY", "X9"] { #expect(InputRules.cohortID(good) == nil) }
        for bad in ["", "a", "_A", "A-B", String(repeating: "A", count: 64)] {
            #expect(InputRules.cohortID(bad) != nil)
        }
    }

    @Test("Every wrong field of a put is named, and nothing is written")
    func puts() async throws {
        try await withEngine { engine, _ in
            let before = engine.status.sequence
            let error = await domainError {
                try await engine.put(
                    CustomerPut(
                        customerID: "a\n",
                        attributes: [
                            ("daily_spent", .double(1)), ("daily_spend", .int64(1)), ("daily_spend", .double(1)),
                            ("user_type", .string(String(repeating: "x", count: 4_097))),
                        ]
                    ),
                    context: tester
                )
            }
            let found = self.violations(error)
            #expect(Set(found.keys).isSuperset(of: ["customer_id", "attributes.daily_spent", "attributes.user_type"]))
            #expect(found["attributes.daily_spent"]?.contains("'daily_spend'") == true)
            #expect(found["attributes.daily_spend"] == "is declared double but the value is int64; is given twice")
            for value in [Double.nan, .infinity, -.infinity] {
                let error = await domainError { try await engine.put("a", ["daily_spend": .double(value)]) }
                #expect(self.violations(error).keys.sorted() == ["attributes.daily_spend"])
            }
            let type = await domainError { try await engine.put("a", ["user_type": .bool(true)]) }
            #expect(self.violations(type)["attributes.user_type"]?.contains("declared string") == true)
            #expect(engine.status.sequence == before && engine.status.customers == 0)
        }
    }

    @Test("One bad row does not hold back the others")
    func batch() async throws {
        try await withEngine { engine, _ in
            let results = try await engine.put(
                batch: ["a", "", "c"].map { CustomerPut(customerID: $0, attributes: [("daily_spend", .double(1))]) },
                context: tester
            )
            #expect(results.map { (try? $0.get())?.sequence } == [3, nil, 4])
        }
    }

    @Test("Limits of a customer's attributes and record")
    func limits() async throws {
        var configuration = EngineConfiguration.small
        configuration.maximumAttributesPerCustomer = 2
        configuration.maximumRecordBytes = 600
        configuration.maximumAttributes = 4
        configuration.maximumBatchRows = 3
        configuration.maximumCustomers = 2
        try await withEngine(configuration: configuration) { engine, _ in
            for name in ["a1", "a2"] {
                _ = try await engine.declareAttribute(name: name, type: .string, context: tester)
            }
            let tooMany = await domainError {
                try await engine.declareAttribute(name: "a3", type: .string, context: tester)
            }
            guard case .resourceExhausted("maximum_attributes", _, _) = tooMany else {
                Issue.record("\(String(describing: tooMany))")
                return
            }
            try await engine.put("x", ["a1": .string("1"), "a2": .string("2")])
            let third = await domainError { try await engine.put("x", ["user_type": .string("3")]) }
            #expect(self.violations(third).keys.sorted() == ["attributes"])
            let large = await domainError {
                try await engine.put("x", ["a1": .string(String(repeating: "x", count: 600))])
            }
            #expect(self.violations(large).keys.sorted() == ["attributes"])
            let view = try await engine.customer(id: "x", deadline: .far)
            #expect(view.attributes.map(\.value) == [.string("1"), .string("2")])
            try await engine.put("y", [:])
            let full = await domainError { try await engine.put("z", [:]) }
            guard case .resourceExhausted("maximum_customers", _, _) = full else {
                Issue.record("\(String(describing: full))")
                return
            }
            let rows = (0..<4).map { CustomerPut(customerID: "\($0)", attributes: []) }
            let batch = await domainError { try await engine.put(batch: rows, context: tester) }
            #expect(self.violations(batch).keys.sorted() == ["customers"])
        }
    }

    @Test("A rule that does not compile is refused with its place")
    func rules() async throws {
        try await withEngine { engine, _ in
            let error = await domainError { try await engine.create("BIG", "customer.daily_spent > 1.0") }
            guard case .ruleRejected(let rejection) = error else {
                Issue.record("\(String(describing: error))")
                return
            }
            #expect(rejection.cohort == "BIG" && rejection.line == 1 && rejection.column > 1)
            #expect(rejection.message.contains("daily_spend") && rejection.rendered.contains("^"))
            #expect(engine.catalog.cohorts.isEmpty)
            let missing = await domainError {
                try await engine.createCohort(CohortDefinition(id: "bad", kind: .rule, rule: nil), context: tester)
            }
            #expect(self.violations(missing).keys.sorted() == ["cohort_id", "rule"])
        }
    }

    @Test("Declarations are for ever")
    func declarations() async throws {
        try await withEngine { engine, _ in
            let again = try await engine.declareAttribute(name: "daily_spend", type: .double, context: tester)
            #expect(!again.created && again.sequence == 2)
            let other = await domainError {
                try await engine.declareAttribute(name: "daily_spend", type: .string, context: tester)
            }
            guard case .alreadyExists("attribute", "daily_spend", _) = other else {
                Issue.record("\(String(describing: other))")
                return
            }
            let new = try await engine.declareAttribute(name: "score", type: .int64, context: tester)
            #expect(new.created && new.declaration.slot == 2 && new.sequence == 3)
            try await engine.create("HIGH", "customer.score > 5")
            #expect(try await engine.put("a", ["score": .int64(6)]).entered == ["HIGH"])
        }
    }

    @Test(
        "The nearest name",
        arguments: [
            ("daily_spent", "daily_spend"), ("dialy_spend", "daily_spend"), ("usertype", "user_type"), ("PREMIMU", nil),
            ("x", nil),
        ]
    )
    func nearest(word: String, expected: String?) {
        #expect(NearestName.find(word, among: ["daily_spend", "user_type"]) == expected)
    }
}
