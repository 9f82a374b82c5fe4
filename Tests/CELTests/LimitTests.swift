import Testing

@testable import CEL

@Suite struct LimitTests {
    static let list = VariableDeclaration(name: "l", type: .list(.int))
    static let text = VariableDeclaration(name: "s", type: .string)

    static func environment(_ change: (inout Limits) -> Void = { _ in }) -> Environment {
        var limits = Limits()
        change(&limits)
        return Environment(variables: [list, text], limits: limits)
    }

    static func refusal(_ source: String, _ environment: Environment = environment()) -> String? {
        do throws(CompilationError) {
            _ = try environment.compile(source)
            return nil
        } catch {
            return error.message
        }
    }

    static func failure(_ source: String, _ record: [Value] = [], _ environment: Environment = environment())
        -> EvaluationError.Code?
    {
        do {
            _ = try environment.compile(source).value(record)
            return nil
        } catch let error as EvaluationError {
            return error.code
        } catch {
            Issue.record("\(error)")
            return nil
        }
    }

    @Test func defaultsAreThoseOfTheDesign() {
        let limits = Limits.default
        #expect(limits.sourceBytes == 8_192)
        #expect(limits.nesting == 64)
        #expect(limits.nodes == 4_096)
        #expect(limits.comprehensionNesting == 2)
        #expect(limits.literalElements == 1_024)
        #expect(limits.stringBytes == 65_536)
        #expect(limits.listElements == 10_000)
        #expect(limits.cost == 10_000)
        #expect(limits.literalPatternsOnly)
    }

    @Test func sourceBytes() {
        let source = "1" + String(repeating: " ", count: 8_191)
        #expect(Self.refusal(source) == nil)
        #expect(Self.refusal(source + " ")?.contains("8193 bytes") == true)
        #expect(Self.refusal("12", Self.environment { $0.sourceBytes = 1 }) != nil)
    }

    @Test(arguments: [("(", ")"), ("[", "]"), ("size(", ")"), ("true ? 1 : (", ")"), ("{1: ", "}"), ("l[", "]")])
    func nesting(open: String, close: String) {
        func nested(_ depth: Int) -> String {
            String(repeating: open, count: depth) + "1" + String(repeating: close, count: depth)
        }
        let levels = open.contains("?") ? 32 : 64
        let sources = [nested(levels), nested(levels + 1), nested(200)]
        onSmallStack { sources.map { Self.refusal($0) } }.enumerated().forEach { place, message in
            // Deep types may not check, but only depth is at issue.
            #expect((message?.contains("nests deeper") ?? false) == (place > 0))
        }
    }

    @Test func chainsAreNoNesting() throws {
        // Long, but not deep: as long as the source and the nodes allow.
        let environment = Self.environment {
            $0.sourceBytes = 1 << 20
            $0.nodes = 100_000
            $0.cost = 1_000_000
        }
        let outcomes = onSmallStack { () -> [Bool] in
            let chains = [
                Array(repeating: "l[0] == 1", count: 10_000).joined(separator: " || "),
                Array(repeating: "l[0] == 0", count: 10_000).joined(separator: " && "),
                "l[0]" + String(repeating: " + l[0]", count: 10_000) + " == 0",
                String(repeating: "!", count: 10_000) + "false",
                String(repeating: "-", count: 10_000) + "0 == 0",
                "(" + "s" + String(repeating: ".trim()", count: 10_000) + ") == 'x'",
            ]
            return chains.map { source in
                guard let program = try? environment.compile(source), program.explain([.list([.int(0)])]).cost >= 0,
                    let printed = try? environment.format(source)
                else { return false }
                _ = program.evaluate([.list([.int(0)]), .string("x")])
                return !printed.isEmpty
            }
        }
        #expect(outcomes == Array(repeating: true, count: 6))
        #expect(
            Self.refusal(Array(repeating: "true", count: 10_000).joined(separator: "||"))?.contains("bytes") == true
        )
    }

    @Test func nodes() {
        let chain = Array(repeating: "l", count: 2_100).joined(separator: "+")
        #expect(Self.refusal(chain)?.contains("4096 parts") == true)
        #expect(Self.refusal("1 + 2", Self.environment { $0.nodes = 2 }) != nil)
    }

    @Test func comprehensionNesting() {
        #expect(Self.refusal("l.all(a, l.all(b, a < b))") == nil)
        #expect(Self.refusal("l.all(a, l.all(b, l.all(c, true)))")?.contains("deeper than 2") == true)
        #expect(Self.refusal("l.all(a, true)", Self.environment { $0.comprehensionNesting = 0 }) != nil)
        // Side by side is not nested.
        #expect(Self.refusal("l.all(a, true) && l.all(a, true) && l.map(a, a).all(a, true)") == nil)
    }

    @Test func literalElements() {
        func list(_ count: Int) -> String { "[" + Array(repeating: "1", count: count).joined(separator: ",") + "]" }
        #expect(Self.refusal(list(1_024)) == nil)
        #expect(Self.refusal(list(1_025))?.contains("1024 elements") == true)
    }

    @Test func builtTexts() {
        let long = Value.string(String(repeating: "a", count: 40_000))
        #expect(Self.failure("s + s", [.absent, long]) == .sizeLimit)
        #expect(
            Self.failure("s.replace('a', 'bb')", [.absent, long], Self.environment { $0.cost = 1_000_000 })
                == .sizeLimit
        )
        #expect(Self.failure("[s, s].join()", [.absent, long]) == .sizeLimit)
        #expect(
            Self.failure("'%s%s'.format([s, s])", [.absent, long], Self.environment { $0.cost = 100_000 }) == .sizeLimit
        )
        #expect(Self.failure("s + s", [.absent, .string(String(repeating: "a", count: 32_768))]) == nil)
    }

    @Test func builtLists() {
        let long = Value.list(Array(repeating: .int(1), count: 6_000))
        let rich = Self.environment { $0.cost = 1_000_000 }
        #expect(Self.failure("l + l", [long], rich) == .sizeLimit)
        #expect(Self.failure("l.map(a, a)", [.list(Array(repeating: .int(1), count: 10_001))], rich) == .sizeLimit)
        #expect(Self.failure("l.map(a, a)", [.list(Array(repeating: .int(1), count: 10_000))], rich) == nil)
    }

    @Test func quadraticLoopsRunOutOfBudget() {
        let thousand = Value.list((0..<1_000).map { .int($0) })
        let clock = ContinuousClock()
        let time = clock.measure {
            #expect(Self.failure("l.all(a, l.all(b, a + b >= 0))", [thousand]) == .costLimit)
        }
        #expect(time < .seconds(2))
        // Nothing absorbs it.
        #expect(Self.failure("true || l.all(a, l.all(b, a + b >= 0))", [thousand]) == nil, "never evaluated")
        #expect(Self.failure("l.all(a, l.all(b, a + b >= 0)) || true", [thousand], Self.unfolded) == .costLimit)
    }

    static var unfolded: Environment {
        var environment = environment()
        environment.foldsConstants = false
        return environment
    }

    @Test func patterns() {
        let long = Value.string(String(repeating: "a", count: 60_000))
        #expect(Self.refusal("s.matches(s)")?.contains("literal") == true)
        #expect(Self.refusal("s.matches('(')")?.contains("malformed pattern") == true)
        #expect(Self.refusal("s.matches('((a{100}){100}){100}')")?.contains("steps") == true)
        #expect(Self.failure("s.matches('(a*)*b')", [.absent, long]) == .costLimit)
        let rich = Self.environment { $0.cost = 10_000_000 }
        let clock = ContinuousClock()
        let time = clock.measure {
            #expect(Self.failure("s.matches('(a*)*b')", [.absent, long], rich) == nil)
            #expect(Self.failure("s.matches('(a|a)*(a|a)*(a|aa)+$b')", [.absent, long], rich) == nil)
        }
        #expect(time < .seconds(10))
    }

    @Test func garbage() {
        var random = Random(9)
        let megabyte = String(
            decoding: (0..<1_000_000).map { _ in UInt8(truncatingIfNeeded: random.next()) },
            as: UTF8.self
        )
        #expect(Self.refusal(megabyte)?.contains("bytes") == true)
        let open = Self.environment {
            $0.sourceBytes = 10_000_000
            $0.nodes = 1_000_000
        }
        let messages = onSmallStack { () -> [String?] in
            let fills = ["(", "[", "!", "-", "a.", "a(", "'", "\\", "{", "a?", "1+", "||", "é", "[[1]"]
            return [megabyte].map { Self.refusal($0, open) }
                + fills.map { Self.refusal(String(repeating: $0, count: 1_000_000 / $0.utf8.count), open) }
        }
        #expect(messages.allSatisfy { $0 != nil })
    }

    @Test func unknownNamesInLongChainsStayLinear() {
        // Each prefix of a.b.c… could be a declared name; a container doubles the candidates.
        let environment = Environment(variables: [], container: "x.y.z")
        let source = Array(repeating: "aa", count: 1_300).joined(separator: ".")
        let clock = ContinuousClock()
        let time = clock.measure { #expect(Self.refusal(source, environment) != nil) }
        #expect(time < .seconds(5))
    }
}
