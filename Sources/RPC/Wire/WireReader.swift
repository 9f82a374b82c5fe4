/// Reads protobuf's wire format in place. It checks every length before it reads.
package struct WireReader {
    package enum Failure: Error, Sendable, Hashable {
        case truncated
        case malformed
        case invalidUTF8
    }

    private let bytes: UnsafeRawBufferPointer
    package private(set) var offset = 0
    private let end: Int

    package init(_ bytes: UnsafeRawBufferPointer) {
        self.bytes = bytes
        self.end = bytes.count
    }

    package init(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>) {
        self.bytes = bytes
        self.offset = range.lowerBound
        self.end = range.upperBound
    }

    package var isAtEnd: Bool { offset >= end }

    @inline(__always)
    package mutating func varint() throws(Failure) -> UInt64 {
        guard offset < end else { throw .truncated }
        let first = bytes[offset]
        if first < 0x80 {
            offset += 1
            return UInt64(first)
        }
        return try longVarint()
    }

    private mutating func longVarint() throws(Failure) -> UInt64 {
        var value: UInt64 = 0
        var shift: UInt64 = 0
        while true {
            guard offset < end else { throw .truncated }
            let byte = bytes[offset]
            offset += 1
            value |= UInt64(byte & 0x7F) << shift
            if byte < 0x80 { return value }
            shift += 7
            if shift > 63 { throw .malformed }
        }
    }

    /// The next field's number and wire type.
    @inline(__always)
    package mutating func tag() throws(Failure) -> (field: UInt32, wire: UInt8) {
        let tag = try varint()
        guard tag <= UInt64(UInt32.max), tag >= 8 else { throw .malformed }
        return (UInt32(tag >> 3), UInt8(tag & 7))
    }

    /// A length-delimited field, as where it lies.
    @inline(__always)
    package mutating func lengthDelimited() throws(Failure) -> Range<Int> {
        let length = try varint()
        guard length <= UInt64(end - offset) else { throw .truncated }
        let start = offset
        offset += Int(length)
        return start..<offset
    }

    /// A string field that may come again: the last one counts, but those before must be UTF-8 too.
    @inline(__always)
    mutating func replacing(_ previous: Range<Int>) throws(Failure) -> Range<Int> {
        if !previous.isEmpty { _ = try string(previous) }
        return try lengthDelimited()
    }

    package func string(_ range: Range<Int>) throws(Failure) -> String {
        guard let string = String(validating: UnsafeRawBufferPointer(rebasing: bytes[range]), as: UTF8.self) else {
            throw .invalidUTF8
        }
        return string
    }

    /// Skips a field this reader has no use for.
    package mutating func skip(field: UInt32, wire: UInt8, depth: Int = 0) throws(Failure) {
        switch wire {
        case 0: _ = try varint()
        case 1: try skipBytes(8)
        case 2: _ = try lengthDelimited()
        case 3:
            // A group: skip to its own end. 100 deep, as SwiftProtobuf has it.
            guard depth < 100 else { throw .malformed }
            while true {
                let (inner, wire) = try tag()
                if wire == 4 {
                    guard inner == field else { throw .malformed }
                    return
                }
                try skip(field: inner, wire: wire, depth: depth + 1)
            }
        case 5: try skipBytes(4)
        default: throw .malformed
        }
    }

    private mutating func skipBytes(_ count: Int) throws(Failure) {
        guard end - offset >= count else { throw .truncated }
        offset += count
    }
}
