/// The instructions that need not be as fast as comparisons and jumps.
extension Machine {
    /// Executes an instruction and returns the place of the next.
    @inline(never)
    mutating func execute(_ instruction: Instruction, pc: Int, _ evaluation: inout Evaluation) -> Int {
        let node = code.nodes[pc]
        switch instruction.operation {
        case .compare, .arithmetic:
            let right = pop()
            let op = SyntaxTree.Operator(rawValue: instruction.detail) ?? .equal
            let value =
                instruction.operation == .compare
                ? Operators.compare(op, peek, right, &evaluation) : Operators.arithmetic(op, peek, right, &evaluation)
            replaceTop(located(value, node))
        case .negate: replaceTop(located(Operators.negate(peek), node))
        case .select:
            let field = code.constants[Int(instruction.a)]
            let value = Operators.select(
                peek,
                field,
                isOptional: instruction.detail == 1,
                isField: true,
                &evaluation
            )
            replaceTop(located(value, node))
        case .index:
            let key = pop()
            let value = Operators.select(
                peek,
                key,
                isOptional: instruction.detail == 1,
                isField: false,
                &evaluation
            )
            replaceTop(located(value, node))
        case .has: replaceTop(located(Operators.has(peek, code.constants[Int(instruction.a)]), node))
        case .slotOptional:
            let value = slot(instruction.a, node: node)
            if case .error = value { push(.optional(nil)) } else { push(.optional(value)) }
        case .slotOr:
            guard isPresent(instruction.a) else { return pc + 1 }
            push(record[Int(instruction.a)])
            return instruction.target
        case .list: makeList(instruction, node, &evaluation)
        case .map: makeMap(instruction, node, &evaluation)
        case .branch:
            let condition = pop()
            switch condition {
            case .bool(true): return pc + 1
            case .bool: return Int(instruction.a)
            case .error: push(condition)
            default: push(located(.failure(.noSuchOverload), node))
            }
            return instruction.target
        case .call:
            let count = Int(instruction.count)
            let arguments = UnsafeMutableBufferPointer(start: top - count, count: count)
            let builtin = Builtin(rawValue: instruction.detail) ?? .size
            let value = located(Builtins.call(builtin, UnsafeBufferPointer(arguments), &evaluation), node)
            drop(count)
            push(value)
        case .callHost: callHost(instruction, node, &evaluation)
        case .lookup: push(located(evaluation.lookup(instruction.a), node))
        case .match:
            let pattern = code.patterns[Int(instruction.a)]
            replaceTop(located(Builtins.matches(peek, pattern, &evaluation), node))
        case .loopBegin: return loopBegin(instruction, pc, node, &evaluation)
        case .loopFilter: return loopFilter(instruction, pc, node)
        case .loopBody:
            loopBody(instruction, node, &evaluation)
            return instruction.target
        case .loopEnd: loopEnd(instruction)
        case .setLocal: frame[Int(instruction.a)] = pop()
        case .clearLocal: frame[Int(instruction.a)] = .absent
        case .optionalBegin:
            let value = pop()
            guard case .optional(let wrapped?) = value else {
                if case .optional = value { push(value) } else { push(asError(value, node)) }
                return instruction.target
            }
            frame[Int(instruction.a)] = wrapped
        case .optionalWrap:
            if case .error = peek { break }
            push(.optional(pop()))
        case .optionalCheck:
            if case .optional = peek { break }
            replaceTop(asError(peek, node))
        case .optionalOr:
            let value = pop()
            guard case .optional(let wrapped) = value else {
                push(asError(value, node))
                return instruction.target
            }
            guard let wrapped else { return pc + 1 }
            push(instruction.detail == 1 ? value : wrapped)
            return instruction.target
        default: break
        }
        return pc + 1
    }

    private mutating func drop(_ count: Int) {
        for _ in 0..<count { _ = pop() }
    }

    private func asError(_ value: Value, _ node: Int32) -> Value {
        if case .error = value { return value }
        return located(.failure(.noSuchOverload), node)
    }

    // MARK: Literals

    private func isOptional(_ instruction: Instruction, _ entry: Int) -> Bool {
        guard instruction.a >= 0, case .list(let flags) = code.constants[Int(instruction.a)] else { return false }
        return flags[entry] == .bool(true)
    }

    private mutating func makeList(_ instruction: Instruction, _ node: Int32, _ evaluation: inout Evaluation) {
        let count = Int(instruction.count)
        guard evaluation.charge(count) else { return replace(count, with: Evaluation.costExceeded, node) }
        var list: [Value] = []
        list.reserveCapacity(count)
        for (entry, value) in UnsafeMutableBufferPointer(start: top - count, count: count).enumerated() {
            if case .error = value { return replace(count, with: value, node) }
            guard isOptional(instruction, entry) else {
                list.append(value)
                continue
            }
            guard case .optional(let wrapped) = value else {
                return replace(count, with: .failure(.noSuchOverload), node)
            }
            if let wrapped { list.append(wrapped) }
        }
        replace(count, with: .list(list), node)
    }

    private mutating func makeMap(_ instruction: Instruction, _ node: Int32, _ evaluation: inout Evaluation) {
        let count = Int(instruction.count) * 2
        guard evaluation.charge(count) else { return replace(count, with: Evaluation.costExceeded, node) }
        let entries = UnsafeMutableBufferPointer(start: top - count, count: count)
        var map = MapValue()
        for entry in 0..<Int(instruction.count) {
            let key = entries[2 * entry]
            var value = entries[2 * entry + 1]
            if case .error = key { return replace(count, with: key, node) }
            if case .error = value { return replace(count, with: value, node) }
            if isOptional(instruction, entry) {
                guard case .optional(let wrapped) = value else {
                    return replace(count, with: .failure(.noSuchOverload), node)
                }
                guard let wrapped else { continue }
                value = wrapped
            }
            guard let mapKey = MapKey(key, lookup: false) else {
                return replace(count, with: .failure(.unsupportedKey), node)
            }
            guard map.insert(mapKey, key, value) else { return replace(count, with: .failure(.duplicateKey), node) }
        }
        replace(count, with: .map(map), node)
    }

    private mutating func replace(_ count: Int, with value: Value, _ node: Int32) {
        drop(count)
        push(located(value, node))
    }

    private mutating func callHost(_ instruction: Instruction, _ node: Int32, _ evaluation: inout Evaluation) {
        let count = Int(instruction.count)
        let arguments = UnsafeBufferPointer(start: UnsafePointer(top - count), count: count)
        for argument in arguments {
            if case .error = argument { return replace(count, with: argument, node) }
        }
        guard evaluation.charge(code.hostCosts[Int(instruction.a)]) else {
            return replace(count, with: Evaluation.costExceeded, node)
        }
        guard let host = evaluation.host else { return replace(count, with: .failure(.hostFunction), node) }
        var value = host.call(Int(instruction.a), site: instruction.target, arguments: arguments)
        if case .absent = value { value = .failure(.hostFunction) }
        replace(count, with: value, node)
    }

    // MARK: Comprehensions

    private func kind(_ instruction: Instruction) -> SyntaxTree.Comprehension {
        SyntaxTree.Comprehension(rawValue: instruction.detail) ?? .all
    }

    private mutating func loopBegin(
        _ instruction: Instruction,
        _ pc: Int,
        _ node: Int32,
        _ evaluation: inout Evaluation
    ) -> Int {
        let range = pop()
        switch range {
        case .list, .map: break
        default:
            push(asError(range, node))
            return instruction.target
        }
        let base = Int(instruction.a)
        frame[base] = range
        frame[base + 1] = .int(0)
        switch kind(instruction) {
        case .all: frame[base + 2] = .bool(true)
        case .exists: frame[base + 2] = .bool(false)
        case .existsOne: frame[base + 2] = .int(0)
        case .transformMap, .transformMapEntry: frame[base + 2] = .map(MapValue())
        default: frame[base + 2] = .list([])
        }
        return pc + 1
    }

    /// Moves a comprehension to its next element; false at the end.
    @inline(__always)
    func advance(_ instruction: Instruction) -> Bool {
        let base = Int(instruction.a)
        guard case .int(let place) = frame[base + 1] else { return false }
        switch frame[base] {
        case .list(let list):
            guard place < list.count else { return false }
            if instruction.detail == 2 {
                frame[base + 3] = .int(place)
                frame[base + 4] = list[Int(place)]
            } else {
                frame[base + 3] = list[Int(place)]
            }
        case .map(let map):
            guard place < map.count else { return false }
            frame[base + 3] = map.keys[Int(place)]
            if instruction.detail == 2 { frame[base + 4] = map.values[Int(place)] }
        default: return false
        }
        frame[base + 1] = .int(place + 1)
        return true
    }

    private func stop(_ base: Int, with result: Value) {
        frame[base + 2] = result
        frame[base + 1] = .int(.max)
    }

    private mutating func loopFilter(_ instruction: Instruction, _ pc: Int, _ node: Int32) -> Int {
        let condition = pop()
        switch condition {
        case .bool(true): return pc + 1
        case .bool: break
        default: stop(Int(instruction.a), with: asError(condition, node))
        }
        return instruction.target
    }

    private mutating func loopBody(_ instruction: Instruction, _ node: Int32, _ evaluation: inout Evaluation) {
        let value = pop()
        let base = Int(instruction.a)
        switch kind(instruction) {
        case .exists, .all:
            let decisive = instruction.detail == SyntaxTree.Comprehension.exists.rawValue
            switch value {
            case .bool(decisive): stop(base, with: value)
            case .bool: break
            default:
                // An error counts only if no element decides.
                if case .error = frame[base + 2] { break }
                frame[base + 2] = asError(value, node)
            }
        case .existsOne:
            switch value {
            case .bool(let found):
                if found, case .int(let count) = frame[base + 2] { frame[base + 2] = .int(count + 1) }
            default: stop(base, with: asError(value, node))
            }
        case .filter:
            switch value {
            case .bool(true): append(frame[base + 3], base, node, &evaluation)
            case .bool: break
            default: stop(base, with: asError(value, node))
            }
        case .transformMap, .transformMapEntry: insert(value, instruction, node, &evaluation)
        default:
            if case .error = value { stop(base, with: value) } else { append(value, base, node, &evaluation) }
        }
    }

    private func append(_ value: Value, _ base: Int, _ node: Int32, _ evaluation: inout Evaluation) {
        guard case .list(var list) = frame[base + 2] else { return }
        guard list.count < evaluation.limits.listElements else {
            return stop(base, with: located(.failure(.sizeLimit), node))
        }
        frame[base + 2] = .absent  // So that the list has one owner and grows in place.
        list.append(value)
        frame[base + 2] = .list(list)
    }

    private func insert(
        _ value: Value,
        _ instruction: Instruction,
        _ node: Int32,
        _ evaluation: inout Evaluation
    ) {
        let base = Int(instruction.a)
        if case .error = value { return stop(base, with: value) }
        guard case .map(var map) = frame[base + 2] else { return }
        frame[base + 2] = .absent
        var keys = [frame[base + 3]]
        var values = [value]
        if kind(instruction) == .transformMapEntry {
            guard case .map(let entries) = value else { return stop(base, with: asError(value, node)) }
            (keys, values) = (entries.keys, entries.values)
        }
        for (key, value) in zip(keys, values) {
            guard evaluation.charge(1) else { return stop(base, with: located(Evaluation.costExceeded, node)) }
            guard map.count < evaluation.limits.listElements else {
                return stop(base, with: located(.failure(.sizeLimit), node))
            }
            guard let mapKey = MapKey(key, lookup: false), map.insert(mapKey, key, value) else {
                return stop(base, with: located(.failure(.duplicateKey), node))
            }
        }
        frame[base + 2] = .map(map)
    }

    private mutating func loopEnd(_ instruction: Instruction) {
        let base = Int(instruction.a)
        var result = frame[base + 2]
        if kind(instruction) == .existsOne, case .int(let count) = result { result = .bool(count == 1) }
        push(result)
        for place in base..<base + 5 { frame[place] = .absent }
    }
}
