/// Turns a checked tree into instructions, folding constants on the way.
struct CodeGenerator {
    let checked: CheckedTree
    let environment: Environment
    var instructions: [Instruction] = []
    var nodes: [Int32] = []
    var constants: [Value] = []
    var patterns: [Pattern] = []
    var folded: [Int32: Value] = [:]
    var hostCalls: [HostCall] = []
    var maximumDepth = 0
    /// The worst that the instructions so far can cost; saturating.
    var cost: UInt64 = 0
    var depth = 0
    /// How often the instructions so far read something that only an evaluation knows, and locals.
    var reads = 0
    var localReads = 0
    /// The lowest local read by the comprehension being generated.
    var lowestLocal = Int32.max
    /// What folding may still cost in this compilation.
    private var foldingBudget = 20_000
    /// The instructions of each node.
    var ranges: [(start: Int32, end: Int32)]
    private let map: SourceMap

    var tree: SyntaxTree { _read { yield checked.tree } }

    static func generate(
        _ checked: CheckedTree,
        environment: Environment,
        source: String,
        map: SourceMap
    ) throws(SourceError) -> Code {
        var generator = CodeGenerator(checked, environment, map)
        try generator.generate(checked.tree.root)
        let slots = generator.finish()
        return Code(generator, slots: slots, source: source, map: map)
    }

    private init(_ checked: CheckedTree, _ environment: Environment, _ map: SourceMap) {
        self.checked = checked
        self.environment = environment
        self.map = map
        ranges = Array(repeating: (0, 0), count: checked.tree.nodes.count)
        instructions.reserveCapacity(checked.tree.nodes.count + 8)
        nodes.reserveCapacity(checked.tree.nodes.count + 8)
    }

    /// Numbers the host calls that are left after folding, and lists the slots that are read.
    private mutating func finish() -> [Int] {
        var slots: Set<Int> = []
        for place in instructions.indices {
            let instruction = instructions[place]
            switch instruction.operation {
            case .slot, .slotOptional, .slotOr, .hasSlot, .compareSlotInt, .compareSlotDouble, .equalSlotString,
                .searchSlot:
                slots.insert(Int(instruction.a))
            case .callHost:
                instructions[place].b = Int64(hostCalls.count)
                hostCalls.append(hostCall(nodes[place], Int(instruction.a)))
            default: break
            }
        }
        return slots.sorted()
    }

    private func hostCall(_ node: Int32, _ function: Int) -> HostCall {
        let declaration = environment.functions[function]
        var arguments = (0..<tree.childCount(node)).map { tree.child(node, $0) }
        if case .qualifiedHost = checked.references[Int(node)] { arguments.removeFirst() }
        return HostCall(
            function: declaration.name,
            constants: arguments.map { tree[$0].kind == .literal ? tree.constants[Int(tree[$0].payload)] : nil },
            position: map.position(Int(tree[node].position))
        )
    }

    // MARK: Emitting

    /// Adds an instruction that changes the stack's depth by `push`; returns its place.
    @discardableResult
    mutating func emit(
        _ operation: Instruction.Operation,
        detail: UInt8 = 0,
        count: Int = 0,
        a: Int32 = 0,
        b: Int64 = 0,
        push: Int,
        node: Int32 = -1,
        cost: UInt64 = 0
    ) -> Int {
        instructions.append(
            Instruction(operation: operation, detail: detail, count: UInt16(truncatingIfNeeded: count), a: a, b: b)
        )
        nodes.append(node)
        depth += push
        maximumDepth = max(maximumDepth, depth)
        charge(cost)
        charge(UInt64(operation.cost))
        return instructions.count - 1
    }

    mutating func charge(_ units: UInt64) {
        let (sum, overflow) = cost.addingReportingOverflow(units)
        cost = overflow ? .max : sum
    }

    mutating func constant(_ value: Value, node: Int32 = -1) {
        emit(.constant, a: add(value), push: 1, node: node)
    }

    mutating func add(_ value: Value) -> Int32 {
        constants.append(value)
        return Int32(constants.count - 1)
    }

    /// Makes the jump at a place lead to the next instruction.
    mutating func land(_ place: Int) {
        instructions[place].b = Int64(instructions.count)
    }

    // MARK: The walk

    mutating func generate(_ root: Int32) throws(SourceError) {
        let start = instructions.count
        let before = (reads, localReads, cost)
        var spine: [Int32] = []
        var node = root
        while let next = firstChild(node) {
            spine.append(node)
            node = next
        }
        try leaf(node)
        fold(node, from: start, before)
        while let node = spine.popLast() {
            try finish(node, from: start)
            fold(node, from: start, before)
        }
    }

    /// The child generated before its parent; nil for nodes generated as a whole.
    private func firstChild(_ node: Int32) -> Int32? {
        let entry = tree[node]
        switch entry.kind {
        case .literal, .identifier, .call, .list, .map: return nil
        case .select, .has:
            if case .none = checked.references[Int(node)] { return tree.child(node, 0) }
            return nil
        case .method:
            switch checked.references[Int(node)] {
            case .qualified, .qualifiedHost, .lookup, .unknown: return nil
            case .builtin(.orValue) where slotOptional(tree.child(node, 0)) != nil: return nil
            default: return fusedSearch(node) == nil ? tree.child(node, 0) : nil
            }
        case .binary: return fusedComparison(node) == nil ? tree.child(node, 0) : nil
        default: return tree.child(node, 0)
        }
    }

    private mutating func leaf(_ node: Int32) throws(SourceError) {
        switch tree[node].kind {
        case .literal: constant(tree.constants[Int(tree[node].payload)], node: node)
        case .identifier, .select: name(node)
        case .has:
            guard case .slot(let slot) = checked.references[Int(node)] else { return name(node) }
            reads += 1
            emit(.hasSlot, a: slot, push: 1, node: node)
        case .call: try call(node)
        case .list: try list(node)
        case .map: try mapLiteral(node)
        case .method:
            if case .builtin(.orValue) = checked.references[Int(node)], let slot = slotOptional(tree.child(node, 0)) {
                reads += 1
                let jump = emit(.slotOr, a: slot, push: 0, node: node)
                try generate(tree.child(node, 1))
                land(jump)
            } else if let (search, text) = fusedSearch(node) {
                if search.operation == .searchLocal {
                    localReads += 1
                    lowestLocal = min(lowestLocal, search.a)
                } else {
                    reads += 1
                }
                emit(
                    search.operation,
                    detail: search.detail,
                    a: search.a,
                    b: Int64(add(.string(text))),
                    push: 1,
                    node: node,
                    cost: UInt64(environment.limits.stringBytes >> 4 + text.utf8.count >> 4)
                )
            } else {
                try call(node)
            }
        case .binary:
            if let instruction = fusedComparison(node) {
                var b = instruction.b
                var cost: UInt64 = 0
                if case .string(let text)? = literal(tree.child(node, 1)), instruction.operation != .compareSlotInt {
                    b = Int64(add(.string(text)))
                    cost = UInt64(text.utf8.count >> 4)
                }
                if instruction.operation == .equalLocalString {
                    localReads += 1
                    lowestLocal = min(lowestLocal, instruction.a)
                } else {
                    reads += 1
                }
                emit(
                    instruction.operation,
                    detail: instruction.detail,
                    a: instruction.a,
                    b: b,
                    push: 1,
                    node: node,
                    cost: cost
                )
            }
        default: break
        }
    }

    /// Generates a node whose first child's value is on the stack.
    private mutating func finish(_ node: Int32, from start: Int) throws(SourceError) {
        let entry = tree[node]
        switch entry.kind {
        case .select: emit(.select, detail: entry.detail, a: field(node), push: 0, node: node)
        case .has: emit(.has, a: field(node), push: 0, node: node)
        case .index:
            try generate(tree.child(node, 1))
            emit(.index, detail: entry.detail, push: -1, node: node)
        case .method: try finishMethod(node)
        case .negate: emit(.negate, push: 0, node: node)
        case .not: emit(.not, push: 0, node: node)
        case .binary:
            try generate(tree.child(node, 1))
            let op = tree.operator(node)
            switch op {
            case .add, .subtract, .multiply, .divide, .modulo:
                emit(.arithmetic, detail: op.rawValue, push: -1, node: node, cost: arithmeticCost(node))
            default:
                emit(.compare, detail: op.rawValue, push: -1, node: node, cost: comparisonCost(node, op))
            }
        case .and, .or: try connective(node, from: start)
        case .conditional: try conditional(node)
        case .comprehension: try comprehension(node)
        case .literal, .identifier, .call, .list, .map: break
        }
    }

    private mutating func field(_ node: Int32) -> Int32 { add(.string(tree.name(node))) }

    /// A name that stands for a value.
    private mutating func name(_ node: Int32) {
        switch checked.references[Int(node)] {
        case .slot(let slot):
            reads += 1
            emit(
                tree[node].kind == .select && tree[node].detail == 1 ? .slotOptional : .slot,
                a: slot,
                push: 1,
                node: node
            )
        case .local(let local):
            localReads += 1
            lowestLocal = min(lowestLocal, local)
            emit(.local, a: local, push: 1, node: node)
        case .type(let name): constant(.type(name), node: node)
        default: constant(.error(ErrorValue(.unknownVariable, node: node)), node: node)
        }
    }

    // MARK: Fusion

    private func slot(_ node: Int32) -> Int32? {
        let entry = tree[node]
        guard entry.kind == .identifier || entry.kind == .select && entry.detail == 0,
            case .slot(let slot) = checked.references[Int(node)]
        else { return nil }
        return slot
    }

    private func slotOptional(_ node: Int32) -> Int32? {
        let entry = tree[node]
        guard entry.kind == .select, entry.detail == 1, case .slot(let slot) = checked.references[Int(node)] else {
            return nil
        }
        return slot
    }

    func literal(_ node: Int32) -> Value? {
        tree[node].kind == .literal ? tree.constants[Int(tree[node].payload)] : nil
    }

    /// The one instruction for a comparison of a name with a literal, where there is one.
    private func fusedComparison(_ node: Int32) -> Instruction? {
        let op = tree.operator(node)
        guard op.precedence == 3, op != .in, let value = literal(tree.child(node, 1)) else { return nil }
        let operand = tree.child(node, 0)
        if let slot = slot(operand) {
            switch value {
            case .int(let i):
                return Instruction(operation: .compareSlotInt, detail: op.rawValue, a: slot, b: i)
            case .double(let d):
                let bits = Int64(bitPattern: d.bitPattern)
                return Instruction(operation: .compareSlotDouble, detail: op.rawValue, a: slot, b: bits)
            case .string where op == .equal || op == .notEqual:
                return Instruction(operation: .equalSlotString, detail: op.rawValue, a: slot)
            default: return nil
            }
        }
        if case .string = value, op == .equal || op == .notEqual, tree[operand].kind == .identifier,
            case .local(let local) = checked.references[Int(operand)]
        {
            return Instruction(operation: .equalLocalString, detail: op.rawValue, a: local)
        }
        return nil
    }

    /// The one instruction for `name.startsWith("…")` and the like.
    private func fusedSearch(_ node: Int32) -> (Instruction, String)? {
        guard case .builtin(let builtin) = checked.references[Int(node)],
            builtin == .startsWith || builtin == .endsWith || builtin == .contains, tree.childCount(node) == 2,
            case .string(let text)? = literal(tree.child(node, 1))
        else { return nil }
        let target = tree.child(node, 0)
        if let slot = slot(target) {
            return (Instruction(operation: .searchSlot, detail: builtin.rawValue, a: slot), text)
        }
        guard tree[target].kind == .identifier, case .local(let local) = checked.references[Int(target)] else {
            return nil
        }
        return (Instruction(operation: .searchLocal, detail: builtin.rawValue, a: local), text)
    }

    // MARK: Folding

    /// Replaces what was generated for a node by its value, if nothing in it depends on an evaluation and it succeeds.
    private mutating func fold(_ node: Int32, from start: Int, _ before: (Int, Int, UInt64)) {
        defer { ranges[Int(node)] = (Int32(start), Int32(instructions.count)) }
        guard environment.foldsConstants else { return }
        let isConstant = instructions.count == start + 1 && instructions[start].operation == .constant
        if !isConstant {
            guard reads == before.0, localReads == before.1 else { return }
            guard foldingBudget > 0, let value = evaluate(from: start) else {
                // What cannot be folded is not tried again as a part of something larger.
                reads += 1
                return
            }
            replace(from: start, with: value, node: node)
        }
        (reads, localReads, cost) = before
    }

    private mutating func evaluate(from start: Int) -> Value? {
        var evaluation = Evaluation(
            budget: min(environment.limits.cost, foldingBudget),
            limits: environment.limits,
            host: nil
        )
        let budget = evaluation.budget
        let value = Interpreter.run(
            instructions,
            nodes,
            constants,
            patterns,
            from: start,
            locals: checked.localCount,
            depth: maximumDepth,
            evaluation: &evaluation
        )
        foldingBudget -= budget - max(0, evaluation.budget)
        if case .error = value { return nil }
        return isSmall(value) ? value : nil
    }

    /// Cuts the instructions off at a place where the stack was as deep as it is without this node's value.
    mutating func replace(from start: Int, with value: Value, node: Int32) {
        instructions.removeSubrange(start...)
        nodes.removeSubrange(start...)
        folded[node] = value
        emit(.constant, a: add(value), push: 0, node: node)
    }

    /// Whether a value is fit to be kept with the program.
    private func isSmall(_ value: Value) -> Bool {
        switch value {
        case .string(let s): s.utf8.count <= environment.limits.sourceBytes
        case .bytes(let b): b.count <= environment.limits.sourceBytes
        case .list(let list): list.count <= environment.limits.literalElements && list.allSatisfy(isSmall)
        case .map(let map): map.count <= environment.limits.literalElements && map.values.allSatisfy(isSmall)
        default: true
        }
    }
}
