package import NIOCore

/// A ttRPC Request, read in place: where its fields lie in the frame's body.
package struct RequestEnvelope {
    package private(set) var service = 0..<0
    package private(set) var method = 0..<0
    package private(set) var payload = 0..<0
    package private(set) var timeoutNanos: Int64 = 0
    /// What each metadata entry counts beyond its bytes, for the memory that even an empty one takes; the figure is that of
    /// HTTP/2 (RFC 9113, section 6.5.2).
    package static let metadataEntryOverhead = 32
    /// Number of metadata entries, and bytes they count for: their own and ``metadataEntryOverhead`` each.
    package private(set) var metadataCount = 0
    package private(set) var metadataBytes = 0

    /// Finds the fields. Strings are not checked here to be UTF-8: a name that a method bears is, and others are
    /// checked when they are made into strings.
    @inline(__always)
    package init(parsing bytes: UnsafeRawBufferPointer) throws(WireReader.Failure) {
        var reader = WireReader(bytes)
        while !reader.isAtEnd {
            let (field, wire) = try reader.tag()
            switch (field, wire) {
            case (1, 2): service = try reader.replacing(service)
            case (2, 2): method = try reader.replacing(method)
            case (3, 2): payload = try reader.lengthDelimited()
            case (4, 0): timeoutNanos = Int64(bitPattern: try reader.varint())
            case (5, 2):
                metadataCount += 1
                metadataBytes += try reader.lengthDelimited().count + Self.metadataEntryOverhead
            default: try reader.skip(field: field, wire: wire)
            }
        }
    }

    /// Reads the metadata; the second pass over the body is made only where there is any.
    package func metadata(in bytes: UnsafeRawBufferPointer) throws(WireReader.Failure) -> Metadata {
        guard metadataCount > 0 else { return Metadata() }
        return try MetadataCoding.parse(bytes, field: 5)
    }

    package static func string(
        _ bytes: UnsafeRawBufferPointer,
        _ range: Range<Int>
    ) throws(WireReader.Failure) -> String {
        try WireReader(bytes).string(range)
    }
}

/// The part of a Request that is the same in every call of a method.
package struct RequestPrefix: Sendable {
    let bytes: [UInt8]

    package init(_ method: MethodDescriptor) {
        var buffer = ByteBuffer()
        buffer.writeLengthDelimited(field: 1, method.service.utf8)
        buffer.writeLengthDelimited(field: 2, method.method.utf8)
        bytes = Array(buffer.readableBytesView)
    }
}

extension ByteBuffer {
    /// Writes a whole Request frame.
    package mutating func writeRequest(
        _ prefix: RequestPrefix,
        streamID: UInt32,
        flags: FrameFlags = [],
        payload: ByteBuffer,
        timeoutNanos: Int64,
        metadata: Metadata
    ) {
        let start = writerIndex
        writeFrameHeader(FrameHeader(length: 0, streamID: streamID, type: .request, flags: flags))
        writeBytes(prefix.bytes)
        if payload.readableBytes > 0 {
            writeInteger(UInt8(3 << 3 | 2))
            writeVarint(UInt64(payload.readableBytes))
            writeImmutableBuffer(payload)
        }
        if timeoutNanos != 0 {
            writeInteger(UInt8(4 << 3))
            writeVarint(UInt64(bitPattern: timeoutNanos))
        }
        MetadataCoding.write(metadata, field: 5, to: &self)
        setInteger(UInt32(writerIndex - start - FrameHeader.byteCount), at: start)
    }

    package mutating func writeVarint(_ value: UInt64) {
        var value = value
        while value >= 0x80 {
            writeInteger(UInt8(truncatingIfNeeded: value) | 0x80)
            value >>= 7
        }
        writeInteger(UInt8(value))
    }

    mutating func writeLengthDelimited(field: UInt32, _ bytes: String.UTF8View) {
        guard !bytes.isEmpty else { return }
        writeVarint(UInt64(field << 3 | 2))
        writeVarint(UInt64(bytes.count))
        writeBytes(bytes)
    }

    static func varintSize(_ value: Int) -> Int {
        var size = 1
        var value = value >> 7
        while value > 0 {
            size += 1
            value >>= 7
        }
        return size
    }
}
