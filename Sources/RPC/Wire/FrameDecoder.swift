package import NIOCore

/// Cuts a byte stream into frames. Looks at a frame's size before it keeps any of its body.
package struct FrameDecoder: Sendable {
    package enum Step: Sendable, Hashable {
        /// The bytes do not hold a whole frame yet.
        case needMore
        /// A whole frame; its body is taken with `takeBody()` or read in place through `body`, then `skipBody()`.
        case frame(FrameHeader)
        /// A frame too large to take has gone by, its body dropped.
        case oversize(FrameHeader)
        /// This is not ttRPC; the connection must be closed.
        case garbage(first: UInt8)
    }

    private let maxFrameBytes: Int
    private var buffer = ByteBuffer()
    private var bodyLength = 0
    /// A frame too large, and how much of its body is still to come.
    private var oversize: (header: FrameHeader, left: Int)?

    package init(maxFrameBytes: Int) { self.maxFrameBytes = maxFrameBytes }

    /// Whether a frame has begun and not ended.
    package var isInsideFrame: Bool { oversize != nil || buffer.readableBytes > 0 }

    /// Bytes that are kept.
    package var bufferedBytes: Int { buffer.readableBytes }

    package mutating func append(_ bytes: ByteBuffer) {
        if buffer.readableBytes == 0 {
            buffer = bytes
        } else {
            buffer.discardReadBytes()
            buffer.writeImmutableBuffer(bytes)
        }
    }

    /// Lets go of memory that has been read to its end, so that who handed it over can use it again.
    package mutating func releaseConsumed() {
        if buffer.readableBytes == 0 { buffer = Self.empty }
    }

    private static let empty = ByteBuffer()

    /// Lets go of everything; a frame that has begun is forgotten.
    package mutating func clear() { self = FrameDecoder(maxFrameBytes: maxFrameBytes) }

    package mutating func next() -> Step {
        assert(bodyLength == 0, "the body of the frame before was not taken")
        if oversize != nil { return drain() }
        guard
            let (length, streamID, type, flags) = buffer.peekMultipleIntegers(
                as: (UInt32, UInt32, UInt8, UInt8).self
            )
        else {
            // A first byte other than zero announces 16 MiB or more: no need to wait for the rest of the header.
            if let first: UInt8 = buffer.getInteger(at: buffer.readerIndex), first >= 0x20 {
                return .garbage(first: first)
            }
            return .needMore
        }
        let header = FrameHeader(
            length: length,
            streamID: streamID,
            type: FrameType(rawValue: type),
            flags: FrameFlags(rawValue: flags)
        )
        if Int(length) > maxFrameBytes {
            if length >= 1 << 24, !header.isPlausible || length >= 0x2000_0000 {
                return .garbage(first: UInt8(length >> 24))
            }
            buffer.moveReaderIndex(forwardBy: FrameHeader.byteCount)
            oversize = (header, Int(length))
            return drain()
        }
        guard buffer.readableBytes >= FrameHeader.byteCount + Int(length) else { return .needMore }
        buffer.moveReaderIndex(forwardBy: FrameHeader.byteCount)
        bodyLength = Int(length)
        return .frame(header)
    }

    private mutating func drain() -> Step {
        guard let header = oversize?.header, var left = oversize?.left else { return .needMore }
        let step = min(left, buffer.readableBytes)
        buffer.moveReaderIndex(forwardBy: step)
        left -= step
        if left > 0 {
            buffer = ByteBuffer()
            oversize = (header, left)
            return .needMore
        }
        oversize = nil
        return .oversize(header)
    }

    /// Reads the body in place.
    @inline(__always)
    package func withBody<R, E: Error>(_ read: (UnsafeRawBufferPointer) throws(E) -> R) throws(E) -> R {
        let length = bodyLength
        let result: Result<R, E> = buffer.withUnsafeReadableBytes { bytes in
            do throws(E) {
                return .success(try read(UnsafeRawBufferPointer(start: bytes.baseAddress, count: length)))
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }

    package mutating func skipBody() {
        buffer.moveReaderIndex(forwardBy: bodyLength)
        bodyLength = 0
    }

    /// The body in memory of its own, so that keeping it keeps nothing else.
    package mutating func takeBody() -> ByteBuffer {
        defer { skipBody() }
        return copyBody(0..<bodyLength)
    }

    /// A part of the body in memory of its own.
    package func copyBody(_ range: Range<Int>) -> ByteBuffer {
        var copy = ByteBuffer()
        buffer.withUnsafeReadableBytes { bytes in
            _ = copy.writeBytes(UnsafeRawBufferPointer(rebasing: bytes[range]))
        }
        return copy
    }
}
