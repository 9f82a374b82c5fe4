/// Base64 by RFC 4648, padded; unpadded text is decoded too.
enum Base64 {
    private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

    static func call(_ builtin: Builtin, _ value: Value, _ evaluation: inout Evaluation) -> Value? {
        switch (builtin, value) {
        case (.base64Encode, .bytes(let bytes)):
            guard (bytes.count + 2) / 3 * 4 <= evaluation.limits.stringBytes else { return .failure(.sizeLimit) }
            return .string(String(decoding: encode(bytes), as: UTF8.self))
        case (.base64Decode, .string(let text)):
            return decode(Array(text.utf8)).map { .bytes($0) } ?? .failure(.invalidArgument)
        default: return nil
        }
    }

    static func encode(_ bytes: [UInt8]) -> [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity((bytes.count + 2) / 3 * 4)
        for start in stride(from: 0, to: bytes.count, by: 3) {
            let group = bytes[start..<min(start + 3, bytes.count)]
            var word: UInt32 = 0
            for byte in group { word = word << 8 | UInt32(byte) }
            word <<= 8 * UInt32(3 - group.count)
            for place in 0..<4 {
                result.append(
                    place <= group.count ? alphabet[Int(word >> (18 - 6 * UInt32(place)) & 63)] : UInt8(ascii: "=")
                )
            }
        }
        return result
    }

    static func decode(_ text: [UInt8]) -> [UInt8]? {
        var digits = text[...]
        if digits.count % 4 == 0 {
            for _ in 0..<2 where digits.last == UInt8(ascii: "=") { digits.removeLast() }
        }
        guard digits.count % 4 != 1 else { return nil }
        var result: [UInt8] = []
        var word: UInt32 = 0
        var bits = 0
        for c in digits {
            let digit: UInt8
            switch c {
            case UInt8(ascii: "A")...UInt8(ascii: "Z"): digit = c - 65
            case UInt8(ascii: "a")...UInt8(ascii: "z"): digit = c - 71
            case UInt8(ascii: "0")...UInt8(ascii: "9"): digit = c + 4
            case UInt8(ascii: "+"): digit = 62
            case UInt8(ascii: "/"): digit = 63
            default: return nil
            }
            word = word << 6 | UInt32(digit)
            bits += 6
            if bits >= 8 {
                bits -= 8
                result.append(UInt8(truncatingIfNeeded: word >> UInt32(bits)))
            }
        }
        return result
    }
}
