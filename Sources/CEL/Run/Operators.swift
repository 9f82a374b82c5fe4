/// The operators on values whose types may be any.
enum Operators {
    static func compare(
        _ op: SyntaxTree.Operator,
        _ a: Value,
        _ b: Value,
        _ evaluation: inout Evaluation
    ) -> Value {
        if let error = firstError(a, b) { return error }
        switch op {
        case .equal: return .bool(Ordering.equal(a, b, &evaluation))
        case .notEqual: return .bool(!Ordering.equal(a, b, &evaluation))
        case .in:
            guard let found = Ordering.contains(a, b, &evaluation) else { return .failure(.noSuchOverload) }
            return .bool(found)
        default:
            guard let result = Ordering.order(a, b, &evaluation) else { return .failure(.noSuchOverload) }
            // Nothing is less than NaN, nor greater.
            guard case .ordered(let order) = result else { return .bool(false) }
            return .bool(holds(op, order))
        }
    }

    @inline(__always)
    static func holds(_ op: SyntaxTree.Operator, _ order: Int) -> Bool {
        switch op {
        case .less: order < 0
        case .lessOrEqual: order <= 0
        case .greater: order > 0
        case .greaterOrEqual: order >= 0
        case .equal: order == 0
        default: order != 0
        }
    }

    @inline(__always)
    static func firstError(_ a: Value, _ b: Value) -> Value? {
        if case .error = a { return a }
        if case .error = b { return b }
        return nil
    }

    static func arithmetic(
        _ op: SyntaxTree.Operator,
        _ a: Value,
        _ b: Value,
        _ evaluation: inout Evaluation
    ) -> Value {
        switch (a, b) {
        case (.error, _): return a
        case (_, .error): return b
        case (.int(let x), .int(let y)): return integer(op, x, y).map { .int($0) } ?? integerError(op, y == 0)
        case (.uint(let x), .uint(let y)): return integer(op, x, y).map { .uint($0) } ?? integerError(op, y == 0)
        case (.double(let x), .double(let y)):
            switch op {
            case .add: return .double(x + y)
            case .subtract: return .double(x - y)
            case .multiply: return .double(x * y)
            case .divide: return .double(x / y)
            default: return .failure(.noSuchOverload)
            }
        case (.string(let x), .string(let y)) where op == .add:
            let count = x.utf8.count + y.utf8.count
            guard count <= evaluation.limits.stringBytes else { return .failure(.sizeLimit) }
            guard evaluation.charge(bytes: count) else { return Evaluation.costExceeded }
            return .string(x + y)
        case (.bytes(let x), .bytes(let y)) where op == .add:
            guard x.count + y.count <= evaluation.limits.stringBytes else { return .failure(.sizeLimit) }
            guard evaluation.charge(bytes: x.count + y.count) else { return Evaluation.costExceeded }
            return .bytes(x + y)
        case (.list(let x), .list(let y)) where op == .add:
            guard x.count + y.count <= evaluation.limits.listElements else { return .failure(.sizeLimit) }
            guard evaluation.charge(x.count + y.count) else { return Evaluation.costExceeded }
            return .list(x + y)
        default: return time(op, a, b)
        }
    }

    private static func time(_ op: SyntaxTree.Operator, _ a: Value, _ b: Value) -> Value {
        switch (op, a, b) {
        case (.add, .timestamp(let t), .duration(let d)), (.add, .duration(let d), .timestamp(let t)):
            return Time.add(t, nanoseconds: d).map { .timestamp($0) } ?? .failure(.overflow)
        case (.subtract, .timestamp(let t), .duration(let d)):
            guard d != .min else { return .failure(.overflow) }
            return Time.add(t, nanoseconds: -d).map { .timestamp($0) } ?? .failure(.overflow)
        case (.subtract, .timestamp(let x), .timestamp(let y)):
            return Time.difference(x, y).map { .duration(nanoseconds: $0) } ?? .failure(.overflow)
        case (.add, .duration(let x), .duration(let y)):
            let (sum, overflow) = x.addingReportingOverflow(y)
            return overflow ? .failure(.overflow) : .duration(nanoseconds: sum)
        case (.subtract, .duration(let x), .duration(let y)):
            let (difference, overflow) = x.subtractingReportingOverflow(y)
            return overflow ? .failure(.overflow) : .duration(nanoseconds: difference)
        default: return .failure(.noSuchOverload)
        }
    }

    private static func integer<T: FixedWidthInteger>(_ op: SyntaxTree.Operator, _ x: T, _ y: T) -> T? {
        let result: (partialValue: T, overflow: Bool)
        switch op {
        case .add: result = x.addingReportingOverflow(y)
        case .subtract: result = x.subtractingReportingOverflow(y)
        case .multiply: result = x.multipliedReportingOverflow(by: y)
        case .divide: result = x.dividedReportingOverflow(by: y)
        case .modulo:
            // The remainder of the smallest integer by -1 is 0, though the division overflows: an error as in C and
            // in the other implementations.
            result = x.remainderReportingOverflow(dividingBy: y)
        default: return nil
        }
        return result.overflow ? nil : result.partialValue
    }

    private static func integerError(_ op: SyntaxTree.Operator, _ byZero: Bool) -> Value {
        .failure((op == .divide || op == .modulo) && byZero ? .divisionByZero : .overflow)
    }

    static func negate(_ a: Value) -> Value {
        switch a {
        case .error: a
        case .int(let x): x == .min ? .failure(.overflow) : .int(-x)
        case .double(let x): .double(-x)
        default: .failure(.noSuchOverload)
        }
    }

    static func not(_ a: Value) -> Value {
        switch a {
        case .error: a
        case .bool(let x): .bool(!x)
        default: .failure(.noSuchOverload)
        }
    }

    /// `a && b` where neither was false alone, or `a || b` with `decisive` true: an error gives way to a decisive value.
    @inline(__always)
    static func combine(_ a: Value, _ b: Value, decisive: Bool) -> Value {
        if case .bool(let y) = b {
            if y == decisive { return b }
            if case .bool = a { return a }
            return asError(a)
        }
        if case .bool(decisive) = a { return a }
        if case .error = a { return a }
        return asError(a, b)
    }

    private static func asError(_ a: Value) -> Value {
        if case .error = a { return a }
        return .failure(.noSuchOverload)
    }

    private static func asError(_ a: Value, _ b: Value) -> Value {
        if case .bool = a { return asError(b) }
        return asError(a)
    }

    // MARK: Selection

    /// `operand.field` or `operand[key]`: fields are keys that are strings.
    static func select(
        _ operand: Value,
        _ key: Value,
        isOptional: Bool,
        isField: Bool,
        _ evaluation: inout Evaluation
    ) -> Value {
        if case .error = operand { return operand }
        if case .error = key { return key }
        if case .optional(let wrapped) = operand {
            guard let wrapped else { return operand }
            return select(wrapped, key, isOptional: true, isField: isField, &evaluation)
        }
        let found = element(operand, key, isField: isField)
        guard isOptional else { return found ?? missing(operand) }
        switch found {
        case nil: return .optional(nil)
        case .error?: return found ?? .null
        case .optional?: return found ?? .null
        case let value?: return .optional(value)
        }
    }

    private static func missing(_ operand: Value) -> Value {
        if case .list = operand { return .failure(.indexOutOfRange) }
        return .failure(.noSuchKey)
    }

    /// The element of a list or map; nil where there is none.
    private static func element(_ operand: Value, _ key: Value, isField: Bool) -> Value? {
        switch operand {
        case .map(let map):
            if let value = map[key] { return value }
            return nil
        case .list(let list) where !isField:
            let place: Int?
            switch key {
            case .int(let i): place = Int(exactly: i)
            case .uint(let u): place = Int(exactly: u)
            case .double(let d):
                guard d == d.rounded() else { return .failure(.invalidArgument) }
                place = Int(exactly: d)
            default: return .failure(.noSuchOverload)
            }
            guard let place, list.indices.contains(place) else { return nil }
            return list[place]
        default: return .failure(isField ? .noSuchField : .noSuchOverload)
        }
    }

    /// `has(operand.field)`.
    static func has(_ operand: Value, _ key: Value) -> Value {
        switch operand {
        case .error: operand
        case .optional(let wrapped): wrapped.map { has($0, key) } ?? .bool(false)
        case .map(let map): .bool(map[key] != nil)
        default: .failure(.noSuchField)
        }
    }
}
