import NIOCore
import NIOSSL
import RPC
import SwiftProtobuf
import Synchronization
import Testing

/// What closes a connection, with its reason in the log, and leaves every other one alone.
@Suite("Bad input", .timeLimit(.minutes(2)))
struct BadInputTests {
    /// Runs `attack` while another connection has a call running, and checks that this one is served on.
    private func withBystander(
        limits: ServerLimits = ServerLimits(),
        _ attack: (Harness) async throws -> Void
    ) async throws {
        try await withServer(limits: limits) { harness in
            let bystander = try await RawPeer.connect(to: harness.endpoint)
            try await bystander.write(Raw.request(1, "Hang", Text("bystander")))
            _ = await harness.service.hanging.next()
            try await attack(harness)
            try await bystander.write(Raw.request(3, "Inline", Text("served on")))
            #expect(try await bystander.frames(1).first?.text == "served on")
            await bystander.close()
        }
    }

    private func expectClosed(_ peer: RawPeer, _ harness: Harness, _ reason: String) async throws {
        #expect(try await eventually { peer.isClosed })
        #expect(try await eventually { harness.log.closeReasons.contains(reason) })
        #expect(try await eventually { harness.server.statistics.connectionsClosed[reason] == 1 })
        let line = harness.log.lines.first { $0.metadata["reason"] == reason }
        #expect(line?.metadata["peer"]?.hasPrefix("127.0.0.1:") == true)
    }

    @Test("plain TCP")
    func plain() async throws {
        try await withBystander { harness in
            let peer = try await RawPeer.connect(to: harness.endpoint, tls: nil)
            peer.post(Raw.request(1, "Inline", Text("x")))
            try await expectClosed(peer, harness, "handshake failed")
        }
    }

    @Test("a handshake that never comes")
    func noHandshake() async throws {
        var limits = ServerLimits()
        limits.handshakeTimeout = .milliseconds(300)
        try await withServer(limits: limits) { harness in
            let peer = try await RawPeer.connect(to: harness.endpoint, tls: nil)
            try await expectClosed(peer, harness, "handshake timeout")
            #expect(try await eventually { harness.reached(.handshakeTime) >= 1 })
        }
    }

    @Test(
        "garbage after the handshake",
        arguments: [("GET / HTTP/1.1\r\n\r\n", "not ttRPC"), ("PRI * HTTP/2.0\r\n\r\nSM", "HTTP/2 is not supported")]
    )
    func garbage(_ text: String, _ reason: String) async throws {
        try await withBystander { harness in
            let peer = try await RawPeer.connect(to: harness.endpoint)
            peer.post(ByteBuffer(string: text))
            try await expectClosed(peer, harness, reason)
        }
    }

    @Test("a frame that never ends")
    func partialFrame() async throws {
        var limits = ServerLimits()
        limits.partialFrameTimeout = .milliseconds(300)
        try await withBystander(limits: limits) { harness in
            let peer = try await RawPeer.connect(to: harness.endpoint)
            let request = Raw.request(1, "Inline", Text("x"))
            try await peer.write(request.getSlice(at: 0, length: request.readableBytes - 1) ?? request)
            try await expectClosed(peer, harness, "frame not completed in time")
            #expect(try await eventually { harness.reached(.frameTime) >= 1 })
        }
    }

    @Test("an idle connection; one with a call running is not idle")
    func idle() async throws {
        var limits = ServerLimits()
        limits.idleTimeout = .seconds(4)
        try await withBystander(limits: limits) { harness in
            let peer = try await RawPeer.connect(to: harness.endpoint)
            // On a busy machine it may be idle for too long before this arrives; that is no failure.
            peer.post(Raw.request(1, "Inline", Text("x")))
            try await expectClosed(peer, harness, "idle timeout")
            #expect(try await eventually { harness.reached(.idleTime) >= 1 })
        }
    }

    @Test("a peer that does not read")
    func unread() async throws {
        var limits = ServerLimits()
        limits.unwritableTimeout = .milliseconds(500)
        try await withBystander(limits: limits) { harness in
            let peer = try await RawPeer.connect(to: harness.endpoint)
            // The handshake is read, the rest is not.
            try await peer.write(Raw.request(1, "Inline", Text("x")))
            _ = try await peer.frames(1)
            try await peer.channel.setOption(.autoRead, value: false).get()
            peer.post(Raw.request(3, "Blobs", Number(100_000), flags: 1))
            #expect(
                try await eventually { harness.server.statistics.connectionsClosed["peer does not read"] == 1 }
            )
            #expect(harness.reached(.unwritableTime) == 1)
            #expect(try await eventually { harness.server.statistics.callsRunning == 1 })
            await peer.close()
        }
    }

    @Test("more connections than allowed")
    func tooManyConnections() async throws {
        var limits = ServerLimits()
        limits.maxConnections = 2
        try await withServer(limits: limits) { harness in
            let first = try await RawPeer.connect(to: harness.endpoint)
            let second = try await RawPeer.connect(to: harness.endpoint)
            try await first.write(Raw.request(1, "Inline", Text("1")))
            try await second.write(Raw.request(1, "Inline", Text("2")))
            _ = try await first.frames(1)
            _ = try await second.frames(1)
            let third = try await RawPeer.connect(to: harness.endpoint)
            try await expectClosed(third, harness, "too many connections")
            #expect(try await eventually { harness.reached(.connections) >= 1 })
            await second.close()
            #expect(try await eventually { harness.server.statistics.connectionsOpen == 1 })
            let fourth = try await RawPeer.connect(to: harness.endpoint)
            try await fourth.write(Raw.request(1, "Inline", Text("4")))
            #expect(try await fourth.frames(1).first?.text == "4")
            await first.close()
            await fourth.close()
        }
    }
}
