/// Checks `tracestate` against the W3C recommendation Trace Context, level 1.
package enum TraceState {
    /// Members beyond this make the whole of it invalid.
    package static let maximumMembers = 32

    /// The values of all `tracestate` headers as one; empty where any of it is invalid, as the recommendation wants.
    package static func combined(_ values: [String]) -> String {
        var members: [Substring] = []
        var keys: Set<Substring> = []
        for value in values {
            for part in value.split(separator: ",", omittingEmptySubsequences: false) {
                let member = trimmed(part)
                if member.isEmpty { continue }
                guard let equals = member.utf8.firstIndex(of: UInt8(ascii: "=")) else { return "" }
                let key = member[..<equals]
                guard isKey(key), isValue(member[member.utf8.index(after: equals)...]), keys.insert(key).inserted,
                    members.count < maximumMembers
                else { return "" }
                members.append(member)
            }
        }
        return members.joined(separator: ",")
    }

    private static func trimmed(_ part: Substring) -> Substring {
        var part = part
        while let first = part.utf8.first, first == 0x20 || first == 0x09 { part = part.dropFirst() }
        while let last = part.utf8.last, last == 0x20 || last == 0x09 { part = part.dropLast() }
        return part
    }

    private static func isKey(_ key: Substring) -> Bool {
        let parts = key.utf8.split(separator: UInt8(ascii: "@"), omittingEmptySubsequences: false)
        switch parts.count {
        case 1: return isName(parts[0], atMost: 256, beginsWithDigit: false)
        case 2:
            return isName(parts[0], atMost: 241, beginsWithDigit: true)
                && isName(parts[1], atMost: 14, beginsWithDigit: false)
        default: return false
        }
    }

    private static func isName(_ name: Substring.UTF8View.SubSequence, atMost limit: Int, beginsWithDigit: Bool) -> Bool
    {
        guard let first = name.first, name.count <= limit else { return false }
        let isLetter = { (byte: UInt8) in (0x61...0x7a).contains(byte) }
        let isDigit = { (byte: UInt8) in (0x30...0x39).contains(byte) }
        guard isLetter(first) || beginsWithDigit && isDigit(first) else { return false }
        return name.allSatisfy { byte in
            isLetter(byte) || isDigit(byte) || [0x5f, 0x2d, 0x2a, 0x2f].contains(byte)
        }
    }

    private static func isValue(_ value: Substring) -> Bool {
        guard (1...256).contains(value.utf8.count), value.utf8.last != 0x20 else { return false }
        return value.utf8.allSatisfy { (0x20...0x7e).contains($0) && $0 != 0x2c && $0 != 0x3d }
    }
}
