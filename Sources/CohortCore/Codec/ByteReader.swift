/// Stored bytes that are not what they should be.
package struct CodecError: Error, Sendable, Hashable {
    package let message: String

    package init(_ message: String) { self.message = message }
}

/// Reads what `ByteWriter` writes. Every read checks the bounds and throws; no input can make it crash or allocate more
/// than a few times the input's size.
package struct ByteReader: ~Copyable {
    private let bytes: UnsafeRawBufferPointer
    package private(set) var position = 0

    /// - Parameter bytes: must outlive the reader.
    package init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    package var remaining: Int { bytes.count - position }

    package mutating func byte() throws(CodecError) -> UInt8 {
        guard position < bytes.count else { throw CodecError("ends too early") }
        defer { position += 1 }
        return bytes[position]
    }

    package mutating func varint() throws(CodecError) -> UInt64 {
        var result: UInt64 = 0
        var shift: UInt64 = 0
        while true {
            let next = try byte()
            if shift == 63, next > 1 { throw CodecError("a number exceeds 64 bits") }
            result |= UInt64(next & 0x7f) << shift
            if next < 0x80 { return result }
            shift += 7
            if shift > 63 { throw CodecError("a number exceeds 64 bits") }
        }
    }

    package mutating func varint32() throws(CodecError) -> UInt32 {
        guard let value = UInt32(exactly: try varint()) else { throw CodecError("a number exceeds 32 bits") }
        return value
    }

    /// A number of things of which each takes at least one byte, so that garbage cannot ask for gigabytes.
    package mutating func count() throws(CodecError) -> Int {
        let value = try varint()
        guard value <= UInt64(remaining) else { throw CodecError("a count exceeds the bytes that are left") }
        return Int(value)
    }

    package mutating func signed() throws(CodecError) -> Int64 {
        let value = try varint()
        return Int64(bitPattern: value >> 1) ^ -Int64(bitPattern: value & 1)
    }

    package mutating func fixed64() throws(CodecError) -> UInt64 {
        UInt64(littleEndian: try take(8).loadUnaligned(as: UInt64.self))
    }

    package mutating func string() throws(CodecError) -> String {
        let slice = try take(count())
        guard let value = String(validating: slice, as: UTF8.self) else { throw CodecError("text is not UTF-8") }
        return value
    }

    package mutating func blob() throws(CodecError) -> [UInt8] { Array(try take(count())) }

    package mutating func timestamp() throws(CodecError) -> Timestamp {
        let seconds = try signed()
        let nanoseconds = try varint()
        guard nanoseconds <= 999_999_999, let value = Timestamp(seconds: seconds, nanoseconds: Int32(nanoseconds))
        else { throw CodecError("a time is out of range") }
        return value
    }

    /// The next `size` bytes, without a copy.
    package mutating func take(_ size: Int) throws(CodecError) -> UnsafeRawBufferPointer {
        guard size >= 0, size <= remaining else { throw CodecError("ends too early") }
        defer { position += size }
        return UnsafeRawBufferPointer(rebasing: bytes[position..<position + size])
    }

    package func expectEnd() throws(CodecError) {
        guard remaining == 0 else { throw CodecError("\(remaining) bytes too many") }
    }
}
