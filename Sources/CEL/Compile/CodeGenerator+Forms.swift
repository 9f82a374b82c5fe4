/// Literals, calls, connectives and comprehensions.
extension CodeGenerator {
    mutating func list(_ node: Int32) throws(SourceError) {
        let count = tree.childCount(node)
        for place in 0..<count { try generate(tree.child(node, place)) }
        emit(.list, count: count, a: optionals(node), push: 1 - count, node: node, cost: UInt64(count))
    }

    mutating func mapLiteral(_ node: Int32) throws(SourceError) {
        let count = tree.childCount(node)
        for place in 0..<count { try generate(tree.child(node, place)) }
        emit(.map, count: count / 2, a: optionals(node), push: 1 - count, node: node, cost: UInt64(count))
    }

    /// The constant that says which entries of a literal are optional, or -1.
    private mutating func optionals(_ node: Int32) -> Int32 {
        let place = tree[node].payload
        guard place >= 0 else { return -1 }
        return add(.list(tree.optionals[Int(place)].map { .bool($0) }))
    }

    // MARK: Calls

    mutating func call(_ node: Int32) throws(SourceError) {
        var from = 0
        switch checked.references[Int(node)] {
        case .qualified, .qualifiedHost: from = 1
        case .unknown: return constant(.error(ErrorValue(.unknownFunction, node: node)), node: node)
        case .lookup(let number):
            reads += 1
            emit(.lookup, a: number, push: 1, node: node)
            return
        default: break
        }
        let count = tree.childCount(node) - from
        if case .builtin(.matches) = checked.references[Int(node)], count == 2,
            try match(node, tree.child(node, 0), tree.child(node, 1))
        {
            return
        }
        for place in from..<tree.childCount(node) { try generate(tree.child(node, place)) }
        invoke(node, count: count)
    }

    mutating func finishMethod(_ node: Int32) throws(SourceError) {
        let count = tree.childCount(node)
        switch checked.references[Int(node)] {
        case .builtin(.orValue) where count == 2:
            let jump = emit(.optionalOr, push: -1, node: node)
            try generate(tree.child(node, 1))
            land(jump)
        case .builtin(.or) where count == 2:
            let jump = emit(.optionalOr, detail: 1, push: -1, node: node)
            try generate(tree.child(node, 1))
            emit(.optionalCheck, push: 0, node: node)
            land(jump)
        case .builtin(.matches) where count == 2:
            if try pattern(node, tree.child(node, 1)) { return }
            fallthrough
        default:
            for place in 1..<count { try generate(tree.child(node, place)) }
            invoke(node, count: count)
        }
    }

    private mutating func invoke(_ node: Int32, count: Int) {
        switch checked.references[Int(node)] {
        case .builtin(let builtin), .qualified(let builtin):
            emit(
                .call,
                detail: builtin.rawValue,
                count: count,
                push: 1 - count,
                node: node,
                cost: callCost(builtin, node)
            )
        case .host(let number), .qualifiedHost(let number):
            reads += 1
            let units = environment.functions[Int(number)].cost
            emit(.callHost, count: count, a: number, push: 1 - count, node: node, cost: UInt64(units))
        default: break
        }
    }

    private mutating func match(_ node: Int32, _ target: Int32, _ argument: Int32) throws(SourceError) -> Bool {
        guard tree[argument].kind == .literal else { return false }
        try generate(target)
        if try pattern(node, argument) { return true }
        try generate(argument)
        invoke(node, count: 2)
        return true
    }

    /// Compiles a literal pattern and applies it to the value on the stack.
    private mutating func pattern(_ node: Int32, _ argument: Int32) throws(SourceError) -> Bool {
        guard tree[argument].kind == .literal, case .string(let text) = tree.constants[Int(tree[argument].payload)]
        else { return false }
        do throws(PatternError) {
            let pattern = try Pattern(text, limit: environment.limits.patternInstructions)
            patterns.append(pattern)
            let units = UInt64(pattern.cost(bytes: environment.limits.stringBytes))
            emit(.match, a: Int32(patterns.count - 1), push: 0, node: node, cost: units)
            return true
        } catch {
            // Elsewhere a malformed pattern is an error of the evaluation.
            guard environment.limits.literalPatternsOnly, environment.isChecked else { return false }
            throw SourceError(
                "malformed pattern: \(error.message) at its byte \(error.offset)",
                at: Int(tree[argument].start)
            )
        }
    }

    // MARK: Connectives

    mutating func connective(_ node: Int32, from start: Int) throws(SourceError) {
        let isOr = tree[node].kind == .or
        let jumpOperation = isOr ? Instruction.Operation.jumpIfTrue : .jumpIfFalse
        if isConstant(from: start, isOr) { return replace(from: start, with: .bool(isOr), node: node) }
        var jumps = [emit(jumpOperation, push: 0, node: node)]
        let count = tree.childCount(node)
        for place in 1..<count {
            let termStart = instructions.count
            try generate(tree.child(node, place))
            // Whatever the others are, a constant that decides decides.
            if environment.foldsConstants, isConstant(from: termStart, isOr) {
                depth -= 1
                return replace(from: start, with: .bool(isOr), node: node)
            }
            jumps.append(emit(isOr ? .or : .and, count: place == count - 1 ? 1 : 0, push: -1, node: node))
        }
        for jump in jumps { land(jump) }
    }

    private func isConstant(from start: Int, _ decisive: Bool) -> Bool {
        guard environment.foldsConstants, instructions.count == start + 1, instructions[start].operation == .constant,
            case .bool(decisive) = constants[Int(instructions[start].a)]
        else { return false }
        return true
    }

    mutating func conditional(_ node: Int32) throws(SourceError) {
        let branch = emit(.branch, push: -1, node: node)
        let before = cost
        try generate(tree.child(node, 1))
        let yesCost = cost
        cost = before
        let jump = emit(.jump, push: -1)
        instructions[branch].a = Int32(instructions.count)
        try generate(tree.child(node, 2))
        cost = max(cost, yesCost)
        land(jump)
        land(branch)
    }

    // MARK: Comprehensions

    mutating func comprehension(_ node: Int32) throws(SourceError) {
        let kind = tree.comprehension(node)
        let base = checked.locals[Int(node)]
        let localReadsBefore = localReads
        let lowestBefore = lowestLocal
        lowestLocal = .max
        switch kind {
        case .bind: try bind(node, base)
        case .optMap, .optFlatMap: try optional(node, kind, base)
        default: try loop(node, kind, base)
        }
        // What reads no locals but its own can be folded as a whole.
        if lowestLocal >= base { localReads = localReadsBefore }
        lowestLocal = min(lowestBefore, lowestLocal)
    }

    private mutating func bind(_ node: Int32, _ base: Int32) throws(SourceError) {
        emit(.setLocal, a: base, push: -1)
        try generate(tree.child(node, 1))
        emit(.clearLocal, a: base, push: 0)
    }

    private mutating func optional(
        _ node: Int32,
        _ kind: SyntaxTree.Comprehension,
        _ base: Int32
    ) throws(SourceError) {
        let begin = emit(.optionalBegin, a: base, push: -1, node: node)
        try generate(tree.child(node, 1))
        emit(kind == .optMap ? .optionalWrap : .optionalCheck, push: 0, node: node)
        emit(.clearLocal, a: base, push: 0)
        land(begin)
    }

    private mutating func loop(_ node: Int32, _ kind: SyntaxTree.Comprehension, _ base: Int32) throws(SourceError) {
        let bound = bound(tree.child(node, 0))
        let begin = emit(.loopBegin, detail: kind.rawValue, a: base, push: -1, node: node)
        let before = cost
        let next = emit(.loopNext, detail: tree[node].payload2 >= 0 ? 2 : 1, a: base, push: 0)
        let count = tree.childCount(node)
        if count == 3 {
            try generate(tree.child(node, 1))
            emit(.loopFilter, a: base, b: Int64(next), push: -1, node: node)
        }
        try generate(tree.child(node, count - 1))
        emit(.loopBody, detail: kind.rawValue, a: base, b: Int64(next), push: -1, node: node)
        let (units, overflow) = (cost &- before).multipliedReportingOverflow(by: UInt64(bound))
        cost = before
        charge(overflow ? .max : units)
        charge(1)  // The end is looked for once more than there are elements.
        land(next)
        emit(.loopEnd, detail: kind.rawValue, a: base, push: 1, node: node)
        land(begin)
    }
}
