/// The types of operators.
extension Checker {
    mutating func negate(_ node: Int32) {
        guard isChecked else { return }
        let operand = type(tree.child(node, 0))
        switch operand {
        case .int, .double, .dyn: set(node, operand)
        case .variable: set(node, .dyn)
        default: report("'-' takes an int or a double, but this is a \(show(operand))", at: node)
        }
    }

    mutating func binary(_ node: Int32) {
        guard isChecked else { return }
        let op = tree.operator(node)
        let left = type(tree.child(node, 0))
        let right = type(tree.child(node, 1))
        switch op {
        case .equal, .notEqual:
            set(node, .bool)
            let both = substitution.fresh()
            if !substitution.assign([left, right], to: [both, both]) { mismatch(node, op, left, right) }
        case .less, .lessOrEqual, .greater, .greaterOrEqual:
            set(node, .bool)
            if !isOrdered(left, right) { mismatch(node, op, left, right) }
        case .in:
            set(node, .bool)
            membership(node, left, right)
        default:
            if let type = arithmetic(op, left, right) {
                set(node, type)
            } else {
                mismatch(node, op, left, right)
            }
        }
    }

    private func isAny(_ type: ValueType) -> Bool {
        switch type {
        case .dyn, .variable: true
        default: false
        }
    }

    private func isNumber(_ type: ValueType) -> Bool { type == .int || type == .uint || type == .double }

    private func isOrdered(_ left: ValueType, _ right: ValueType) -> Bool {
        func canBe(_ type: ValueType) -> Bool {
            switch type {
            case .bool, .int, .uint, .double, .string, .bytes, .timestamp, .duration, .dyn, .variable: true
            default: false
            }
        }
        guard canBe(left), canBe(right) else { return false }
        return isAny(left) || isAny(right) || left == right || isNumber(left) && isNumber(right)
    }

    private mutating func membership(_ node: Int32, _ element: ValueType, _ range: ValueType) {
        switch range {
        case .list(let type), .map(let type, _):
            if substitution.assign(element, to: type) || substitution.assign(type, to: element) { return }
            report(
                "'in' looks for a \(show(element)) where there are only \(show(type)) values",
                at: node,
                suggestion: Self.numericHint(substitution.resolve(element), substitution.resolve(type))
            )
        case .dyn, .variable: return
        default: report("'in' takes a list or a map on its right, but this is a \(show(range))", at: node)
        }
    }

    private mutating func arithmetic(
        _ op: SyntaxTree.Operator,
        _ left: ValueType,
        _ right: ValueType
    ) -> ValueType? {
        func takes(_ type: ValueType) -> Bool {
            switch type {
            case .int, .uint: true
            case .double: op != .modulo
            case .string, .bytes, .list: op == .add
            case .duration: op == .add || op == .subtract
            default: false
            }
        }
        if isAny(left) || isAny(right) {
            let known = isAny(left) ? right : left
            if isAny(known) { return .dyn }
            switch known {
            case .duration, .timestamp: return op == .add || op == .subtract ? .dyn : nil
            case .list: return op == .add ? .list(.dyn) : nil
            default: return takes(known) ? known : nil
            }
        }
        switch (left, right) {
        case (.timestamp, .duration) where op == .add || op == .subtract: return .timestamp
        case (.duration, .timestamp) where op == .add: return .timestamp
        case (.timestamp, .timestamp) where op == .subtract: return .duration
        case (.list(let a), .list(let b)) where op == .add:
            let both = substitution.fresh()
            return substitution.assign([a, b], to: [both, both]) ? .list(both) : nil
        default: return left == right && takes(left) ? left : nil
        }
    }

    private mutating func mismatch(
        _ node: Int32,
        _ op: SyntaxTree.Operator,
        _ left: ValueType,
        _ right: ValueType
    ) {
        let (a, b) = (substitution.resolve(left), substitution.resolve(right))
        var suggestion = Self.numericHint(a, b)
        if suggestion == nil, a == .timestamp && b == .string || a == .string && b == .timestamp {
            suggestion = "write timestamp('2024-01-31T00:00:00Z')"
        }
        if suggestion == nil, op == .add, a == .string || b == .string { suggestion = "convert with string(…)" }
        if suggestion == nil, case .list = a, op == .equal { suggestion = "to look for an element write x in list" }
        report("'\(op.symbol)' does not take \(a) and \(b)", at: node, suggestion: suggestion)
    }
}
