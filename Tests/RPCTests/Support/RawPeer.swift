import Foundation
import NIOCore
import NIOPosix
import NIOSSL
import RPC
import SwiftProtobuf
import Synchronization

/// A peer that writes raw bytes to a server and keeps what comes back.
final class RawPeer: Sendable {
    struct Frame: Sendable, Equatable {
        let streamID: UInt32
        let type: UInt8
        let flags: UInt8
        let body: [UInt8]
    }

    private struct State {
        var received = ByteBuffer()
        var frames: [Frame] = []
        var isClosed = false
    }

    private final class Collector: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        let peer: RawPeer
        init(peer: RawPeer) { self.peer = peer }
        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let bytes = unwrapInboundIn(data)
            peer.state.withLock { state in
                state.received.discardReadBytes()
                state.received.writeImmutableBuffer(bytes)
                state.frames += RawPeer.takeFrames(&state.received)
            }
        }
        func channelInactive(context: ChannelHandlerContext) { peer.state.withLock { $0.isClosed = true } }
        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }

    private let state = Mutex(State())
    private let channelBox = Mutex<(any Channel)?>(nil)
    var channel: any Channel { channelBox.withLock { $0! } }

    /// Connects; without `tls` in the clear.
    static func connect(
        to endpoint: Endpoint,
        tls: TLSConfiguration? = RawPeer.tls()
    ) async throws -> RawPeer {
        let peer = RawPeer()
        let context = try tls.map { try NIOSSLContext(configuration: $0) }
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelOption(.socketOption(.so_rcvbuf), value: 32 << 10)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    if let context {
                        try channel.pipeline.syncOperations.addHandler(
                            NIOSSLClientHandler(context: context, serverHostname: "localhost")
                        )
                    }
                    try channel.pipeline.syncOperations.addHandler(Collector(peer: peer))
                }
            }
            .connect(host: endpoint.host, port: endpoint.port).get()
        peer.channelBox.withLock { $0 = channel }
        return peer
    }

    static func tls(_ protocols: [String] = []) -> TLSConfiguration {
        var tls = TLSConfiguration.makeClientConfiguration()
        tls.trustRoots = .file(TestCertificates.shared.path("ca.pem"))
        tls.applicationProtocols = protocols
        // A peer that does not read sees no goodbye to wait for.
        tls.shutdownTimeout = .milliseconds(100)
        return tls
    }

    func write(_ bytes: ByteBuffer) async throws { try await channel.writeAndFlush(bytes) }

    /// Writes without waiting for the bytes to leave.
    func post(_ bytes: ByteBuffer) { channel.writeAndFlush(bytes, promise: nil) }

    func close() async { try? await channel.close() }

    var isClosed: Bool { state.withLock { $0.isClosed } }
    /// Every whole frame received so far.
    var frames: [Frame] { state.withLock { $0.frames } }

    static func frames(_ bytes: ByteBuffer) -> [Frame] {
        var bytes = bytes
        return takeFrames(&bytes)
    }

    private static func takeFrames(_ bytes: inout ByteBuffer) -> [Frame] {
        var frames: [Frame] = []
        while let (length, id, type, flags) = bytes.peekMultipleIntegers(as: (UInt32, UInt32, UInt8, UInt8).self),
            bytes.readableBytes >= 10 + Int(length)
        {
            bytes.moveReaderIndex(forwardBy: 10)
            let body = bytes.readBytes(length: Int(length)) ?? []
            frames.append(Frame(streamID: id, type: type, flags: flags, body: body))
        }
        return frames
    }

    /// Waits for this many frames.
    func frames(_ count: Int) async throws -> [Frame] {
        _ = try await eventually { state.withLock { $0.frames.count >= count || $0.isClosed } }
        return frames
    }
}

extension RawPeer.Frame {
    /// The status code of a Response; nil if this is none.
    var code: Int? {
        guard type == 2, let response = try? Ttrpc_V1_Response(serializedBytes: body) else { return nil }
        return Int(response.status.code)
    }

    /// The text of a Response or Data frame.
    var text: String? {
        if type == 3 { return try? Text(serializedBytes: body).value }
        guard let response = try? Ttrpc_V1_Response(serializedBytes: body) else { return nil }
        return try? Text(serializedBytes: response.payload).value
    }
}

/// Frames as a test writes them, made with SwiftProtobuf and not with what is tested.
enum Raw {
    static func frame(_ id: UInt32, _ type: UInt8, _ flags: UInt8 = 0, _ body: [UInt8] = []) -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.writeMultipleIntegers(UInt32(body.count), id, type, flags)
        buffer.writeBytes(body)
        return buffer
    }

    static func request(
        _ id: UInt32,
        _ method: String,
        _ message: (any Message)? = nil,
        flags: UInt8 = 0,
        timeoutNanos: Int64 = 0,
        metadata: [(String, String)] = [],
        service: String = "test.v1.Echo"
    ) -> ByteBuffer {
        let request = Ttrpc_V1_Request.with {
            $0.service = service
            $0.method = method
            $0.payload = message.flatMap { try? $0.serializedData() } ?? Data()
            $0.timeoutNano = timeoutNanos
            $0.metadata = metadata.map { pair in
                .with {
                    $0.key = pair.0
                    $0.value = pair.1
                }
            }
        }
        return frame(id, 1, flags, (try? request.serializedBytes()) ?? [])
    }

    static func data(_ id: UInt32, _ message: any Message, flags: UInt8 = 0) -> ByteBuffer {
        frame(id, 3, flags, (try? message.serializedBytes()) ?? [])
    }

    static func join(_ parts: [ByteBuffer]) -> ByteBuffer {
        var all = ByteBuffer()
        for part in parts { all.writeImmutableBuffer(part) }
        return all
    }
}
