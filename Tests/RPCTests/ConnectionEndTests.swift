import NIOCore
import NIOEmbedded
import NIOSSL
import RPC
import SwiftProtobuf
import Testing

/// What is left of a connection that is closing or closed.
@Suite("The end of a connection")
struct ConnectionEndTests {
    @Test("a server's connection is let go of once it is closed")
    func serverIsReleased() throws {
        weak var handler: ServerConnectionHandler?
        do {
            let server = try EmbeddedServer(limits: ServerLimits())
            handler = server.handler
            try server.feed(Raw.request(1, "Inline", Text("x")))
            #expect(server.frames().first?.text == "x")
            #expect(handler != nil)
            server.finish()
        }
        #expect(handler == nil)
    }

    @Test("a client's connection is let go of once it is closed")
    func clientIsReleased() throws {
        weak var handler: ClientConnectionHandler?
        do {
            let client = try EmbeddedClient()
            handler = client.handler
            #expect(handler != nil)
            _ = try client.channel.finish(acceptAlreadyClosed: true)
        }
        #expect(handler == nil)
    }

    /// A channel that is closed at one end hands on what it reads until the other end is closed too.
    private func flood(_ pipeline: ChannelPipeline) {
        let block = ByteBuffer(repeating: 0xFF, count: 1 << 20)
        for _ in 0..<8 {
            pipeline.fireChannelRead(block)
            pipeline.fireChannelReadComplete()
        }
    }

    @Test("a server keeps nothing of what comes after it has closed")
    func serverKeepsNothing() throws {
        let server = try EmbeddedServer(limits: ServerLimits())
        server.channel.pipeline.fireChannelRead(ByteBuffer(string: "GET / HTTP/1.1\r\n\r\n"))
        #expect(server.isClosed)
        #expect(server.handler.decoder.bufferedBytes == 0)
        flood(server.channel.pipeline)
        #expect(server.handler.decoder.bufferedBytes == 0)
        server.finish()
    }

    @Test("a client keeps nothing of what comes after it has closed")
    func clientKeepsNothing() throws {
        let client = try EmbeddedClient()
        client.channel.pipeline.fireChannelRead(ByteBuffer(string: "HTTP/1.1 400 Bad Request\r\n\r\n"))
        #expect(!client.channel.isActive)
        #expect(client.handler.decoder.bufferedBytes == 0)
        flood(client.channel.pipeline)
        #expect(client.handler.decoder.bufferedBytes == 0)
        _ = try client.channel.finish(acceptAlreadyClosed: true)
    }

    /// Stands for TLS, which waits for the peer's goodbye before it closes the channel.
    private final class CloseHolder: ChannelOutboundHandler {
        typealias OutboundIn = ByteBuffer
        var isHolding = true

        func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
            if isHolding { promise?.succeed() } else { context.close(mode: mode, promise: promise) }
        }
    }

    @Test("garbage after the peer broke off is not looked at")
    func garbageAfterError() throws {
        let server = try EmbeddedServer(limits: ServerLimits())
        let holder = CloseHolder()
        try server.channel.pipeline.syncOperations.addHandler(holder, position: .first)
        server.channel.pipeline.fireErrorCaught(NIOSSLError.uncleanShutdown)
        // Were it still open here, the garbage would keep it busy for ever.
        try #require(server.statistics.snapshot().connectionsClosed["peer closed"] == 1)
        flood(server.channel.pipeline)
        holder.isHolding = false
        server.finish()
        #expect(server.statistics.snapshot().connectionsClosed["peer closed"] == 1)
        #expect(server.statistics.snapshot().connectionsClosed["not ttRPC"] ?? 0 == 0)
    }
}
