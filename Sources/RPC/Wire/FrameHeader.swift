package import NIOCore

/// The kinds of frame (docs/protocol.md). Unknown ones are kept as they came.
package struct FrameType: RawRepresentable, Sendable, Hashable {
    package let rawValue: UInt8

    package init(rawValue: UInt8) { self.rawValue = rawValue }

    package static let request = FrameType(rawValue: 1)
    package static let response = FrameType(rawValue: 2)
    package static let data = FrameType(rawValue: 3)
    // The rest is `ttrpc-x1`.
    package static let ping = FrameType(rawValue: 4)
    package static let pong = FrameType(rawValue: 5)
    package static let cancel = FrameType(rawValue: 0x40)
    package static let goAway = FrameType(rawValue: 0x41)
    package static let window = FrameType(rawValue: 0x42)
    package static let metadata = FrameType(rawValue: 0x43)
}

/// The flags of a frame.
package struct FrameFlags: OptionSet, Sendable, Hashable {
    package let rawValue: UInt8

    package init(rawValue: UInt8) { self.rawValue = rawValue }

    /// The sender sends nothing more on this stream.
    package static let remoteClosed = FrameFlags(rawValue: 1)
    /// More messages of the sender follow.
    package static let remoteOpen = FrameFlags(rawValue: 2)
    /// The frame carries no message, as against an empty one.
    package static let noData = FrameFlags(rawValue: 4)
}

/// The ten bytes before every frame's body.
package struct FrameHeader: Sendable, Hashable {
    package static let byteCount = 10

    /// Bytes of the body.
    package var length: UInt32
    package var streamID: UInt32
    package var type: FrameType
    package var flags: FrameFlags

    package init(length: UInt32, streamID: UInt32, type: FrameType, flags: FrameFlags = []) {
        self.length = length
        self.streamID = streamID
        self.type = type
        self.flags = flags
    }

    /// Whether a peer that speaks ttRPC could have sent this header with a body too large to be taken.
    var isPlausible: Bool {
        (1...3).contains(type.rawValue) && flags.rawValue <= 7
    }
}

extension ByteBuffer {
    package mutating func writeFrameHeader(_ header: FrameHeader) {
        writeMultipleIntegers(header.length, header.streamID, header.type.rawValue, header.flags.rawValue)
    }

    /// Writes a whole frame.
    package mutating func writeFrame(
        _ type: FrameType,
        streamID: UInt32,
        flags: FrameFlags = [],
        body: ByteBuffer = ByteBuffer()
    ) {
        writeFrameHeader(
            FrameHeader(length: UInt32(body.readableBytes), streamID: streamID, type: type, flags: flags)
        )
        writeImmutableBuffer(body)
    }
}
