/// A place in the change stream: what has been sent.
struct WatchPosition: Sendable, Hashable {
    /// A membership that an entry moves. The moves of an entry are sent in order of cohort number, then ordinal: an order
    /// that no scrubbing of the entry changes, and no filter.
    struct Step: Sendable, Hashable, Comparable {
        var cohort: CohortNumber
        var ordinal: Ordinal

        static func < (a: Step, b: Step) -> Bool { (a.cohort, a.ordinal) < (b.cohort, b.ordinal) }
    }

    var sequence: UInt64
    /// The last move of the entry that has been sent; `nil` if all have.
    var step: Step?

    /// Everything up to here has been sent.
    var completed: UInt64 { step == nil ? sequence : sequence - 1 }
    /// The entry that goes on.
    var next: UInt64 { completed + 1 }
}

/// A position as callers keep it: opaque, at most 34 bytes.
struct WatchCursor {
    private static let format: UInt8 = 1
    private static let checksumBytes = 4

    /// Tells the sequences of this store from those of another.
    var store: UInt64
    var position: WatchPosition

    init(store: UInt64, position: WatchPosition) {
        self.store = store
        self.position = position
    }

    /// - Throws: `.invalidArgument` for bytes that are no cursor, or have been changed.
    init(_ bytes: [UInt8]) throws(DomainError) {
        let decoded = bytes.withUnsafeBytes { bytes in
            Result { () throws(CodecError) in try Self.decode(bytes) }
        }
        guard case .success(let cursor) = decoded else {
            throw .invalid("cursor", "is not one that this server gave; start again with a snapshot")
        }
        self = cursor
    }

    private static func decode(_ bytes: UnsafeRawBufferPointer) throws(CodecError) -> WatchCursor {
        guard bytes.count > checksumBytes else { throw CodecError("ends too early") }
        let body = UnsafeRawBufferPointer(rebasing: bytes.dropLast(checksumBytes))
        let given = UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: body.count, as: UInt32.self))
        guard given == Checksum.crc32c(body) else { throw CodecError("the check sum differs") }
        var reader = ByteReader(body)
        guard try reader.byte() == format else { throw CodecError("unknown format") }
        let store = try reader.fixed64()
        var position = WatchPosition(sequence: try reader.varint())
        switch try reader.byte() {
        case 0: break
        case 1 where position.sequence > 0:
            position.step = WatchPosition.Step(cohort: try reader.varint32(), ordinal: try reader.varint32())
        default: throw CodecError("unknown form")
        }
        try reader.expectEnd()
        return WatchCursor(store: store, position: position)
    }

    var encoded: [UInt8] {
        var writer = ByteWriter(reserving: 34)
        writer.byte(Self.format)
        writer.fixed64(store)
        writer.varint(position.sequence)
        writer.byte(position.step == nil ? 0 : 1)
        if let step = position.step {
            writer.varint(step.cohort)
            writer.varint(step.ordinal)
        }
        let checksum = writer.bytes.withUnsafeBytes { Checksum.crc32c($0) }
        withUnsafeBytes(of: checksum.littleEndian) { writer.raw($0) }
        return writer.finish()
    }

    /// The part of a store's id that cursors carry.
    static func digest(storeID: String) -> UInt64 { UInt64(storeID.prefix(16), radix: 16) ?? 0 }
}
