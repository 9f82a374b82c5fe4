import NIOCore

/// `repeated KeyValue`, as Requests and Responses carry it.
enum MetadataCoding {
    static func parse(_ bytes: UnsafeRawBufferPointer, field wanted: UInt32) throws(WireReader.Failure) -> Metadata {
        var metadata = Metadata()
        var reader = WireReader(bytes)
        while !reader.isAtEnd {
            let (field, wire) = try reader.tag()
            if field == wanted, wire == 2 {
                let (key, value) = try entry(bytes, reader.lengthDelimited())
                metadata.add(value, for: key)
            } else {
                try reader.skip(field: field, wire: wire)
            }
        }
        return metadata
    }

    private static func entry(
        _ bytes: UnsafeRawBufferPointer,
        _ range: Range<Int>
    ) throws(WireReader.Failure) -> (String, String) {
        var reader = WireReader(bytes, range)
        var key = ""
        var value = ""
        while !reader.isAtEnd {
            let (field, wire) = try reader.tag()
            switch (field, wire) {
            case (1, 2): key = try reader.string(reader.lengthDelimited())
            case (2, 2): value = try reader.string(reader.lengthDelimited())
            default: try reader.skip(field: field, wire: wire)
            }
        }
        return (key, value)
    }

    static func write(_ metadata: Metadata, field: UInt32, to buffer: inout ByteBuffer) {
        for entry in metadata {
            let key = entry.key.utf8.count
            let value = entry.value.utf8.count
            buffer.writeVarint(UInt64(field << 3 | 2))
            buffer.writeVarint(UInt64(size(key) + size(value)))
            buffer.writeLengthDelimited(field: 1, entry.key.utf8)
            buffer.writeLengthDelimited(field: 2, entry.value.utf8)
        }
    }

    private static func size(_ count: Int) -> Int {
        count == 0 ? 0 : 1 + ByteBuffer.varintSize(count) + count
    }
}
