import Foundation
import Testing

@testable import CEL

/// Written before the semaphore is signalled and read after, hence unchecked.
private final class Box<R>: @unchecked Sendable {
    var result: R?
}

/// The stack that must suffice. Without optimisation frames are ten times as large.
#if DEBUG
private let stackSize = 8 * 1_024 * 1_024
#else
private let stackSize = 512 * 1_024
#endif

/// Runs work on a thread of its own with a small stack, so that unbounded recursion shows.
func onSmallStack<R: Sendable>(_ body: @escaping @Sendable () -> R) -> R {
    let box = Box<R>()
    let done = DispatchSemaphore(value: 0)
    let thread = Thread {
        box.result = body()
        done.signal()
    }
    thread.stackSize = stackSize
    thread.start()
    done.wait()
    guard let result = box.result else { preconditionFailure("the thread ended without a result") }
    return result
}

@Suite struct FuzzTests {
    static let isLong = ProcessInfo.processInfo.environment["COHORT_LONG"] == "1"

    struct Tally: Sendable {
        var compiled = 0
        var refused = 0
        var matched = 0
        var failed = 0
        var longest = Duration.zero
        var problems: [String] = []
    }

    /// Mutated expressions and records: none may crash, hang or recurse deeply, and each answers within its budget.
    @Test(arguments: FuzzTests.isLong ? Array(0..<10) : [0])
    func mutations(part: Int) {
        let count = Self.isLong ? 500_000 : 20_000
        let tally = onSmallStack { Self.run(seed: UInt64(1_000 + part), count: count) }
        print("fuzz \(part): \(tally)")
        for problem in tally.problems.prefix(5) { Issue.record(Comment(rawValue: problem)) }
        #expect(tally.compiled > count / 20)
        #expect(tally.refused > count / 20)
        #expect(tally.failed > 0)
        #expect(tally.longest < .seconds(5))
    }

    static func run(seed: UInt64, count: Int) -> Tally {
        var tally = Tally()
        var mutator = Mutator(seed: seed)
        let rules = Environment(record: RuleTests.schema, named: "customer", functions: HostTests.functions)
        let checked = Generator.environment
        let unchecked = Environment(variables: checked.variables, isChecked: false, limits: checked.limits)
        let clock = ContinuousClock()
        for round in 0..<count {
            let source = mutator.source()
            let environment = [rules, checked, unchecked][round % 3]
            let time = clock.measure {
                do throws(CompilationError) {
                    let program = try environment.compile(source)
                    tally.compiled += 1
                    let record = mutator.record(environment)
                    let host = HostTests.Host()
                    let outcome = program.evaluate(record, host: host)
                    switch outcome {
                    case .match: tally.matched += 1
                    case .noMatch: break
                    case .error: tally.failed += 1
                    }
                    if program.cost(record, host: host) > program.code.limits.cost + 1_000_000 {
                        tally.problems.append("over budget: \(source)")
                    }
                    if round % 8 == 0 {
                        let explanation = program.explain(record, host: host)
                        if explanation.outcome != outcome { tally.problems.append("explained otherwise: \(source)") }
                        _ = explanation.rendered
                    }
                    if round % 16 == 0, try environment.format(source).isEmpty { tally.problems.append(source) }
                } catch {
                    tally.refused += 1
                    if error.issues.isEmpty || error.line < 1 || error.column < 1 || error.rendered.isEmpty {
                        tally.problems.append("no place for the error of: \(source)")
                    }
                }
            }
            tally.longest = max(tally.longest, time)
        }
        return tally
    }
}

/// Makes sources by mutating good ones, and records of any values in any slots.
struct Mutator {
    private var generator: Generator
    private var seeds: [String]

    private static let pieces = [
        "&&", "||", "!", "(", ")", "[", "]", "{", "}", "?", ":", ".", ",", "+", "-", "*", "/", "%", "==", "!=", "<=",
        "in", "true", "null", "has(", ".all(x,", ".exists(y,", ".map(z,", ".filter(", ".?", "[?", "customer.",
        "daily_spend", "user_type", "tags", "'a'", "\"", "'''", "r'", "b'\\xff'", "\\", "1", "9223372036854775808",
        "1u",
        "1.5e308", "e", "0x", "cel.bind(q,", "optional.of(", ".orValue(", ".matches('(a*)*b')", ".matches('",
        "timestamp('",
        "duration(", "size(", "type(", "dyn(", "math.greatest(", ".format([", "//", "\n", "\u{0}", "é", "🐱",
        "in_cohort('A')",
        ".replace('', 'xx')", ".split('')", ".join(',')", "[0,1,2,3,4,5,6,7,8,9]", " ",
    ]

    init(seed: UInt64) {
        generator = Generator(seed: seed)
        seeds = [
            RuleTests.sample, "customer.tags.exists(t, t == 'vip') && customer.age > 18", "in_cohort('FRAUD') || b",
            "customer.?age.orValue(3) < 4", "[1, 2].all(x, li.all(y, x < y))", "s.matches('^[a-z]+$') ? i : j",
            "{'a': [1, {2: 'x'}]}.a[1][2] == 'x'", "li.map(x, ls.map(y, y + s))",
            "customer.last_seen < timestamp('2024-01-01T00:00:00Z')",
            "'%s %d %.3f'.format([s, i, d])", "t.getHours('Europe/Berlin')",
        ]
        // The conformance cases, where they are at hand, know every corner of the language.
        if CELConformance.isPresent, let cases = try? CELConformance.cases() {
            seeds += cases.compactMap { $0["expr"] as? String }
        }
    }

    mutating func source() -> String {
        if generator.random.chance(15) { return soup() }
        var text = Array(
            (generator.random.chance(40)
                ? generator.expression(generator.random.pick(Generator.Kind.allCases), depth: 3)
                : generator.random.pick(seeds)).utf8
        )
        for _ in 0..<generator.random.below(4) { mutate(&text) }
        return String(decoding: text, as: UTF8.self)
    }

    private mutating func soup() -> String {
        (0..<generator.random.below(30)).map { _ in generator.random.pick(Self.pieces) }.joined()
    }

    private mutating func mutate(_ text: inout [UInt8]) {
        let at = generator.random.below(text.count + 1)
        switch generator.random.below(6) {
        case 0: if at < text.count { text[at] = UInt8(truncatingIfNeeded: generator.random.next()) }
        case 1: if at < text.count { text.remove(at: at) }
        case 2: text.insert(contentsOf: generator.random.pick(Self.pieces).utf8, at: at)
        case 3:
            let other = Array(generator.random.pick(seeds).utf8)
            text.insert(contentsOf: other.prefix(generator.random.below(other.count + 1)), at: at)
        case 4:
            let to = min(text.count, at + generator.random.below(12))
            let part = text[at..<to]
            for _ in 0..<generator.random.below(generator.random.chance(3) ? 400 : 4) {
                text.insert(contentsOf: part, at: at)
            }
        default:
            let to = min(text.count, at + generator.random.below(12))
            text.removeSubrange(at..<to)
        }
    }

    mutating func record(_ environment: Environment) -> [Value] {
        let slots = environment.record?.schema.fields.count ?? environment.variables.count
        return (0..<generator.random.below(slots + 2)).map { _ in anything(depth: 2) }
    }

    private mutating func anything(depth: Int) -> Value {
        switch generator.random.below(16) {
        case 0: return .absent
        case 1: return .null
        case 2: return .string(String(repeating: "ab", count: generator.random.below(3_000)))
        case 3: return .bytes((0..<generator.random.below(20)).map { UInt8($0) })
        case 4: return .type("int")
        case 5: return .optional(depth > 0 ? anything(depth: depth - 1) : nil)
        case 6: return .list(depth > 0 ? (0..<generator.random.below(50)).map { _ in anything(depth: depth - 1) } : [])
        case 7: return .list((0..<generator.random.below(500)).map { .int(Int64($0)) })
        case 8: return .error(ErrorValue(hostCode: 3))
        default: return generator.value(generator.random.pick(Generator.Kind.allCases))
        }
    }
}
