/// Decodes the literal tokens that the lexer found.
extension Lexer {
    func integer(_ token: Token, negative: Bool) throws(SourceError) -> Int64 {
        guard let magnitude = magnitude(token, end: token.end) else { throw outOfRange(token) }
        if negative {
            guard magnitude <= 1 << 63 else { throw outOfRange(token) }
            return Int64(truncatingIfNeeded: 0 &- magnitude)
        }
        guard let value = Int64(exactly: magnitude) else { throw outOfRange(token) }
        return value
    }

    func unsigned(_ token: Token) throws(SourceError) -> UInt64 {
        guard let value = magnitude(token, end: token.end - 1) else { throw outOfRange(token) }
        return value
    }

    func double(_ token: Token, negative: Bool) throws(SourceError) -> Double {
        var text = text(token)
        if text.utf8.first == UInt8(ascii: ".") { text = "0" + text }
        // A literal too small for a double is zero, as in the other implementations; one too large is an error.
        guard let value = Double(text), value.isFinite else { throw outOfRange(token) }
        return negative ? -value : value
    }

    private func outOfRange(_ token: Token) -> SourceError {
        SourceError("number \(text(token)) is out of range", at: token.start)
    }

    private func magnitude(_ token: Token, end: Int) -> UInt64? {
        let hex = byte(token.start) == 0x30 && byte(token.start + 1) == UInt8(ascii: "x")
        var value: UInt64 = 0
        for c in source[(hex ? token.start + 2 : token.start)..<end] {
            let (product, overflow) = value.multipliedReportingOverflow(by: hex ? 16 : 10)
            let (sum, carry) = product.addingReportingOverflow(UInt64(hexDigit(c) ?? 0))
            if overflow || carry { return nil }
            value = sum
        }
        return value
    }

    /// The text or bytes of a string token, with its escapes resolved.
    func stringContents(_ token: Token) throws(SourceError) -> [UInt8] {
        var at = token.start
        var raw = false
        while byte(at) != UInt8(ascii: "\""), byte(at) != UInt8(ascii: "'") {
            raw = raw || byte(at) | 0x20 == UInt8(ascii: "r")
            at += 1
        }
        let triple = byte(at + 1) == byte(at) && byte(at + 2) == byte(at) && token.end - at >= 6
        at += triple ? 3 : 1
        let end = token.end - (triple ? 3 : 1)
        if raw { return Array(source[at..<end]) }
        var result: [UInt8] = []
        result.reserveCapacity(end - at)
        while at < end {
            let c = source[at]
            guard c == UInt8(ascii: "\\") else {
                result.append(c)
                at += 1
                continue
            }
            at = try escape(at, end: end, bytes: token.kind == .bytes, into: &result)
        }
        return result
    }

    /// Resolves the escape at an offset; returns the offset after it.
    private func escape(_ start: Int, end: Int, bytes: Bool, into result: inout [UInt8]) throws(SourceError) -> Int {
        let letter = start + 1 < end ? source[start + 1] : 0
        func append(_ code: UInt32, _ next: Int) throws(SourceError) -> Int {
            if bytes {
                result.append(UInt8(truncatingIfNeeded: code))
            } else {
                guard let scalar = Unicode.Scalar(code) else {
                    throw SourceError("escape is not a Unicode code point", at: start)
                }
                result.append(contentsOf: UTF8.encode(scalar).map { Array($0) } ?? [])
            }
            return next
        }
        func digits(_ count: Int) throws(SourceError) -> UInt32 {
            var value: UInt32 = 0
            for at in (start + 2)..<(start + 2 + count) {
                guard at < end, let digit = hexDigit(source[at]) else {
                    throw SourceError("escape needs \(count) hexadecimal digits", at: start)
                }
                value = value << 4 | UInt32(digit)
            }
            return value
        }
        switch letter {
        case UInt8(ascii: "a"): return try append(7, start + 2)
        case UInt8(ascii: "b"): return try append(8, start + 2)
        case UInt8(ascii: "f"): return try append(12, start + 2)
        case UInt8(ascii: "n"): return try append(10, start + 2)
        case UInt8(ascii: "r"): return try append(13, start + 2)
        case UInt8(ascii: "t"): return try append(9, start + 2)
        case UInt8(ascii: "v"): return try append(11, start + 2)
        case UInt8(ascii: "\\"), UInt8(ascii: "?"), UInt8(ascii: "\""), UInt8(ascii: "'"), UInt8(ascii: "`"):
            return try append(UInt32(letter), start + 2)
        case UInt8(ascii: "x"), UInt8(ascii: "X"): return try append(try digits(2), start + 4)
        case UInt8(ascii: "u") where !bytes: return try append(try digits(4), start + 6)
        case UInt8(ascii: "U") where !bytes: return try append(try digits(8), start + 10)
        case UInt8(ascii: "0")...UInt8(ascii: "3"):
            let second = start + 2 < end ? source[start + 2] &- 0x30 : 8
            let third = start + 3 < end ? source[start + 3] &- 0x30 : 8
            guard second < 8, third < 8 else { throw SourceError("escape needs three octal digits", at: start) }
            return try append(UInt32(letter - 0x30) << 6 | UInt32(second) << 3 | UInt32(third), start + 4)
        default:
            throw SourceError(
                "unknown escape in string",
                at: start,
                suggestion: "write '\\\\' for a backslash, or use a raw string r'…'"
            )
        }
    }
}

@inline(__always)
func hexDigit(_ c: UInt8) -> UInt8? {
    if isDigit(c) { return c - 0x30 }
    let letter = (c | 0x20) &- 0x61
    return letter < 6 ? letter + 10 : nil
}
