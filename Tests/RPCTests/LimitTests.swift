import NIOCore
import RPC
import SwiftProtobuf
import Synchronization
import Testing

@Suite("Limits and flow", .timeLimit(.minutes(2)))
struct LimitTests {
    @Test("a frame over the limit is skipped and refused, the connection goes on")
    func frameSize() async throws {
        var limits = ServerLimits()
        limits.maxFrameBytes = 1000
        try await withServer(limits: limits) { harness in
            let peer = try await RawPeer.connect(to: harness.endpoint)
            try await peer.write(
                Raw.join([
                    Raw.request(1, "Inline", Text(String(repeating: "x", count: 2000))),
                    Raw.request(3, "Inline", Text("small")),
                ])
            )
            let frames = try await peer.frames(2)
            #expect(frames.map(\.streamID) == [1, 3])
            #expect(frames.first?.code == 8)
            #expect(frames.last?.text == "small")
            #expect(harness.server.statistics.limitsReached[.frameBytes] == 1)
            #expect(harness.reached(.frameBytes) == 1)
            // A response over the limit is refused too, rather than sent.
            try await peer.write(Raw.request(5, "Blob", Number(2000)))
            #expect(try await peer.frames(3).last?.code == 8)
            await peer.close()
        }
    }

    @Test("the client refuses to send what is too large, and takes no response that is")
    func clientFrameSize() async throws {
        try await withServer { harness in
            let client = try harness.client { $0.maxFrameBytes = 1000 }
            let large = await #expect(throws: RPCError.self) {
                let _: Text = try await client.unary(
                    EchoService.Methods.inline,
                    Text(String(repeating: "x", count: 2000)),
                    .defaults
                )
            }
            #expect(large?.code == .resourceExhausted)
            let response = await #expect(throws: RPCError.self) {
                let _: Blob = try await client.unary(EchoService.Methods.blob, Number(2000), .defaults)
            }
            #expect(response?.code == .resourceExhausted)
            let text: Text = try await client.unary(EchoService.Methods.inline, Text("on"), .defaults)
            #expect(text.value == "on")
            await client.shutdown()
        }
    }

    @Test("metadata over the limit")
    func metadata() async throws {
        var limits = ServerLimits()
        limits.maxMetadataBytes = 100
        try await withServer(limits: limits) { harness in
            let client = try harness.client()
            let error = await #expect(throws: RPCError.self) {
                let options = CallOptions(metadata: ["key": String(repeating: "v", count: 100)])
                let _: Text = try await client.unary(EchoService.Methods.inline, Text("x"), options)
            }
            #expect(error?.code == .resourceExhausted)
            #expect(harness.server.statistics.limitsReached[.metadataBytes] == 1)
            #expect(harness.reached(.metadataBytes) == 1)
            await client.shutdown()
        }
    }

    @Test("empty metadata entries count too")
    func emptyMetadata() throws {
        let server = try EmbeddedServer(limits: ServerLimits())
        // 512 entries of 32 bytes are 16 KiB.
        try server.feed(
            Raw.join([
                Raw.request(1, "Inline", Text("x"), metadata: Array(repeating: ("", ""), count: 512)),
                Raw.request(3, "Inline", Text("x"), metadata: Array(repeating: ("", ""), count: 513)),
            ])
        )
        #expect(server.frames().map(\.code) == [0, 8])
        #expect(server.statistics.snapshot().limitsReached[.metadataBytes] == 1)
        server.finish()
    }

    @Test("more running calls than a connection may have")
    func streams() async throws {
        var limits = ServerLimits()
        limits.maxStreamsPerConnection = 2
        try await withServer(limits: limits) { harness in
            let peer = try await RawPeer.connect(to: harness.endpoint)
            try await peer.write(
                Raw.join([
                    Raw.request(1, "Hang", Text("1")), Raw.request(3, "Hang", Text("2")),
                    Raw.request(5, "Hang", Text("3")), Raw.request(7, "Inline", Text("inline needs no stream")),
                ])
            )
            let frames = try await peer.frames(2)
            #expect(frames.first?.streamID == 5)
            #expect(frames.first?.code == 8)
            #expect(frames.last?.text == "inline needs no stream")
            #expect(harness.server.statistics.limitsReached[.streams] == 1)
            #expect(harness.reached(.streams) == 1)
            #expect(harness.server.statistics.callsRunning == 2)
            await peer.close()
        }
    }

    @Test("a handler suspends while its client does not read", arguments: [false, true])
    func responseBackpressure(stock: Bool) async throws {
        try await withServer { harness in
            let client = try harness.client(stock: stock)
            let total: Int64 = 4000
            let stream: ResponseStream<Blob> = try await client.serverStream(
                EchoService.Methods.blobs,
                Number(total),
                .defaults
            )
            var responses = stream.makeAsyncIterator()
            _ = try await responses.next()
            // The handler comes to a halt far from the end: 64 MB were asked for.
            let sent = try await settled(above: 0) { harness.service.blobsSent.load(ordering: .relaxed) }
            #expect(sent < 2000)
            #expect(harness.reached(.responseBytes) >= 1)
            var got = 1
            while try await responses.next() != nil { got += 1 }
            #expect(got == Int(total))
            await client.shutdown()
        }
    }

    @Test("a client suspends while the handler does not read", arguments: [false, true])
    func requestBackpressure(stock: Bool) async throws {
        var limits = ServerLimits()
        limits.maxRequestBytesInFlight = 512 << 10
        try await withServer(limits: limits) { harness in
            let client = try harness.client(stock: stock)
            let call: ClientStreamCall<Blob, Number> = try await client.clientStream(
                EchoService.Methods.sumSlowly,
                .defaults
            )
            let written = Atomic<Int>(0)
            let blob = Blob(.init(repeating: 1, count: 16 << 10))
            let writing = Task {
                for _ in 0..<2000 {
                    try await call.write(blob)
                    written.add(1, ordering: .relaxed)
                }
            }
            let count = try await settled(above: 0) { written.load(ordering: .relaxed) }
            #expect(count < 1000)
            if stock { #expect(harness.server.statistics.limitsReached[.requestBytes] ?? 0 > 0) }
            harness.service.gate.open()
            try await writing.value
            #expect(try await call.finish().value == 2000 * 16 << 10)
            await client.shutdown()
        }
    }

    @Test("a unary flood whose answers are not read stops being read")
    func unaryFlood() async throws {
        try await withServer { harness in
            let peer = try await RawPeer.connect(to: harness.endpoint)
            try await peer.write(Raw.request(1, "Inline", Text("x")))
            _ = try await peer.frames(1)
            try await peer.channel.setOption(.autoRead, value: false).get()
            // 2,000 answers of 64 KiB are asked for in one write.
            peer.post(Raw.join((1...2000).map { Raw.request(UInt32($0 * 2 + 1), "Blob", Number(64 << 10)) }))
            #expect(try await eventually { harness.server.statistics.limitsReached[.requestBytes] ?? 0 > 0 })
            #expect(harness.reached(.requestBytes) >= 1)
            #expect(harness.server.statistics.callsStarted < 1500)
            try await peer.channel.setOption(.autoRead, value: true).get()
            peer.channel.read()
            #expect(try await peer.frames(2001).count == 2001)
            await peer.close()
        }
    }
}
