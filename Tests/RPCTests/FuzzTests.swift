import Foundation
import NIOCore
import RPC
import SwiftProtobuf
import Synchronization
import Testing

/// A seeded harness over the frame decoder, the envelope and the server's connection.
///
/// The fixed-seed part runs always; `COHORT_LONG=1` runs 10 million inputs from a seed that is printed (`COHORT_FUZZ_SEED`
/// sets it). An input that fails belongs into `regressions`.
@Suite("Fuzzing")
struct FuzzTests {
    /// Inputs that once failed, or that stand on an edge.
    static let regressions: [[UInt8]] = [
        [],
        [0, 0, 0, 0, 0, 0, 0, 1, 1, 0],
        [0, 0, 0, 2, 0, 0, 0, 1, 1, 0, 0x0A, 0xFF],
        [0x1F, 0xFF, 0xFF, 0xFF, 0, 0, 0, 1, 1, 0],
        [0x20, 0, 0, 0],
        [0, 0, 0, 4, 0, 0, 0, 1, 0x42, 0, 0, 0, 0, 1],
        [0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 3, 5],
        [0, 0, 0, 10, 0, 0, 0, 1, 1, 0, 0x1B, 0x1B, 0x1B, 0x1B, 0x1B, 0x1C, 0x1C, 0x1C, 0x1C, 0x1C],
    ]

    /// A session of frames that make sense, then changed.
    private static func input(_ random: inout SeededGenerator) -> [UInt8] {
        var all: [UInt8] = []
        let methods = ["Inline", "Raw", "Fail", "Blob", "Nope"]
        for _ in 0..<Int.random(in: 1...4, using: &random) {
            let id = UInt32.random(in: 0...12, using: &random)
            var frame: ByteBuffer
            switch Int.random(in: 0..<6, using: &random) {
            case 0:
                frame = Raw.frame(
                    id,
                    UInt8.random(in: 0...255, using: &random),
                    UInt8.random(in: 0...7, using: &random)
                )
            case 1: frame = Raw.frame(id, 4, 0, [UInt8](repeating: 1, count: Int.random(in: 0...70, using: &random)))
            case 2: frame = Raw.data(id, Text("data"), flags: UInt8.random(in: 0...7, using: &random))
            default:
                frame = Raw.request(
                    id,
                    methods.randomElement(using: &random) ?? "",
                    Text("x"),
                    flags: UInt8.random(in: 0...7, using: &random),
                    metadata: Bool.random(using: &random) ? [("k", "v")] : []
                )
            }
            all += frame.readBytes(length: frame.readableBytes) ?? []
        }
        if Bool.random(using: &random) { Mutation.apply(&all, &random) }
        return all
    }

    /// Cuts an input into frames in two ways that must agree, and parses every body.
    private static func decode(_ input: [UInt8], pieces: Int) -> [FrameDecoder.Step] {
        var decoder = FrameDecoder(maxFrameBytes: 4096)
        var steps: [FrameDecoder.Step] = []
        var rest = input[...]
        while !rest.isEmpty {
            decoder.append(ByteBuffer(bytes: rest.prefix(pieces)))
            rest = rest.dropFirst(pieces)
            loop: while true {
                let step = decoder.next()
                switch step {
                case .needMore: break loop
                case .garbage:
                    steps.append(step)
                    return steps
                case .frame:
                    steps.append(step)
                    decoder.withBody { body in
                        if let envelope = try? RequestEnvelope(parsing: body) { _ = try? envelope.metadata(in: body) }
                        if let envelope = try? ResponseEnvelope(parsing: body), envelope.hasDetails {
                            _ = try? ResponseEnvelope.details(in: body)
                        }
                    }
                    decoder.skipBody()
                case .oversize: steps.append(step)
                }
            }
        }
        return steps
    }

    /// One server connection takes many inputs one after the other; a new one is made when it closes.
    private final class Target {
        var server: EmbeddedServer?
        let isExtended: Bool
        private var count = 0

        init(extended: Bool) { isExtended = extended }

        func reset() {
            server?.finish()
            server = nil
        }

        func feed(_ input: [UInt8]) throws {
            var limits = ServerLimits()
            limits.maxFrameBytes = 4096
            let server =
                try server ?? EmbeddedServer(limits: limits, applicationProtocol: isExtended ? "ttrpc-x1" : nil)
            try server.feed(ByteBuffer(bytes: input))
            let output = server.takeOutput()
            // No input is answered by much more than itself: a Blob of "x" is an error, an error is small.
            #expect(output <= 4096 * (input.count / 10 + 1))
            count += 1
            if server.isClosed || count.isMultiple(of: 16) {
                server.finish()
                self.server = nil
            } else {
                self.server = server
            }
        }
    }

    private func run(_ count: Int, seed: UInt64) async throws {
        var random = SeededGenerator(seed: seed)
        let stock = Target(extended: false)
        let extended = Target(extended: true)
        for round in 0..<count {
            if round.isMultiple(of: 64) {
                // Other tests have deadlines to keep. An embedded loop stays on its thread, so none is kept over this.
                stock.reset()
                extended.reset()
                await Task.yield()
            }
            let input = round < Self.regressions.count ? Self.regressions[round] : Self.input(&random)
            let whole = Self.decode(input, pieces: .max)
            let dripped = Self.decode(input, pieces: 1)
            #expect(whole == dripped, "seed \(seed), round \(round): \(input)")
            try (round.isMultiple(of: 2) ? stock : extended).feed(input)
            if whole != dripped { return }
        }
        stock.reset()
        extended.reset()
    }

    @Test("fixed seeds", arguments: [1, 2, 3] as [UInt64])
    func fixed(_ seed: UInt64) async throws { try await run(3000, seed: seed) }

    @Test("ten million inputs", .enabled(if: ProcessInfo.processInfo.environment["COHORT_LONG"] == "1"))
    func long() async throws {
        let seed =
            ProcessInfo.processInfo.environment["COHORT_FUZZ_SEED"].flatMap(UInt64.init)
            ?? UInt64.random(in: 1...UInt64.max)
        print("fuzzing with COHORT_FUZZ_SEED=\(seed)")
        let before = Self.residentBytes()
        try await run(10_000_000, seed: seed)
        let growth = Self.residentBytes() - before
        #expect(growth < 200 << 20, "resident memory grew by \(growth) bytes")
    }

    private static func residentBytes() -> Int {
        guard let status = try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8) else { return 0 }
        return (status.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0) * 4096
    }
}
