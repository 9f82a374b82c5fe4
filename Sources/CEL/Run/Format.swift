import Foundation

/// The strings extension's `format`.
enum Format {
    static func format(_ template: String, _ arguments: [Value], _ evaluation: inout Evaluation) -> Value {
        let bytes = Array(template.utf8)
        var result: [UInt8] = []
        var used = 0
        var at = 0
        while at < bytes.count {
            let c = bytes[at]
            at += 1
            guard c == UInt8(ascii: "%") else {
                result.append(c)
                continue
            }
            guard at < bytes.count else { return .failure(.invalidArgument) }
            if bytes[at] == UInt8(ascii: "%") {
                result.append(c)
                at += 1
                continue
            }
            guard let precision = precision(bytes, &at), at < bytes.count, used < arguments.count else {
                return .failure(.invalidArgument)
            }
            var budget = Budget(left: evaluation.limits.stringBytes - result.count)
            guard let text = clause(bytes[at], precision.value, arguments[used], &budget) else {
                return .failure(budget.left < 0 ? .sizeLimit : .invalidArgument)
            }
            guard result.count + text.utf8.count <= evaluation.limits.stringBytes else { return .failure(.sizeLimit) }
            guard evaluation.charge(1 + text.utf8.count >> 4) else { return Evaluation.costExceeded }
            result += text.utf8
            used += 1
            at += 1
        }
        guard result.count <= evaluation.limits.stringBytes else { return .failure(.sizeLimit) }
        return .string(String(decoding: result, as: UTF8.self))
    }

    /// The bytes that a clause may still make.
    struct Budget {
        var left: Int
    }

    private struct Precision {
        var value: Int?
    }

    private static func precision(_ bytes: [UInt8], _ at: inout Int) -> Precision? {
        guard bytes[at] == UInt8(ascii: ".") else { return Precision(value: nil) }
        at += 1
        var value = 0
        let start = at
        while at < bytes.count, isDigit(bytes[at]), at - start < 4 {
            value = value * 10 + Int(bytes[at] - 0x30)
            at += 1
        }
        return at > start && value <= 100 ? Precision(value: value) : nil
    }

    private static func clause(_ clause: UInt8, _ precision: Int?, _ value: Value, _ budget: inout Budget) -> String? {
        switch clause {
        case UInt8(ascii: "s"): return text(value, &budget)
        case UInt8(ascii: "d"):
            switch value {
            case .int, .uint, .double: return text(value, &budget)
            default: return nil
            }
        case UInt8(ascii: "f"), UInt8(ascii: "e"):
            let number: Double
            switch value {
            case .int(let i): number = Double(i)
            case .uint(let u): number = Double(u)
            case .double(let d): number = d
            default: return nil
            }
            guard number.isFinite else { return Conversions.text(number) }
            return String(format: "%.\(precision ?? 6)\(clause == UInt8(ascii: "f") ? "f" : "e")", number)
        case UInt8(ascii: "b"):
            if case .bool(let b) = value { return b ? "1" : "0" }
            return integer(value, radix: 2, uppercase: false)
        case UInt8(ascii: "o"): return integer(value, radix: 8, uppercase: false)
        case UInt8(ascii: "x"), UInt8(ascii: "X"):
            let uppercase = clause == UInt8(ascii: "X")
            switch value {
            case .string(let s): return hex(Array(s.utf8), uppercase, &budget)
            case .bytes(let b): return hex(b, uppercase, &budget)
            default: return integer(value, radix: 16, uppercase: uppercase)
            }
        default: return nil
        }
    }

    private static func integer(_ value: Value, radix: Int, uppercase: Bool) -> String? {
        switch value {
        case .int(let i): String(i, radix: radix, uppercase: uppercase)
        case .uint(let u): String(u, radix: radix, uppercase: uppercase)
        default: nil
        }
    }

    private static func hex(_ bytes: [UInt8], _ uppercase: Bool, _ budget: inout Budget) -> String? {
        budget.left -= 2 * bytes.count
        guard budget.left >= 0 else { return nil }
        let digits = Array((uppercase ? "0123456789ABCDEF" : "0123456789abcdef").utf8)
        return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
    }

    /// The text of `%s`; nil for what has none, or where it becomes too long.
    private static func text(_ value: Value, _ budget: inout Budget) -> String? {
        var result: String?
        switch value {
        case .null: result = "null"
        case .type(let name): result = name
        case .list(let list):
            var parts: [String] = []
            for element in list {
                guard let part = text(element, &budget) else { return nil }
                parts.append(part)
            }
            return "[" + parts.joined(separator: ", ") + "]"
        case .map(let map):
            var parts: [(String, String)] = []
            for (key, value) in zip(map.keys, map.values) {
                guard let key = text(key, &budget), let value = text(value, &budget) else { return nil }
                parts.append((key, value))
            }
            parts.sort { compareCodePoints($0.0, $1.0) < 0 }
            return "{" + parts.map { "\($0): \($1)" }.joined(separator: ", ") + "}"
        default:
            if case .string(let s) = Conversions.string(value) { result = s }
        }
        guard let result else { return nil }
        budget.left -= result.utf8.count + 2
        return budget.left >= -2 ? result : nil
    }
}
