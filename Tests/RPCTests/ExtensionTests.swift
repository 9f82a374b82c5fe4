import Foundation
import NIOCore
import SwiftProtobuf
import Synchronization
import Testing

@testable import RPC

/// Tells the metadata of every call.
private struct MetadataProbe: ServerInterceptor {
    let seen: Events<Metadata>
    func begin(_ call: ServerCall) throws(RPCError) -> InterceptDecision {
        seen.send(call.metadata)
        return .proceed
    }
}

/// `ttrpc-x1` on the wire, and that a stock peer sees none of it.
@Suite("ttrpc-x1", .timeLimit(.minutes(2)))
struct ExtensionTests {
    private func withPeer(
        limits: ServerLimits = ServerLimits(),
        _ body: (RawPeer, Harness) async throws -> Void
    ) async throws {
        try await withServer(limits: limits) { harness in
            let peer = try await RawPeer.connect(to: harness.endpoint, tls: RawPeer.tls(["ttrpc-x1", "ttrpc"]))
            try await body(peer, harness)
            await peer.close()
        }
    }

    @Test("PING is answered by PONG with its body; one that is too long closes the connection")
    func ping() async throws {
        try await withPeer { peer, harness in
            try await peer.write(Raw.frame(1, 4, 0, [1, 2, 3]))
            #expect(try await peer.frames(1) == [.init(streamID: 0, type: 5, flags: 0, body: [1, 2, 3])])
            // Id 1 was not used up by it.
            try await peer.write(Raw.request(1, "Inline", Text("a")))
            #expect(try await peer.frames(2).last?.text == "a")
            peer.post(Raw.frame(1, 4, 0, [UInt8](repeating: 0, count: 65)))
            #expect(try await eventually { peer.isClosed })
            #expect(harness.log.closeReasons.contains("protocol violation"))
        }
    }

    @Test("METADATA goes with every later call, gives way to a call's own, and is replaced whole; a bad one closes")
    func metadata() async throws {
        let seen = Events<Metadata>()
        try await withServer(interceptors: [MetadataProbe(seen: seen)]) { harness in
            let peer = try await RawPeer.connect(to: harness.endpoint, tls: RawPeer.tls(["ttrpc-x1"]))
            func told(_ pairs: [(String, String)]) -> ByteBuffer {
                var request = Array(Raw.request(1, "", nil, metadata: pairs).readableBytesView)
                request[8] = 0x43
                return ByteBuffer(bytes: request)
            }
            func call(_ id: UInt32, _ own: [(String, String)] = []) async throws -> Metadata? {
                try await peer.write(Raw.request(id, "Inline", Text("a"), metadata: own))
                return await seen.next()
            }
            #expect(try await call(1) == [:])
            try await peer.write(told([("a", "1"), ("b", "2")]))
            #expect(try await call(3) == ["a": "1", "b": "2"])
            #expect(try await call(5, [("b", "3"), ("c", "4")]) == ["b": "3", "c": "4", "a": "1"])
            try await peer.write(told([("c", "5")]))
            #expect(try await call(7) == ["c": "5"])
            peer.post(told([("x", String(repeating: "x", count: 17_000))]))
            #expect(try await eventually { peer.isClosed })
            #expect(harness.log.closeReasons.contains("protocol violation"))
            // To a stock server it is an unknown frame.
            let stock = try await RawPeer.connect(to: harness.endpoint, tls: RawPeer.tls(["ttrpc"]))
            try await stock.write(told([("a", "1")]))
            try await stock.write(Raw.request(1, "Inline", Text("a")))
            #expect(await seen.next() == [:])
            await stock.close()
        }
    }

    @Test("a token is told once to a server of ttrpc-x1, and again when it changes; to a stock one with each call")
    func token() async throws {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("token-\(UUID().uuidString)").path
        defer { try? FileManager.default.removeItem(atPath: path) }
        func write(_ token: String) throws {
            try token.write(toFile: path, atomically: true, encoding: .utf8)
            try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: path)
        }
        try write("first\n")
        let seen = Events<Metadata>()
        try await withServer(interceptors: [MetadataProbe(seen: seen)]) { harness in
            for protocols in [["ttrpc-x1"], ["ttrpc"]] {
                try write("first")
                let token = try BearerToken(file: path)
                let client = try harness.client {
                    $0.token = token
                    $0.applicationProtocols = protocols
                }
                for _ in 0..<2 {
                    let _: Text = try await client.unary(EchoService.Methods.inline, Text("x"), .defaults)
                    #expect(await seen.next() == ["authorization": "Bearer first"])
                }
                let own = CallOptions(metadata: ["authorization": "Bearer mine", "k": "v"])
                let _: Text = try await client.unary(EchoService.Methods.inline, Text("x"), own)
                #expect(await seen.next() == ["authorization": "Bearer mine", "k": "v"])
                try write("second")
                // Looked at once a second; no test waits for that.
                #expect(token.current(now: .now + .seconds(2)).value == "Bearer second")
                let _: Text = try await client.unary(EchoService.Methods.inline, Text("x"), .defaults)
                #expect(await seen.next() == ["authorization": "Bearer second"])
                await client.shutdown()
            }
        }
    }

    @Test("CANCEL cancels the handler and is not answered; for a dead call it is ignored")
    func cancel() async throws {
        try await withPeer { peer, harness in
            try await peer.write(Raw.request(1, "Hang", Text("c")))
            _ = await harness.service.hanging.next()
            try await peer.write(Raw.join([Raw.frame(1, 0x40), Raw.frame(1, 0x40), Raw.frame(99, 0x40)]))
            #expect(await harness.service.cancelled.next() == "c")
            try await peer.write(Raw.request(3, "Inline", Text("a")))
            #expect(try await peer.frames(1).map(\.streamID) == [3])
        }
    }

    @Test("GOAWAY carries the last id, comes on id 0, and running calls are answered")
    func goAway() async throws {
        try await withPeer { peer, harness in
            try await peer.write(Raw.request(5, "Chat", flags: 6))
            try await peer.write(Raw.data(5, Text("a")))
            _ = try await peer.frames(1)
            let shutdown = Task { await harness.server.shutdown(grace: .seconds(30)) }
            let frames = try await peer.frames(2)
            #expect(frames.last == .init(streamID: 0, type: 0x41, flags: 0, body: [0, 0, 0, 5, 0, 0, 0, 0]))
            try await peer.write(Raw.request(7, "Inline", Text("late")))
            #expect(try await peer.frames(3).last?.code == 14)
            try await peer.write(Raw.frame(5, 3, 5))
            #expect(try await peer.frames(4).last == .init(streamID: 5, type: 3, flags: 5, body: []))
            #expect(try await eventually { peer.isClosed })
            await shutdown.value
        }
    }

    @Test("an idle connection is told by GOAWAY before it is closed; PINGs do not keep it open")
    func idle() async throws {
        var limits = ServerLimits()
        limits.idleTimeout = .seconds(4)
        try await withPeer(limits: limits) { peer, harness in
            try await peer.write(Raw.request(1, "Inline", Text("a")))
            let closed = try await eventually {
                peer.post(Raw.frame(1, 4, 0, [1]))
                return peer.isClosed
            }
            #expect(closed)
            #expect(peer.frames.contains { $0.type == 0x41 && $0.body == [0, 0, 0, 1, 0, 0, 0, 0] })
            #expect(harness.log.closeReasons.contains("idle timeout"))
        }
    }

    @Test("a stock peer gets no GOAWAY")
    func goAwayStock() async throws {
        try await withServer { harness in
            let peer = try await RawPeer.connect(to: harness.endpoint)
            try await peer.write(Raw.request(1, "Inline", Text("a")))
            _ = try await peer.frames(1)
            await harness.server.shutdown(grace: .seconds(5))
            #expect(try await eventually { peer.isClosed })
            #expect(peer.frames.count == 1)
        }
    }

    @Test("a response stream stops at its window and goes on by WINDOW; other streams are not held up")
    func responseWindow() async throws {
        try await withPeer { peer, harness in
            try await peer.write(Raw.request(1, "Blobs", Number(100), flags: 1))
            // 262,144 bytes may go out; each message takes 16,384 and its four bytes of framing.
            #expect(try await eventually { peer.frames.count == 16 })
            try await peer.write(Raw.request(3, "Blobs", Number(2), flags: 1))
            let others = try await peer.frames(19)
            #expect(others.filter { $0.streamID == 3 }.map(\.flags) == [0, 0, 5])
            #expect(others.filter { $0.streamID == 1 }.count == 16)
            try await peer.write(Raw.frame(1, 0x42, 0, [0, 0, 0, 1, 0, 0, 0xC0, 0]))
            #expect(try await eventually { peer.frames.filter { $0.streamID == 1 }.count >= 19 })
            try await peer.write(Raw.frame(1, 0x42, 0, [0, 0, 0, 1, 0x10, 0, 0, 0]))
            #expect(try await eventually { peer.frames.last?.flags == 5 })
            #expect(peer.frames.filter { $0.streamID == 1 }.count == 101)
        }
    }

    @Test("a window above 2^31-1, and a WINDOW of the wrong size, close the connection")
    func badWindow() async throws {
        for body: [UInt8] in [[0, 0, 0, 1, 0x7F, 0xFF, 0xFF, 0xFF], [0, 0, 0, 1]] {
            try await withPeer { peer, harness in
                try await peer.write(Raw.request(1, "Blobs", Number(1_000_000), flags: 1))
                _ = try await peer.frames(1)
                for _ in 0..<3 { peer.post(Raw.frame(1, 0x42, 0, body)) }
                #expect(try await eventually { peer.isClosed })
                #expect(harness.log.closeReasons.contains("protocol violation"))
            }
        }
    }

    @Test("the server grants request streams more as the handler reads, on id 0")
    func requestWindow() async throws {
        try await withPeer { peer, harness in
            try await peer.write(Raw.request(1, "SumSlowly", flags: 6))
            let blob = Raw.data(1, Blob(.init(repeating: 1, count: 16 << 10)))
            for _ in 0..<16 { try await peer.write(blob) }
            try await peer.write(Raw.request(3, "Inline", Text("between")))
            #expect(try await peer.frames(1).map(\.streamID) == [3])
            harness.service.gate.open()
            let grant = try await peer.frames(2).last
            #expect(grant?.streamID == 0 && grant?.type == 0x42)
            #expect(grant.map { Array($0.body.prefix(4)) } == [0, 0, 0, 1])
            try await peer.write(Raw.frame(1, 3, 5))
            #expect(try await eventually { peer.frames.last?.type == 2 })
        }
    }

    @Test("a client that ignores the window has its call ended")
    func windowExceeded() async throws {
        var limits = ServerLimits()
        limits.maxFrameBytes = 64 << 10
        try await withPeer(limits: limits) { peer, harness in
            try await peer.write(Raw.request(1, "SumSlowly", flags: 6))
            let blob = Raw.data(1, Blob(.init(repeating: 1, count: 16 << 10)))
            for _ in 0..<30 { try await peer.write(blob) }
            #expect(try await peer.frames(1).first?.code == 8)
            #expect(harness.reached(.streamWindow) == 1)
        }
    }

    @Test("response metadata reaches a client with the extensions, and no other", arguments: [false, true])
    func metadata(stock: Bool) async throws {
        try await withServer { harness in
            let client = try harness.client(stock: stock)
            let seen = Mutex<[Metadata]>([])
            let options = CallOptions(metadata: ["want-metadata": "1"]) { metadata in
                seen.withLock { $0.append(metadata) }
            }
            let text: Text = try await client.unary(EchoService.Methods.inline, Text("metadata"), options)
            #expect(text.value == "metadata")
            let stream: ResponseStream<Number> = try await client.serverStream(
                EchoService.Methods.count,
                Number(3),
                options
            )
            var count = 0
            for try await _ in stream { count += 1 }
            #expect(count == 3)
            #expect(seen.withLock { $0 } == (stock ? [] : [["answer": "42"], ["total": "3"]]))
            await client.shutdown()
        }
    }

    @Test(
        "a hundred slow readers hold a bounded number of bytes and do not slow another stream",
        arguments: [true, false]
    )
    func slowReaders(extended: Bool) async throws {
        try await withServer { harness in
            var peers: [RawPeer] = []
            for _ in 0..<100 {
                let peer = try await RawPeer.connect(
                    to: harness.endpoint,
                    tls: RawPeer.tls(extended ? ["ttrpc-x1"] : [])
                )
                try await peer.write(Raw.request(1, "Inline", Text("x")))
                _ = try await peer.frames(1)
                try await peer.channel.setOption(.autoRead, value: false).get()
                peer.post(Raw.request(3, "Blobs", Number(100_000), flags: 1))
                peers.append(peer)
            }
            // 160 GB were asked for. What is held is counted where it is: in the handlers' way, and in the channels.
            let sent = try await settled(above: 1000) { harness.service.blobsSent.load(ordering: .relaxed) }
            #expect(sent < 100 * 1000)
            let held = try await harness.server.bytesPending()
            #expect(held <= 100 * (1 << 20))
            let client = try harness.client()
            let stream: ResponseStream<Blob> = try await client.serverStream(
                EchoService.Methods.blobs,
                Number(500),
                .defaults
            )
            var count = 0
            for try await _ in stream { count += 1 }
            #expect(count == 500)
            await client.shutdown()
            for peer in peers { await peer.close() }
            #expect(try await eventually { harness.server.statistics.callsRunning == 0 })
        }
    }
}
