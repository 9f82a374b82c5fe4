/// The conversions between types.
enum Conversions {
    static func int(_ value: Value) -> Value {
        switch value {
        case .int: return value
        case .uint(let u): return Int64(exactly: u).map { .int($0) } ?? .failure(.overflow)
        case .double(let d):
            // The ends are left out, as the conformance tests have it: -2^63 is an error.
            guard d > -0x1p63, d < 0x1p63 else { return .failure(.overflow) }
            return .int(Int64(d))
        case .string(let s):
            guard let i = integer(s, as: Int64.self) else { return .failure(.invalidConversion) }
            return .int(i)
        case .timestamp(let t): return .int(t.seconds)
        case .duration(let n): return .int(n / 1_000_000_000)
        default: return .failure(.noSuchOverload)
        }
    }

    static func uint(_ value: Value) -> Value {
        switch value {
        case .uint: return value
        case .int(let i): return UInt64(exactly: i).map { .uint($0) } ?? .failure(.overflow)
        case .double(let d):
            guard d >= 0, d < 0x1p64 else { return .failure(.overflow) }
            return .uint(UInt64(d))
        case .string(let s):
            guard let u = integer(s, as: UInt64.self) else { return .failure(.invalidConversion) }
            return .uint(u)
        default: return .failure(.noSuchOverload)
        }
    }

    private static func integer<T: FixedWidthInteger>(_ text: String, as: T.Type) -> T? {
        text.utf8.count <= 64 ? T(text) : nil
    }

    static func double(_ value: Value) -> Value {
        switch value {
        case .double: return value
        case .int(let i): return .double(Double(i))
        case .uint(let u): return .double(Double(u))
        case .string(let s):
            guard s.utf8.count <= 1_024, let d = number(s) else { return .failure(.invalidConversion) }
            return .double(d)
        default: return .failure(.noSuchOverload)
        }
    }

    /// A double from decimal text, or from the names of NaN and the infinities.
    private static func number(_ text: String) -> Double? {
        switch text {
        case "NaN", "nan": return .nan
        case "Infinity", "+Infinity", "Inf", "+Inf", "inf", "+inf", "infinity", "+infinity": return .infinity
        case "-Infinity", "-Inf", "-inf", "-infinity": return -.infinity
        default:
            // Hexadecimal floats and the like are Swift's, not CEL's.
            guard text.utf8.allSatisfy({ isDigit($0) || "+-.eE".utf8.contains($0) }) else { return nil }
            return Double(text)
        }
    }

    static func bool(_ value: Value) -> Value {
        switch value {
        case .bool: return value
        case .string(let s):
            switch s {
            case "1", "t", "T", "true", "TRUE", "True": return .bool(true)
            case "0", "f", "F", "false", "FALSE", "False": return .bool(false)
            default: return .failure(.invalidConversion)
            }
        default: return .failure(.noSuchOverload)
        }
    }

    static func bytes(_ value: Value) -> Value {
        switch value {
        case .bytes: value
        case .string(let s): .bytes(Array(s.utf8))
        default: .failure(.noSuchOverload)
        }
    }

    static func string(_ value: Value) -> Value {
        switch value {
        case .string: return value
        case .bool(let b): return .string(b ? "true" : "false")
        case .int(let i): return .string(String(i))
        case .uint(let u): return .string(String(u))
        case .double(let d): return .string(text(d))
        case .bytes(let b):
            guard let s = String(validating: b, as: UTF8.self) else { return .failure(.invalidConversion) }
            return .string(s)
        case .timestamp(let t): return .string(Time.text(t))
        case .duration(let n): return .string(Time.text(nanoseconds: n))
        default: return .failure(.noSuchOverload)
        }
    }

    static func timestamp(_ value: Value) -> Value {
        switch value {
        case .timestamp: return value
        case .int(let i): return Timestamp(seconds: i).map { .timestamp($0) } ?? .failure(.overflow)
        case .string(let s): return Time.timestamp(s).map { .timestamp($0) } ?? .failure(.invalidConversion)
        default: return .failure(.noSuchOverload)
        }
    }

    static func duration(_ value: Value) -> Value {
        switch value {
        case .duration: return value
        case .int(let i):
            let (n, overflow) = i.multipliedReportingOverflow(by: 1_000_000_000)
            return overflow ? .failure(.overflow) : .duration(nanoseconds: n)
        case .string(let s):
            return Time.duration(s).map { .duration(nanoseconds: $0) } ?? .failure(.invalidConversion)
        default: return .failure(.noSuchOverload)
        }
    }

    /// The shortest decimal text that gives the double back; exponents from 1e21 and below 1e-6 on.
    static func text(_ d: Double) -> String {
        if d.isNaN { return "NaN" }
        if d.isInfinite { return d < 0 ? "-Infinity" : "Infinity" }
        if d == 0 { return d.sign == .minus ? "-0" : "0" }
        let (digits, exponent) = decimal(d.magnitude)
        let sign = d < 0 ? "-" : ""
        if exponent < -6 || exponent >= 21 {
            let rest = digits.dropFirst()
            let magnitude = String(exponent.magnitude)
            return sign + digits.prefix(1) + (rest.isEmpty ? "" : "." + rest) + (exponent < 0 ? "e-" : "e+")
                + (magnitude.count < 2 ? "0" : "") + magnitude
        }
        if exponent < 0 { return sign + "0." + String(repeating: "0", count: -exponent - 1) + digits }
        if digits.count <= exponent + 1 {
            return sign + digits + String(repeating: "0", count: exponent + 1 - digits.count)
        }
        return sign + digits.prefix(exponent + 1) + "." + digits.dropFirst(exponent + 1)
    }

    /// The digits of a positive double and the power of ten of the first.
    private static func decimal(_ d: Double) -> (String, Int) {
        // Swift's description is the shortest that reads back: "123.0", "1e-07", "1.5e+22".
        var mantissa = d.description
        var exponent = 0
        if let e = mantissa.firstIndex(of: "e") {
            exponent = Int(mantissa[mantissa.index(after: e)...]) ?? 0
            mantissa = String(mantissa[..<e])
        }
        let parts = mantissa.split(separator: ".", omittingEmptySubsequences: false)
        let whole = String(parts[0])
        var digits = whole + (parts.count > 1 ? String(parts[1]) : "")
        exponent += whole.count - 1
        while digits.count > 1, digits.hasPrefix("0") {
            digits.removeFirst()
            exponent -= 1
        }
        while digits.count > 1, digits.hasSuffix("0") { digits.removeLast() }
        return (digits, exponent)
    }
}
