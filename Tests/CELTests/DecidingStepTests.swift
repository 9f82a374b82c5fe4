import CEL
import Testing

/// The sub-expression that an outcome hangs on.
@Suite struct DecidingStepTests {
    private let environment = Environment(
        record: RuleTests.schema,
        named: "customer",
        lookups: [LookupDeclaration(name: "in_group")]
    )

    private func explain(_ source: String, _ record: [Value], _ lookups: [LookupValue] = []) throws -> Explanation {
        try environment.compile(source) { (_, _) throws(LookupRefusal) in 0 }.explain(record, lookups: lookups)
    }

    /// Over a daily_spend of 3500 and a user_type of FREE; tags and age are absent.
    @Test(arguments: [
        // One comparison, and chains that one operand decides.
        ("customer.daily_spend > 5000.0", "customer.daily_spend > 5000.0"),
        ("customer.daily_spend > 3000.0 || customer.user_type == 'PAID'", "customer.daily_spend > 3000.0"),
        ("customer.user_type == 'PAID' || customer.daily_spend > 3000.0", "customer.daily_spend > 3000.0"),
        ("customer.daily_spend > 3000.0 && customer.user_type == 'PAID'", "customer.user_type == 'PAID'"),
        (
            "customer.user_type == 'FREE' && customer.daily_spend > 1.0 && customer.daily_spend > 4000.0",
            "customer.daily_spend > 4000.0"
        ),
        // All operands together.
        (
            "customer.daily_spend > 3000.0 && customer.user_type == 'FREE'",
            "customer.daily_spend > 3000.0 && customer.user_type == 'FREE'"
        ),
        (
            "customer.daily_spend > 5000.0 || (customer.daily_spend > 3000.0 && customer.user_type == 'PAID')",
            "customer.daily_spend > 5000.0 || (customer.daily_spend > 3000.0 && customer.user_type == 'PAID')"
        ),
        // An error on one side that the other absorbs.
        ("customer.age > 3 || customer.daily_spend > 1.0", "customer.daily_spend > 1.0"),
        ("customer.age > 3 && customer.daily_spend > 5000.0", "customer.daily_spend > 5000.0"),
        // What failed, innermost.
        ("customer.age > 3", "customer.age"),
        ("customer.daily_spend > 1.0 && customer.age + 1 > 3", "customer.age"),
        ("!(customer.age > 3 || customer.daily_spend > 5000.0)", "customer.age"),
        ("customer.daily_spend > 1.0 && 1 / (size(customer.user_type) - 4) > 0", "1 / (size(customer.user_type) - 4)"),
        ("customer.age > 3 || customer.blocked || customer.daily_spend > 5000.0", "customer.age"),
        // Through negations, branches and bindings.
        ("!(customer.daily_spend > 5000.0)", "customer.daily_spend > 5000.0"),
        ("!has(customer.age)", "has(customer.age)"),
        ("!(customer.user_type == 'PAID' || customer.daily_spend > 1.0)", "customer.daily_spend > 1.0"),
        (
            "customer.user_type == 'PAID' ? customer.daily_spend > 1.0 : customer.daily_spend > 4000.0",
            "customer.daily_spend > 4000.0"
        ),
        ("customer.user_type == 'FREE' ? true : customer.daily_spend > 4000.0", "customer.user_type == 'FREE'"),
        ("customer.age > 3 ? true : false", "customer.age"),
        ("cel.bind(x, customer.daily_spend, x > 5000.0)", "x > 5000.0"),
        // A whole that has no parts that decide.
        ("true", "true"),
        ("customer.?age.orValue(7) > 8", "customer.?age.orValue(7) > 8"),
        ("['FREE', 'PAID'].exists(t, t == customer.user_type)", "['FREE', 'PAID'].exists(t, t == customer.user_type)"),
    ])
    func one(source: String, expected: String) throws {
        let explanation = try explain(source, [.double(3_500), .string("FREE")])
        #expect(explanation.steps.count { $0.isDeciding } == 1)
        #expect(explanation.deciding?.text == expected || explanation.deciding?.text == "(\(expected))")
    }

    @Test func attributesAreThoseOfTheStep() throws {
        let explanation = try explain(
            "customer.daily_spend > 5000.0 || (customer.daily_spend > 3000.0 && customer.user_type == 'PAID')",
            [.double(3_500), .string("FREE")]
        )
        #expect(explanation.decidingAttributes == ["daily_spend", "user_type"])
        let first = try explain("has(customer.age) || customer.daily_spend > 3000.0", [.double(3_500)])
        #expect(first.decidingAttributes == ["daily_spend"])
        #expect(
            try explain("has(customer.age) && customer.daily_spend > 3000.0", [.double(1)]).decidingAttributes == [
                "age"
            ]
        )
        #expect(try explain("in_group('A')", [], [.yes]).decidingAttributes.isEmpty)
    }

    @Test func lookupsDecide() throws {
        let source = "in_group('STAFF') || customer.daily_spend > 3000.0"
        #expect(try explain(source, [.double(1)], [.yes]).deciding?.text == "in_group('STAFF')")
        #expect(try explain(source, [.double(1)], [.unknown]).deciding?.text == "in_group('STAFF')")
        #expect(try explain(source, [.double(4_000)], [.unknown]).deciding?.text == "customer.daily_spend > 3000.0")
    }

    /// Whatever the rule: exactly one, and its result is the outcome's where nothing negates or branches between.
    @Test func randomRulesHaveOne() throws {
        var generator = RuleGenerator(seed: 7)
        for _ in 0..<3_000 {
            let source = generator.rule()
            let explanation = try explain(source, generator.record())
            let deciding = try #require(explanation.deciding, "\(source)")
            #expect(explanation.steps.count { $0.isDeciding } == 1, "\(source)")
            switch (explanation.outcome, deciding.result) {
            case (.error(let error), .error(let cause)): #expect(error == cause, "\(source)")
            case (.match, .value(.bool)), (.noMatch, .value(.bool)): break
            default: Issue.record("\(source): \(explanation.outcome) hangs on \(deciding)")
            }
        }
    }
}

/// Random rules of comparisons joined by `&&`, `||`, `!` and conditionals.
private struct RuleGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    private mutating func next(_ count: Int) -> Int {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return Int(state >> 33) % count
    }

    mutating func rule(_ depth: Int = 4) -> String {
        if depth == 0 { return leaf() }
        switch next(6) {
        case 0: return leaf()
        case 1: return "!(\(rule(depth - 1)))"
        case 2: return "(\(rule(depth - 1)) && \(rule(depth - 1)) && \(rule(depth - 1)))"
        case 3: return "(\(rule(depth - 1)) || \(rule(depth - 1)))"
        case 4: return "(\(rule(depth - 1)) ? \(rule(depth - 1)) : \(rule(depth - 1)))"
        default: return "(\(rule(depth - 1)) && \(rule(depth - 1)))"
        }
    }

    private mutating func leaf() -> String {
        switch next(6) {
        case 0: "customer.daily_spend > \(next(10)).0"
        case 1: "customer.user_type == 'PAID'"
        case 2: "customer.age >= \(next(10))"
        case 3: "has(customer.age)"
        case 4: "customer.age / \(next(2)) == 1"
        default: "customer.tags.exists(t, t == 'a')"
        }
    }

    mutating func record() -> [Value] {
        [
            next(3) == 0 ? .absent : .double(Double(next(10))),
            next(3) == 0 ? .absent : .string(next(2) == 0 ? "PAID" : "FREE"),
            next(3) == 0 ? .absent : .list(next(2) == 0 ? [] : [.string("b"), .string("a")]),
            next(3) == 0 ? .absent : .int(Int64(next(10))),
        ]
    }
}
