/// A problem found in the source, by offset.
struct SourceError: Error {
    var message: String
    var offset: Int
    var suggestion: String?

    init(_ message: String, at offset: Int, suggestion: String? = nil) {
        self.message = message
        self.offset = offset
        self.suggestion = suggestion
    }
}

/// A token's kind; where the text matters it is read from the source.
enum TokenKind: UInt8 {
    case end, identifier, quotedIdentifier, int, uint, double, string, bytes
    case dot, comma, colon, question, openParen, closeParen, openBracket, closeBracket, openBrace, closeBrace
    case plus, minus, star, slash, percent, bang, less, lessOrEqual, greater, greaterOrEqual, equal, notEqual
    case and, or, `in`, `true`, `false`, null
}

struct Token {
    var kind: TokenKind
    var start: Int
    var end: Int
}

/// Splits a source into tokens, one at a time and in linear time.
struct Lexer {
    let source: UnsafeBufferPointer<UInt8>
    private(set) var offset = 0

    init(_ source: UnsafeBufferPointer<UInt8>) {
        self.source = source
    }

    @inline(__always)
    func byte(_ at: Int) -> UInt8 { at < source.count ? source[at] : 0 }

    func text(_ token: Token) -> String {
        String(decoding: UnsafeBufferPointer(rebasing: source[token.start..<token.end]), as: UTF8.self)
    }

    mutating func next() throws(SourceError) -> Token {
        skipBlanks()
        let start = offset
        guard start < source.count else { return Token(kind: .end, start: start, end: start) }
        let c = source[start]
        switch c {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "_"):
            return try identifierOrString(start)
        case UInt8(ascii: "0")...UInt8(ascii: "9"): return try number(start)
        case UInt8(ascii: "."):
            if isDigit(byte(start + 1)) { return try number(start) }
            return take(.dot, 1)
        case UInt8(ascii: "\""), UInt8(ascii: "'"): return try string(start, quoteAt: start, raw: false, kind: .string)
        case UInt8(ascii: "`"): return try quotedIdentifier(start)
        case UInt8(ascii: ","): return take(.comma, 1)
        case UInt8(ascii: ":"): return take(.colon, 1)
        case UInt8(ascii: "?"): return take(.question, 1)
        case UInt8(ascii: "("): return take(.openParen, 1)
        case UInt8(ascii: ")"): return take(.closeParen, 1)
        case UInt8(ascii: "["): return take(.openBracket, 1)
        case UInt8(ascii: "]"): return take(.closeBracket, 1)
        case UInt8(ascii: "{"): return take(.openBrace, 1)
        case UInt8(ascii: "}"): return take(.closeBrace, 1)
        case UInt8(ascii: "+"): return take(.plus, 1)
        case UInt8(ascii: "-"): return take(.minus, 1)
        case UInt8(ascii: "*"): return take(.star, 1)
        case UInt8(ascii: "/"): return take(.slash, 1)
        case UInt8(ascii: "%"): return take(.percent, 1)
        case UInt8(ascii: "!"): return byte(start + 1) == UInt8(ascii: "=") ? take(.notEqual, 2) : take(.bang, 1)
        case UInt8(ascii: "<"): return byte(start + 1) == UInt8(ascii: "=") ? take(.lessOrEqual, 2) : take(.less, 1)
        case UInt8(ascii: ">"):
            return byte(start + 1) == UInt8(ascii: "=") ? take(.greaterOrEqual, 2) : take(.greater, 1)
        case UInt8(ascii: "="):
            if byte(start + 1) == UInt8(ascii: "=") { return take(.equal, 2) }
            throw SourceError("'=' is not an operator", at: start, suggestion: "compare with '=='")
        case UInt8(ascii: "&"):
            if byte(start + 1) == UInt8(ascii: "&") { return take(.and, 2) }
            throw SourceError("'&' is not an operator", at: start, suggestion: "write '&&'")
        case UInt8(ascii: "|"):
            if byte(start + 1) == UInt8(ascii: "|") { return take(.or, 2) }
            throw SourceError("'|' is not an operator", at: start, suggestion: "write '||'")
        default:
            throw SourceError("unexpected character \(describe(start))", at: start)
        }
    }

    private func describe(_ at: Int) -> String {
        let rest = String(
            decoding: UnsafeBufferPointer(rebasing: source[at..<min(at + 4, source.count)]),
            as: UTF8.self
        )
        guard let scalar = rest.unicodeScalars.first else { return "" }
        let code =
            "U+" + String(repeating: "0", count: max(0, 4 - String(scalar.value, radix: 16).count))
            + String(scalar.value, radix: 16, uppercase: true)
        return scalar.value < 32 || scalar.value == 127 ? code : "'\(scalar)' (\(code))"
    }

    private mutating func take(_ kind: TokenKind, _ count: Int) -> Token {
        let start = offset
        offset += count
        return Token(kind: kind, start: start, end: offset)
    }

    private mutating func skipBlanks() {
        while offset < source.count {
            switch source[offset] {
            case 0x20, 0x09, 0x0A, 0x0C, 0x0D: offset += 1
            case UInt8(ascii: "/") where byte(offset + 1) == UInt8(ascii: "/"):
                while offset < source.count, source[offset] != 0x0A { offset += 1 }
            default: return
            }
        }
    }

    private mutating func identifierOrString(_ start: Int) throws(SourceError) -> Token {
        var at = start
        while isIdentifierPart(byte(at)), at < source.count { at += 1 }
        // A prefix of at most two letters, r and b in either case and order, makes a string raw or bytes.
        let quote = byte(at)
        if quote == UInt8(ascii: "\"") || quote == UInt8(ascii: "'"), at - start <= 2 {
            var raw = 0
            var bytes = 0
            for c in source[start..<at] {
                if c | 0x20 == UInt8(ascii: "r") { raw += 1 } else if c | 0x20 == UInt8(ascii: "b") { bytes += 1 }
            }
            if raw + bytes == at - start, raw < 2, bytes < 2 {
                return try string(start, quoteAt: at, raw: raw == 1, kind: bytes == 1 ? .bytes : .string)
            }
        }
        offset = at
        let kind: TokenKind
        switch at - start {
        case 2 where matches("in", start): kind = .in
        case 4 where matches("true", start): kind = .true
        case 4 where matches("null", start): kind = .null
        case 5 where matches("false", start): kind = .false
        default: kind = .identifier
        }
        return Token(kind: kind, start: start, end: at)
    }

    func matches(_ word: StaticString, _ at: Int) -> Bool {
        for i in 0..<word.utf8CodeUnitCount where byte(at + i) != word.utf8Start[i] { return false }
        return true
    }

    private mutating func quotedIdentifier(_ start: Int) throws(SourceError) -> Token {
        var at = start + 1
        while at < source.count, source[at] != UInt8(ascii: "`") {
            let c = source[at]
            guard isIdentifierPart(c) || [0x2E, 0x2D, 0x2F, 0x20].contains(c) else {
                throw SourceError("a name in backticks takes letters, digits, '_', '.', '-', '/' and blanks", at: at)
            }
            at += 1
        }
        guard at < source.count, at > start + 1 else { throw SourceError("unfinished name in backticks", at: start) }
        offset = at + 1
        return Token(kind: .quotedIdentifier, start: start + 1, end: at)
    }

    private mutating func number(_ start: Int) throws(SourceError) -> Token {
        var at = start
        var kind = TokenKind.int
        if byte(at) == UInt8(ascii: "0"), byte(at + 1) == UInt8(ascii: "x") {
            at += 2
            guard isHexDigit(byte(at)) else { throw SourceError("hexadecimal digits missing after 0x", at: start) }
            while isHexDigit(byte(at)) { at += 1 }
        } else {
            while isDigit(byte(at)) { at += 1 }
            if byte(at) == UInt8(ascii: "."), isDigit(byte(at + 1)) {
                kind = .double
                at += 1
                while isDigit(byte(at)) { at += 1 }
            }
            if byte(at) | 0x20 == UInt8(ascii: "e") {
                var digits = at + 1
                if byte(digits) == UInt8(ascii: "+") || byte(digits) == UInt8(ascii: "-") { digits += 1 }
                if isDigit(byte(digits)) {
                    kind = .double
                    at = digits
                    while isDigit(byte(at)) { at += 1 }
                }
            }
        }
        if kind == .int, byte(at) | 0x20 == UInt8(ascii: "u") {
            kind = .uint
            at += 1
        }
        if isIdentifierPart(byte(at)) { throw SourceError("a number cannot be followed by a name", at: at) }
        offset = at
        return Token(kind: kind, start: start, end: at)
    }

    private mutating func string(
        _ start: Int,
        quoteAt: Int,
        raw: Bool,
        kind: TokenKind
    ) throws(SourceError) -> Token {
        let quote = source[quoteAt]
        let triple = byte(quoteAt + 1) == quote && byte(quoteAt + 2) == quote
        var at = quoteAt + (triple ? 3 : 1)
        while at < source.count {
            let c = source[at]
            if c == quote {
                if !triple {
                    offset = at + 1
                    return Token(kind: kind, start: start, end: offset)
                }
                if byte(at + 1) == quote, byte(at + 2) == quote {
                    offset = at + 3
                    return Token(kind: kind, start: start, end: offset)
                }
            } else if c == UInt8(ascii: "\\"), !raw {
                at += 1
            } else if !triple, c == 0x0A || c == 0x0D {
                throw SourceError(
                    "unfinished string",
                    at: start,
                    suggestion: "close it on its line, or use triple quotes"
                )
            }
            at += 1
        }
        throw SourceError("unfinished string", at: start)
    }
}

@inline(__always)
func isDigit(_ c: UInt8) -> Bool { c &- 0x30 < 10 }

@inline(__always)
func isHexDigit(_ c: UInt8) -> Bool { isDigit(c) || (c | 0x20) &- 0x61 < 6 }

@inline(__always)
func isIdentifierPart(_ c: UInt8) -> Bool { isDigit(c) || (c | 0x20) &- 0x61 < 26 || c == 0x5F }
