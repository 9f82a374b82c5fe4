/// A compiled expression: immutable, to be shared among threads and evaluated by many at once.
public struct Program: Sendable {
    let code: Code

    init(_ code: Code) {
        self.code = code
    }

    /// The source that was compiled.
    public var source: String { code.source }
    /// The slots that an evaluation may read, in order.
    public var slots: [Int] { code.slots }
    /// The names of the attributes or variables that an evaluation may read, in the order of their slots.
    public var attributes: [String] { code.slots.map { code.slotNames[$0] } }
    /// The most cost units that an evaluation could use if there were no limit; `UInt64.max` where that is unbounded.
    ///
    /// Strings and lists of the record are taken to be no longer than ``Limits/stringBytes`` and
    /// ``Limits/listElements``.
    public var worstCaseCost: UInt64 { code.worstCaseCost }
    /// Nodes of the parsed expression.
    public var nodeCount: Int { code.tree.nodes.count }
    /// Instructions of the compiled expression.
    public var instructionCount: Int { code.instructions.count }
    /// The type of the result; `dyn` in an unchecked environment.
    public var resultType: ValueType { code.type }
    /// The calls of host functions, by site.
    public var hostCalls: [HostCall] { code.hostCalls }
    /// Every lookup of the source, in the order in which they stand there; also those that no evaluation comes to, as in
    /// `true || in_group("STAFF")`.
    public var lookups: [Lookup] { code.lookups }

    /// Evaluates a rule over a record.
    ///
    /// Allocates nothing unless the expression builds strings, lists, maps or optionals, or needs a stack of more than
    /// some 40 values.
    ///
    /// - Parameters:
    ///   - record: The values by slot; slots past its end are absent.
    ///   - lookups: The values of lookups by number; those past its end are unknown. Only the numbers in ``lookups`` are
    ///     read.
    ///   - host: The functions that the rule may call.
    /// - Returns: `.error` also for a result that is not a bool.
    public func evaluate(
        _ record: UnsafeBufferPointer<Value>,
        lookups: UnsafeBufferPointer<LookupValue> = UnsafeBufferPointer(start: nil, count: 0),
        host: (any HostFunctions)? = nil
    ) -> Outcome {
        if code.entry >= 0, let answer = Interpreter.decide(code, record, lookups, host) {
            return answer ? .match : .noMatch
        }
        switch result(record, lookups, host) {
        case .bool(let value): return value ? .match : .noMatch
        case .error(let error): return .error(describe(error))
        default: return .error(describe(ErrorValue(.wrongResult, node: code.tree.root)))
        }
    }

    /// Evaluates a rule over a record.
    ///
    /// - Parameters:
    ///   - record: The values by slot; slots past its end are absent.
    ///   - lookups: The values of lookups by number; those past its end are unknown.
    ///   - host: The functions that the rule may call.
    /// - Returns: `.error` also for a result that is not a bool.
    public func evaluate(
        _ record: [Value],
        lookups: [LookupValue] = [],
        host: (any HostFunctions)? = nil
    ) -> Outcome {
        record.withUnsafeBufferPointer { record in
            lookups.withUnsafeBufferPointer { evaluate(record, lookups: $0, host: host) }
        }
    }

    /// Evaluates an expression of any type.
    ///
    /// - Parameters:
    ///   - record: The values by slot; slots past its end are absent.
    ///   - lookups: The values of lookups by number; those past its end are unknown.
    ///   - host: The functions that the expression may call.
    /// - Throws: ``EvaluationError``.
    public func value(
        _ record: [Value] = [],
        lookups: [LookupValue] = [],
        host: (any HostFunctions)? = nil
    ) throws(EvaluationError) -> Value {
        let value = record.withUnsafeBufferPointer { record in
            lookups.withUnsafeBufferPointer { result(record, $0, host) }
        }
        if case .error(let error) = value { throw describe(error) }
        return value
    }

    @inline(__always)
    private func result(
        _ record: UnsafeBufferPointer<Value>,
        _ lookups: UnsafeBufferPointer<LookupValue>,
        _ host: (any HostFunctions)?
    ) -> Value {
        var evaluation = Evaluation(budget: code.limits.cost, limits: code.limits, host: host, lookups: lookups)
        var tracer = NoTracer()
        return Interpreter.run(code, record: record, evaluation: &evaluation, tracer: &tracer)
    }

    /// The cost units that an evaluation uses, for tests of the bound and for samples.
    package func cost(_ record: [Value], lookups: [LookupValue] = [], host: (any HostFunctions)? = nil) -> Int {
        lookups.withUnsafeBufferPointer { lookups in
            record.withUnsafeBufferPointer { cost($0, lookups: lookups, host: host) }
        }
    }

    /// The cost units that an evaluation uses. It evaluates.
    package func cost(
        _ record: UnsafeBufferPointer<Value>,
        lookups: UnsafeBufferPointer<LookupValue>,
        host: (any HostFunctions)? = nil
    ) -> Int {
        var evaluation = Evaluation(budget: code.limits.cost, limits: code.limits, host: host, lookups: lookups)
        var tracer = NoTracer()
        _ = Interpreter.run(code, record: record, evaluation: &evaluation, tracer: &tracer)
        // What could not be paid for was charged all the same.
        return min(code.limits.cost - evaluation.budget, code.limits.cost)
    }

    /// Puts an error into words and places.
    func describe(_ error: ErrorValue) -> EvaluationError {
        var node = error.node
        var attribute: String?
        var subject: String?
        let tree = code.tree
        if error.code == .attributeAbsent {
            attribute = code.slotNames.indices.contains(Int(error.detail)) ? code.slotNames[Int(error.detail)] : nil
            // A comparison reads its operand itself; the error is the operand's.
            if node >= 0, tree[node].kind == .binary || tree[node].kind == .method { node = tree.child(node, 0) }
        }
        if node >= 0 {
            switch tree[node].kind {
            case .call where error.code == .lookupUnknown, .method where error.code == .lookupUnknown:
                let lookup = code.lookups.first { $0.position.offset == Int(tree[node].position) }
                subject = lookup.map { "\($0.function)(\"\($0.name)\")" }
            case .identifier, .select, .has, .call, .method: subject = tree.name(node)
            case .binary: subject = tree.operator(node).symbol
            case .not: subject = "!"
            case .negate: subject = "-"
            case .index:
                let key = tree.child(node, 1)
                if tree[key].kind == .literal, case .string(let text) = tree.constants[Int(tree[key].payload)] {
                    subject = text
                }
            default: break
            }
        }
        let offset = node >= 0 ? Int(tree[node].position) : 0
        return EvaluationError(
            code: error.code,
            attribute: attribute,
            position: code.map.position(offset),
            hostCode: error.code == .hostFunction ? error.detail : 0,
            subject: subject
        )
    }
}
