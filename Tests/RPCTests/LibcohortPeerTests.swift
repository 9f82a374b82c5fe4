import Foundation
import RPC
import SwiftProtobuf
import Testing

/// The C client, which shares no code with this runtime, makes every kind of call to it.
@Suite("Calls of the C client", .timeLimit(.minutes(5)))
struct LibcohortPeerTests {
    static let protocols = ["x1", "ttrpc", "none"]

    private static let build = URL(fileURLWithPath: NSTemporaryDirectory()).appending(
        path: "rpc-tests-libcohort-\(UUID().uuidString)"
    )

    /// The C client's test program, built once and removed when the tests end.
    private static let program = Task { () async throws -> URL in
        atexit { try? FileManager.default.removeItem(at: LibcohortPeerTests.build) }
        let sources = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appending(path: "../../Sources/CohortC").standardized.path
        let client = build.appending(path: "check/rpc-client")
        let made = try await run(
            URL(fileURLWithPath: "/usr/bin/env"),
            ["make", "-C", sources, "BUILD=\(build.path)", client.path]
        )
        try #require(made.status == 0, "\(made.output)")
        return client
    }

    private struct Finished: Sendable {
        let status: Int32
        let output: String
    }

    /// Runs a program to its end without holding a thread. Standard output and errors together, in a file, so that no pipe
    /// can fill up.
    private static func run(_ program: URL, _ arguments: [String]) async throws -> Finished {
        let file = NSTemporaryDirectory() + "rpc-tests-\(UUID().uuidString)"
        try Data().write(to: URL(fileURLWithPath: file))
        defer { try? FileManager.default.removeItem(atPath: file) }
        let process = Process()
        process.executableURL = program
        process.arguments = arguments
        process.standardInput = FileHandle.nullDevice
        let output = try FileHandle(forWritingTo: URL(fileURLWithPath: file))
        process.standardOutput = output
        process.standardError = output
        let (ended, end) = AsyncStream<Int32>.makeStream()
        process.terminationHandler = { process in
            end.yield(process.terminationStatus)
            end.finish()
        }
        try process.run()
        var status: Int32 = -1
        for await value in ended { status = value }
        return Finished(status: status, output: try String(contentsOfFile: file, encoding: .utf8))
    }

    /// Calls a method of the echo service. A failure's output begins with `error`.
    private func call(
        _ harness: Harness,
        _ alpn: String,
        options: [String] = [],
        _ kind: String,
        _ method: MethodDescriptor,
        _ messages: [any Message]
    ) async throws -> Finished {
        let hexadecimal = try messages.map { try Self.hexadecimal($0) }
        return try await Self.run(
            try await Self.program.value,
            ["--endpoint", "\(harness.endpoint)", "--ca", TestCertificates.shared.path("ca.pem"), "--alpn", alpn]
                + options + [kind, method.service, method.method] + hexadecimal
        )
    }

    private static func hexadecimal(_ message: any Message) throws -> String {
        let bytes: [UInt8] = try message.serializedBytes()
        if bytes.isEmpty { return "-" }
        return bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }

    private static func lines(_ messages: [any Message]) throws -> String {
        try (messages.map { try hexadecimal($0) } + ["end"]).map { $0 + "\n" }.joined()
    }

    @Test("unary", arguments: protocols)
    func unary(_ alpn: String) async throws {
        try await withServer { harness in
            for (method, prefix) in [
                (EchoService.Methods.inline, ""), (EchoService.Methods.raw, ""),
                (EchoService.Methods.parked, "parked "),
                (EchoService.Methods.async, "async "),
            ] {
                let answer = try await call(harness, alpn, options: ["--times", "3"], "unary", method, [Text("ä")])
                let expected = try Self.lines([Text(prefix + "ä")])
                #expect(answer.status == 0 && answer.output == expected + expected + expected, "\(answer.output)")
            }
            let empty = try await call(harness, alpn, "unary", EchoService.Methods.inline, [Text("")])
            #expect(empty.output == "-\nend\n", "\(empty.output)")
            let large = try await call(
                harness,
                alpn,
                options: ["--sizes", "yes"],
                "unary",
                EchoService.Methods.blob,
                [Number(4_000_000)]
            )
            // Tag, four bytes of length, the blob.
            #expect(large.output == "4000005\nend\n", "\(large.output)")
        }
    }

    @Test("errors carry code, reason and message", arguments: protocols)
    func errors(_ alpn: String) async throws {
        try await withServer { harness in
            let answer = try await call(harness, alpn, "unary", EchoService.Methods.fail, [Text("x")])
            #expect(answer.status == 1 && answer.output == "error NOT_FOUND NOPE no x\n", "\(answer.output)")
            let partial = try await call(harness, alpn, "server", EchoService.Methods.countThenFail, [Number(2)])
            #expect(partial.output == "-\n0801\nerror DATA_LOSS - lost the rest\n", "\(partial.output)")
            let failing = try await call(
                harness,
                alpn,
                "bidirectional",
                EchoService.Methods.chat,
                [Text("a"), Text("fail")]
            )
            #expect(failing.output.hasSuffix("error ABORTED - asked to fail\n"), "\(failing.output)")
        }
    }

    @Test("deadlines end the call at both ends", arguments: protocols)
    func deadline(_ alpn: String) async throws {
        try await withServer { harness in
            let answer = try await call(
                harness,
                alpn,
                // Long enough to reach the handler on a busy machine: an expired call would not.
                options: ["--timeout", "4"],
                "unary",
                EchoService.Methods.hang,
                [Text("late")]
            )
            #expect(answer.status == 1 && answer.output.hasPrefix("error DEADLINE_EXCEEDED "), "\(answer.output)")
            #expect(await harness.service.cancelled.next() == "late")
        }
    }

    @Test("server streams, longer than any window", arguments: protocols)
    func serverStream(_ alpn: String) async throws {
        try await withServer { harness in
            let counted = try await call(harness, alpn, "server", EchoService.Methods.count, [Number(300)])
            let expected = try Self.lines((0..<300).map { Number(Int64($0)) })
            #expect(counted.status == 0 && counted.output == expected)
            let none = try await call(harness, alpn, "server", EchoService.Methods.count, [Number(0)])
            #expect(none.status == 0 && none.output == "end\n", "\(none.output)")
            let blobs = try await call(
                harness,
                alpn,
                options: ["--sizes", "yes"],
                "server",
                EchoService.Methods.blobs,
                [Number(200)]
            )
            #expect(blobs.status == 0)
            // Tag, three bytes of length, 16 KiB.
            #expect(blobs.output == String(repeating: "16388\n", count: 200) + "end\n")
        }
    }

    @Test("a stream that is given up does not harm the next call", arguments: protocols)
    func givenUp(_ alpn: String) async throws {
        try await withServer { harness in
            let answer = try await call(
                harness,
                alpn,
                options: ["--sizes", "yes", "--take", "2", "--times", "3"],
                "server",
                EchoService.Methods.blobs,
                [Number(100)]
            )
            #expect(answer.status == 0, "\(answer.output)")
            #expect(answer.output == String(repeating: "16388\n16388\ngiven up\n", count: 3), "\(answer.output)")
        }
    }

    @Test("client streams, longer than any window", arguments: protocols)
    func clientStream(_ alpn: String) async throws {
        try await withServer { harness in
            let sum = try await call(
                harness,
                alpn,
                "client",
                EchoService.Methods.sum,
                (0...100).map { Number(Int64($0)) }
            )
            let total = try Self.lines([Number(5050)])
            #expect(sum.status == 0 && sum.output == total, "\(sum.output)")
            let none = try await call(harness, alpn, "client", EchoService.Methods.sum, [])
            #expect(none.status == 0 && none.output == "-\nend\n", "\(none.output)")
            harness.service.gate.open()
            // The largest argument that Linux passes to a program is 128 KiB.
            let blobs = try await call(
                harness,
                alpn,
                "client",
                EchoService.Methods.sumSlowly,
                Array(repeating: Blob(.init(repeating: 9, count: 60_000)), count: 15)
            )
            let size = try Self.lines([Number(900_000)])
            #expect(blobs.status == 0 && blobs.output == size, "\(blobs.output)")
        }
    }

    @Test("bidirectional streams", arguments: protocols)
    func bidirectional(_ alpn: String) async throws {
        try await withServer { harness in
            let texts = (0..<50).map { Text("\($0)") }
            let chat = try await call(harness, alpn, "bidirectional", EchoService.Methods.chat, texts)
            let expected = try Self.lines(texts.map { Text("re: " + $0.value) })
            #expect(chat.status == 0 && chat.output == expected, "\(chat.output)")
            let stopped = try await call(
                harness,
                alpn,
                "bidirectional",
                EchoService.Methods.chat,
                [Text("a"), Text("stop"), Text("b")]
            )
            let answered = try Self.lines([Text("re: a")])
            #expect(stopped.status == 0 && stopped.output == answered, "\(stopped.output)")
        }
    }

    @Test("extensions: PING and response metadata, where they were negotiated", arguments: protocols)
    func extensions(_ alpn: String) async throws {
        try await withServer { harness in
            let isExtended = alpn == "x1"
            let ping = try await call(harness, alpn, "ping", EchoService.Methods.inline, [])
            #expect(
                ping.output.hasPrefix(isExtended ? "end" : "error FAILED_PRECONDITION NOT_EXTENDED"),
                "\(ping.output)"
            )
            let unary = try await call(harness, alpn, "unary", EchoService.Methods.inline, [Text("metadata")])
            #expect(unary.output.contains("metadata answer 42\n") == isExtended, "\(unary.output)")
            let stream = try await call(
                harness,
                alpn,
                options: ["--metadata", "want-metadata=yes"],
                "server",
                EchoService.Methods.count,
                [Number(2)]
            )
            // The C client tells metadata when it arrives, be it before messages that were not received yet.
            #expect(stream.output.contains("metadata total 2\n") == isExtended, "\(stream.output)")
            let messages = stream.output.replacing("metadata total 2\n", with: "")
            #expect(messages == "-\n0801\nend\n", "\(stream.output)")
        }
    }

    @Test("a client certificate is shown where one is required")
    func clientCertificates() async throws {
        try await withServer(tls: serverTLS(.require)) { harness in
            let certificates = TestCertificates.shared
            let known = try await call(
                harness,
                "x1",
                options: ["--cert", certificates.path("client.pem"), "--key", certificates.path("client.key")],
                "unary",
                EchoService.Methods.inline,
                [Text("a")]
            )
            #expect(known.status == 0, "\(known.output)")
            let stranger = try await call(
                harness,
                "x1",
                options: ["--cert", certificates.path("stranger.pem"), "--key", certificates.path("stranger.key")],
                "unary",
                EchoService.Methods.inline,
                [Text("a")]
            )
            #expect(stranger.status == 1 && stranger.output.hasPrefix("error UNAVAILABLE "), "\(stranger.output)")
            let nobody = try await call(harness, "x1", "unary", EchoService.Methods.inline, [Text("a")])
            #expect(nobody.status == 1 && nobody.output.hasPrefix("error UNAVAILABLE "), "\(nobody.output)")
        }
    }
}
