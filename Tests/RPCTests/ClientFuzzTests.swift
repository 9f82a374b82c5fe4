import Foundation
import NIOCore
import NIOEmbedded
import SwiftProtobuf
import Synchronization
import Testing

@testable import RPC

/// A client's connection fed what a broken or hostile server might send, as ``FuzzTests`` does with the server's.
@Suite("Fuzzing of the client")
struct ClientFuzzTests {
    /// A client's connection with unary calls in flight.
    private final class Target {
        private let client: EmbeddedClient
        /// How often each call was told its end.
        let ends: [Counter]

        final class Counter: Sendable {
            let value = Atomic<Int>(0)
        }

        init(extended: Bool) throws {
            var configuration = ClientConfiguration(endpoints: [], tls: ClientTLS())
            configuration.maxFrameBytes = 4096
            client = try EmbeddedClient(configuration, applicationProtocol: extended ? "ttrpc-x1" : nil)
            ends = (0..<4).map { _ in Counter() }
            for end in ends {
                client.handler.start(
                    UnarySubmission(
                        prefix: RequestPrefix(EchoService.Methods.inline),
                        payload: ByteBuffer(string: "x"),
                        deadline: nil,
                        metadata: Metadata(),
                        ticket: nil
                    ) { _ in end.value.add(1, ordering: .relaxed) }
                )
            }
            client.channel.embeddedEventLoop.run()
            _ = client.takeOutput()
        }

        /// Returns how many bytes the client wrote in answer.
        func feed(_ input: [UInt8]) throws -> Int {
            if client.channel.isActive { try client.channel.writeInbound(ByteBuffer(bytes: input)) }
            client.channel.embeddedEventLoop.run()
            return client.takeOutput()
        }

        func finish() { _ = try? client.channel.finish(acceptAlreadyClosed: true) }
    }

    /// Frames of a server, some of them changed. Ids are those of the calls, and others.
    private static func input(_ random: inout SeededGenerator) -> [UInt8] {
        var all: [UInt8] = []
        for _ in 0..<Int.random(in: 1...4, using: &random) {
            let id = UInt32.random(in: 0...10, using: &random)
            let flags = UInt8.random(in: 0...7, using: &random)
            var frame: ByteBuffer
            switch Int.random(in: 0..<7, using: &random) {
            case 0: frame = Raw.frame(id, UInt8.random(in: 0...255, using: &random), flags)
            case 1: frame = Raw.frame(0, 4, 0, [UInt8](repeating: 1, count: Int.random(in: 0...70, using: &random)))
            case 2: frame = Raw.data(id, Text("data"), flags: flags)
            case 3: frame = Raw.frame(0, 0x41, 0, [0, 0, 0, UInt8.random(in: 0...9, using: &random), 0, 0, 0, 0])
            case 4: frame = Raw.frame(0, 0x42, 0, [0, 0, 0, UInt8(truncatingIfNeeded: id), 0, 0, 1, 0])
            case 5:
                let failure = Ttrpc_V1_Response.with {
                    $0.status.code = Int32.random(in: -1...20, using: &random)
                    $0.status.message = "no"
                }
                frame = Raw.frame(id, 2, flags, (try? failure.serializedBytes()) ?? [])
            default:
                let response = Ttrpc_V1_Response.with { $0.payload = Data("answer".utf8) }
                frame = Raw.frame(id, 2, flags, (try? response.serializedBytes()) ?? [])
            }
            all += frame.readBytes(length: frame.readableBytes) ?? []
        }
        if Bool.random(using: &random) { Mutation.apply(&all, &random) }
        return all
    }

    private func run(_ count: Int, seed: UInt64) async throws {
        var random = SeededGenerator(seed: seed)
        for round in 0..<count {
            if round.isMultiple(of: 64) { await Task.yield() }
            let target = try Target(extended: round.isMultiple(of: 2))
            let inputs = (0..<3).map { _ in Self.input(&random) }
            for input in inputs {
                // A client answers PINGs and cancels streams; nothing a server says makes it say much.
                #expect(try target.feed(input) <= 256 * (input.count / 10 + 1), "seed \(seed), round \(round)")
            }
            target.finish()
            let ends = target.ends.map { $0.value.load(ordering: .relaxed) }
            #expect(ends == [1, 1, 1, 1], "seed \(seed), round \(round): \(inputs)")
            if ends != [1, 1, 1, 1] { return }
        }
    }

    @Test("every call is told its end once, whatever the server sends", arguments: [1, 2, 3] as [UInt64])
    func fixed(_ seed: UInt64) async throws { try await run(1000, seed: seed) }

    @Test("a million sessions", .enabled(if: ProcessInfo.processInfo.environment["COHORT_LONG"] == "1"))
    func long() async throws {
        let seed =
            ProcessInfo.processInfo.environment["COHORT_FUZZ_SEED"].flatMap(UInt64.init)
            ?? UInt64.random(in: 1...UInt64.max)
        print("fuzzing with COHORT_FUZZ_SEED=\(seed)")
        try await run(1_000_000, seed: seed)
    }
}
