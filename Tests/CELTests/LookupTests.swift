import CEL
import Testing

/// Lookups: functions whose one literal the host turns into a number, and whose value it supplies by that number.
@Suite struct LookupTests {
    static let numbers = ["STAFF": 3, "GUESTS": 0, "ADMINS": 7]

    let environment = Environment(
        record: RuleTests.schema,
        named: "customer",
        lookups: [LookupDeclaration(name: "other"), LookupDeclaration(name: "in_group")]
    )

    private func compile(_ source: String, _ environment: Environment? = nil) throws(CompilationError) -> Program {
        try (environment ?? self.environment).compile(source) { (function, name) throws(LookupRefusal) in
            guard let number = Self.numbers[name] else {
                throw LookupRefusal("no group '\(name)'", suggestion: "did you mean 'STAFF'?")
            }
            return function == 1 ? number : 100 + number
        }
    }

    private func values(_ known: [Int: LookupValue]) -> [LookupValue] {
        (0...7).map { known[$0] ?? .unknown }
    }

    private func refusal(_ source: String) -> CompilationError? {
        do throws(CompilationError) {
            _ = try compile(source)
            return nil
        } catch {
            return error
        }
    }

    @Test func programsSayWhatTheyReferTo() throws {
        let program = try compile("in_group('STAFF') || (true || in_group(\"GUESTS\")) || other('STAFF')")
        #expect(program.lookups.map(\.function) == ["in_group", "in_group", "other"])
        #expect(program.lookups.map(\.name) == ["STAFF", "GUESTS", "STAFF"])
        #expect(program.lookups.map(\.number) == [3, 0, 103], "also what folding leaves out")
        #expect(program.lookups.map(\.position.column) == [1, 31, 54])
        #expect(try compile("customer.user_type == 'x'").lookups.isEmpty)
    }

    /// Alone, beside tests of slots (the graph) and where the stack machine has to run.
    @Test(arguments: [
        "in_group('STAFF')", "in_group('STAFF') && true", "!(!in_group('STAFF'))", "in_group('STAFF') ? true : false",
        "in_group('STAFF') && (customer.user_type == 'x' || true)", "[1, 2].all(x, in_group('STAFF'))",
        "in_group('STAFF') == true",
    ])
    func valuesAreRead(source: String) throws {
        let program = try compile(source)
        #expect(program.evaluate([], lookups: values([3: .yes])) == .match)
        #expect(program.evaluate([], lookups: values([3: .no])) == .noMatch)
        for lookups in [values([:]), [], [.yes, .yes, .yes]] {
            guard case .error(let error) = program.evaluate([], lookups: lookups) else {
                Issue.record("an unknown lookup is an error")
                return
            }
            #expect(error.code == .lookupUnknown)
            #expect(error.message == "in_group(\"STAFF\") is unknown")
        }
    }

    @Test func connectivesAbsorbTheUnknown() throws {
        let unknown = values([0: .yes, 7: .no])
        #expect(try compile("in_group('STAFF') || in_group('GUESTS')").evaluate([], lookups: unknown) == .match)
        #expect(try compile("in_group('GUESTS') || in_group('STAFF')").evaluate([], lookups: unknown) == .match)
        #expect(try compile("in_group('STAFF') && in_group('ADMINS')").evaluate([], lookups: unknown) == .noMatch)
        guard
            case .error(let error) = try compile("in_group('GUESTS') && in_group('STAFF')")
                .evaluate([], lookups: unknown)
        else {
            Issue.record("not absorbed")
            return
        }
        #expect(error.description == "1:23: in_group(\"STAFF\") is unknown")
    }

    @Test(arguments: [
        ("in_group(customer.user_type)", 10, "literal text"), ("in_group('A' + 'B')", 10, "literal text"),
        ("true && in_group(1)", 18, "literal text"), ("in_group()", 1, "one text"),
        ("in_group('A', 'B')", 1, "one text"),
        ("false || in_group('STAF')", 19, "no group 'STAF'"), ("in_grup('STAFF')", 1, "unknown function"),
    ])
    func refusalsHaveAPlace(source: String, column: Int, words: String) {
        let error = refusal(source)
        #expect(error?.message.contains(words) ?? false, "\(error?.rendered ?? "accepted")")
        #expect(error?.line == 1 && error?.column == column)
        #expect(error?.suggestion != nil)
    }

    @Test func withoutAResolverNothingIsResolved() {
        #expect(throws: CompilationError.self) { try environment.compile("in_group('STAFF')") }
    }

    @Test func aLookupCostsAUnitAndIsCharged() throws {
        let program = try compile("in_group('STAFF')")
        #expect(program.cost([], lookups: values([3: .yes])) == 1)
        #expect(program.worstCaseCost == 1)
        #expect(try compile("in_group('STAFF') && !in_group('GUESTS')").worstCaseCost == 2)
        var limits = Limits()
        limits.cost = 1
        let poor = Environment(
            record: RuleTests.schema,
            named: "customer",
            lookups: [LookupDeclaration(name: "other"), LookupDeclaration(name: "in_group")],
            limits: limits
        )
        let two = try compile("in_group('STAFF') && in_group('GUESTS')", poor)
        guard case .error(let error) = two.evaluate([], lookups: values([3: .yes, 0: .yes])) else {
            Issue.record("not charged")
            return
        }
        #expect(error.code == .costLimit)
    }

    @Test func anExplanationShowsThem() throws {
        let explanation = try compile("in_group('STAFF') && !in_group('GUESTS')")
            .explain([], lookups: values([3: .yes]))
        #expect(explanation.rendered.contains("in_group('STAFF')  →  true"), "\(explanation.rendered)")
        #expect(explanation.rendered.contains("in_group('GUESTS')  →  error: in_group(\"GUESTS\") is unknown"))
        #expect(explanation.rendered.contains("LOOKUP_UNKNOWN"))
    }
}
