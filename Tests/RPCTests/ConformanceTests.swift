import Foundation
import NIOCore
import NIOEmbedded
import RPC
import SwiftProtobuf
import Synchronization
import Testing

/// Every row of docs/protocol.md that a stock peer can provoke, from raw bytes, without a socket.
///
/// Each script is fed all at once and one byte at a time; both must give the same answers.
@Suite("Conformance")
struct ConformanceTests {
    struct Script: Sendable, CustomTestStringConvertible {
        let name: String
        let frames: [ByteBuffer]
        /// Expected answers: stream id and either a text or a status code.
        let answers: [Answer]

        var testDescription: String { name }
    }

    enum Answer: Sendable, Equatable, CustomStringConvertible {
        case text(UInt32, String)
        case code(UInt32, Int)

        var description: String {
            switch self {
            case .text(let id, let text): "\(id): \"\(text)\""
            case .code(let id, let code): "\(id): code \(code)"
            }
        }
    }

    private static func inline(_ id: UInt32, _ text: String, flags: UInt8 = 0) -> ByteBuffer {
        Raw.request(id, "Inline", Text(text), flags: flags)
    }

    private static func oversize(_ id: UInt32, _ type: UInt8, _ bytes: Int) -> ByteBuffer {
        var frame = ByteBuffer()
        frame.writeMultipleIntegers(UInt32(bytes), id, type, UInt8(0))
        frame.writeRepeatingByte(0xAB, count: bytes)
        return frame
    }

    static let scripts: [Script] = [
        Script(name: "unary", frames: [inline(1, "a")], answers: [.text(1, "a")]),
        Script(name: "an empty message", frames: [inline(1, "")], answers: [.text(1, "")]),
        Script(
            name: "several calls in order",
            frames: [inline(1, "a"), inline(3, "b"), inline(5, "c")],
            answers: [.text(1, "a"), .text(3, "b"), .text(5, "c")]
        ),
        Script(
            name: "ids out of order",
            frames: [inline(7, "a"), inline(3, "b"), inline(9, "c"), inline(5, "d")],
            answers: [.text(7, "a"), .text(3, "b"), .text(9, "c"), .text(5, "d")]
        ),
        Script(
            name: "the highest id",
            frames: [inline(UInt32.max, "a"), inline(1, "b")],
            answers: [.text(UInt32.max, "a"), .text(1, "b")]
        ),
        Script(
            name: "a reused id",
            frames: [inline(1, "a"), inline(1, "b"), inline(3, "c")],
            answers: [.text(1, "a"), .code(1, 3), .text(3, "c")]
        ),
        Script(
            name: "an even id, and id 0",
            frames: [inline(2, "a"), inline(0, "b"), inline(1, "c")],
            answers: [.code(2, 3), .code(0, 3), .text(1, "c")]
        ),
        Script(
            name: "an even id of any type",
            frames: [Raw.frame(4, 3), Raw.frame(6, 9), inline(1, "c")],
            answers: [.code(4, 3), .code(6, 3), .text(1, "c")]
        ),
        Script(
            name: "an undecodable Request",
            frames: [Raw.frame(1, 1, 0, [0x0A, 0xFF]), inline(3, "b")],
            answers: [.code(1, 3), .text(3, "b")]
        ),
        Script(
            name: "names that are not UTF-8",
            frames: [Raw.frame(1, 1, 0, [0x0A, 1, 0xFF, 0x12, 1, 0x41]), inline(3, "b")],
            answers: [.code(1, 3), .text(3, "b")]
        ),
        Script(
            name: "metadata that is not UTF-8",
            frames: [
                Raw.frame(1, 1, 0, [0x0A, 1, 0x41, 0x12, 1, 0x41, 0x2A, 3, 0x0A, 1, 0xFF]), inline(3, "b"),
            ],
            answers: [.code(1, 3), .text(3, "b")]
        ),
        Script(
            name: "an empty Request",
            frames: [Raw.frame(1, 1), inline(3, "b")],
            answers: [.code(1, 12), .text(3, "b")]
        ),
        Script(
            name: "an unknown method",
            frames: [Raw.request(1, "Nope", Text("x")), inline(3, "b")],
            answers: [.code(1, 12), .text(3, "b")]
        ),
        Script(
            name: "an unknown service",
            frames: [Raw.request(1, "Inline", Text("x"), service: "other.Service")],
            answers: [.code(1, 12)]
        ),
        Script(
            name: "a request message that cannot be decoded",
            frames: [Raw.request(1, "Inline", Blob(.init([0xFF])))],
            answers: [.code(1, 3)]
        ),
        Script(
            name: "an oversize Request is drained",
            frames: [oversize(1, 1, 5000), inline(3, "b")],
            answers: [.code(1, 8), .text(3, "b")]
        ),
        Script(
            name: "an oversize Data is drained",
            frames: [oversize(1, 3, 5000), inline(3, "b")],
            answers: [.code(1, 8), .text(3, "b")]
        ),
        Script(
            name: "the id of an oversize Request is used",
            frames: [oversize(1, 1, 5000), inline(1, "b")],
            answers: [.code(1, 8), .code(1, 3)]
        ),
        Script(
            name: "a body of exactly the limit",
            frames: [Raw.frame(1, 9, 0, [UInt8](repeating: 0, count: 4096)), inline(3, "b")],
            answers: [.text(3, "b")]
        ),
        Script(
            name: "unknown types on odd ids are ignored",
            frames: [
                Raw.frame(1, 9), Raw.frame(1, 4, 0, [1]), Raw.frame(3, 0x40), Raw.frame(5, 0x42, 0, [1]),
                Raw.frame(7, 2, 0, [1]), Raw.frame(7, 0xFF), inline(1, "b"),
            ],
            answers: [.text(1, "b")]
        ),
        Script(
            name: "Data on a stream that never was, and on one that is over",
            frames: [Raw.data(1, Text("x")), inline(1, "a"), Raw.data(1, Text("y"), flags: 1)],
            answers: [.code(1, 3), .text(1, "a"), .code(1, 3)]
        ),
        Script(
            name: "a unary Request with stream flags is unary",
            frames: [inline(1, "a", flags: 1), inline(3, "b", flags: 2)],
            answers: [.text(1, "a"), .text(3, "b")]
        ),
        Script(
            name: "an expired timeout",
            frames: [Raw.request(1, "Inline", Text("x"), timeoutNanos: -5), inline(3, "b")],
            answers: [.code(1, 4), .text(3, "b")]
        ),
        Script(
            name: "errors are answered in their place",
            frames: [inline(1, "a"), Raw.request(3, "Fail", Text("f")), inline(5, "b")],
            answers: [.text(1, "a"), .code(3, 5), .text(5, "b")]
        ),
    ]

    private func answers(_ script: Script, pieces: Int) throws -> [Answer] {
        var limits = ServerLimits()
        limits.maxFrameBytes = 4096
        let server = try EmbeddedServer(limits: limits)
        defer { server.finish() }
        try server.feed(Raw.join(script.frames), pieces: pieces)
        return server.frames().map { frame in
            let code = frame.code ?? -1
            return code == 0 ? .text(frame.streamID, frame.text ?? "?") : .code(frame.streamID, code)
        }
    }

    @Test("all at once", arguments: scripts)
    func allAtOnce(_ script: Script) throws {
        #expect(try answers(script, pieces: .max) == script.answers)
    }

    @Test("one byte at a time", arguments: scripts)
    func dripFeed(_ script: Script) throws {
        #expect(try answers(script, pieces: 1) == script.answers)
    }

    @Test("in pieces of every small size", arguments: [2, 3, 7, 9, 10, 11, 64])
    func pieces(_ size: Int) throws {
        for script in Self.scripts { #expect(try answers(script, pieces: size) == script.answers, "\(script.name)") }
    }

    @Test(
        "what is not ttRPC closes the connection",
        arguments: ["GET / HTTP/1.1", "PRI * HTTP/2.0", "\u{16}\u{03}\u{01}"]
    )
    func garbage(_ text: String) throws {
        for pieces in [1, Int.max] {
            let server = try EmbeddedServer(limits: ServerLimits())
            let first = text.utf8.first ?? 0
            try? server.feed(
                Raw.join([ByteBuffer(string: text), ByteBuffer(repeating: 0x77, count: 16)]),
                pieces: pieces
            )
            // 0x16 announces fewer than 512 MiB: the type tells.
            #expect(server.isClosed, "first byte \(first), pieces of \(pieces)")
        }
    }

    // MARK: Streams, over TLS

    private func exchange(_ frames: [ByteBuffer], _ count: Int) async throws -> [RawPeer.Frame] {
        var all: [RawPeer.Frame] = []
        for drip in [false, true] {
            try await withServer { harness in
                let peer = try await RawPeer.connect(to: harness.endpoint)
                if drip {
                    for byte in Raw.join(frames).readableBytesView { peer.post(ByteBuffer(bytes: [byte])) }
                } else {
                    peer.post(Raw.join(frames))
                }
                let got = try await peer.frames(count)
                if drip { #expect(got == all) } else { all = got }
                await peer.close()
            }
        }
        return all
    }

    @Test("server stream: Request[1], Data*, Data[1|4]")
    func serverStream() async throws {
        let frames = try await exchange([Raw.request(1, "Count", Number(2), flags: 1)], 3)
        #expect(frames.map(\.type) == [3, 3, 3])
        #expect(frames.map(\.flags) == [0, 0, 5])
        #expect(frames.last?.body == [])
    }

    @Test("a server stream that fails ends with a Response")
    func failedServerStream() async throws {
        let frames = try await exchange([Raw.request(1, "CountThenFail", Number(1), flags: 1)], 2)
        #expect(frames.map(\.type) == [3, 2])
        #expect(frames.last?.code == 15)
    }

    @Test("client stream opened as Go does (2, empty payload) and as Rust does (6)", arguments: [2, 6] as [UInt8])
    func clientStream(flags: UInt8) async throws {
        let frames = try await exchange(
            [
                Raw.request(1, "Sum", flags: flags), Raw.data(1, Number(3)), Raw.data(1, Number(0)),
                Raw.data(1, Number(4)), Raw.frame(1, 3, 5),
            ],
            1
        )
        #expect(frames.count == 1)
        let response = try Ttrpc_V1_Response(serializedBytes: frames.first?.body ?? [])
        #expect(try Number(serializedBytes: response.payload).value == 7)
    }

    @Test("the last message may close the stream, the first may come with the Request")
    func closingMessage() async throws {
        let frames = try await exchange(
            [Raw.request(1, "Sum", Number(10), flags: 2), Raw.data(1, Number(5), flags: 1)],
            1
        )
        let response = try Ttrpc_V1_Response(serializedBytes: frames.first?.body ?? [])
        #expect(try Number(serializedBytes: response.payload).value == 15)
    }

    @Test("bidirectional, with an empty message that is one")
    func bidirectional() async throws {
        let frames = try await exchange(
            [Raw.request(1, "Chat", flags: 6), Raw.data(1, Text("a")), Raw.frame(1, 3, 0), Raw.frame(1, 3, 5)],
            3
        )
        #expect(frames.map(\.text) == ["re: a", "re: ", ""])
        #expect(frames.last?.flags == 5)
    }

    @Test("Data on a live unary call ends it with INVALID_ARGUMENT")
    func dataOnUnary() async throws {
        try await withServer { harness in
            let peer = try await RawPeer.connect(to: harness.endpoint)
            try await peer.write(Raw.request(1, "Hang", Text("u")))
            _ = await harness.service.hanging.next()
            try await peer.write(Raw.data(1, Text("x")))
            #expect(try await peer.frames(1).first?.code == 3)
            #expect(await harness.service.cancelled.next() == "u")
            try await peer.write(Raw.request(3, "Inline", Text("lives")))
            #expect(try await peer.frames(2).last?.text == "lives")
            await peer.close()
        }
    }

    @Test("Data after the end of the request stream ends the call")
    func dataAfterEnd() async throws {
        let frames = try await exchange(
            [Raw.request(1, "SumSlowly", flags: 6), Raw.frame(1, 3, 5), Raw.data(1, Text("x"))],
            1
        )
        #expect(frames.first?.code == 3)
    }
}
