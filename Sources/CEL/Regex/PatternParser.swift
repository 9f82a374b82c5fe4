/// A pattern's syntax tree.
indirect enum PatternNode {
    case empty
    case literal(UInt32)
    case set(Int32)
    case any(newline: Bool)
    case assertion(Pattern.Assertion)
    case sequence([PatternNode])
    case alternatives([PatternNode])
    case repetition(PatternNode, minimum: Int, maximum: Int?)
}

/// Parses RE2's syntax. Its recursion is bounded: groups nest at most 100 deep.
struct PatternParser {
    let scalars: [Unicode.Scalar]
    private let offsets: [Int]
    var at = 0
    private var depth = 0
    var flags = Flags()
    private(set) var sets: [CharacterSet] = []
    private var knownSets: [CharacterSet: Int32] = [:]

    struct Flags {
        var ignoresCase = false
        var multiline = false
        var dotMatchesNewline = false
    }

    init(_ text: String) {
        scalars = Array(text.unicodeScalars)
        var offset = 0
        offsets = scalars.map { scalar in
            defer { offset += UTF8.width(scalar) }
            return offset
        }
    }

    mutating func parse() throws(PatternError) -> PatternNode {
        let root = try alternatives()
        if at < scalars.count { throw error("unexpected ')'") }
        return root
    }

    // MARK: Reading

    var next: Unicode.Scalar? { at < scalars.count ? scalars[at] : nil }

    func error(_ message: String) -> PatternError {
        PatternError(message: message, offset: at < offsets.count ? offsets[at] : (offsets.last ?? 0) + 1)
    }

    mutating func accept(_ scalar: Unicode.Scalar) -> Bool {
        guard next == scalar else { return false }
        at += 1
        return true
    }

    func looksAt(_ text: StaticString) -> Bool {
        for place in 0..<text.utf8CodeUnitCount {
            guard at + place < scalars.count, scalars[at + place].value == UInt32(text.utf8Start[place]) else {
                return false
            }
        }
        return true
    }

    // MARK: Structure

    private mutating func alternatives() throws(PatternError) -> PatternNode {
        depth += 1
        defer { depth -= 1 }
        guard depth <= 100 else { throw error("groups nest too deep") }
        var branches = [try sequence()]
        while accept("|") { branches.append(try sequence()) }
        return branches.count == 1 ? branches[0] : .alternatives(branches)
    }

    private mutating func sequence() throws(PatternError) -> PatternNode {
        var parts: [PatternNode] = []
        while let scalar = next, scalar != "|", scalar != ")" {
            if looksAt("\\Q") {
                at += 2
                while at < scalars.count, !looksAt("\\E") {
                    parts.append(literal(scalars[at].value))
                    at += 1
                }
                if at < scalars.count { at += 2 }
                // A repetition applies to the last of the quoted code points.
                if let last = parts.popLast() { parts.append(try repetition(of: last)) }
                continue
            }
            guard let atom = try atom() else { continue }
            parts.append(try repetition(of: atom))
        }
        return parts.isEmpty ? .empty : parts.count == 1 ? parts[0] : .sequence(parts)
    }

    private mutating func repetition(of atom: PatternNode) throws(PatternError) -> PatternNode {
        guard let (minimum, maximum) = try quantifier() else { return atom }
        _ = accept("?")  // Laziness is of no consequence where only a match is asked for.
        if try quantifier() != nil { throw error("a repetition of a repetition needs a group") }
        return .repetition(atom, minimum: minimum, maximum: maximum)
    }

    private mutating func quantifier() throws(PatternError) -> (Int, Int?)? {
        switch next {
        case "*":
            at += 1
            return (0, nil)
        case "+":
            at += 1
            return (1, nil)
        case "?":
            at += 1
            return (0, 1)
        case "{": return try bounds()
        default: return nil
        }
    }

    /// `{2}`, `{2,}` or `{2,5}`; anything else in braces is literal.
    private mutating func bounds() throws(PatternError) -> (Int, Int?)? {
        let start = at
        at += 1
        guard let minimum = number() else {
            at = start
            return nil
        }
        var maximum: Int? = minimum
        if accept(",") { maximum = number() }
        let hasComma = at > 0 && scalars[at - 1] == ","
        guard accept("}") else {
            at = start
            return nil
        }
        if hasComma { maximum = nil }
        guard minimum <= 1_000, maximum ?? 0 <= 1_000 else { throw error("a repetition takes at most 1000") }
        if let maximum, maximum < minimum { throw error("a repetition's bounds are in the wrong order") }
        return (minimum, maximum)
    }

    private mutating func number() -> Int? {
        var value: Int?
        while let scalar = next, let digit = Self.digit(scalar), digit < 10 {
            value = min((value ?? 0) * 10 + Int(digit), 100_000)
            at += 1
        }
        return value
    }

    static func digit(_ scalar: Unicode.Scalar) -> UInt8? {
        scalar.value < 128 ? hexDigit(UInt8(scalar.value)) : nil
    }

    /// One atom; nil for flags that apply to what follows.
    private mutating func atom() throws(PatternError) -> PatternNode? {
        guard let scalar = next else { return nil }
        switch scalar {
        case "*", "+", "?": throw error("nothing to repeat")
        case "(": return try group()
        case "[": return try bracket()
        case ".":
            at += 1
            return .any(newline: flags.dotMatchesNewline)
        case "^":
            at += 1
            return .assertion(flags.multiline ? .lineStart : .textStart)
        case "$":
            at += 1
            return .assertion(flags.multiline ? .lineEnd : .textEnd)
        case "\\": return try escapedAtom()
        default:
            at += 1
            return literal(scalar.value)
        }
    }

    mutating func literal(_ code: UInt32) -> PatternNode {
        guard flags.ignoresCase else { return .literal(code) }
        let ranges = CaseFolding.fold([code...code])
        return ranges.count == 1 ? .literal(code) : set(CharacterSet(ranges))
    }

    mutating func set(_ set: CharacterSet) -> PatternNode {
        if let known = knownSets[set] { return .set(known) }
        sets.append(set)
        knownSets[set] = Int32(sets.count - 1)
        return .set(Int32(sets.count - 1))
    }

    private mutating func group() throws(PatternError) -> PatternNode? {
        at += 1
        let saved = flags
        if accept("?") {
            if accept("P") {
                guard next == "<" else { throw error("unknown kind of group") }
            }
            if accept("<") {
                if next == "=" || next == "!" { throw error("look-behind is not supported") }
                try groupName()
            } else if next == "=" || next == "!" {
                throw error("look-ahead is not supported")
            } else if try readFlags() {
                return nil
            }
        }
        let inner = try alternatives()
        guard accept(")") else { throw error("missing ')'") }
        flags = saved
        return inner
    }

    private mutating func groupName() throws(PatternError) {
        let start = at
        while let scalar = next, scalar != ">" {
            guard scalar.value < 128, isIdentifierPart(UInt8(scalar.value)) else { throw error("malformed group name") }
            at += 1
        }
        guard at > start, accept(">") else { throw error("malformed group name") }
    }

    /// Reads `i`, `m`, `s`, `U`, `-`; true where `)` ends them, so that they apply to the rest of the group.
    private mutating func readFlags() throws(PatternError) -> Bool {
        var on = true
        var seen = false
        while let scalar = next {
            at += 1
            switch scalar {
            case "i": flags.ignoresCase = on
            case "m": flags.multiline = on
            case "s": flags.dotMatchesNewline = on
            case "U": break  // Swaps greedy and lazy.
            case "-":
                guard on else { throw error("malformed flags") }
                on = false
                seen = false
                continue
            case ":":
                guard on || seen else { throw error("malformed flags") }
                return false
            case ")":
                guard seen else { throw error("malformed flags") }
                return true
            default: throw error("unknown flag or kind of group")
            }
            seen = true
        }
        throw error("missing ')'")
    }
}
