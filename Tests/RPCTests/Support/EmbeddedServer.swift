import Logging
import MetricsTestKit
import NIOCore
import NIOEmbedded
import NIOTLS
import RPC
import SwiftProtobuf
import Synchronization

/// A server's connection on an embedded channel: no socket, no TLS, no thread. Only inline handlers answer.
final class EmbeddedServer {
    let channel: EmbeddedChannel
    let handler: ServerConnectionHandler
    let metrics = TestMetrics()
    let statistics: ServerStatistics
    private var received = ByteBuffer()

    init(limits: ServerLimits, applicationProtocol: String? = nil) throws {
        var quiet = Logger(label: "quiet") { _ in SwiftLogNoOpLogHandler() }
        quiet.logLevel = .critical
        statistics = ServerStatistics(metrics)
        handler = ServerConnectionHandler(
            shared: ServerConnectionContext(
                limits: limits,
                methods: MethodTable(Router(services: [EchoService()])),
                statistics: statistics,
                logger: quiet
            ),
            now: .now()
        )
        channel = EmbeddedChannel()
        try channel.pipeline.syncOperations.addHandler(handler)
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
        channel.pipeline.fireUserInboundEventTriggered(
            TLSUserEvent.handshakeCompleted(negotiatedProtocol: applicationProtocol)
        )
    }

    var isClosed: Bool { !channel.isActive }

    /// Feeds bytes in pieces of this size.
    func feed(_ bytes: ByteBuffer, pieces: Int = .max) throws {
        var bytes = bytes
        while bytes.readableBytes > 0, channel.isActive {
            guard let piece = bytes.readSlice(length: min(pieces, bytes.readableBytes)) else { break }
            try channel.writeInbound(piece)
            channel.embeddedEventLoop.run()
        }
    }

    /// Every whole frame answered so far.
    func frames() -> [RawPeer.Frame] {
        while let bytes = try? channel.readOutbound(as: ByteBuffer.self) { received.writeImmutableBuffer(bytes) }
        return RawPeer.frames(received)
    }

    /// Bytes answered since the last call, which are let go.
    func takeOutput() -> Int {
        var count = 0
        while let bytes = try? channel.readOutbound(as: ByteBuffer.self) { count += bytes.readableBytes }
        return count
    }

    func finish() { _ = try? channel.finish(acceptAlreadyClosed: true) }
}
