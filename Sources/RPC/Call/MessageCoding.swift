package import NIOCore
package import SwiftProtobuf

/// A ByteBuffer that SwiftProtobuf can encode into, so that a message is not copied from an array first.
private struct EncodedBytes: SwiftProtobufContiguousBytes {
    var buffer: ByteBuffer

    init(repeating byte: UInt8, count: Int) { buffer = ByteBuffer(repeating: byte, count: count) }
    init<S: Sequence>(_ sequence: S) where S.Element == UInt8 { buffer = ByteBuffer(bytes: sequence) }

    var count: Int { buffer.readableBytes }

    func withUnsafeBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
        try buffer.withUnsafeReadableBytes(body)
    }

    mutating func withUnsafeMutableBytes<R>(_ body: (UnsafeMutableRawBufferPointer) throws -> R) rethrows -> R {
        try buffer.withUnsafeMutableReadableBytes(body)
    }
}

package enum MessageCoding {
    /// The message, serialized. INTERNAL if it cannot be, which for proto3 means more than 2 GiB.
    package static func encode(_ message: some Message) throws(RPCError) -> ByteBuffer {
        do {
            let encoded: EncodedBytes = try message.serializedBytes()
            return encoded.buffer
        } catch {
            throw RPCError(.internalError, "the message cannot be encoded", cause: error)
        }
    }

    /// Appends the message, serialized, at the cost of one allocation.
    package static func append(_ message: some Message, to buffer: inout ByteBuffer) throws(RPCError) {
        do {
            let bytes: [UInt8] = try message.serializedBytes()
            buffer.writeBytes(bytes)
        } catch {
            throw RPCError(.internalError, "the message cannot be encoded", cause: error)
        }
    }

    package static func decodeRequest<M: Message>(_ type: M.Type, _ bytes: RawSpan) throws(RPCError) -> M {
        do {
            return try M(serializedBytes: bytes)
        } catch {
            throw RPCError(
                .invalidArgument,
                "the request is not a valid \(M.protoMessageName); send that message, serialized",
                cause: error
            )
        }
    }

    package static func decodeResponse<M: Message>(_ type: M.Type, _ bytes: ByteBuffer) throws(RPCError) -> M {
        do {
            return try M(serializedBytes: bytes.readableBytesSpan)
        } catch {
            throw RPCError(
                .internalError,
                "the response is not a valid \(M.protoMessageName)",
                cause: error
            )
        }
    }
}
