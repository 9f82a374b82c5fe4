import Testing

@testable import CEL

@Suite struct PropertyTests {
    /// A tree without positions.
    static func shape(_ tree: SyntaxTree, _ node: Int32) -> String {
        let entry = tree[node]
        var text = "(\(entry.kind) \(entry.detail)"
        switch entry.kind {
        case .literal: text += " \(tree.constants[Int(entry.payload)])"
        case .identifier, .select, .has, .call, .method: text += " \(tree.name(node))"
        case .comprehension:
            text += " \(tree.names[Int(entry.payload)])"
            if entry.payload2 >= 0 { text += " \(tree.names[Int(entry.payload2)])" }
        case .list, .map: if entry.payload >= 0 { text += " \(tree.optionals[Int(entry.payload)])" }
        default: break
        }
        for place in 0..<tree.childCount(node) { text += " " + shape(tree, tree.child(node, place)) }
        return text + ")"
    }

    static func parse(_ source: String) throws(SourceError) -> SyntaxTree {
        var source = source
        let result: Result<SyntaxTree, SourceError> = source.withUTF8 { bytes in
            var limits = Limits()
            limits.sourceBytes = 1 << 20
            limits.nodes = 100_000
            do throws(SourceError) {
                return .success(try Parser.parse(bytes, limits: limits))
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }

    static func expectIdentity(_ source: String) throws {
        let tree = try parse(source)
        let printed = Printer.print(tree)
        let again = try parse(printed)
        #expect(shape(tree, tree.root) == shape(again, again.root), "\(source) is printed as \(printed)")
        #expect(Printer.print(again) == printed)
    }

    @Test func printingIsTheInverseOfParsing() throws {
        var generator = Generator(seed: 1)
        for _ in 0..<3_000 {
            try Self.expectIdentity(generator.expression(generator.random.pick(Generator.Kind.allCases), depth: 4))
        }
        let hard = [
            "-(1)", "-(-1)", "--1", "-(1.5).foo()", "-(1).a", "!(-a)", "-(!a)", "(a || b) || c", "a || (b || c)",
            "a || b || c && d && (e && f)", "(a ? b : c) ? d : e", "a ? b : c ? d : e", "(a + b) + c", "a + (b + c)",
            "a - (b - c) * d", "(a < b) < c", "a < (b < c)", "has((a || b).c)", "has(a.b.c)", "a.?b[?c].d", "[?a, b]",
            "{?a: b, 'c': 1u}", "a.`b-c`.d", ".a.b.c", ".f(x)", "cel.bind(x, 1, x + 1)", "(a + b).map(x, x > 1, x * 2)",
            "a.transformMap(k, v, k != v, v)", "optional.of(1).optMap(x, x)", "b'\\xff\\x00a'", "'\\u00e9\\n\\\"'",
            "1e300", "1e-7", "0.1", "123456789012345678.0", "-0.0", "a in [b] == c", "-a.b", "(-a).b", "!a.b()",
            "-(5u)",
            "1 .a", "-9223372036854775808", "- 9223372036854775808", "(1).size()", "{}.a", "[1][0]",
        ]
        for source in hard { try Self.expectIdentity(source) }
    }

    @Test func foldingAgreesWithEvaluation() throws {
        var generator = Generator(seed: 2)
        let folding = Generator.environment
        var plain = folding
        plain.foldsConstants = false
        var folded = 0
        for _ in 0..<4_000 {
            let source = generator.expression(generator.random.pick(Generator.Kind.allCases), depth: 4)
            let (a, b) = (try folding.compile(source), try plain.compile(source))
            if a.code.instructions.count < b.code.instructions.count { folded += 1 }
            for _ in 0..<3 {
                let record = generator.record()
                let (x, y) = (Self.result(a, record), Self.result(b, record))
                if x == .failure(.costLimit) || y == .failure(.costLimit) { continue }
                #expect(Self.same(x, y), "\(source) on \(record): \(x) folded, \(y) not")
            }
        }
        #expect(folded > 500)
    }

    @Test func rulesDecideAsTheirProgramsDo() throws {
        // evaluate() walks a graph of tests where it can; explain() always runs the instructions.
        var generator = Generator(seed: 3)
        let environment = Generator.environment
        var graphs = 0
        for _ in 0..<6_000 {
            let source = generator.expression(.bool, depth: 4)
            let program = try environment.compile(source)
            if program.code.entry >= 0 { graphs += 1 }
            for _ in 0..<4 {
                let record = generator.record()
                #expect(program.evaluate(record) == program.explain(record).outcome, "\(source) on \(record)")
            }
        }
        #expect(graphs > 500)
    }

    @Test func costStaysWithinItsBound() throws {
        var generator = Generator(seed: 4)
        var environment = Generator.environment
        environment.foldsConstants = false
        for _ in 0..<3_000 {
            let program = try environment.compile(generator.expression(.bool, depth: 4))
            let record = generator.record()
            #expect(UInt64(program.cost(record)) <= program.worstCaseCost, "\(program.source)")
        }
    }

    @Test func evaluationStopsExactlyAtItsLimit() throws {
        // With a limit of what it costs an evaluation succeeds; with one less it fails, and with nothing else.
        var generator = Generator(seed: 5)
        for _ in 0..<1_000 {
            let source = generator.expression(.bool, depth: 3)
            let record = generator.record()
            let program = try Generator.environment.compile(source)
            let cost = program.cost(record)
            let outcome = program.evaluate(record)
            if case .error(let error) = outcome, error.code == .costLimit { continue }
            var limits = program.code.limits
            for spare in [0, -1] where cost + spare >= 0 {
                limits.cost = cost + spare
                let variables = Generator.environment.variables
                let limited = try Environment(variables: variables, limits: limits).compile(source)
                // Folding has a budget too; only programs that are the same can be compared.
                guard limited.code.instructions.count == program.code.instructions.count else { continue }
                let result = limited.evaluate(record)
                if spare == 0 {
                    #expect(result == outcome, "\(source)")
                } else if case .error(let error) = result {
                    #expect(error.code == .costLimit, "\(source)")
                } else {
                    Issue.record("\(source) costs \(cost) but succeeds with less")
                }
            }
        }
    }

    enum Answer: Equatable {
        case value(Value)
        case failure(EvaluationError.Code)
    }

    static func result(_ program: Program, _ record: [Value]) -> Answer {
        do throws(EvaluationError) {
            return .value(try program.value(record))
        } catch {
            return .failure(error.code)
        }
    }

    static func same(_ a: Answer, _ b: Answer) -> Bool {
        if case .value(let x) = a, case .value(let y) = b { return ConformanceCase.same(x, y) }
        return a == b
    }
}
