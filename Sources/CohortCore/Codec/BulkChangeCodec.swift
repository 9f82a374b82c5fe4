/// The stored form of the sets of a bulk change: format, three bitmaps, CRC-32C.
extension BulkChange {
    private static let format: UInt8 = 1

    package func encodedSets() -> [UInt8] {
        var writer = ByteWriter(reserving: 4_096)
        writer.byte(Self.format)
        toIn.encode(to: &writer)
        toOut.encode(to: &writer)
        toUnknown.encode(to: &writer)
        let sum = writer.bytes.withUnsafeBytes { Checksum.crc32c($0) }
        for shift in stride(from: 0, to: 32, by: 8) { writer.byte(UInt8(truncatingIfNeeded: sum >> shift)) }
        return writer.finish()
    }

    package convenience init(
        stage: UInt64,
        cohort: CohortNumber,
        version: UInt32,
        cause: TransitionCause,
        decodingSets bytes: UnsafeRawBufferPointer
    ) throws(CodecError) {
        guard bytes.count >= 5 else { throw CodecError("ends too early") }
        let body = UnsafeRawBufferPointer(rebasing: bytes[..<(bytes.count - 4)])
        let stored = UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: bytes.count - 4, as: UInt32.self))
        guard stored == Checksum.crc32c(body) else { throw CodecError("the checksum does not match") }
        var reader = ByteReader(body)
        let format = try reader.byte()
        guard format == Self.format else { throw CodecError("bulk format \(format) is not known") }
        let toIn = try ChunkedBitmap(decoding: &reader)
        let toOut = try ChunkedBitmap(decoding: &reader)
        let toUnknown = try ChunkedBitmap(decoding: &reader)
        try reader.expectEnd()
        self.init(
            stage: stage,
            cohort: cohort,
            version: version,
            cause: cause,
            toIn: toIn,
            toOut: toOut,
            toUnknown: toUnknown
        )
    }
}
