/// The worst that an instruction can cost, from the types of its operands. Strings and lists of a record are taken to be
/// no longer than those that an evaluation may build.
extension CodeGenerator {
    private var textUnits: UInt64 { UInt64(environment.limits.stringBytes >> 4) + 1 }

    private func product(_ a: UInt64, _ b: UInt64) -> UInt64 {
        let (value, overflow) = a.multipliedReportingOverflow(by: b)
        return overflow ? .max : value
    }

    private func sum(_ a: UInt64, _ b: UInt64) -> UInt64 {
        let (value, overflow) = a.addingReportingOverflow(b)
        return overflow ? .max : value
    }

    private func type(_ node: Int32) -> ValueType { checked.types[Int(node)] }

    /// How many elements a list or map can have.
    func bound(_ node: Int32) -> Int {
        switch tree[node].kind {
        case .list: tree.childCount(node)
        case .map: tree.childCount(node) / 2
        default: environment.limits.listElements
        }
    }

    /// What comparing two values of a type can cost.
    private func weight(_ type: ValueType) -> UInt64 {
        switch type {
        case .bool, .int, .uint, .double, .null, .timestamp, .duration, .type: 0
        case .string, .bytes: textUnits
        case .optional(let wrapped): weight(wrapped)
        case .list(let element): product(UInt64(environment.limits.listElements), sum(1, weight(element)))
        case .map(_, let value): product(UInt64(environment.limits.listElements), sum(1, weight(value)))
        default: .max
        }
    }

    func comparisonCost(_ node: Int32, _ op: SyntaxTree.Operator) -> UInt64 {
        let left = type(tree.child(node, 0))
        guard op == .in else { return max(weight(left), weight(type(tree.child(node, 1)))) }
        return product(UInt64(bound(tree.child(node, 1))), sum(1, weight(left)))
    }

    func arithmeticCost(_ node: Int32) -> UInt64 {
        let types = [type(tree.child(node, 0)), type(tree.child(node, 1))]
        var worst: UInt64 = 0
        for type in types {
            switch type {
            case .bool, .int, .uint, .double, .null, .timestamp, .duration, .type: continue
            case .string, .bytes: worst = max(worst, textUnits)
            default: worst = max(worst, textUnits, UInt64(environment.limits.listElements))
            }
        }
        return worst
    }

    func callCost(_ builtin: Builtin, _ node: Int32) -> UInt64 {
        switch builtin {
        case .type, .dyn, .optionalOf, .optionalNone, .hasValue, .value, .or, .orValue, .abs, .sign, .sqrt, .ceil,
            .floor, .round, .trunc, .isNaN, .isInf, .isFinite, .bitAnd, .bitOr, .bitXor, .bitNot, .bitShiftLeft,
            .bitShiftRight, .optionalOfNonZeroValue:
            return 0
        case .matches: return .max  // A computed pattern.
        case .greatest, .least: return UInt64(environment.limits.listElements)
        default:
            // Text in, text out, and at most one pass over a list.
            let arguments = UInt64(tree.childCount(node))
            return sum(product(textUnits, arguments + 2), UInt64(environment.limits.listElements))
        }
    }
}
