import CEL
import Testing

@Suite struct RuleTests {
    static let schema = RecordSchema(
        name: "Customer",
        fields: [
            .init(name: "daily_spend", type: .double), .init(name: "user_type", type: .string),
            .init(name: "tags", type: .list(.string)), .init(name: "age", type: .int),
            .init(name: "last_seen", type: .timestamp), .init(name: "blocked", type: .bool),
        ]
    )
    static let environment = Environment(record: schema, named: "customer")
    static let sample =
        #"customer.daily_spend > 5000.0 || (customer.daily_spend > 3000.0 && customer.user_type == "PAID")"#

    static func outcome(_ source: String, _ record: [Value] = []) throws -> Outcome {
        try environment.compile(source).evaluate(record)
    }

    static func error(_ source: String) -> CompilationError? {
        do throws(CompilationError) {
            _ = try environment.compile(source)
            return nil
        } catch {
            return error
        }
    }

    @Test func sampleRule() throws {
        let program = try Self.environment.compile(Self.sample)
        #expect(program.slots == [0, 1])
        #expect(program.attributes == ["daily_spend", "user_type"])
        #expect(program.worstCaseCost < 10)
        #expect(program.evaluate([.double(5_001)]) == .match)
        #expect(program.evaluate([.double(3_001), .string("PAID")]) == .match)
        #expect(program.evaluate([.double(3_001), .string("FREE")]) == .noMatch)
        #expect(program.evaluate([.double(3_000), .string("PAID")]) == .noMatch)
        guard case .error(let error) = program.evaluate([.double(3_001)]) else {
            Issue.record("an absent attribute is an error")
            return
        }
        #expect(error.code == .attributeAbsent)
        #expect(error.attribute == "user_type")
        #expect(error.position.column == 77)
        #expect(error.message == "attribute 'user_type' is absent")
    }

    @Test func absentAttributes() throws {
        #expect(try Self.outcome("has(customer.age)") == .noMatch)
        #expect(try Self.outcome("has(customer.age)", [.absent, .absent, .absent, .int(0)]) == .match)
        #expect(try Self.outcome("customer.?age.orValue(18) >= 18") == .match)
        #expect(try Self.outcome("customer.?age.orValue(18) >= 18", [.absent, .absent, .absent, .int(3)]) == .noMatch)
        #expect(try Self.outcome("customer.?age.hasValue()") == .noMatch)
        #expect(try Self.outcome("customer.age > 3 || true") == .match)
        #expect(try Self.outcome("customer.age > 3 && false") == .noMatch)
        #expect(try Self.outcome("!(customer.blocked || true)") == .noMatch)
        // Of two errors the first is told; an absorbed one is not.
        guard
            case .error(let first) = try Self.outcome(
                "(customer.blocked || true) && (customer.age > 1 || customer.user_type == '')"
            )
        else {
            Issue.record("not an error")
            return
        }
        #expect(first.attribute == "age")
    }

    @Test func searches() throws {
        let paid: [Value] = [.absent, .string("PAID")]
        #expect(try Self.outcome("customer.user_type.startsWith('PA')", paid) == .match)
        #expect(try Self.outcome("customer.user_type.endsWith('AID')", paid) == .match)
        #expect(try Self.outcome("customer.user_type.endsWith('PAIDX')", paid) == .noMatch)
        #expect(try Self.outcome("customer.user_type.contains('AI')", paid) == .match)
        #expect(try Self.outcome("customer.user_type.contains('')", paid) == .match)
        guard case .error(let error) = try Self.outcome("customer.user_type.startsWith('PA')") else {
            Issue.record("not an error")
            return
        }
        #expect(error.attribute == "user_type")
        #expect(error.position.column == 10)
        guard case .error(let wrong) = try Self.outcome("customer.user_type.startsWith('PA')", [.absent, .int(1)])
        else {
            Issue.record("not an error")
            return
        }
        #expect(wrong.code == .noSuchOverload)
    }

    @Test func numbersOfTwoTypes() throws {
        #expect(try Self.outcome("customer.daily_spend > 5", [.double(5.5)]) == .match)
        #expect(try Self.outcome("customer.age < 17.5", [.absent, .absent, .absent, .int(17)]) == .match)
        #expect(
            try Self.outcome("customer.age < customer.daily_spend", [.double(2), .absent, .absent, .int(1)]) == .match
        )
        let equality = try #require(Self.error("customer.daily_spend == 5"))
        #expect(equality.message == "'==' does not take double and int")
        #expect(equality.suggestion?.contains("5.0") == true)
        #expect(Self.error("customer.daily_spend + 1 > 2.0")?.suggestion?.contains("5.0") == true)
        #expect(Self.error("customer.daily_spend == null")?.suggestion?.contains("has(") == true)
    }

    @Test(arguments: [
        ("customer.daly_spend > 1.0", 1, 10, "did you mean daily_spend?"),
        ("costumer.age > 1", 1, 1, "did you mean customer?"),
        ("age > 1", 1, 1, "did you mean customer.age?"),
        ("customer.user_type.startWith('a')", 1, 20, "did you mean startsWith()?"),
        ("true &&\n  customer.agee == 1", 2, 12, "did you mean age?"),
        ("customer.user_type = 'a'", 1, 20, "compare with '=='"),
        ("true and false", 1, 6, "write '&&'"),
        ("customer", 1, 1, "read one of its attributes, as in customer.daily_spend"),
        ("customer.age", 1, 1, "compare it with something"),
        ("'é' == 'x' && nope", 1, 15, "rules read customer.<attribute>"),
    ])
    func errorsNameThePlaceAndTheFix(source: String, line: Int, column: Int, suggestion: String) throws {
        let error = try #require(Self.error(source))
        // The result type is reported at the beginning, selections at the name.
        #expect(error.line == line)
        #expect(error.column == (source == "customer.age" ? 1 : column))
        #expect(error.suggestion == suggestion)
        #expect(error.rendered.hasSuffix("^"))
    }

    @Test func everyProblemIsReported() throws {
        let error = try #require(Self.error("customer.agee > 1 && customer.tagz == 'a' && 1 + 'a' == 2"))
        #expect(error.issues.count == 3)
        #expect(error.issues.map(\.position.column) == [10, 31, 48])
    }

    @Test func renderedErrorsPointAtThePlace() throws {
        let error = try #require(Self.error("has(customer.age) &&\n\tcustomer.daly_spend > 1.0"))
        #expect(
            error.rendered == """
                2:11: customer has no attribute 'daly_spend'; did you mean daily_spend?
                 |  customer.daly_spend > 1.0
                 |           ^
                """
        )
    }

    @Test(arguments: [
        "1", "'a'", "customer.tags", "dyn(true)", "", "  ", "customer.age >", "(true", "true)", "[true", "a.b.c",
        "1 < 'a'",
        "customer.tags == 'vip'", "!1", "true ? 1 : 'a'", "customer.age in ['a']", "{1.0: 2} == {}", "Message{}", "for",
        "1u2",
        "'\\q'", "'\\ud800' == ''", "9223372036854775808 > 1", "has(customer)", "[1].all(x + 1, true)",
        "customer['age'] == 1",
    ])
    func refused(source: String) { #expect(Self.error(source) != nil, "\(source)") }

    @Test func schemasMayGrow() throws {
        let old = RecordSchema(name: "C", fields: [.init(name: "a", type: .int)])
        let program = try Environment(record: old, named: "c").compile("c.a > 1")
        #expect(program.evaluate([.int(2), .string("of a newer schema")]) == .match)
        let new = RecordSchema(name: "C", fields: old.fields + [.init(name: "b", type: .bool)])
        guard case .error(let error) = try Environment(record: new, named: "c").compile("c.b").evaluate([.int(2)])
        else {
            Issue.record("a short record lacks its last attributes")
            return
        }
        #expect(error.attribute == "b")
    }

    @Test func runTimeErrorsAreNoCompileErrors() throws {
        #expect(try Self.outcome("1 / 0 > 2 || true") == .match)
        #expect(try Self.outcome("timestamp('nonsense') < customer.last_seen && false") == .noMatch)
        guard case .error(let error) = try Self.outcome("true && 9223372036854775807 + 1 > 0") else {
            Issue.record("not an error")
            return
        }
        #expect(error.code == .overflow)
        #expect(error.position.column == 29)
    }

    @Test func conversionsDoNotTrap() throws {
        let environment = Environment(variables: [VariableDeclaration(name: "x", type: .dyn)])
        for value in [Double.nan, .infinity, -.infinity, 0x1p63, -0x1p63, 1e308, -1, 0x1p64] {
            for source in ["int(x)", "uint(x)", "[1][x]", "{1: 2}[x]", "x in {1: 2}", "math.round(x)"] {
                _ = try? environment.compile(source).value([.double(value)])
            }
        }
        let shifted = try environment.compile("math.bitShiftLeft(1, x)").value([.int(.max)])
        #expect(shifted == .int(0))
    }

    @Test func programsAreShared() async throws {
        let program = try Self.environment.compile(Self.sample + " || customer.tags.exists(t, t == 'vip')")
        await withTaskGroup(of: Int.self) { group in
            for task in 0..<4 {
                group.addTask {
                    (0..<2_000).reduce(0) { sum, round in
                        let tag = (round + task) % 2 == 0 ? "vip" : "none"
                        let record: [Value] = [.double(1), .string("FREE"), .list([.string("a"), .string(tag)])]
                        return sum + (program.evaluate(record) == .match ? 1 : 0)
                    }
                }
            }
            for await matches in group { #expect(matches == 1_000) }
        }
    }

    @Test func explanationsShowEverySubExpression() throws {
        let program = try Self.environment.compile(Self.sample + " && !has(customer.age)")
        let explanation = program.explain([.double(3_500), .string("FREE")])
        #expect(explanation.outcome == .noMatch)
        func step(_ text: String) -> Explanation.Step? { explanation.steps.first { $0.text == text } }
        #expect(explanation.steps[0].text == program.source)
        #expect(step("customer.daily_spend")?.result == .value(.double(3_500)))
        #expect(step("customer.daily_spend > 5000.0")?.result == .value(.bool(false)))
        #expect(step(#"customer.user_type == "PAID""#)?.result == .value(.bool(false)))
        #expect(step("has(customer.age)")?.result == .notEvaluated)
        #expect(explanation.rendered.contains("customer.user_type  →  \"FREE\""))
        #expect(explanation.rendered.hasSuffix("no match"))
        let failed = program.explain([])
        guard case .error(let error) = failed.outcome else {
            Issue.record("not an error")
            return
        }
        #expect(error.attribute == "daily_spend")
        #expect(failed.rendered.contains("error: attribute 'daily_spend' is absent"))
    }

    @Test func explanationsShowElementsAndBranches() throws {
        let program = try Self.environment.compile(
            "customer.tags.exists(t, t == 'b') ? customer.age + 1 > 2 : cel.bind(x, 3, x > 2)"
        )
        let record: [Value] = [.absent, .absent, .list([.string("a"), .string("b"), .string("c")]), .int(1)]
        let explanation = program.explain(record)
        #expect(explanation.outcome == .noMatch)
        let test = try #require(explanation.steps.first { $0.text == "t == 'b'" })
        #expect(test.results == [.value(.bool(false)), .value(.bool(true))])
        #expect(test.count == 2)
        let branch = try #require(explanation.steps.first { $0.text == "customer.age + 1" })
        #expect(branch.result == .value(.int(2)))
        let other = try #require(explanation.steps.first { $0.text == "x > 2" })
        #expect(other.result == .notEvaluated || other.result == .value(.bool(true)), "folded at the most")
    }
}

@Suite struct OptionalTests {
    @Test func listsOfOptionalsAreUnwrapped() throws {
        let environment = Environment(variables: [])
        #expect(
            try environment.compile("optional.unwrap([optional.of(1), optional.none()]) == [1]").evaluate([]) == .match
        )
        #expect(
            try environment.compile("[optional.none(), optional.of('a')].unwrapOpt() == ['a']").evaluate([]) == .match
        )
    }
}
