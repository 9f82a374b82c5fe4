/// The functions of the math extension.
enum MathFunctions {
    static func call(
        _ builtin: Builtin,
        _ arguments: Builtins.Arguments,
        _ evaluation: inout Evaluation
    ) -> Value? {
        switch builtin {
        case .greatest, .least: return extremum(arguments, greatest: builtin == .greatest, &evaluation)
        case .bitAnd, .bitOr, .bitXor, .bitShiftLeft, .bitShiftRight:
            return arguments.count == 2 ? bits(builtin, arguments[0], arguments[1]) : nil
        default: break
        }
        guard arguments.count == 1 else { return nil }
        switch (builtin, arguments[0]) {
        case (.abs, .int(let i)): return i == .min ? .failure(.overflow) : .int(Swift.abs(i))
        case (.abs, .uint): return arguments[0]
        case (.abs, .double(let d)): return .double(Swift.abs(d))
        case (.sign, .int(let i)): return .int(i.signum())
        case (.sign, .uint(let u)): return .uint(u == 0 ? 0 : 1)
        case (.sign, .double(let d)): return .double(d.isNaN ? d : d > 0 ? 1 : d < 0 ? -1 : 0)
        case (.sqrt, .int(let i)): return .double(Double(i).squareRoot())
        case (.sqrt, .uint(let u)): return .double(Double(u).squareRoot())
        case (.sqrt, .double(let d)): return .double(d.squareRoot())
        case (.ceil, .double(let d)): return .double(d.rounded(.up))
        case (.floor, .double(let d)): return .double(d.rounded(.down))
        case (.round, .double(let d)): return .double(d.rounded(.toNearestOrAwayFromZero))
        case (.trunc, .double(let d)): return .double(d.rounded(.towardZero))
        case (.isNaN, .double(let d)): return .bool(d.isNaN)
        case (.isInf, .double(let d)): return .bool(d.isInfinite)
        case (.isFinite, .double(let d)): return .bool(d.isFinite)
        case (.bitNot, .int(let i)): return .int(~i)
        case (.bitNot, .uint(let u)): return .uint(~u)
        default: return nil
        }
    }

    private static func bits(_ builtin: Builtin, _ a: Value, _ b: Value) -> Value? {
        switch (builtin, a, b) {
        case (.bitAnd, .int(let x), .int(let y)): return .int(x & y)
        case (.bitOr, .int(let x), .int(let y)): return .int(x | y)
        case (.bitXor, .int(let x), .int(let y)): return .int(x ^ y)
        case (.bitAnd, .uint(let x), .uint(let y)): return .uint(x & y)
        case (.bitOr, .uint(let x), .uint(let y)): return .uint(x | y)
        case (.bitXor, .uint(let x), .uint(let y)): return .uint(x ^ y)
        case (.bitShiftLeft, _, .int(let n)), (.bitShiftRight, _, .int(let n)):
            guard n >= 0 else { return .failure(.invalidArgument) }
            let left = builtin == .bitShiftLeft
            // Shifts are logical, of signed integers too: the sign is not carried along.
            switch a {
            case .int(let x):
                let bits = UInt64(bitPattern: x)
                return .int(Int64(bitPattern: left ? bits << n : bits >> n))
            case .uint(let x): return .uint(left ? x << n : x >> n)
            default: return nil
            }
        default: return nil
        }
    }

    /// The greatest or least of the arguments, or of the elements of the one list. Of equal ones the first.
    private static func extremum(
        _ arguments: Builtins.Arguments,
        greatest: Bool,
        _ evaluation: inout Evaluation
    ) -> Value? {
        var values = Array(arguments)
        if values.count == 1, case .list(let list) = values[0] { values = list }
        guard evaluation.charge(values.count) else { return Evaluation.costExceeded }
        guard var best = values.first else { return .failure(.invalidArgument) }
        for value in values {
            switch value {
            case .int, .uint, .double: break
            default: return nil
            }
            guard case .ordered(let order)? = Ordering.order(value, best, &evaluation) else { continue }
            if greatest ? order > 0 : order < 0 { best = value }
        }
        return best
    }
}
