/// The stack, the locals and the record of one evaluation.
struct Machine {
    let code: Interpreter.Segment
    let record: UnsafeBufferPointer<Value>
    let frame: UnsafeMutablePointer<Value>
    /// The place above the topmost value.
    var top: UnsafeMutablePointer<Value>

    @inline(__always)
    mutating func push(_ value: consuming Value) {
        top.initialize(to: value)
        top += 1
    }

    @inline(__always)
    mutating func pop() -> Value {
        top -= 1
        return top.move()
    }

    @inline(__always)
    var peek: Value { _read { yield top[-1] } }

    @inline(__always)
    mutating func replaceTop(_ value: consuming Value) { (top - 1).pointee = value }

    /// Gives an error that has no place yet the place of a node.
    @inline(__always)
    func located(_ value: consuming Value, _ node: Int32) -> Value {
        if case .error(let error) = value, error.node < 0 {
            return .error(ErrorValue(error.code, detail: error.detail, node: node))
        }
        return value
    }

    // MARK: Slots

    @inline(__always)
    func absent(_ slot: Int32, _ node: Int32) -> Value {
        .error(ErrorValue(.attributeAbsent, detail: slot, node: node))
    }

    @inline(__always)
    func isPresent(_ slot: Int32) -> Bool {
        guard Int(slot) < record.count else { return false }
        if case .absent = record[Int(slot)] { return false }
        return true
    }

    @inline(__always)
    func slot(_ slot: Int32, node: Int32) -> Value {
        guard isPresent(slot) else { return absent(slot, node) }
        return record[Int(slot)]
    }

    @inline(__always)
    func compareSlot(_ instruction: Instruction, double b: Double, node: Int32) -> Value {
        guard Int(instruction.a) < record.count else { return absent(instruction.a, node) }
        switch record[Int(instruction.a)] {
        case .double(let a):
            switch SyntaxTree.Operator(rawValue: instruction.detail) {
            case .less: return .bool(a < b)
            case .lessOrEqual: return .bool(a <= b)
            case .greater: return .bool(a > b)
            case .greaterOrEqual: return .bool(a >= b)
            case .equal: return .bool(a == b)
            default: return .bool(a != b)
            }
        case .absent: return absent(instruction.a, node)
        default: return compareSlot(instruction, .double(b), node)
        }
    }

    @inline(__always)
    func compareSlot(_ instruction: Instruction, int b: Int64, node: Int32) -> Value {
        guard Int(instruction.a) < record.count else { return absent(instruction.a, node) }
        switch record[Int(instruction.a)] {
        case .int(let a):
            switch SyntaxTree.Operator(rawValue: instruction.detail) {
            case .less: return .bool(a < b)
            case .lessOrEqual: return .bool(a <= b)
            case .greater: return .bool(a > b)
            case .greaterOrEqual: return .bool(a >= b)
            case .equal: return .bool(a == b)
            default: return .bool(a != b)
            }
        case .absent: return absent(instruction.a, node)
        default: return compareSlot(instruction, .int(b), node)
        }
    }

    /// A comparison of values whose types differ; none of them has a size to be charged for.
    @inline(never)
    private func compareSlot(_ instruction: Instruction, _ b: Value, _ node: Int32) -> Value {
        var unlimited = Evaluation(budget: .max, limits: .default, host: nil)
        let op = SyntaxTree.Operator(rawValue: instruction.detail) ?? .equal
        return located(Operators.compare(op, record[Int(instruction.a)], b, &unlimited), node)
    }

    @inline(__always)
    func equalSlot(_ instruction: Instruction, node: Int32, _ evaluation: inout Evaluation) -> Value {
        guard Int(instruction.a) < record.count else { return absent(instruction.a, node) }
        return equalString(record.baseAddress! + Int(instruction.a), instruction, node, &evaluation)
    }

    @inline(__always)
    func equalLocal(_ instruction: Instruction, node: Int32, _ evaluation: inout Evaluation) -> Value {
        equalString(UnsafePointer(frame + Int(instruction.a)), instruction, node, &evaluation)
    }

    @inline(__always)
    private func equalString(
        _ left: UnsafePointer<Value>,
        _ instruction: Instruction,
        _ node: Int32,
        _ evaluation: inout Evaluation
    ) -> Value {
        let isEqual = instruction.detail == SyntaxTree.Operator.equal.rawValue
        switch left.pointee {
        case .string(let a):
            guard case .string(let b) = code.constants[instruction.target] else { return .bool(!isEqual) }
            evaluation.budget -= min(a.utf8.count, b.utf8.count) >> 4
            return .bool(sameCodePoints(a, b) == isEqual)
        case .absent: return absent(instruction.a, node)
        case .error: return left.pointee
        default: return .bool(!isEqual)
        }
    }

    @inline(__always)
    func searchSlot(_ instruction: Instruction, node: Int32, _ evaluation: inout Evaluation) -> Value {
        guard Int(instruction.a) < record.count, let base = record.baseAddress else {
            return absent(instruction.a, node)
        }
        return search(base + Int(instruction.a), instruction, node, &evaluation)
    }

    @inline(__always)
    func search(
        _ left: UnsafePointer<Value>,
        _ instruction: Instruction,
        _ node: Int32,
        _ evaluation: inout Evaluation
    ) -> Value {
        switch left.pointee {
        case .string(let text):
            guard case .string(let other) = code.constants[instruction.target],
                evaluation.charge(text.utf8.count >> 4 + other.utf8.count >> 4)
            else { return located(Evaluation.costExceeded, node) }
            let builtin = Builtin(rawValue: instruction.detail) ?? .contains
            return .bool(StringFunctions.search(builtin, text, other))
        case .absent: return absent(instruction.a, node)
        case .error: return left.pointee
        default: return located(.failure(.noSuchOverload), node)
        }
    }

    // MARK: Tracing

    func traceSlot<T: Tracer>(_ instruction: Instruction, _ right: Value, _ node: Int32, _ tracer: inout T) {
        tracer.recordOperands(node, slot(instruction.a, node: node), right)
    }

    /// Records what a node has when its instruction jumps: its own value is on the stack then.
    func traceJump<T: Tracer>(_ instruction: Instruction, _ node: Int32, _ tracer: inout T) {
        switch instruction.operation {
        case .slotOr, .branch, .loopBegin, .optionalBegin, .optionalOr: if node >= 0 { tracer.record(node, peek) }
        default: break
        }
    }

    func leavesNothing(_ operation: Instruction.Operation) -> Bool {
        switch operation {
        case .slotOr, .branch, .loopBegin, .loopFilter, .loopBody, .setLocal, .clearLocal, .optionalBegin, .optionalOr:
            true
        default: false
        }
    }
}
