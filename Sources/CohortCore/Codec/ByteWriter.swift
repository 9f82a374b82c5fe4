/// Appends values in the store's binary form: little-endian base-128 varints, zigzag for signed numbers,
/// length-prefixed UTF-8.
package struct ByteWriter: ~Copyable {
    package private(set) var bytes: [UInt8] = []

    package init(reserving capacity: Int = 256) { bytes.reserveCapacity(capacity) }

    package mutating func byte(_ value: UInt8) { bytes.append(value) }

    package mutating func varint(_ value: UInt64) {
        var rest = value
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(truncatingIfNeeded: rest))
    }

    package mutating func varint(_ value: UInt32) { varint(UInt64(value)) }
    package mutating func count(_ value: Int) { varint(UInt64(value)) }

    package mutating func signed(_ value: Int64) { varint(UInt64(bitPattern: (value << 1) ^ (value >> 63))) }

    package mutating func fixed64(_ value: UInt64) {
        withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
    }

    package mutating func string(_ value: String) {
        var value = value
        value.withUTF8 {
            count($0.count)
            bytes.append(contentsOf: $0)
        }
    }

    package mutating func blob(_ value: [UInt8]) {
        count(value.count)
        bytes.append(contentsOf: value)
    }

    package mutating func raw(_ value: UnsafeRawBufferPointer) { bytes.append(contentsOf: value) }

    package mutating func timestamp(_ value: Timestamp) {
        signed(value.seconds)
        varint(UInt32(value.nanoseconds))
    }

    /// Starts again, keeping the memory.
    package mutating func reset() { bytes.removeAll(keepingCapacity: true) }

    package consuming func finish() -> [UInt8] { bytes }
}
