import NIOCore
import RPC
import SwiftProtobuf
import Synchronization
import Testing

@Suite("Drain", .timeLimit(.minutes(2)))
struct DrainTests {
    @Test("what runs is finished, new calls are refused, then the connection closes")
    func stock() async throws {
        try await withServer { harness in
            let peer = try await RawPeer.connect(to: harness.endpoint)
            try await peer.write(Raw.request(1, "Chat", flags: 2))
            try await peer.write(Raw.data(1, Text("a")))
            #expect(try await peer.frames(1).last?.text == "re: a")
            let shutdown = Task { await harness.server.shutdown(grace: .seconds(30)) }
            var id: UInt32 = 3
            var refused: RawPeer.Frame?
            _ = try await eventually {
                try await peer.write(Raw.request(id, "Inline", Text("late")))
                id += 2
                refused = peer.frames.first { $0.code == 14 }
                return refused != nil
            }
            #expect(refused != nil)
            try await peer.write(Raw.data(1, Text("b")))
            #expect(try await eventually { peer.frames.contains { $0.text == "re: b" } })
            try await peer.write(Raw.frame(1, 3, 5))
            #expect(try await eventually { peer.isClosed })
            #expect(peer.frames.contains { $0.streamID == 1 && $0.type == 3 && $0.flags == 5 })
            await shutdown.value
            try await harness.server.run()
        }
    }

    @Test("a client with the extensions is told by GOAWAY and goes elsewhere")
    func goAway() async throws {
        try await withServer { first in
            try await withServer { second in
                let client = try first.client {
                    $0.endpoints = [first.endpoint, second.endpoint]
                }
                // Both are connected once each has served.
                _ = try await eventually {
                    let _: Text = try await client.unary(EchoService.Methods.inline, Text("x"), .defaults)
                    return first.service.handled.load(ordering: .relaxed) > 0
                        && second.service.handled.load(ordering: .relaxed) > 0
                }
                let running = Task {
                    let _: Text = try await client.unary(EchoService.Methods.hang, Text("r"), .defaults)
                }
                let calls = Task {
                    for _ in 0..<3000 {
                        let _: Text = try await client.unary(EchoService.Methods.inline, Text("x"), .defaults)
                    }
                }
                await first.server.shutdown(grace: .milliseconds(50))
                // Not one of the calls fails though the server went away meanwhile.
                try await calls.value
                running.cancel()
                _ = await running.result
                await client.shutdown()
            }
        }
    }

    @Test("an answer that its peer reads slowly is written whole before the connection closes")
    func slowReader() async throws {
        try await withServer { harness in
            let peer = try await RawPeer.connect(to: harness.endpoint)
            try await peer.write(Raw.request(1, "Inline", Text("x")))
            _ = try await peer.frames(1)
            try await peer.channel.setOption(.autoRead, value: false).get()
            // More than the sockets hold while nothing is read.
            peer.post(Raw.request(3, "Blob", Number(4_000_000)))
            #expect(try await eventually { harness.server.statistics.callsStarted == 2 })
            let shutdown = Task { await harness.server.shutdown(grace: .seconds(60)) }
            // Time enough to do what it must not.
            try await Task.sleep(for: .milliseconds(500))
            #expect(harness.server.statistics.connectionsClosed["drained"] == nil)
            try await peer.channel.setOption(.autoRead, value: true).get()
            peer.channel.read()
            #expect(try await peer.frames(2).last?.body.count ?? 0 > 4_000_000)
            await shutdown.value
            #expect(harness.server.statistics.connectionsClosed["drained"] == 1)
        }
    }

    @Test("what still runs after the grace period is cancelled")
    func grace() async throws {
        try await withServer { harness in
            let peer = try await RawPeer.connect(to: harness.endpoint)
            try await peer.write(Raw.request(1, "Hang", Text("h")))
            _ = await harness.service.hanging.next()
            await harness.server.shutdown(grace: .milliseconds(50))
            #expect(await harness.service.cancelled.next() == "h")
            #expect(try await eventually { peer.isClosed })
            _ = await #expect(throws: (any Error).self) { _ = try await RawPeer.connect(to: harness.endpoint) }
        }
    }
}
