/// The stored form of the sets of an assignment change: format, parts, CRC-32C. A part is its kind and two bitmaps.
extension AssignmentChange {
    private static let format: UInt8 = 1

    package func encodedSets() -> [UInt8] {
        var writer = ByteWriter(reserving: 4_096)
        writer.byte(Self.format)
        writer.count(parts.count)
        for part in parts {
            writer.byte(part.kind.rawValue)
            part.added.encode(to: &writer)
            part.removed.encode(to: &writer)
        }
        let sum = writer.bytes.withUnsafeBytes { Checksum.crc32c($0) }
        for shift in stride(from: 0, to: 32, by: 8) { writer.byte(UInt8(truncatingIfNeeded: sum >> shift)) }
        return writer.finish()
    }

    package convenience init(
        stage: UInt64,
        cohort: CohortNumber,
        decodingSets bytes: UnsafeRawBufferPointer
    ) throws(CodecError) {
        guard bytes.count >= 5 else { throw CodecError("ends too early") }
        let body = UnsafeRawBufferPointer(rebasing: bytes[..<(bytes.count - 4)])
        let stored = UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: bytes.count - 4, as: UInt32.self))
        guard stored == Checksum.crc32c(body) else { throw CodecError("the checksum does not match") }
        var reader = ByteReader(body)
        let format = try reader.byte()
        guard format == Self.format else { throw CodecError("assignment format \(format) is not known") }
        var parts: [Part] = []
        for _ in 0..<(try reader.count()) {
            guard let kind = AssignmentKind(rawValue: try reader.byte()),
                kind.rawValue > (parts.last?.kind.rawValue ?? 0)
            else { throw CodecError("an assignment's kind is not known, or out of order") }
            let added = try ChunkedBitmap(decoding: &reader)
            parts.append(Part(kind: kind, added: added, removed: try ChunkedBitmap(decoding: &reader)))
        }
        try reader.expectEnd()
        self.init(stage: stage, cohort: cohort, parts: parts)
    }
}

extension AssignmentReference {
    func encode(to writer: inout ByteWriter) {
        writer.varint(stage)
        writer.varint(cohort)
        writer.varint(added)
        writer.varint(removed)
    }

    init(decoding reader: inout ByteReader) throws(CodecError) {
        stage = try reader.varint()
        cohort = try reader.varint32()
        added = try reader.varint()
        removed = try reader.varint()
    }
}
