/// Sees every value that an evaluation computes.
protocol Tracer {
    static var isActive: Bool { get }
    mutating func record(_ node: Int32, _ value: Value)
    /// A comparison that reads its operands itself.
    mutating func recordOperands(_ node: Int32, _ left: Value, _ right: Value)
}

/// Sees nothing, at no cost.
struct NoTracer: Tracer {
    static var isActive: Bool { false }
    mutating func record(_ node: Int32, _ value: Value) {}
    mutating func recordOperands(_ node: Int32, _ left: Value, _ right: Value) {}
}

/// The stack machine that runs programs.
enum Interpreter {
    /// Evaluates part of a program that needs no record, from a place to the end.
    static func run(
        _ instructions: [Instruction],
        _ nodes: [Int32],
        _ constants: [Value],
        _ patterns: [Pattern],
        from start: Int,
        locals: Int,
        depth: Int,
        evaluation: inout Evaluation
    ) -> Value {
        var tracer = NoTracer()
        return instructions.withUnsafeBufferPointer { instructions in
            nodes.withUnsafeBufferPointer { nodes in
                constants.withUnsafeBufferPointer { constants in
                    patterns.withUnsafeBufferPointer { patterns in
                        let segment = Segment(
                            instructions: instructions,
                            nodes: nodes,
                            constants: constants,
                            patterns: patterns,
                            hostCosts: UnsafeBufferPointer(start: nil, count: 0),
                            localCount: locals,
                            stackDepth: depth
                        )
                        return run(
                            segment,
                            from: start,
                            to: instructions.count,
                            record: UnsafeBufferPointer(start: nil, count: 0),
                            evaluation: &evaluation,
                            tracer: &tracer
                        )
                    }
                }
            }
        }
    }

    static func run<T: Tracer>(
        _ code: Code,
        from: Int = 0,
        to: Int? = nil,
        record: UnsafeBufferPointer<Value>,
        evaluation: inout Evaluation,
        tracer: inout T
    ) -> Value {
        code.instructions.withUnsafeBufferPointer { instructions in
            code.nodes.withUnsafeBufferPointer { nodes in
                code.constants.withUnsafeBufferPointer { constants in
                    code.patterns.withUnsafeBufferPointer { patterns in
                        code.hostCosts.withUnsafeBufferPointer { hostCosts in
                            let segment = Segment(
                                instructions: instructions,
                                nodes: nodes,
                                constants: constants,
                                patterns: patterns,
                                hostCosts: hostCosts,
                                localCount: code.localCount,
                                stackDepth: code.stackDepth
                            )
                            return run(
                                segment,
                                from: from,
                                to: to ?? instructions.count,
                                record: record,
                                evaluation: &evaluation,
                                tracer: &tracer
                            )
                        }
                    }
                }
            }
        }
    }

    struct Segment {
        let instructions: UnsafeBufferPointer<Instruction>
        let nodes: UnsafeBufferPointer<Int32>
        let constants: UnsafeBufferPointer<Value>
        let patterns: UnsafeBufferPointer<Pattern>
        let hostCosts: UnsafeBufferPointer<Int>
        let localCount: Int
        let stackDepth: Int
    }

    @inline(__always)
    private static func run<T: Tracer>(
        _ code: Segment,
        from start: Int,
        to end: Int,
        record: UnsafeBufferPointer<Value>,
        evaluation: inout Evaluation,
        tracer: inout T
    ) -> Value {
        // On the thread's stack up to 1 KiB, some 40 values; deeper programs pay for an allocation.
        withUnsafeTemporaryAllocation(of: Value.self, capacity: code.localCount + code.stackDepth + 1) { memory in
            guard let frame = memory.baseAddress else { return .failure(.sizeLimit) }
            frame.initialize(repeating: .absent, count: code.localCount)
            defer { frame.deinitialize(count: code.localCount) }
            return loop(
                code,
                from: start,
                to: end,
                record: record,
                frame: frame,
                stack: frame + code.localCount,
                evaluation: &evaluation,
                tracer: &tracer
            )
        }
    }

    private static func loop<T: Tracer>(
        _ code: Segment,
        from start: Int,
        to end: Int,
        record: UnsafeBufferPointer<Value>,
        frame: UnsafeMutablePointer<Value>,
        stack: UnsafeMutablePointer<Value>,
        evaluation: inout Evaluation,
        tracer: inout T
    ) -> Value {
        var machine = Machine(code: code, record: record, frame: frame, top: stack)
        var pc = start
        var budget = evaluation.budget
        while pc < end {
            let instruction = code.instructions[pc]
            budget -= instruction.operation.cost
            if budget < 0 { break }
            let next = pc + 1
            switch instruction.operation {
            case .compareSlotDouble:
                let d = Double(bitPattern: UInt64(bitPattern: instruction.b))
                let value = machine.compareSlot(instruction, double: d, node: code.nodes[pc])
                if T.isActive { machine.traceSlot(instruction, .double(d), code.nodes[pc], &tracer) }
                machine.push(value)
            case .compareSlotInt:
                let value = machine.compareSlot(instruction, int: instruction.b, node: code.nodes[pc])
                if T.isActive { machine.traceSlot(instruction, .int(instruction.b), code.nodes[pc], &tracer) }
                machine.push(value)
            case .equalSlotString:
                evaluation.budget = budget
                let value = machine.equalSlot(instruction, node: code.nodes[pc], &evaluation)
                budget = evaluation.budget
                if T.isActive {
                    machine.traceSlot(instruction, code.constants[instruction.target], code.nodes[pc], &tracer)
                }
                machine.push(value)
            case .searchSlot:
                evaluation.budget = budget
                let value = machine.searchSlot(instruction, node: code.nodes[pc], &evaluation)
                budget = evaluation.budget
                if T.isActive {
                    machine.traceSlot(instruction, code.constants[instruction.target], code.nodes[pc], &tracer)
                }
                machine.push(value)
            case .searchLocal:
                evaluation.budget = budget
                let value = machine.search(
                    UnsafePointer(frame + Int(instruction.a)),
                    instruction,
                    code.nodes[pc],
                    &evaluation
                )
                budget = evaluation.budget
                if T.isActive {
                    tracer.recordOperands(
                        code.nodes[pc],
                        frame[Int(instruction.a)],
                        code.constants[instruction.target]
                    )
                }
                machine.push(value)
            case .equalLocalString:
                evaluation.budget = budget
                let value = machine.equalLocal(instruction, node: code.nodes[pc], &evaluation)
                budget = evaluation.budget
                if T.isActive {
                    tracer.recordOperands(
                        code.nodes[pc],
                        frame[Int(instruction.a)],
                        code.constants[instruction.target]
                    )
                }
                machine.push(value)
            case .jumpIfTrue:
                if case .bool(true) = machine.peek {
                    if T.isActive { tracer.record(code.nodes[pc], machine.peek) }
                    pc = instruction.target
                    continue
                }
                pc = next
                continue
            case .jumpIfFalse:
                if case .bool(false) = machine.peek {
                    if T.isActive { tracer.record(code.nodes[pc], machine.peek) }
                    pc = instruction.target
                    continue
                }
                pc = next
                continue
            case .or, .and:
                let decisive = instruction.operation == .or
                let right = machine.pop()
                let left = machine.pop()
                machine.push(machine.located(Operators.combine(left, right, decisive: decisive), code.nodes[pc]))
                if case .bool(decisive) = machine.peek {
                    if T.isActive { tracer.record(code.nodes[pc], machine.peek) }
                    pc = instruction.target
                    continue
                }
                // Of a chain only the last combination is the node's value.
                if T.isActive, instruction.count == 0 {
                    pc = next
                    continue
                }
            case .constant: machine.push(code.constants[Int(instruction.a)])
            case .slot: machine.push(machine.slot(instruction.a, node: code.nodes[pc]))
            case .local: machine.push(frame[Int(instruction.a)])
            case .hasSlot: machine.push(.bool(machine.isPresent(instruction.a)))
            case .not: machine.replaceTop(machine.located(Operators.not(machine.peek), code.nodes[pc]))
            case .jump:
                pc = instruction.target
                continue
            case .loopNext:
                guard machine.advance(instruction) else {
                    pc = instruction.target
                    continue
                }
                pc = next
                continue
            default:
                evaluation.budget = budget
                let target = machine.execute(instruction, pc: pc, &evaluation)
                budget = evaluation.budget
                if target != next {
                    // A branch to its second result has pushed nothing yet.
                    if T.isActive, target == instruction.target {
                        machine.traceJump(instruction, code.nodes[pc], &tracer)
                    }
                    pc = target
                    continue
                }
                if T.isActive, !machine.leavesNothing(instruction.operation), code.nodes[pc] >= 0 {
                    tracer.record(code.nodes[pc], machine.peek)
                }
                pc = next
                continue
            }
            if T.isActive, code.nodes[pc] >= 0 { tracer.record(code.nodes[pc], machine.peek) }
            pc = next
        }
        evaluation.budget = budget
        if budget < 0 {
            while machine.top > stack { _ = machine.pop() }
            return .error(ErrorValue(.costLimit, node: pc < end ? code.nodes[pc] : code.nodes[end - 1]))
        }
        return machine.pop()
    }
}
