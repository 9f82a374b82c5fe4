/// The standard functions, on values whose types may be any.
enum Builtins {
    typealias Arguments = UnsafeBufferPointer<Value>

    static func call(_ builtin: Builtin, _ arguments: Arguments, _ evaluation: inout Evaluation) -> Value {
        for argument in arguments {
            if case .error = argument { return argument }
        }
        guard chargeText(arguments, &evaluation) else { return Evaluation.costExceeded }
        guard let value = dispatch(builtin, arguments, &evaluation) else { return .failure(.noSuchOverload) }
        return value
    }

    /// Every builtin goes through the texts that it is given at most a few times.
    private static func chargeText(_ arguments: Arguments, _ evaluation: inout Evaluation) -> Bool {
        for argument in arguments {
            switch argument {
            case .string(let s): guard evaluation.charge(bytes: s.utf8.count) else { return false }
            case .bytes(let b): guard evaluation.charge(bytes: b.count) else { return false }
            default: break
            }
        }
        return true
    }

    private static func dispatch(
        _ builtin: Builtin,
        _ arguments: Arguments,
        _ evaluation: inout Evaluation
    ) -> Value? {
        let count = arguments.count
        switch builtin {
        case .size: return count == 1 ? size(arguments[0]) : nil
        case .type: return count == 1 ? .type(arguments[0].typeName) : nil
        case .dyn: return count == 1 ? arguments[0] : nil
        case .int: return count == 1 ? Conversions.int(arguments[0]) : nil
        case .uint: return count == 1 ? Conversions.uint(arguments[0]) : nil
        case .double: return count == 1 ? Conversions.double(arguments[0]) : nil
        case .string: return count == 1 ? Conversions.string(arguments[0]) : nil
        case .bytes: return count == 1 ? Conversions.bytes(arguments[0]) : nil
        case .bool: return count == 1 ? Conversions.bool(arguments[0]) : nil
        case .timestamp: return count == 1 ? Conversions.timestamp(arguments[0]) : nil
        case .duration: return count == 1 ? Conversions.duration(arguments[0]) : nil
        case .getFullYear, .getMonth, .getDate, .getDayOfMonth, .getDayOfWeek, .getDayOfYear, .getHours, .getMinutes,
            .getSeconds, .getMilliseconds:
            return time(builtin, arguments, &evaluation)
        case .contains, .startsWith, .endsWith, .matches, .charAt, .indexOf, .lastIndexOf, .lowerAscii, .upperAscii,
            .replace, .split, .substring, .trim, .join, .reverse, .quote, .format:
            return StringFunctions.call(builtin, arguments, &evaluation)
        case .optionalOf, .optionalNone, .optionalOfNonZeroValue, .hasValue, .value, .or, .orValue, .unwrap:
            return optional(builtin, arguments, &evaluation)
        case .base64Encode, .base64Decode:
            return count == 1 ? Base64.call(builtin, arguments[0], &evaluation) : nil
        default: return MathFunctions.call(builtin, arguments, &evaluation)
        }
    }

    private static func size(_ value: Value) -> Value? {
        switch value {
        case .string(let s): .int(Int64(s.unicodeScalars.count))
        case .bytes(let b): .int(Int64(b.count))
        case .list(let l): .int(Int64(l.count))
        case .map(let m): .int(Int64(m.count))
        default: nil
        }
    }

    private static func time(_ builtin: Builtin, _ arguments: Arguments, _ evaluation: inout Evaluation) -> Value? {
        guard arguments.count == 1 || arguments.count == 2 else { return nil }
        if case .duration(let n) = arguments[0], arguments.count == 1 {
            switch builtin {
            case .getHours: return .int(n / 3_600_000_000_000)
            case .getMinutes: return .int(n / 60_000_000_000)
            case .getSeconds: return .int(n / 1_000_000_000)
            case .getMilliseconds: return .int(n / 1_000_000 % 1_000)
            default: return nil
            }
        }
        guard case .timestamp(let t) = arguments[0] else { return nil }
        var offset = 0
        if arguments.count == 2 {
            guard case .string(let zone) = arguments[1] else { return nil }
            // A zone by name is looked up in the system's database.
            guard evaluation.charge(50) else { return Evaluation.costExceeded }
            guard let seconds = Time.offset(zone, at: t) else { return .failure(.invalidArgument) }
            offset = seconds
        }
        let fields = Time.fields(t, offset: offset)
        switch builtin {
        case .getFullYear: return .int(Int64(fields.year))
        case .getMonth: return .int(Int64(fields.month - 1))
        case .getDate: return .int(Int64(fields.day))
        case .getDayOfMonth: return .int(Int64(fields.day - 1))
        case .getDayOfWeek: return .int(Int64(fields.weekday))
        case .getDayOfYear: return .int(Int64(fields.dayOfYear))
        case .getHours: return .int(Int64(fields.hour))
        case .getMinutes: return .int(Int64(fields.minute))
        case .getSeconds: return .int(Int64(fields.second))
        case .getMilliseconds: return .int(Int64(fields.nanoseconds / 1_000_000))
        default: return nil
        }
    }

    private static func optional(
        _ builtin: Builtin,
        _ arguments: Arguments,
        _ evaluation: inout Evaluation
    ) -> Value? {
        switch (builtin, arguments.count) {
        case (.optionalNone, 0): return .optional(nil)
        case (.optionalOf, 1): return .optional(arguments[0])
        case (.unwrap, 1): return unwrap(arguments[0], &evaluation)
        case (.optionalOfNonZeroValue, 1): return .optional(isZero(arguments[0]) ? nil : arguments[0])
        default: break
        }
        guard let first = arguments.first, case .optional(let wrapped) = first else { return nil }
        switch (builtin, arguments.count) {
        case (.hasValue, 1): return .bool(wrapped != nil)
        case (.value, 1): return wrapped ?? .failure(.noValue)
        case (.or, 2):
            if wrapped != nil { return first }
            guard case .optional = arguments[1] else { return nil }
            return arguments[1]
        case (.orValue, 2): return wrapped ?? arguments[1]
        default: return nil
        }
    }

    /// The values of those optionals of a list that have one.
    private static func unwrap(_ value: Value, _ evaluation: inout Evaluation) -> Value? {
        guard case .list(let list) = value else { return nil }
        guard evaluation.charge(list.count) else { return Evaluation.costExceeded }
        var result: [Value] = []
        for element in list {
            guard case .optional(let wrapped) = element else { return nil }
            if let wrapped { result.append(wrapped) }
        }
        return .list(result)
    }

    private static func isZero(_ value: Value) -> Bool {
        switch value {
        case .null: true
        case .bool(let b): !b
        case .int(let i): i == 0
        case .uint(let u): u == 0
        case .double(let d): d == 0
        case .string(let s): s.isEmpty
        case .bytes(let b): b.isEmpty
        case .list(let l): l.isEmpty
        case .map(let m): m.count == 0
        case .duration(let n): n == 0
        case .timestamp(let t): t.seconds == 0 && t.nanoseconds == 0
        case .optional(let wrapped): wrapped == nil
        default: false
        }
    }

    static func matches(_ value: Value, _ pattern: Pattern, _ evaluation: inout Evaluation) -> Value {
        switch value {
        case .error: return value
        case .string(var text):
            guard evaluation.charge(pattern.cost(bytes: text.utf8.count)) else { return Evaluation.costExceeded }
            return .bool(text.withUTF8 { pattern.matches($0) })
        default: return .failure(.noSuchOverload)
        }
    }
}
