/// The functions on strings, standard ones and those of the strings extension. Offsets count code points.
enum StringFunctions {
    static func call(
        _ builtin: Builtin,
        _ arguments: Builtins.Arguments,
        _ evaluation: inout Evaluation
    ) -> Value? {
        if builtin == .join { return join(arguments, &evaluation) }
        guard let first = arguments.first, case .string(let text) = first else { return nil }
        switch arguments.count {
        case 1: return unary(builtin, text, evaluation)
        case 2:
            switch arguments[1] {
            case .string(let other): return binary(builtin, text, other, &evaluation)
            case .int(let offset):
                if builtin == .charAt { return slice(text, offset, length: 1) }
                return builtin == .substring ? substring(text, offset, nil) : nil
            case .list(let list): return builtin == .format ? Format.format(text, list, &evaluation) : nil
            default: return nil
            }
        case 3:
            switch (builtin, arguments[1], arguments[2]) {
            case (.substring, .int(let from), .int(let to)): return substring(text, from, to)
            case (.indexOf, .string(let other), .int(let offset)): return indexOf(text, other, offset)
            case (.lastIndexOf, .string(let other), .int(let offset)): return lastIndexOf(text, other, offset)
            case (.split, .string(let separator), .int(let limit)):
                return split(text, separator, limit: limit, &evaluation)
            case (.replace, .string(let old), .string(let new)): return replace(text, old, new, -1, &evaluation)
            default: return nil
            }
        case 4:
            guard builtin == .replace, case .string(let old) = arguments[1], case .string(let new) = arguments[2],
                case .int(let limit) = arguments[3]
            else { return nil }
            return replace(text, old, new, limit, &evaluation)
        default: return nil
        }
    }

    private static func unary(_ builtin: Builtin, _ text: String, _ evaluation: Evaluation) -> Value? {
        switch builtin {
        case .lowerAscii:
            return .string(String(decoding: text.utf8.map { $0 &- 0x41 < 26 ? $0 | 0x20 : $0 }, as: UTF8.self))
        case .upperAscii:
            return .string(String(decoding: text.utf8.map { $0 &- 0x61 < 26 ? $0 & 0xDF : $0 }, as: UTF8.self))
        case .trim:
            let scalars = text.unicodeScalars
            guard let from = scalars.firstIndex(where: { !$0.properties.isWhitespace }),
                let to = scalars.lastIndex(where: { !$0.properties.isWhitespace })
            else { return .string("") }
            return .string(String(scalars[from...to]))
        case .reverse:
            var result = String.UnicodeScalarView()
            for scalar in text.unicodeScalars.reversed() { result.append(scalar) }
            return .string(String(result))
        case .quote:
            let quoted = quote(text)
            return quoted.utf8.count <= evaluation.limits.stringBytes ? .string(quoted) : .failure(.sizeLimit)
        default: return nil
        }
    }

    private static func binary(
        _ builtin: Builtin,
        _ text: String,
        _ other: String,
        _ evaluation: inout Evaluation
    ) -> Value? {
        switch builtin {
        case .startsWith, .endsWith, .contains: return .bool(search(builtin, text, other))
        case .matches:
            guard evaluation.charge(other.utf8.count) else { return Evaluation.costExceeded }
            do throws(PatternError) {
                let pattern = try Pattern(other, limit: evaluation.limits.patternInstructions)
                return Builtins.matches(.string(text), pattern, &evaluation)
            } catch {
                return .failure(.invalidArgument)
            }
        case .indexOf: return indexOf(text, other, 0)
        case .lastIndexOf: return lastIndexOf(text, other, nil)
        case .split: return split(text, other, limit: -1, &evaluation)
        default: return nil
        }
    }

    // MARK: Searching

    /// Whether a text starts with, ends with or contains another.
    static func search(_ builtin: Builtin, _ text: String, _ other: String) -> Bool {
        let (count, length) = (text.utf8.count, other.utf8.count)
        guard length <= count else { return false }
        if builtin == .contains { return find(text, other, from: 0) != nil }
        let offset = builtin == .startsWith ? 0 : count - length
        let same = text.utf8.withContiguousStorageIfAvailable { text in
            other.utf8.withContiguousStorageIfAvailable { other in
                equalBytes(UnsafeBufferPointer(rebasing: text[offset..<offset + length]), other)
            }
        }
        if let same, let same { return same }
        return text.utf8.dropFirst(offset).prefix(length).elementsEqual(other.utf8)
    }

    /// The byte offset of the first occurrence at or after a byte offset.
    private static func find(_ text: String, _ other: String, from: Int) -> Int? {
        var text = text
        var other = other
        return text.withUTF8 { text in other.withUTF8 { other in find(text, other, from: from) } }
    }

    private static func find(
        _ text: UnsafeBufferPointer<UInt8>,
        _ other: UnsafeBufferPointer<UInt8>,
        from: Int
    ) -> Int? {
        guard let first = other.first else { return from }
        guard other.count <= text.count - from else { return nil }
        if other.count > 16 { return findLong(text, other, from: from) }
        for start in from...(text.count - other.count) where text[start] == first {
            var same = 1
            while same < other.count, text[start + same] == other[same] { same += 1 }
            if same == other.count { return start }
        }
        return nil
    }

    /// Knuth, Morris and Pratt's search, linear whatever the texts.
    private static func findLong(
        _ text: UnsafeBufferPointer<UInt8>,
        _ other: UnsafeBufferPointer<UInt8>,
        from: Int
    ) -> Int? {
        var fallback = [Int](repeating: 0, count: other.count)
        var matched = 0
        for place in 1..<other.count {
            while matched > 0, other[place] != other[matched] { matched = fallback[matched - 1] }
            if other[place] == other[matched] { matched += 1 }
            fallback[place] = matched
        }
        matched = 0
        for place in from..<text.count {
            while matched > 0, text[place] != other[matched] { matched = fallback[matched - 1] }
            if text[place] == other[matched] { matched += 1 }
            if matched == other.count { return place - other.count + 1 }
        }
        return nil
    }

    /// The byte offset of a code point; nil outside 0 to the count.
    private static func byteOffset(_ text: String, _ offset: Int64) -> Int? {
        guard offset >= 0, let offset = Int(exactly: offset) else { return nil }
        var codePoints = 0
        for (place, byte) in text.utf8.enumerated() where byte & 0xC0 != 0x80 {
            if codePoints == offset { return place }
            codePoints += 1
        }
        return codePoints == offset ? text.utf8.count : nil
    }

    private static func codePoints(_ text: String, before offset: Int) -> Int64 {
        text.utf8.prefix(offset).reduce(0) { $0 + ($1 & 0xC0 == 0x80 ? 0 : 1) }
    }

    private static func indexOf(_ text: String, _ other: String, _ offset: Int64) -> Value {
        guard let from = byteOffset(text, offset) else { return .failure(.indexOutOfRange) }
        guard let found = find(text, other, from: from) else { return .int(-1) }
        return .int(codePoints(text, before: found))
    }

    private static func lastIndexOf(_ text: String, _ other: String, _ offset: Int64?) -> Value {
        var last = text.utf8.count
        if let offset {
            guard let place = byteOffset(text, offset) else { return .failure(.indexOutOfRange) }
            last = place
        }
        // Searching both from their ends for the first occurrence that ends low enough finds the last.
        let reversedText = String(decoding: text.utf8.reversed(), as: UTF8.self)
        guard reversedText.utf8.count == text.utf8.count else {
            return lastIndexOfBytes(text, other, last: last)
        }
        let reversedOther = String(decoding: other.utf8.reversed(), as: UTF8.self)
        let from = max(0, text.utf8.count - last - other.utf8.count)
        guard let found = find(reversedText, reversedOther, from: from) else { return .int(-1) }
        return .int(codePoints(text, before: text.utf8.count - found - other.utf8.count))
    }

    /// As above where the texts are not ASCII, so that reversed they are no strings.
    private static func lastIndexOfBytes(_ text: String, _ other: String, last: Int) -> Value {
        let reversed = Array(text.utf8.reversed())
        let needle = Array(other.utf8.reversed())
        let from = max(0, reversed.count - last - needle.count)
        let found = reversed.withUnsafeBufferPointer { reversed in
            needle.withUnsafeBufferPointer { needle in find(reversed, needle, from: from) }
        }
        guard let found else { return .int(-1) }
        return .int(codePoints(text, before: text.utf8.count - found - other.utf8.count))
    }

    // MARK: Parts

    private static func slice(_ text: String, _ from: Int64, length: Int) -> Value {
        guard let start = byteOffset(text, from) else { return .failure(.indexOutOfRange) }
        let scalars = text.unicodeScalars
        let index = text.utf8.index(text.utf8.startIndex, offsetBy: start)
        return .string(String(scalars[index...].prefix(length)))
    }

    private static func substring(_ text: String, _ from: Int64, _ to: Int64?) -> Value {
        guard let start = byteOffset(text, from) else { return .failure(.indexOutOfRange) }
        var end = text.utf8.count
        if let to {
            guard let place = byteOffset(text, to) else { return .failure(.indexOutOfRange) }
            end = place
        }
        guard start <= end else { return .failure(.indexOutOfRange) }
        let utf8 = text.utf8
        let first = utf8.index(utf8.startIndex, offsetBy: start)
        return .string(String(text[first..<utf8.index(first, offsetBy: end - start)]))
    }

    private static func replace(
        _ text: String,
        _ old: String,
        _ new: String,
        _ limit: Int64,
        _ evaluation: inout Evaluation
    ) -> Value {
        guard limit != 0 else { return .string(text) }
        let maximum = evaluation.limits.stringBytes
        let bytes = Array(text.utf8)
        let replacement = Array(new.utf8)
        var result: [UInt8] = []
        var at = 0
        var replaced: Int64 = 0
        while limit < 0 || replaced < limit {
            // An empty text is found before each code point and at the end.
            var place = at
            if old.isEmpty {
                if replaced > 0 {
                    guard at < bytes.count else { break }
                    place = at + 1
                    while place < bytes.count, bytes[place] & 0xC0 == 0x80 { place += 1 }
                }
            } else {
                guard let found = find(text, old, from: at) else { break }
                place = found
            }
            guard result.count + (place - at) + replacement.count <= maximum else { return .failure(.sizeLimit) }
            guard evaluation.charge(1 + (place - at + replacement.count) >> 4) else { return Evaluation.costExceeded }
            result += bytes[at..<place]
            result += replacement
            at = place + old.utf8.count
            replaced += 1
        }
        guard result.count + (bytes.count - at) <= maximum else { return .failure(.sizeLimit) }
        result += bytes[at...]
        return .string(String(decoding: result, as: UTF8.self))
    }

    private static func split(
        _ text: String,
        _ separator: String,
        limit: Int64,
        _ evaluation: inout Evaluation
    ) -> Value {
        if limit == 0 { return .list([]) }
        let bytes = Array(text.utf8)
        var parts: [Value] = []
        var at = 0
        while limit < 0 || Int64(parts.count) + 1 < limit {
            var place = at
            if separator.isEmpty {
                guard at < bytes.count else { break }
                place = at + 1
                while place < bytes.count, bytes[place] & 0xC0 == 0x80 { place += 1 }
                if place == bytes.count { break }
            } else {
                guard let found = find(text, separator, from: at) else { break }
                place = found
            }
            guard parts.count < evaluation.limits.listElements else { return .failure(.sizeLimit) }
            guard evaluation.charge(1) else { return Evaluation.costExceeded }
            parts.append(.string(String(decoding: bytes[at..<place], as: UTF8.self)))
            at = place + separator.utf8.count
        }
        guard parts.count < evaluation.limits.listElements else { return .failure(.sizeLimit) }
        if !(separator.isEmpty && bytes.isEmpty) {
            parts.append(.string(String(decoding: bytes[at...], as: UTF8.self)))
        }
        return .list(parts)
    }

    private static func join(_ arguments: Builtins.Arguments, _ evaluation: inout Evaluation) -> Value? {
        guard (1...2).contains(arguments.count), case .list(let list) = arguments[0] else { return nil }
        var separator = ""
        if arguments.count == 2 {
            guard case .string(let text) = arguments[1] else { return nil }
            separator = text
        }
        var size = 0
        for (place, element) in list.enumerated() {
            guard case .string(let text) = element else { return nil }
            size += text.utf8.count + (place > 0 ? separator.utf8.count : 0)
            guard size <= evaluation.limits.stringBytes else { return .failure(.sizeLimit) }
            guard evaluation.charge(1 + text.utf8.count >> 4) else { return Evaluation.costExceeded }
        }
        var result = ""
        result.reserveCapacity(size)
        for (place, element) in list.enumerated() {
            if place > 0 { result += separator }
            if case .string(let text) = element { result += text }
        }
        return .string(result)
    }

    /// A CEL string literal of a text.
    static func quote(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar.value {
            case 7: result += "\\a"
            case 8: result += "\\b"
            case 9: result += "\\t"
            case 10: result += "\\n"
            case 11: result += "\\v"
            case 12: result += "\\f"
            case 13: result += "\\r"
            case 0x22: result += "\\\""
            case 0x5C: result += "\\\\"
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}
