extension Explanation {
    /// The sub-expression that the outcome hangs on; there is always one.
    public var deciding: Step? { steps.first { $0.isDeciding } }
}

/// Finds the smallest sub-expression whose value alone makes the whole what it is.
struct DecidingStep {
    private let code: Code
    private let results: (Int32) -> Explanation.Step.Result
    private let isPart: (_ child: Int32, _ node: Int32) -> Bool

    /// - Parameters:
    ///   - results: What became of a node.
    ///   - isPart: Whether a child of a node is a sub-expression of interest.
    init(
        _ code: Code,
        results: @escaping (Int32) -> Explanation.Step.Result,
        isPart: @escaping (_ child: Int32, _ node: Int32) -> Bool
    ) {
        self.code = code
        self.results = results
        self.isPart = isPart
    }

    /// Without recursion: a chain of operators is as deep as it is long.
    func find() -> Int32 {
        var node = code.tree.root
        while let next = next(node) { node = next }
        return node
    }

    /// The names of the attributes or variables that are read in a sub-expression, in order of the source.
    func attributes(in node: Int32) -> [String] {
        var names: [String] = []
        var pending = [node]
        while let node = pending.popLast() {
            if case .slot(let slot) = code.references[Int(node)], !names.contains(code.slotNames[Int(slot)]) {
                names.append(code.slotNames[Int(slot)])
            }
            for place in stride(from: code.tree.childCount(node) - 1, through: 0, by: -1) {
                pending.append(code.tree.child(node, place))
            }
        }
        return names
    }

    /// The part that decides what `node` is; `nil` where it takes the whole of it.
    private func next(_ node: Int32) -> Int32? {
        let result = results(node)
        let parts = (0..<code.tree.childCount(node)).map { code.tree.child(node, $0) }.filter { isPart($0, node) }
        if case .error = result {
            return parts.first { if case .error = results($0) { true } else { false } }
        }
        switch code.tree[node].kind {
        case .and where result == .value(.bool(false)), .or where result == .value(.bool(true)):
            return parts.first { results($0) == result }
        case .not: return parts.first
        case .conditional:
            let condition = code.tree.child(node, 0)
            guard case .value(.bool(let value)) = results(condition) else { return nil }
            let branch = code.tree.child(node, value ? 1 : 2)
            // A branch that is plain to see leaves the decision to the condition.
            return isPart(branch, node) ? branch : isPart(condition, node) ? condition : nil
        case .comprehension where code.tree.comprehension(node) == .bind:
            let body = code.tree.child(node, 1)
            return isPart(body, node) ? body : nil
        default: return nil
        }
    }
}
