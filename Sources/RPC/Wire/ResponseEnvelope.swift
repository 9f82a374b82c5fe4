package import NIOCore
import SwiftProtobuf

/// A ttRPC Response, read in place.
package struct ResponseEnvelope {
    /// Where the payload lies in the frame's body.
    package private(set) var payload = 0..<0
    /// Whether there is a status, or response metadata: rare, so the whole is then read by `details(in:)`.
    package private(set) var hasDetails = false

    @inline(__always)
    package init(parsing bytes: UnsafeRawBufferPointer) throws(WireReader.Failure) {
        var reader = WireReader(bytes)
        while !reader.isAtEnd {
            let (field, wire) = try reader.tag()
            switch (field, wire) {
            case (2, 2): payload = try reader.lengthDelimited()
            case (1, 2), (100, 2):
                hasDetails = true
                _ = try reader.lengthDelimited()
            default: try reader.skip(field: field, wire: wire)
            }
        }
    }

    /// The status, if it is an error, and the response's metadata.
    package static func details(
        in bytes: UnsafeRawBufferPointer
    ) throws(WireReader.Failure) -> (error: RPCError?, metadata: Metadata) {
        let response: Ttrpc_V1_Response
        do {
            response = try Ttrpc_V1_Response(serializedBytes: Array(bytes))
        } catch {
            throw .malformed
        }
        let metadata = Metadata(response.metadata.map { ($0.key, $0.value) })
        guard response.hasStatus, response.status.code != 0 else { return (nil, metadata) }
        return (RPCError(status: response.status, metadata: metadata), metadata)
    }
}

extension ByteBuffer {
    /// Bytes that ``beginResponse(streamID:)`` writes before the payload: header, tag, and one byte of length.
    private static let responsePreamble = FrameHeader.byteCount + 2

    /// Starts a Response frame whose payload is appended next. Returns where the frame starts.
    @inline(__always)
    package mutating func beginResponse(streamID: UInt32) -> Int {
        let start = writerIndex
        writeMultipleIntegers(UInt32(0), streamID, FrameType.response.rawValue, UInt8(0), UInt16(0x1200))
        return start
    }

    /// Ends the frame that started there. False, and the frame is gone, where it would be larger than a peer may be sent.
    @inline(__always)
    package mutating func endResponse(from start: Int, metadata: Metadata, maxFrameBytes: Int) -> Bool {
        let payloadStart = start + Self.responsePreamble
        let count = writerIndex - payloadStart
        if count > 0, count < 0x80, metadata.isEmpty, maxFrameBytes >= 0x82 {
            // Nearly every answer: both lengths are filled in at once.
            withVeryUnsafeMutableBytes { bytes in
                bytes.storeBytes(of: UInt32(count + 2).bigEndian, toByteOffset: start, as: UInt32.self)
                bytes.storeBytes(of: UInt8(count), toByteOffset: payloadStart - 1, as: UInt8.self)
            }
            return true
        }
        if count == 0 {
            moveWriterIndex(to: start + FrameHeader.byteCount)
        } else if count < 0x80 {
            setInteger(UInt8(count), at: payloadStart - 1)
        } else {
            widenLength(payloadStart: payloadStart, count: count)
        }
        if !metadata.isEmpty { MetadataCoding.write(metadata, field: 100, to: &self) }
        let length = writerIndex - start - FrameHeader.byteCount
        guard length <= maxFrameBytes else {
            moveWriterIndex(to: start)
            return false
        }
        setInteger(UInt32(length), at: start)
        return true
    }

    /// Moves a payload of 128 bytes or more up, since its length takes more than the one byte that was kept for it.
    private mutating func widenLength(payloadStart: Int, count: Int) {
        let extra = Self.varintSize(count) - 1
        writeRepeatingByte(0, count: extra)
        let from = payloadStart - readerIndex
        withUnsafeMutableReadableBytes { bytes in
            let target = UnsafeMutableRawBufferPointer(rebasing: bytes[(from + extra)...])
            // copyMemory allows the two to overlap.
            target.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[from..<(from + count)]))
        }
        var value = count
        var at = payloadStart - 1
        while value >= 0x80 {
            setInteger(UInt8(truncatingIfNeeded: value) | 0x80, at: at)
            value >>= 7
            at += 1
        }
        setInteger(UInt8(value), at: at)
    }

    /// Writes a whole Response frame that carries an error.
    package mutating func writeErrorResponse(
        _ error: RPCError,
        streamID: UInt32,
        metadata: Metadata,
        maxFrameBytes: Int
    ) {
        var encoded: [UInt8]? = error.serializedStatus ?? (try? error.status.serializedBytes())
        // A status that does not fit is cut down rather than lost.
        if encoded?.count ?? .max > min(maxFrameBytes, 64 << 10) {
            var status = error.status
            status.details = []
            status.message = String(status.message.prefix(1024))
            encoded = try? status.serializedBytes()
        }
        guard let body = encoded else { return }
        let start = writerIndex
        writeFrameHeader(FrameHeader(length: 0, streamID: streamID, type: .response))
        writeInteger(UInt8(1 << 3 | 2))
        writeVarint(UInt64(body.count))
        writeBytes(body)
        MetadataCoding.write(metadata, field: 100, to: &self)
        setInteger(UInt32(writerIndex - start - FrameHeader.byteCount), at: start)
    }
}
