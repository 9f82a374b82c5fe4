@testable import CEL

/// A small random generator with a fixed seed (SplitMix64, S. Vigna).
struct Random: RandomNumberGenerator {
    private var state: UInt64

    init(_ seed: UInt64) {
        state = seed
    }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    mutating func below(_ bound: Int) -> Int { Int(next() % UInt64(bound)) }
    mutating func pick<T>(_ values: [T]) -> T { values[below(values.count)] }
    mutating func chance(_ percent: Int) -> Bool { below(100) < percent }
}

/// Makes expressions that pass the checker, and records for them.
struct Generator {
    var random: Random
    private var scope: [(name: String, kind: Kind)] = []
    private var loops = 0

    init(seed: UInt64) {
        random = Random(seed)
    }

    enum Kind: CaseIterable { case bool, int, uint, double, string, ints, strings, map, timestamp, duration }

    static let variables: [(name: String, type: ValueType, kind: Kind)] = [
        ("b", .bool, .bool), ("c", .bool, .bool), ("i", .int, .int), ("j", .int, .int), ("u", .uint, .uint),
        ("d", .double, .double), ("e", .double, .double), ("s", .string, .string), ("r", .string, .string),
        ("li", .list(.int), .ints), ("ls", .list(.string), .strings), ("m", .map(.string, .int), .map),
        ("t", .timestamp, .timestamp), ("p", .duration, .duration),
    ]

    static var environment: Environment {
        var limits = Limits()
        limits.literalPatternsOnly = false
        return Environment(
            variables: variables.map { VariableDeclaration(name: $0.name, type: $0.type) },
            limits: limits
        )
    }

    mutating func record() -> [Value] {
        Self.variables.map { random.chance(20) ? .absent : value($0.kind) }
    }

    mutating func value(_ kind: Kind) -> Value {
        switch kind {
        case .bool: return .bool(random.chance(50))
        case .int: return .int(random.pick([0, 1, -1, 2, 7, 100, .max, .min, 1 << 53]))
        case .uint: return .uint(random.pick([0, 1, 2, 7, .max, 1 << 63]))
        case .double: return .double(random.pick([0, -0.0, 1, 0.5, 2, 1e300, .infinity, .nan, 0x1p63, -3.75]))
        case .string:
            return .string(random.pick(["", "a", "PAID", "é", "e\u{301}", "a longer text of 30 bytes", "🐱b"]))
        case .ints: return .list((0..<random.below(5)).map { _ in value(.int) })
        case .strings: return .list((0..<random.below(5)).map { _ in value(.string) })
        case .map:
            return MapValue([(.string("a"), value(.int)), (.string("é"), value(.int))]).map { .map($0) } ?? .null
        case .timestamp:
            return Timestamp(seconds: random.pick([0, 1_234_567_890, -62_135_596_800, 253_402_300_799]))
                .map { .timestamp($0) } ?? .null
        case .duration: return .duration(nanoseconds: random.pick([0, 1, -1_500_000_000, .max, .min]))
        }
    }

    mutating func expression(_ kind: Kind, depth: Int) -> String {
        if let local = scope.last(where: { $0.kind == kind }), random.chance(35) { return local.name }
        if depth <= 0 || random.chance(12) { return leaf(kind) }
        if random.chance(6) {
            let condition = expression(.bool, depth: depth - 1)
            return "(\(condition) ? \(expression(kind, depth: depth - 1)) : \(expression(kind, depth: depth - 1)))"
        }
        if random.chance(4) {
            let other = random.pick(Kind.allCases)
            let initial = expression(other, depth: depth - 1)
            let name = "v\(scope.count)"
            scope.append((name, other))
            defer { scope.removeLast() }
            return "cel.bind(\(name), \(initial), \(expression(kind, depth: depth - 1)))"
        }
        return compound(kind, depth: depth - 1)
    }

    private mutating func leaf(_ kind: Kind) -> String {
        let names = Self.variables.filter { $0.kind == kind }.map(\.name)
        if random.chance(50), !names.isEmpty { return random.pick(names) }
        switch kind {
        case .bool: return random.pick(["true", "false"])
        case .int: return random.pick(["0", "1", "-1", "3", "9223372036854775807", "-9223372036854775808", "0x10"])
        case .uint: return random.pick(["0u", "1u", "18446744073709551615u", "0xFFu"])
        case .double: return random.pick(["0.0", "1.5", "-2.25", "1e10", "9007199254740993.0", ".5"])
        case .string: return random.pick(["''", "'a'", "\"PAID\"", "'\\u00e9'", "r'\\d'", "'''x\ny'''", "'\\x00'"])
        case .ints: return random.pick(["[]", "[1, 2, 3]", "[0, -1]"])
        case .strings: return random.pick(["['a', 'b']", "[]", "['PAID']"])
        case .map: return random.pick(["{'a': 1}", "{}", "{'x': 2, 'a': 3}"])
        case .timestamp: return "timestamp('2024-02-29T12:30:00Z')"
        case .duration: return random.pick(["duration('90m')", "duration('-1.5s')"])
        }
    }

    private mutating func compound(_ kind: Kind, depth: Int) -> String {
        switch kind {
        case .bool: return boolean(depth)
        case .int:
            switch random.below(8) {
            case 0: return "size(\(expression(random.pick([.string, .ints, .strings, .map]), depth: depth)))"
            case 1: return "(-(\(expression(.int, depth: depth))))"
            case 2: return "\(expression(.ints, depth: depth))[\(expression(.int, depth: depth))]"
            case 3: return "\(expression(.map, depth: depth)).a"
            case 4: return "\(expression(.map, depth: depth)).?a.orValue(\(expression(.int, depth: depth)))"
            case 5: return "int(\(expression(random.pick([.double, .uint, .string, .timestamp]), depth: depth)))"
            case 6: return "\(expression(.timestamp, depth: depth)).getHours()"
            default:
                return
                    "(\(expression(.int, depth: depth)) \(random.pick(["+", "-", "*", "/", "%"])) \(expression(.int, depth: depth)))"
            }
        case .uint:
            return
                "(\(expression(.uint, depth: depth)) \(random.pick(["+", "-", "*", "/", "%"])) \(expression(.uint, depth: depth)))"
        case .double:
            return
                "(\(expression(.double, depth: depth)) \(random.pick(["+", "-", "*", "/"])) \(expression(.double, depth: depth)))"
        case .string:
            switch random.below(5) {
            case 0: return "\(expression(.string, depth: depth)).substring(\(expression(.int, depth: depth)))"
            case 1:
                return "string(\(expression(random.pick([.int, .double, .uint, .timestamp, .duration]), depth: depth)))"
            case 2: return "\(expression(.strings, depth: depth)).join('-')"
            case 3:
                return
                    "\(expression(.string, depth: depth)).replace(\(expression(.string, depth: depth)), \(expression(.string, depth: depth)))"
            default: return "(\(expression(.string, depth: depth)) + \(expression(.string, depth: depth)))"
            }
        case .ints: return list(.ints, element: .int, depth)
        case .strings:
            if random.chance(20) {
                return "\(expression(.string, depth: depth)).split(\(expression(.string, depth: depth)))"
            }
            return list(.strings, element: .string, depth)
        case .map:
            return
                "{'a': \(expression(.int, depth: depth)), \(expression(.string, depth: depth)): \(expression(.int, depth: depth))}"
        case .timestamp: return "(\(expression(.timestamp, depth: depth)) + \(expression(.duration, depth: depth)))"
        case .duration: return "(\(expression(.duration, depth: depth)) - \(expression(.duration, depth: depth)))"
        }
    }

    private mutating func boolean(_ depth: Int) -> String {
        switch random.below(9) {
        case 0, 1: return "(\(expression(.bool, depth: depth)) && \(expression(.bool, depth: depth)))"
        case 2, 3: return "(\(expression(.bool, depth: depth)) || \(expression(.bool, depth: depth)))"
        case 4: return "!\(expression(.bool, depth: depth))"
        case 5:
            let kind = random.pick([Kind.int, .uint, .double, .string, .timestamp, .duration, .bool])
            return
                "(\(expression(kind, depth: depth)) \(random.pick(["<", "<=", ">", ">=", "==", "!="])) \(expression(kind, depth: depth)))"
        case 6:
            return random.chance(50)
                ? "(\(expression(.int, depth: depth)) in \(expression(.ints, depth: depth)))"
                : "\(expression(.string, depth: depth)).\(random.pick(["contains", "startsWith"]))(\(expression(.string, depth: depth)))"
        case 7:
            if loops >= 2 { return "('a' in ls)" }
            return random.pick([
                "(\(expression(.int, depth: depth)) < \(expression(.double, depth: depth)))",
                "(s in ['a', 'PAID', 'é'])",
                "('a' in ls)", "ls.exists(x, x == 'PAID')", "(r in [])", "ls.exists(x, x != 'a')",
                "ls.exists(x, x.endsWith('A'))", "s.startsWith('PA')", "r.contains('longer')",
                "ls.all(x, x.contains('é'))",
            ])
        default:
            guard loops < 2 else { return "(b || has(m.a))" }
            return loop(random.pick(["all", "exists", "exists_one"]), over: .ints, element: .int, body: .bool, depth)
        }
    }

    private mutating func list(_ kind: Kind, element: Kind, _ depth: Int) -> String {
        guard loops < 2, random.chance(50) else {
            return "(\(expression(kind, depth: depth)) + [\(expression(element, depth: depth))])"
        }
        return random.chance(50)
            ? loop("filter", over: kind, element: element, body: .bool, depth)
            : loop("map", over: kind, element: element, body: element, depth)
    }

    private mutating func loop(_ name: String, over range: Kind, element: Kind, body: Kind, _ depth: Int) -> String {
        let source = expression(range, depth: depth)
        let variable = "v\(scope.count)"
        scope.append((variable, element))
        loops += 1
        defer {
            scope.removeLast()
            loops -= 1
        }
        return "\(source).\(name)(\(variable), \(expression(body, depth: depth)))"
    }
}
