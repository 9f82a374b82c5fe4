package import NIOCore

/// Writes bytes in place, into room that was made for them beforehand: a `ByteBuffer` checks its storage with every
/// integer that it is handed, which costs more than the writing.
package struct RawWriter: ~Copyable {
    private let start: UnsafeMutableRawPointer
    private let limit: Int
    private(set) var count = 0

    fileprivate init(_ room: UnsafeMutableRawBufferPointer, limit: Int) {
        // Never nil: there is room for `limit` bytes, and that is more than none.
        start = room.baseAddress.unsafelyUnwrapped
        self.limit = limit
    }

    @inline(__always)
    package mutating func byte(_ value: UInt8) {
        precondition(count < limit, "more is written than there is room for")
        start.storeBytes(of: value, toByteOffset: count, as: UInt8.self)
        count += 1
    }

    @inline(__always)
    package mutating func varint(_ value: UInt64) {
        var value = value
        while value >= 0x80 {
            byte(UInt8(truncatingIfNeeded: value) | 0x80)
            value >>= 7
        }
        byte(UInt8(truncatingIfNeeded: value))
    }

    /// The eight bytes of a `fixed64`, `sfixed64` or, by its bits, a `double`.
    @inline(__always)
    package mutating func fixed64(_ value: UInt64) {
        precondition(count + 8 <= limit, "more is written than there is room for")
        start.storeBytes(of: value.littleEndian, toByteOffset: count, as: UInt64.self)
        count += 8
    }

    package mutating func bytes(_ bytes: [UInt8]) {
        precondition(count + bytes.count <= limit, "more is written than there is room for")
        bytes.withUnsafeBytes {
            (start + count).copyMemory(from: $0.baseAddress.unsafelyUnwrapped, byteCount: $0.count)
        }
        count += bytes.count
    }
}

extension ByteBuffer {
    /// Appends what `write` writes, at most `limit` bytes, which must be 1 or more.
    @inline(__always)
    package mutating func append(atMost limit: Int, _ write: (inout RawWriter) -> Void) {
        precondition(limit > 0)
        writeWithUnsafeMutableBytes(minimumWritableBytes: limit) { room in
            var writer = RawWriter(room, limit: limit)
            write(&writer)
            return writer.count
        }
    }
}
