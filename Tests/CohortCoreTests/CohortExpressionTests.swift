import Testing

@testable import CohortCore

/// Expressions over cohorts against sets of Swift's.
@Suite("Expressions over cohorts")
struct CohortExpressionTests {
    private static let ids = (0..<6).map { "C\($0)" }

    private func parse(
        _ text: String,
        _ configuration: EngineConfiguration = .init()
    ) throws(DomainError) -> CohortExpression {
        try CohortExpression(parsing: text, configuration)
    }

    private func problem(_ text: String, _ configuration: EngineConfiguration = .init()) -> String {
        do throws(DomainError) {
            _ = try parse(text, configuration)
            return "accepted"
        } catch {
            guard case .invalidArgument(let violations) = error, violations.first?.field == "expression" else {
                return "\(error)"
            }
            return violations[0].description
        }
    }

    @Test(
        "Precedence, keywords in any case",
        arguments: [
            ("A", "A"), ("A and B or C", "((A and B) or C)"), ("A or B and C", "(A or (B and C))"),
            ("not A and B", "(not A and B)"), ("NOT (A And B)", "not (A and B)"), ("((A))", "A"),
            ("A and B and not C", "(A and B and not C)"), ("not not A", "not not A"),
            ("A\tAND(B)OR\nC", "((A and B) or C)"),
        ]
    )
    func canonical(text: String, expected: String) throws {
        #expect(try parse(text).canonical == expected)
    }

    @Test(
        "What is malformed is refused with the place",
        arguments: [
            ("", "empty"), ("   ", "empty"), ("A B", "at 3: expected 'and', 'or' or the end, but found 'B'"),
            ("A and", "at 6: expected a cohort id"), ("and A", "at 1: expected a cohort id"), ("A or or B", "at 6"),
            ("(A", "at 3: expected ')' for the '(' at 1, but found the end"), ("A)", "at 2"), ("()", "at 2"),
            ("not", "at 4"), ("A & B", "at 3: '&' has no meaning"), ("fraud", "at 1: 'fraud' is no cohort id"),
            ("A and 日本", "at 7: '日'"), ("1A", "at 1: '1A'"), ("A and not", "at 10"),
        ]
    )
    func malformed(text: String, expected: String) {
        #expect(problem(text).contains(expected), "\(problem(text))")
    }

    @Test("Length, cohorts and nesting are bounded, by default and by setting")
    func limits() {
        #expect(problem("A" + String(repeating: " or A", count: 819)) == "accepted", "4,096 bytes")
        #expect(problem("A " + String(repeating: " or A", count: 819)).contains("4097 bytes"))
        let many = (0..<64).map { "A\($0)" }.joined(separator: " or ")
        #expect(problem(many) == "accepted")
        #expect(problem(many + " or B").contains("more than 64 cohorts"))
        let deep = String(repeating: "(", count: 64) + "A" + String(repeating: ")", count: 64)
        #expect(problem(deep) == "accepted")
        #expect(problem("not " + deep).contains("deeper than 64"))
        #expect(problem(String(repeating: "(", count: 4_096)).contains("deeper than 64"))
        var small = EngineConfiguration()
        small.maximumExpressionBytes = 10
        #expect(problem("A or B or C", small).contains("at most 10"))
        small = .init()
        small.maximumExpressionCohorts = 1
        #expect(problem("A or A", small) == "accepted" && problem("A or B", small).contains("more than 1"))
        small = .init()
        small.maximumExpressionNesting = 1
        #expect(problem("not A", small) == "accepted" && problem("not not A", small).contains("deeper than 1"))
    }

    @Test("Anything is parsed or refused", arguments: 0..<4)
    func fuzz(seed: Int) {
        var random = SeededGenerator(state: UInt64(seed))
        let words = ["A", "B", "and", "or", "not", "(", ")", " ", "é", "&", "a1", "\u{0}"]
        for _ in 0..<5_000 {
            let text = (0..<Int.random(in: 0...20, using: &random)).map { _ in words.randomElement(using: &random)! }
            _ = problem(text.joined(separator: Bool.random(using: &random) ? " " : ""))
        }
    }

    private enum Tree {
        case cohort(Int)
        indirect case not(Tree)
        indirect case and([Tree])
        indirect case or([Tree])

        static func random(_ random: inout SeededGenerator, depth: Int = 0) -> Tree {
            let kind = depth > 4 ? 0 : Int.random(in: 0..<5, using: &random)
            func parts(_ random: inout SeededGenerator) -> [Tree] {
                (0..<Int.random(in: 2...4, using: &random)).map { _ in .random(&random, depth: depth + 1) }
            }
            switch kind {
            case 0, 1: return .cohort(Int.random(in: 0..<6, using: &random))
            case 2: return .not(.random(&random, depth: depth + 1))
            case 3: return .and(parts(&random))
            default: return .or(parts(&random))
            }
        }

        var text: String {
            switch self {
            case .cohort(let i): CohortExpressionTests.ids[i]
            case .not(let tree): "not (\(tree.text))"
            case .and(let trees): trees.map { "(\($0.text))" }.joined(separator: " and ")
            case .or(let trees): trees.map { "(\($0.text))" }.joined(separator: " Or ")
            }
        }

        /// Whether it surely holds; with three values, `nil` is "not known".
        func holds(_ standing: (Int) -> Membership, notMeansOut: Bool) -> Bool? {
            switch self {
            case .cohort(let i):
                switch standing(i) {
                case .in: return true
                case .out: return false
                case .unknown: return notMeansOut ? nil : false
                }
            case .not(let tree): return tree.holds(standing, notMeansOut: notMeansOut).map { !$0 }
            case .and(let trees):
                let all = trees.map { $0.holds(standing, notMeansOut: notMeansOut) }
                return all.contains(false) ? false : all.contains(nil) ? nil : true
            case .or(let trees):
                let all = trees.map { $0.holds(standing, notMeansOut: notMeansOut) }
                return all.contains(true) ? true : all.contains(nil) ? nil : false
            }
        }
    }

    /// Dense, sparse and empty chunks, three of them, and a last one that only some sets reach.
    private func ordinals(_ random: inout SeededGenerator, among known: [Ordinal]) -> Set<Ordinal> {
        let share = [0, 1, 50, 95].randomElement(using: &random)!
        let chunks = Set((0..<3).map { _ in Ordinal.random(in: 0..<4, using: &random) })
        return Set(known.filter { chunks.contains($0 >> 16) && Int.random(in: 0..<100, using: &random) < share })
    }

    @Test("Words of bitmaps come to what single customers do", arguments: 0..<6)
    func algebra(seed: Int) throws {
        var random = SeededGenerator(state: UInt64(seed))
        let known = (0..<1_500).map { _ in Ordinal.random(in: 0..<(4 << 16), using: &random) }
        func bitmap(_ set: some Sequence<Ordinal>) -> ChunkedBitmap {
            let bitmap = ChunkedBitmap()
            for ordinal in set { bitmap.insert(ordinal) }
            return bitmap
        }
        let members = (0..<6).map { _ in ordinals(&random, among: known) }
        let unknown = members.map { ordinals(&random, among: known).subtracting($0) }
        for _ in 0..<15 {
            let tree = Tree.random(&random)
            let expression = try parse(tree.text)
            let places = expression.cohorts.map { Self.ids.firstIndex(of: $0)! }
            let sets = CohortSets(
                members: places.map { bitmap(members[$0]) },
                unknown: places.map { bitmap(unknown[$0]) },
                known: bitmap(known),
                sequence: 1
            )
            for notMeansOut in [false, true] {
                let found = expression.evaluate(sets, notMeansOut: notMeansOut)
                let expected = Set(known).filter { ordinal in
                    tree.holds(
                        { members[$0].contains(ordinal) ? .in : unknown[$0].contains(ordinal) ? .unknown : .out },
                        notMeansOut: notMeansOut
                    ) == true
                }
                #expect(found.members == expected.sorted(), "\(tree.text)")
                #expect(found.count == UInt64(expected.count))
            }
            for (i, place) in places.enumerated() {
                #expect(sets.members[i].count == UInt64(members[place].count), "inputs stay as they are")
            }
        }
    }
}
