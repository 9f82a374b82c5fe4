import Logging
import NIOCore
import NIOEmbedded
import NIOTLS
import RPC

/// A client's connection on an embedded channel: no socket, no TLS, no thread.
final class EmbeddedClient {
    let channel = EmbeddedChannel()
    let handler: ClientConnectionHandler

    init(
        _ configuration: ClientConfiguration = ClientConfiguration(endpoints: [], tls: ClientTLS()),
        applicationProtocol: String? = nil
    ) throws {
        let quiet = Logger(label: "quiet") { _ in SwiftLogNoOpLogHandler() }
        handler = ClientConnectionHandler(
            configuration: configuration,
            dnsName: nil,
            logger: quiet,
            ready: channel.eventLoop.makePromise()
        )
        try channel.pipeline.syncOperations.addHandler(handler)
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
        channel.pipeline.fireUserInboundEventTriggered(
            TLSUserEvent.handshakeCompleted(negotiatedProtocol: applicationProtocol)
        )
    }

    /// Bytes written since the last call, which are let go.
    func takeOutput() -> Int {
        var count = 0
        while let bytes = try? channel.readOutbound(as: ByteBuffer.self) { count += bytes.readableBytes }
        return count
    }
}
