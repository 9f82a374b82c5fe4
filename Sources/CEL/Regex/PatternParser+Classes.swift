/// Escapes and classes.
extension PatternParser {
    mutating func escapedAtom() throws(PatternError) -> PatternNode {
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

    mutating func bracket() throws(PatternError) -> PatternNode {
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
