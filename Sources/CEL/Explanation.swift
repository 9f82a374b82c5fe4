/// What an evaluation found: the value of every sub-expression that it computed, from the program that decides.
public struct Explanation: Sendable {
    /// A sub-expression.
    public struct Step: Sendable {
        /// What became of a sub-expression.
        public enum Result: Sendable, Equatable {
            /// It has this value.
            case value(Value)
            /// It failed.
            case error(EvaluationError)
            /// It was not needed, because something else had decided already.
            case notEvaluated
        }

        /// The source of the sub-expression.
        public var text: String
        /// The range of the source in bytes of UTF-8.
        public var range: Range<Int>
        /// Where it begins.
        public var position: SourcePosition
        /// How deep it stands in the whole, which is at 0.
        public var depth: Int
        /// What became of it; in a comprehension, at its last element.
        public var result: Result
        /// The values at each element of the comprehensions about it, at most 32 of them; one outside of any.
        public var results: [Result]
        /// How often it was evaluated.
        public var count: Int
        /// Whether the outcome hangs on it: of all steps the innermost whose value alone makes the whole what it is. It is the
        /// first operand that makes an `&&` false or an `||` true, the branch that a conditional took, what failed of
        /// something that failed; the whole of what hangs on several parts. One step of an explanation is.
        public var isDeciding: Bool
    }

    /// The source that was compiled.
    public var source: String
    /// What the rule says.
    public var outcome: Outcome
    /// The sub-expressions; each before its parts.
    public var steps: [Step]
    /// The names of the attributes or variables that the deciding step reads, in order of the source.
    public var decidingAttributes: [String]
    /// The cost units that the evaluation used.
    public var cost: Int

    /// One line for each sub-expression, indented by depth: its source and its value.
    public var rendered: String {
        let lines = steps.map { step in
            let indent = String(repeating: "  ", count: min(step.depth, 40))
            var text = step.text.unicodeScalars.map { $0 == "\n" || $0 == "\r" ? " " : String($0) }.joined()
            if text.unicodeScalars.count > 80 { text = String(text.unicodeScalars.prefix(79)) + "…" }
            let shown = step.results.isEmpty ? [step.result] : Array(step.results.prefix(8))
            var values = shown.map(Self.show).joined(separator: ", ")
            if step.count > shown.count { values += ", … (\(step.count) times)" }
            return "\(indent)\(text)  →  \(values)"
        }
        let answer: String
        switch outcome {
        case .match: answer = "match"
        case .noMatch: answer = "no match"
        case .error(let error): answer = "error \(error.code.rawValue) at \(error)"
        }
        return (lines + [answer]).joined(separator: "\n")
    }

    private static func show(_ result: Step.Result) -> String {
        switch result {
        case .value(let value):
            let text = value.description
            return text.unicodeScalars.count > 120 ? String(text.unicodeScalars.prefix(119)) + "…" : text
        case .error(let error): return "error: \(error.message)"
        case .notEvaluated: return "not evaluated"
        }
    }
}

/// Keeps what each node was found to be.
private struct Recorder: Tracer {
    static var isActive: Bool { true }
    let tree: SyntaxTree
    var values: [Int32: [Value]] = [:]
    var counts: [Int32: Int] = [:]

    mutating func record(_ node: Int32, _ value: Value) {
        counts[node, default: 0] += 1
        values[node, default: []].append(value)
        if let count = values[node]?.count, count > 32 { values[node]?.remove(at: 31) }
    }

    mutating func recordOperands(_ node: Int32, _ left: Value, _ right: Value) {
        record(tree.child(node, 0), left)
        record(tree.child(node, 1), right)
    }
}

extension Program {
    /// Evaluates a rule as ``evaluate(_:lookups:host:)-([Value],_)`` does, keeping the value of every sub-expression.
    ///
    /// - Parameters:
    ///   - record: The values by slot; slots past its end are absent.
    ///   - lookups: The values of lookups by number; those past its end are unknown.
    ///   - host: The functions that the rule may call.
    public func explain(
        _ record: [Value],
        lookups: [LookupValue] = [],
        host: (any HostFunctions)? = nil
    ) -> Explanation {
        var recorder = Recorder(tree: code.tree)
        let (value, budget) = lookups.withUnsafeBufferPointer { lookups in
            var evaluation = Evaluation(budget: code.limits.cost, limits: code.limits, host: host, lookups: lookups)
            let value = record.withUnsafeBufferPointer {
                Interpreter.run(code, record: $0, evaluation: &evaluation, tracer: &recorder)
            }
            return (value, evaluation.budget)
        }
        let outcome: Outcome
        switch value {
        case .bool(let answer): outcome = answer ? .match : .noMatch
        case .error(let error): outcome = .error(describe(error))
        default: outcome = .error(describe(ErrorValue(.wrongResult, node: code.tree.root)))
        }
        recorder.values[code.tree.root] = [value]
        recorder.counts[code.tree.root] = 1
        let deciding = DecidingStep(
            code,
            results: { [recorder] in results($0, recorder).last ?? .notEvaluated },
            isPart: isPart
        )
        let decides = deciding.find()
        return Explanation(
            source: source,
            outcome: outcome,
            steps: steps(recorder, deciding: decides),
            decidingAttributes: deciding.attributes(in: decides),
            cost: code.limits.cost - budget
        )
    }

    private func steps(_ recorder: Recorder, deciding: Int32) -> [Explanation.Step] {
        let tree = code.tree
        var steps: [Explanation.Step] = []
        // Depth first without recursion: a chain of operators is as deep as it is long.
        var pending: [(node: Int32, depth: Int)] = [(tree.root, 0)]
        while let (node, depth) = pending.popLast() {
            let entry = tree[node]
            let results = results(node, recorder)
            steps.append(
                Explanation.Step(
                    text: text(entry),
                    range: Int(entry.start)..<Int(entry.end),
                    position: code.map.position(Int(entry.start)),
                    depth: depth,
                    result: results.last ?? .notEvaluated,
                    results: results,
                    count: recorder.counts[node] ?? results.count,
                    isDeciding: node == deciding
                )
            )
            for place in stride(from: tree.childCount(node) - 1, through: 0, by: -1) {
                let child = tree.child(node, place)
                if isPart(child, node) { pending.append((child, depth + 1)) }
            }
        }
        return steps
    }

    /// Whether a child is a sub-expression of interest: literals and the record's name are plain to see.
    private func isPart(_ child: Int32, _ node: Int32) -> Bool {
        let tree = code.tree
        if tree[child].kind == .literal { return false }
        switch code.references[Int(node)] {
        case .slot, .type: return false
        case .qualified, .qualifiedHost: return child != tree.child(node, 0)
        default: return true
        }
    }

    private func text(_ entry: SyntaxTree.Node) -> String {
        let utf8 = source.utf8
        let from = utf8.index(utf8.startIndex, offsetBy: Int(entry.start))
        return String(source[from..<utf8.index(from, offsetBy: Int(entry.end - entry.start))])
    }

    private func results(_ node: Int32, _ recorder: Recorder) -> [Explanation.Step.Result] {
        var values = recorder.values[node] ?? []
        if values.isEmpty, let folded = code.folded[node] { values = [folded] }
        if values.isEmpty {
            // A conditional's value is that of its chosen branch, a binding's that of its body.
            let tree = code.tree
            switch tree[node].kind {
            case .conditional:
                if case .value(.bool(let condition))? = results(tree.child(node, 0), recorder).last {
                    return results(tree.child(node, condition ? 1 : 2), recorder)
                }
                return results(tree.child(node, 0), recorder)
            case .comprehension where tree.comprehension(node) == .bind: return results(tree.child(node, 1), recorder)
            case .literal: values = [tree.constants[Int(tree[node].payload)]]
            case .method:
                if tree.childCount(node) > 1, tree.name(node) == "orValue" || tree.name(node) == "or" {
                    return results(tree.child(node, 1), recorder)
                }
            default: break
            }
        }
        return values.map { value in
            if case .error(let error) = value { return .error(describe(error)) }
            return .value(value)
        }
    }
}
