extension Interpreter {
    /// Walks a decision graph; nil where a test has an error for its answer.
    @inline(__always)
    static func decide(
        _ code: Code,
        _ record: UnsafeBufferPointer<Value>,
        _ lookups: UnsafeBufferPointer<LookupValue>,
        _ host: (any HostFunctions)?
    ) -> Bool? {
        var budget = code.limits.cost
        var place = code.entry
        return code.tests.withUnsafeBufferPointer { tests in
            while place >= 0 {
                let test = tests[Int(place)]
                let holds: Bool
                if test.kind.rawValue >= Decision.Test.Kind.segment.rawValue {
                    if test.kind == .lookup {
                        budget -= 1
                        guard budget >= 0, Int(test.slot) < lookups.count, lookups[Int(test.slot)] != .unknown else {
                            return nil
                        }
                        holds = lookups[Int(test.slot)] == .yes
                    } else {
                        guard let value = segment(code, test, record, lookups, host, &budget) else { return nil }
                        holds = value
                    }
                } else {
                    budget -= 1
                    guard budget >= 0, Int(test.slot) < record.count,
                        let value = answer(code, test, record, &budget)
                    else { return nil }
                    holds = value
                }
                place = holds ? test.onTrue : test.onFalse
            }
            return place == Decision.match
        }
    }

    @inline(never)
    private static func segment(
        _ code: Code,
        _ test: Decision.Test,
        _ record: UnsafeBufferPointer<Value>,
        _ lookups: UnsafeBufferPointer<LookupValue>,
        _ host: (any HostFunctions)?,
        _ budget: inout Int
    ) -> Bool? {
        var evaluation = Evaluation(budget: budget, limits: code.limits, host: host, lookups: lookups)
        var tracer = NoTracer()
        let value = run(
            code,
            from: Int(test.slot),
            to: Int(test.operand),
            record: record,
            evaluation: &evaluation,
            tracer: &tracer
        )
        budget = evaluation.budget
        guard case .bool(let answer) = value else { return nil }
        return answer
    }

    @inline(__always)
    private static func answer(
        _ code: Code,
        _ test: Decision.Test,
        _ record: UnsafeBufferPointer<Value>,
        _ budget: inout Int
    ) -> Bool? {
        let slot = Int(test.slot)
        switch test.kind {
        case .double:
            guard case .double(let a) = record[slot] else { return nil }
            return compare(test.detail, a, Double(bitPattern: UInt64(bitPattern: test.operand)))
        case .int:
            guard case .int(let a) = record[slot] else { return nil }
            return compare(test.detail, a, test.operand)
        case .bool:
            guard case .bool(let a) = record[slot] else { return nil }
            return a
        case .string:
            guard case .string(let a) = record[slot], case .string(let b) = code.constants[Int(test.operand)] else {
                return nil
            }
            budget -= min(a.utf8.count, b.utf8.count) >> 4
            guard budget >= 0 else { return nil }
            return sameCodePoints(a, b) == (test.detail == SyntaxTree.Operator.equal.rawValue)
        case .search:
            guard case .string(let a) = record[slot], case .string(let b) = code.constants[Int(test.operand)] else {
                return nil
            }
            budget -= a.utf8.count >> 4 + b.utf8.count >> 4
            guard budget >= 0 else { return nil }
            return StringFunctions.search(Builtin(rawValue: test.detail) ?? .contains, a, b)
        case .isAmong: return isAmong(code, test, record, &budget)
        case .contains: return contains(code, test, record, &budget)
        default:
            if case .absent = record[slot] { return false }
            return true
        }
    }

    /// `slot in ["a", "b"]`, charged as the instructions are.
    private static func isAmong(
        _ code: Code,
        _ test: Decision.Test,
        _ record: UnsafeBufferPointer<Value>,
        _ budget: inout Int
    ) -> Bool? {
        guard case .string(let text) = record[Int(test.slot)], case .list(let list) = code.constants[Int(test.operand)]
        else { return nil }
        budget -= 1
        let count = text.utf8.count
        for place in list.indices {
            guard case .string(let candidate) = list[place] else { return nil }
            budget -= 1 + min(count, candidate.utf8.count) >> 4
            guard budget >= 0 else { return nil }
            if sameCodePoints(text, candidate) { return true }
        }
        return budget >= 0 ? false : nil
    }

    /// `"a" in slot` and `slot.exists(x, x == "a")`, charged as their instructions are.
    private static func contains(
        _ code: Code,
        _ test: Decision.Test,
        _ record: UnsafeBufferPointer<Value>,
        _ budget: inout Int
    ) -> Bool? {
        guard case .list(let list) = record[Int(test.slot)], case .string(let text) = code.constants[Int(test.operand)]
        else { return nil }
        let isLoop = test.detail == 1
        budget -= isLoop ? 3 : 1
        let perElement = isLoop ? 3 : 1
        let count = text.utf8.count
        for place in list.indices {
            guard case .string(let candidate) = list[place] else { return nil }
            budget -= perElement + min(count, candidate.utf8.count) >> 4
            guard budget >= 0 else { return nil }
            if sameCodePoints(text, candidate) { return true }
        }
        return budget >= 0 ? false : nil
    }

    @inline(__always)
    private static func compare<T: Comparable>(_ op: UInt8, _ a: T, _ b: T) -> Bool {
        switch SyntaxTree.Operator(rawValue: op) {
        case .less: a < b
        case .lessOrEqual: a <= b
        case .greater: a > b
        case .greaterOrEqual: a >= b
        case .equal: a == b
        default: a != b
        }
    }
}
