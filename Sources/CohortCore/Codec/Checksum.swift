/// CRC-32C (Castagnoli polynomial, reflected: 0x82F63B78; RFC 3720, appendix B.4), eight bytes a step by eight tables.
package enum Checksum {
    private static let tables: [UInt32] = {
        var tables = [UInt32](repeating: 0, count: 8 * 256)
        for i in 0..<256 {
            var crc = UInt32(i)
            for _ in 0..<8 { crc = crc & 1 == 1 ? (crc >> 1) ^ 0x82F6_3B78 : crc >> 1 }
            tables[i] = crc
        }
        for table in 1..<8 {
            for i in 0..<256 {
                let previous = tables[(table - 1) * 256 + i]
                tables[table * 256 + i] = (previous >> 8) ^ tables[Int(previous & 0xff)]
            }
        }
        return tables
    }()

    package static func crc32c(_ bytes: UnsafeRawBufferPointer, seed: UInt32 = 0) -> UInt32 {
        tables.withUnsafeBufferPointer { t in
            var crc = ~seed
            var i = 0
            while i + 8 <= bytes.count {
                let word = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: i, as: UInt64.self)) ^ UInt64(crc)
                crc = t[7 * 256 + Int(word & 0xff)] ^ t[6 * 256 + Int(word >> 8 & 0xff)]
                crc ^= t[5 * 256 + Int(word >> 16 & 0xff)] ^ t[4 * 256 + Int(word >> 24 & 0xff)]
                crc ^= t[3 * 256 + Int(word >> 32 & 0xff)] ^ t[2 * 256 + Int(word >> 40 & 0xff)]
                crc ^= t[256 + Int(word >> 48 & 0xff)] ^ t[Int(word >> 56)]
                i += 8
            }
            while i < bytes.count {
                crc = (crc >> 8) ^ t[Int((crc ^ UInt32(bytes[i])) & 0xff)]
                i += 1
            }
            return ~crc
        }
    }
}
