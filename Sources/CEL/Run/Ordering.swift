/// CEL's equality and order. Numbers compare by value, whatever their types.
enum Ordering {
    /// Negative, zero or positive; nil where one is NaN.
    ///
    /// Exact but at one point each: 2^63 as a double equals `Int64.max`, and 2^64 equals `UInt64.max`, because the
    /// CEL conformance tests want doubles just past an integer's range to be equal to its end.
    @inline(__always)
    static func compare(_ i: Int64, _ d: Double) -> Int? {
        if d.isNaN { return nil }
        if d >= 0x1p63 { return d == 0x1p63 && i == .max ? 0 : -1 }
        if d < -0x1p63 { return 1 }
        let whole = d.rounded(.towardZero)
        let other = Int64(whole)
        if i != other { return i < other ? -1 : 1 }
        return d == whole ? 0 : d > whole ? -1 : 1
    }

    @inline(__always)
    static func compare(_ u: UInt64, _ d: Double) -> Int? {
        if d.isNaN { return nil }
        if d >= 0x1p64 { return d == 0x1p64 && u == .max ? 0 : -1 }
        if d < 0 { return 1 }
        let whole = d.rounded(.towardZero)
        let other = UInt64(whole)
        if u != other { return u < other ? -1 : 1 }
        return d == whole ? 0 : -1
    }

    @inline(__always)
    static func compare(_ i: Int64, _ u: UInt64) -> Int {
        i < 0 ? -1 : compare(UInt64(bitPattern: i), u)
    }

    @inline(__always)
    static func compare<T: Comparable>(_ a: T, _ b: T) -> Int { a < b ? -1 : a == b ? 0 : 1 }

    /// The order of two numbers; `.unordered` with NaN, nil where they are not numbers.
    private static func compareNumbers(_ a: Value, _ b: Value) -> Result? {
        func ordered(_ order: Int?) -> Result { order.map { .ordered($0) } ?? .unordered }
        switch (a, b) {
        case (.int(let x), .int(let y)): return .ordered(compare(x, y))
        case (.uint(let x), .uint(let y)): return .ordered(compare(x, y))
        case (.double(let x), .double(let y)): return x.isNaN || y.isNaN ? .unordered : .ordered(compare(x, y))
        case (.int(let x), .uint(let y)): return .ordered(compare(x, y))
        case (.uint(let x), .int(let y)): return .ordered(-compare(y, x))
        case (.int(let x), .double(let y)): return ordered(compare(x, y))
        case (.double(let x), .int(let y)): return ordered(compare(y, x).map { -$0 })
        case (.uint(let x), .double(let y)): return ordered(compare(x, y))
        case (.double(let x), .uint(let y)): return ordered(compare(y, x).map { -$0 })
        default: return nil
        }
    }

    enum Result {
        case ordered(Int)
        case unordered
    }

    /// The order of two values; nil where CEL has no order for their types.
    static func order(_ a: Value, _ b: Value, _ evaluation: inout Evaluation) -> Result? {
        if let result = compareNumbers(a, b) { return result }
        switch (a, b) {
        case (.bool(let x), .bool(let y)): return .ordered((x ? 1 : 0) - (y ? 1 : 0))
        case (.string(let x), .string(let y)):
            guard evaluation.charge(bytes: min(x.utf8.count, y.utf8.count)) else { return .unordered }
            return .ordered(compareCodePoints(x, y))
        case (.bytes(let x), .bytes(let y)):
            guard evaluation.charge(bytes: min(x.count, y.count)) else { return .unordered }
            return .ordered(x.lexicographicallyPrecedes(y) ? -1 : x == y ? 0 : 1)
        case (.timestamp(let x), .timestamp(let y)): return .ordered(compare(x, y))
        case (.duration(let x), .duration(let y)): return .ordered(compare(x, y))
        default: return nil
        }
    }

    /// CEL's `==`. Values of different kinds are unequal.
    static func equal(_ a: Value, _ b: Value, _ evaluation: inout Evaluation) -> Bool {
        switch (a, b) {
        case (.string(let x), .string(let y)):
            guard evaluation.charge(bytes: min(x.utf8.count, y.utf8.count)) else { return false }
            return sameCodePoints(x, y)
        case (.bool(let x), .bool(let y)): return x == y
        case (.null, .null): return true
        case (.bytes(let x), .bytes(let y)):
            return evaluation.charge(bytes: min(x.count, y.count)) && x == y
        case (.timestamp(let x), .timestamp(let y)): return x == y
        case (.duration(let x), .duration(let y)): return x == y
        case (.type(let x), .type(let y)): return x == y
        case (.list(let x), .list(let y)):
            guard x.count == y.count else { return false }
            for (p, q) in zip(x, y) {
                guard evaluation.charge(1), equal(p, q, &evaluation) else { return false }
            }
            return true
        case (.map(let x), .map(let y)):
            guard x.count == y.count else { return false }
            for (key, value) in zip(x.keys, x.values) {
                guard evaluation.charge(1), let other = y[key], equal(value, other, &evaluation) else { return false }
            }
            return true
        case (.optional(let x), .optional(let y)):
            guard let x, let y else { return x == nil && y == nil }
            return equal(x, y, &evaluation)
        default:
            if case .ordered(0) = compareNumbers(a, b) { return true }
            return false
        }
    }

    /// Whether a list has an equal element, or a map an equal key; nil where `range` is neither.
    static func contains(_ element: Value, _ range: Value, _ evaluation: inout Evaluation) -> Bool? {
        switch range {
        case .list(let list):
            for candidate in list {
                guard evaluation.charge(1) else { return false }
                if equal(element, candidate, &evaluation) { return true }
            }
            return false
        case .map(let map): return map[element] != nil
        default: return nil
        }
    }
}
