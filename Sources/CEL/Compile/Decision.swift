/// The tests of a rule as a graph: each leads, by whether it holds, to another test or to the answer.
///
/// `&&`, `||` and `!` over tests of slots need neither a stack nor instructions of their own. The graph knows no errors:
/// where a test fails, the program is evaluated again by the ``Interpreter``, which absorbs or reports it as CEL says.
/// Connectives are free of charge, so both ways cost the same.
struct Decision: Sendable {
    static let match: Int32 = -1
    static let noMatch: Int32 = -2
    static let none: Int32 = -3

    struct Test: Sendable {
        enum Kind: UInt8, Sendable {
            case double, int, string, bool, presence
            /// The slot's string starts with, ends with or contains constant `operand`.
            case search
            /// The slot's string is in the list of strings that is constant `operand`.
            case isAmong
            /// The slot's list has the string that is constant `operand`, sought by `in` or, with `detail` 1, by `exists`.
            case contains
            /// The instructions from `slot` up to `operand` leave a bool. This and what follows read no slot.
            case segment
            /// Lookup `slot` is true.
            case lookup
        }

        var kind: Kind
        var detail: UInt8 = 0
        var slot: Int32
        /// An immediate's bits, a constant or an instruction.
        var operand: Int64 = 0
        var onTrue: Int32
        var onFalse: Int32
    }

    var tests: [Test] = []
    var entry: Int32
}

extension CodeGenerator {
    /// The decision graph of the whole expression; nil where one would save nothing.
    func decision() -> Decision? {
        guard environment.isChecked, checked.resultType == .bool else { return nil }
        var tests: [Decision.Test] = []
        let entry = build(tree.root, Decision.match, Decision.noMatch, &tests)
        guard tests.contains(where: { $0.kind != .segment }) else { return nil }
        return Decision(tests: tests, entry: entry)
    }

    /// Adds the tests of a node after those that they lead to; returns the first.
    private func build(
        _ root: Int32,
        _ onTrue: Int32,
        _ onFalse: Int32,
        _ tests: inout [Decision.Test]
    ) -> Int32 {
        var (node, yes, no) = (root, onTrue, onFalse)
        while tree[node].kind == .not, folded[node] == nil {
            (yes, no) = (no, yes)
            node = tree.child(node, 0)
        }
        if case .bool(let value)? = folded[node] ?? literal(node) { return value ? yes : no }
        let kind = tree[node].kind
        guard kind == .and || kind == .or else { return leaf(node, yes, no, &tests) }
        var next = kind == .and ? yes : no
        for place in stride(from: tree.childCount(node) - 1, through: 0, by: -1) {
            let child = tree.child(node, place)
            next = kind == .and ? build(child, next, no, &tests) : build(child, yes, next, &tests)
        }
        return next
    }

    private func leaf(_ node: Int32, _ yes: Int32, _ no: Int32, _ tests: inout [Decision.Test]) -> Int32 {
        var test = Decision.Test(kind: .segment, slot: 0, onTrue: yes, onFalse: no)
        let range = ranges[Int(node)]
        test.slot = range.start
        test.operand = Int64(range.end)
        specialize(&test, Array(instructions[Int(range.start)..<Int(range.end)].prefix(7)))
        tests.append(test)
        return Int32(tests.count - 1)
    }

    /// Turns a segment of well-known instructions into a test of its own.
    private func specialize(_ test: inout Decision.Test, _ segment: [Instruction]) {
        guard let first = segment.first else { return }
        switch segment.map(\.operation) {
        case [.compareSlotDouble]: (test.kind, test.operand) = (.double, first.b)
        case [.compareSlotInt]: (test.kind, test.operand) = (.int, first.b)
        case [.equalSlotString]: (test.kind, test.operand) = (.string, first.b)
        case [.searchSlot]: (test.kind, test.operand) = (.search, first.b)
        case [.slot]: test.kind = .bool
        case [.hasSlot]: test.kind = .presence
        case [.lookup]: test.kind = .lookup
        case [.slot, .constant, .compare]:
            guard isIn(segment[2]), case .list(let list) = constants[Int(segment[1].a)],
                list.allSatisfy({ if case .string = $0 { true } else { false } })
            else { return }
            (test.kind, test.operand) = (.isAmong, Int64(segment[1].a))
        case [.constant, .slot, .compare]:
            guard isIn(segment[2]), case .string = constants[Int(first.a)] else { return }
            (test.kind, test.operand, test.slot) = (.contains, Int64(first.a), segment[1].a)
            return
        case [.slot, .loopBegin, .loopNext, .equalLocalString, .loopBody, .loopEnd]:
            guard segment[1].detail == SyntaxTree.Comprehension.exists.rawValue, segment[2].detail == 1,
                segment[3].detail == SyntaxTree.Operator.equal.rawValue, segment[3].a == segment[1].a + 3
            else { return }
            (test.kind, test.operand, test.detail) = (.contains, segment[3].b, 1)
        default: return
        }
        test.slot = first.a
        if segment.count == 1 { test.detail = first.detail }
    }

    private func isIn(_ instruction: Instruction) -> Bool {
        instruction.detail == SyntaxTree.Operator.in.rawValue
    }
}
