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
    private let scalars: [Unicode.Scalar]
    private let offsets: [Int]
    private var at = 0
    private var depth = 0
    private var flags = Flags()
    private(set) var sets: [CharacterSet] = []
    private var knownSets: [CharacterSet: Int32] = [:]

    private struct Flags {
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

    private var next: Unicode.Scalar? { at < scalars.count ? scalars[at] : nil }

    private func error(_ message: String) -> PatternError {
        PatternError(message: message, offset: at < offsets.count ? offsets[at] : (offsets.last ?? 0) + 1)
    }

    private mutating func accept(_ scalar: Unicode.Scalar) -> Bool {
        guard next == scalar else { return false }
        at += 1
        return true
    }

    private func looksAt(_ text: StaticString) -> Bool {
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

    private static func digit(_ scalar: Unicode.Scalar) -> UInt8? {
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

    private mutating func literal(_ code: UInt32) -> PatternNode {
        guard flags.ignoresCase else { return .literal(code) }
        let ranges = CaseFolding.fold([code...code])
        return ranges.count == 1 ? .literal(code) : set(CharacterSet(ranges))
    }

    private mutating func set(_ set: CharacterSet) -> PatternNode {
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

    // MARK: Escapes and classes

    private mutating func escapedAtom() throws(PatternError) -> PatternNode {
        guard at + 1 < scalars.count else { throw error("unfinished escape") }
        switch scalars[at + 1] {
        case "A": at += 2; return .assertion(.textStart)
        case "z": at += 2; return .assertion(.textEnd)
        case "b": at += 2; return .assertion(.wordBoundary)
        case "B": at += 2; return .assertion(.notWordBoundary)
        default: break
        }
        var ranges: [ClosedRange<UInt32>] = []
        var categories: [CharacterSet.CategoryMask] = []
        if try classEscape(&ranges, &categories) {
            if flags.ignoresCase { ranges = CaseFolding.fold(ranges) }
            return set(CharacterSet(ranges, categories: categories))
        }
        return literal(try escapedCode())
    }

    /// `\d`, `\pL` and the like, added to a class; false where the escape is of another kind.
    private mutating func classEscape(
        _ ranges: inout [ClosedRange<UInt32>],
        _ categories: inout [CharacterSet.CategoryMask]
    ) throws(PatternError) -> Bool {
        guard next == "\\", at + 1 < scalars.count else { return false }
        let letter = scalars[at + 1]
        switch letter {
        case "d": ranges += Self.digits
        case "D": ranges += CharacterSet.complement(Self.digits)
        case "s": ranges += Self.blanks
        case "S": ranges += CharacterSet.complement(Self.blanks)
        case "w": ranges += Self.word
        case "W": ranges += CharacterSet.complement(Self.word)
        case "p", "P":
            at += 2
            var negated = letter == "P"
            var name = ""
            if accept("{") {
                if accept("^") { negated.toggle() }
                while let scalar = next, scalar != "}" {
                    name.unicodeScalars.append(scalar)
                    at += 1
                }
                guard accept("}") else { throw error("missing '}'") }
            } else if let scalar = next {
                name.unicodeScalars.append(scalar)
                at += 1
            }
            if name == "Any" {
                if !negated { ranges.append(0...0x10FFFF) }
                return true
            }
            guard let mask = Categories.mask(name) else {
                throw error("unknown Unicode category '\(name)'; scripts are not supported")
            }
            categories.append(CharacterSet.CategoryMask(mask: mask, isNegated: negated))
            return true
        default: return false
        }
        at += 2
        return true
    }

    private static let digits: [ClosedRange<UInt32>] = [0x30...0x39]
    private static let blanks: [ClosedRange<UInt32>] = [9...10, 12...13, 32...32]
    private static let word: [ClosedRange<UInt32>] = [0x30...0x39, 0x41...0x5A, 0x5F...0x5F, 0x61...0x7A]

    /// The code point of an escape that stands for one.
    private mutating func escapedCode() throws(PatternError) -> UInt32 {
        at += 1
        guard let letter = next else { throw error("unfinished escape") }
        at += 1
        switch letter {
        case "a": return 7
        case "f": return 12
        case "t": return 9
        case "n": return 10
        case "r": return 13
        case "v": return 11
        case "x": return try hexCode()
        case "0"..."7":
            // One digit other than 0 would be a reference back to a group.
            var value = letter.value - 0x30
            var count = 1
            while count < 3, let scalar = next, (0x30...0x37).contains(scalar.value) {
                value = value << 3 | (scalar.value - 0x30)
                count += 1
                at += 1
            }
            if letter != "0", count < 2 { throw error("references to groups are not supported") }
            return value
        default:
            if letter.value < 128, isIdentifierPart(UInt8(letter.value)), letter != "_" {
                throw error("unknown escape '\\\(letter)'")
            }
            return letter.value
        }
    }

    private mutating func hexCode() throws(PatternError) -> UInt32 {
        let braced = accept("{")
        var value: UInt32 = 0
        var count = 0
        while let scalar = next, let digit = Self.digit(scalar), braced ? count < 8 : count < 2 {
            value = value << 4 | UInt32(digit)
            count += 1
            at += 1
        }
        guard braced ? count > 0 && accept("}") : count == 2, Unicode.Scalar(value) != nil else {
            throw error("malformed hexadecimal escape")
        }
        return value
    }

    private mutating func bracket() throws(PatternError) -> PatternNode {
        at += 1
        let negated = accept("^")
        var ranges: [ClosedRange<UInt32>] = []
        var categories: [CharacterSet.CategoryMask] = []
        var isFirst = true
        while true {
            guard let scalar = next else { throw error("missing ']'") }
            if scalar == "]", !isFirst { break }
            isFirst = false
            if looksAt("[:"), try namedClass(&ranges) { continue }
            if try classEscape(&ranges, &categories) { continue }
            let low = try classCode()
            if next == "-", at + 1 < scalars.count, scalars[at + 1] != "]" {
                at += 1
                let high = try classCode()
                guard low <= high else { throw error("a range's ends are in the wrong order") }
                ranges.append(low...high)
            } else {
                ranges.append(low...low)
            }
        }
        at += 1
        if flags.ignoresCase { ranges = CaseFolding.fold(ranges) }
        return set(CharacterSet(ranges, categories: categories, negated: negated))
    }

    private mutating func classCode() throws(PatternError) -> UInt32 {
        guard let scalar = next else { throw error("missing ']'") }
        if scalar == "\\" { return try escapedCode() }
        at += 1
        return scalar.value
    }

    private mutating func namedClass(_ ranges: inout [ClosedRange<UInt32>]) throws(PatternError) -> Bool {
        var end = at + 2
        while end < scalars.count, scalars[end] != ":", end - at < 12 { end += 1 }
        guard end + 1 < scalars.count, scalars[end] == ":", scalars[end + 1] == "]" else { return false }
        var name = String(String.UnicodeScalarView(scalars[(at + 2)..<end]))
        let negated = name.hasPrefix("^")
        if negated { name.removeFirst() }
        let named: [ClosedRange<UInt32>]
        switch name {
        case "alnum": named = [0x30...0x39, 0x41...0x5A, 0x61...0x7A]
        case "alpha": named = [0x41...0x5A, 0x61...0x7A]
        case "ascii": named = [0...0x7F]
        case "blank": named = [9...9, 32...32]
        case "cntrl": named = [0...31, 127...127]
        case "digit": named = Self.digits
        case "graph": named = [0x21...0x7E]
        case "lower": named = [0x61...0x7A]
        case "print": named = [0x20...0x7E]
        case "punct": named = [0x21...0x2F, 0x3A...0x40, 0x5B...0x60, 0x7B...0x7E]
        case "space": named = [9...13, 32...32]
        case "upper": named = [0x41...0x5A]
        case "word": named = Self.word
        case "xdigit": named = [0x30...0x39, 0x41...0x46, 0x61...0x66]
        default: throw error("unknown class '[:\(name):]'")
        }
        ranges += negated ? CharacterSet.complement(named) : named
        at = end + 2
        return true
    }
}

/// Turns a pattern's tree into steps. Repetitions are written out, so their number is checked as they grow.
struct PatternCompiler {
    let limit: Int
    private(set) var steps: [Pattern.Step] = []

    init(limit: Int) {
        self.limit = limit
    }

    @discardableResult
    mutating func emit(_ step: Pattern.Step) throws(PatternError) -> Int {
        guard steps.count < limit else {
            throw PatternError(message: "the pattern needs more than \(limit) steps", offset: 0)
        }
        steps.append(step)
        return steps.count - 1
    }

    mutating func compile(_ node: PatternNode) throws(PatternError) {
        switch node {
        case .empty: break
        case .literal(let code): try emit(.one(code))
        case .set(let set): try emit(.set(set))
        case .any(let newline): try emit(newline ? .any : .anyButNewline)
        case .assertion(let assertion): try emit(.assert(assertion))
        case .sequence(let parts): for part in parts { try compile(part) }
        case .alternatives(let branches):
            var jumps: [Int] = []
            for branch in branches.dropLast() {
                let split = try emit(.split(0, 0))
                try compile(branch)
                jumps.append(try emit(.jump(0)))
                steps[split] = .split(Int32(split + 1), Int32(steps.count))
            }
            if let last = branches.last { try compile(last) }
            for jump in jumps { steps[jump] = .jump(Int32(steps.count)) }
        case .repetition(let inner, let minimum, let maximum):
            // An empty body repeated is itself, however often.
            for _ in 0..<minimum {
                let before = steps.count
                try compile(inner)
                if steps.count == before { return }
            }
            guard let maximum else {
                let split = try emit(.split(0, 0))
                try compile(inner)
                try emit(.jump(Int32(split)))
                steps[split] = .split(Int32(split + 1), Int32(steps.count))
                return
            }
            var splits: [Int] = []
            for _ in minimum..<maximum {
                splits.append(try emit(.split(0, 0)))
                try compile(inner)
            }
            for split in splits { steps[split] = .split(Int32(split + 1), Int32(steps.count)) }
        }
    }
}
