/// The functions that CEL and its extensions define.
enum Builtin: UInt8, Sendable {
    case size, contains, startsWith, endsWith, matches, type, dyn
    case int, uint, double, string, bytes, bool, timestamp, duration
    case getFullYear, getMonth, getDate, getDayOfMonth, getDayOfWeek, getDayOfYear
    case getHours, getMinutes, getSeconds, getMilliseconds
    case charAt, indexOf, lastIndexOf, lowerAscii, upperAscii, replace, split, substring, trim, join, reverse
    case quote, format
    case greatest, least, ceil, floor, round, trunc, abs, sign, sqrt, isNaN, isInf, isFinite
    case bitAnd, bitOr, bitXor, bitNot, bitShiftLeft, bitShiftRight
    case optionalOf, optionalNone, optionalOfNonZeroValue, hasValue, value, or, orValue, unwrap
    case base64Encode, base64Decode
}

/// One way to call a function.
struct Overload: Sendable {
    var parameters: [ValueType]
    var result: ValueType
    var isGeneric: Bool

    init(_ parameters: [ValueType], _ result: ValueType) {
        self.parameters = parameters
        self.result = result
        isGeneric = (parameters + [result]).contains { $0.mentionsParameter }
    }
}

extension ValueType {
    fileprivate var mentionsParameter: Bool {
        switch self {
        case .parameter: true
        case .list(let t), .optional(let t): t.mentionsParameter
        case .map(let k, let v): k.mentionsParameter || v.mentionsParameter
        case .opaque(_, let p): p.contains { $0.mentionsParameter }
        default: false
        }
    }
}

/// A name with its overloads, as a function or as a method.
struct FunctionEntry: Sendable {
    enum Target: Sendable {
        case builtin(Builtin)
        case host(Int32)
        case lookup(Int32)
    }

    var target: Target
    var overloads: [Overload]
}

enum StandardLibrary {
    static let functions: [String: FunctionEntry] = table(isMethod: false)
    static let methods: [String: FunctionEntry] = table(isMethod: true)
    /// The first parts of the qualified functions' names.
    static let namespaces: Set<String> = ["math", "optional", "strings", "base64"]
    /// Names that denote types.
    static let types: [String: String] = Dictionary(
        uniqueKeysWithValues: [
            "bool", "int", "uint", "double", "string", "bytes", "list", "map", "null_type", "type", "optional_type",
            "google.protobuf.Timestamp", "google.protobuf.Duration",
        ].map { ($0, $0) }
    )

    private static func table(isMethod: Bool) -> [String: FunctionEntry] {
        var result: [String: FunctionEntry] = [:]
        for (name, builtin, method, parameters, value) in declarations where method == isMethod {
            result[name, default: FunctionEntry(target: .builtin(builtin), overloads: [])].overloads
                .append(Overload(parameters, value))
        }
        return result
    }

    private typealias Declaration = (String, Builtin, Bool, [ValueType], ValueType)

    private static var declarations: [Declaration] {
        core + time + strings + math + optionals + encoders
    }

    private static func function(
        _ name: String,
        _ builtin: Builtin,
        _ parameters: [ValueType],
        _ result: ValueType
    ) -> Declaration { (name, builtin, false, parameters, result) }

    private static func method(
        _ name: String,
        _ builtin: Builtin,
        _ parameters: [ValueType],
        _ result: ValueType
    ) -> Declaration { (name, builtin, true, parameters, result) }

    private static var core: [Declaration] {
        var result: [Declaration] = []
        let a = ValueType.parameter("A")
        for type: ValueType in [.string, .bytes, .list(a), .map(a, .parameter("B"))] {
            result.append(function("size", .size, [type], .int))
            result.append(method("size", .size, [type], .int))
        }
        result.append(method("contains", .contains, [.string, .string], .bool))
        result.append(method("startsWith", .startsWith, [.string, .string], .bool))
        result.append(method("endsWith", .endsWith, [.string, .string], .bool))
        result.append(method("matches", .matches, [.string, .string], .bool))
        result.append(function("matches", .matches, [.string, .string], .bool))
        result.append(function("type", .type, [a], .type))
        result.append(function("dyn", .dyn, [a], .dyn))
        let conversions: [(String, Builtin, ValueType, [ValueType])] = [
            ("int", .int, .int, [.int, .uint, .double, .string, .timestamp, .duration]),
            ("uint", .uint, .uint, [.int, .uint, .double, .string]),
            ("double", .double, .double, [.int, .uint, .double, .string]),
            ("string", .string, .string, [.string, .bool, .int, .uint, .double, .bytes, .timestamp, .duration]),
            ("bytes", .bytes, .bytes, [.bytes, .string]),
            ("bool", .bool, .bool, [.bool, .string]),
            ("timestamp", .timestamp, .timestamp, [.timestamp, .string, .int]),
            ("duration", .duration, .duration, [.duration, .string, .int]),
        ]
        for (name, builtin, to, from) in conversions {
            for type in from { result.append(function(name, builtin, [type], to)) }
        }
        return result
    }

    private static var time: [Declaration] {
        var result: [Declaration] = []
        let accessors: [(String, Builtin)] = [
            ("getFullYear", .getFullYear), ("getMonth", .getMonth), ("getDate", .getDate),
            ("getDayOfMonth", .getDayOfMonth), ("getDayOfWeek", .getDayOfWeek), ("getDayOfYear", .getDayOfYear),
            ("getHours", .getHours), ("getMinutes", .getMinutes), ("getSeconds", .getSeconds),
            ("getMilliseconds", .getMilliseconds),
        ]
        for (name, builtin) in accessors {
            result.append(method(name, builtin, [.timestamp], .int))
            result.append(method(name, builtin, [.timestamp, .string], .int))
        }
        for (name, builtin) in accessors.suffix(4) { result.append(method(name, builtin, [.duration], .int)) }
        return result
    }

    private static var strings: [Declaration] {
        [
            method("charAt", .charAt, [.string, .int], .string),
            method("indexOf", .indexOf, [.string, .string], .int),
            method("indexOf", .indexOf, [.string, .string, .int], .int),
            method("lastIndexOf", .lastIndexOf, [.string, .string], .int),
            method("lastIndexOf", .lastIndexOf, [.string, .string, .int], .int),
            method("lowerAscii", .lowerAscii, [.string], .string),
            method("upperAscii", .upperAscii, [.string], .string),
            method("replace", .replace, [.string, .string, .string], .string),
            method("replace", .replace, [.string, .string, .string, .int], .string),
            method("split", .split, [.string, .string], .list(.string)),
            method("split", .split, [.string, .string, .int], .list(.string)),
            method("substring", .substring, [.string, .int], .string),
            method("substring", .substring, [.string, .int, .int], .string),
            method("trim", .trim, [.string], .string),
            method("reverse", .reverse, [.string], .string),
            method("join", .join, [.list(.string)], .string),
            method("join", .join, [.list(.string), .string], .string),
            method("format", .format, [.string, .list(.dyn)], .string),
            function("strings.quote", .quote, [.string], .string),
        ]
    }

    private static var math: [Declaration] {
        var result: [Declaration] = []
        let numbers: [ValueType] = [.int, .uint, .double]
        for (name, builtin) in [("math.abs", Builtin.abs), ("math.sign", .sign)] {
            for type in numbers { result.append(function(name, builtin, [type], type)) }
        }
        for type in numbers { result.append(function("math.sqrt", .sqrt, [type], .double)) }
        for (name, builtin) in [
            ("math.ceil", Builtin.ceil), ("math.floor", .floor), ("math.round", .round), ("math.trunc", .trunc),
        ] {
            result.append(function(name, builtin, [.double], .double))
        }
        for (name, builtin) in [
            ("math.isNaN", Builtin.isNaN), ("math.isInf", .isInf), ("math.isFinite", .isFinite),
        ] {
            result.append(function(name, builtin, [.double], .bool))
        }
        for type: ValueType in [.int, .uint] {
            result.append(function("math.bitAnd", .bitAnd, [type, type], type))
            result.append(function("math.bitOr", .bitOr, [type, type], type))
            result.append(function("math.bitXor", .bitXor, [type, type], type))
            result.append(function("math.bitNot", .bitNot, [type], type))
            result.append(function("math.bitShiftLeft", .bitShiftLeft, [type, .int], type))
            result.append(function("math.bitShiftRight", .bitShiftRight, [type, .int], type))
        }
        // greatest and least take any number of numbers or one list of them: the checker has a rule of its own.
        result.append(function("math.greatest", .greatest, [.list(.dyn)], .dyn))
        result.append(function("math.least", .least, [.list(.dyn)], .dyn))
        return result
    }

    private static var optionals: [Declaration] {
        let a = ValueType.parameter("A")
        return [
            function("optional.of", .optionalOf, [a], .optional(a)),
            function("optional.none", .optionalNone, [], .optional(a)),
            function("optional.ofNonZeroValue", .optionalOfNonZeroValue, [a], .optional(a)),
            function("optional.unwrap", .unwrap, [.list(.optional(a))], .list(a)),
            method("unwrapOpt", .unwrap, [.list(.optional(a))], .list(a)),
            method("hasValue", .hasValue, [.optional(a)], .bool),
            method("value", .value, [.optional(a)], a),
            method("or", .or, [.optional(a), .optional(a)], .optional(a)),
            method("orValue", .orValue, [.optional(a), a], a),
        ]
    }

    private static var encoders: [Declaration] {
        [
            function("base64.encode", .base64Encode, [.bytes], .string),
            function("base64.decode", .base64Decode, [.string], .bytes),
        ]
    }
}
