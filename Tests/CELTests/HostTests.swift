import CEL
import Testing

@Suite struct HostTests {
    static let functions = [
        FunctionDeclaration(
            name: "in_cohort",
            parameters: [.string],
            result: .bool,
            literalParameters: [0],
            cost: 5
        ),
        FunctionDeclaration(name: "geo.distance", parameters: [.double, .double], result: .double),
        FunctionDeclaration(name: "near", isMethod: true, parameters: [.string, .string], result: .bool),
    ]

    final class Host: HostFunctions {
        var members: Set<String> = []
        var calls: [(function: Int, site: Int)] = []

        func call(_ function: Int, site: Int, arguments: UnsafeBufferPointer<Value>) -> Value {
            calls.append((function, site))
            switch (function, arguments.first) {
            case (0, .string(let name)?):
                return name == "UNKNOWN" ? .error(ErrorValue(hostCode: 7)) : .bool(members.contains(name))
            case (1, .double(let a)?): return .double(a * 2)
            case (2, .string?): return .bool(true)
            default: return .error(ErrorValue(hostCode: -1))
            }
        }
    }

    let environment = Environment(record: RuleTests.schema, named: "customer", functions: functions)

    @Test func callsReachTheHost() throws {
        let program = try environment.compile(
            "in_cohort('VIP') && !in_cohort('FRAUD') && geo.distance(1.0, 2.0) == 2.0"
        )
        #expect(program.hostCalls.map(\.function) == ["in_cohort", "in_cohort", "geo.distance"])
        #expect(program.hostCalls[0].constants == [.string("VIP")])
        #expect(program.hostCalls[1].constants == [.string("FRAUD")])
        #expect(program.hostCalls[1].position.column == 22)
        let host = Host()
        #expect(program.evaluate([], host: host) == .noMatch)
        host.members = ["VIP"]
        host.calls = []
        #expect(program.evaluate([], host: host) == .match)
        #expect(host.calls.map(\.site) == [0, 1, 2])
        #expect(host.calls.map(\.function) == [0, 0, 1])
        host.members = ["VIP", "FRAUD"]
        #expect(program.evaluate([], host: host) == .noMatch)
    }

    @Test func failuresAreErrorsThatConnectivesAbsorb() throws {
        let host = Host()
        let program = try environment.compile("in_cohort('UNKNOWN')")
        guard case .error(let error) = program.evaluate([], host: host) else {
            Issue.record("not an error")
            return
        }
        #expect(error.code == .hostFunction)
        #expect(error.hostCode == 7)
        #expect(error.subject == "in_cohort")
        #expect(error.position.column == 1)
        #expect(try environment.compile("in_cohort('UNKNOWN') || true").evaluate([], host: host) == .match)
        #expect(try environment.compile("in_cohort('UNKNOWN') && false").evaluate([], host: host) == .noMatch)
        // Without a host every call fails.
        guard case .error(let missing) = try environment.compile("in_cohort('VIP')").evaluate([]) else {
            Issue.record("not an error")
            return
        }
        #expect(missing.code == .hostFunction)
    }

    @Test func literalsAreDemandedWhereDeclared() {
        #expect(throws: CompilationError.self) { try environment.compile("in_cohort(customer.user_type)") }
        #expect(throws: CompilationError.self) { try environment.compile("in_cohort('A' + 'B')") }
        #expect(throws: CompilationError.self) { try environment.compile("in_cohort(1)") }
        #expect(throws: Never.self) { try environment.compile("customer.user_type.near(customer.user_type)") }
    }

    @Test func callsAreNeverFoldedAndAreCharged() throws {
        let program = try environment.compile("in_cohort('VIP')")
        #expect(program.cost([], host: Host()) == 6)
        #expect(program.worstCaseCost == 6)
        var limits = Limits()
        limits.cost = 5
        let poor = Environment(record: RuleTests.schema, named: "customer", functions: Self.functions, limits: limits)
        let host = Host()
        guard case .error(let error) = try poor.compile("in_cohort('VIP')").evaluate([], host: host) else {
            Issue.record("not an error")
            return
        }
        #expect(error.code == .costLimit)
        #expect(host.calls.isEmpty, "charged before the work")
    }
}
