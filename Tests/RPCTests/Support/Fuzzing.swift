import Foundation
import NIOCore
import NIOEmbedded
import SwiftProtobuf
import Synchronization

@testable import RPC

/// What the two fuzzers share: the seeded one among the tests, and libFuzzer (`scripts/fuzz`). A problem comes back as text.
enum FuzzedDecoder {
    static func problem(with input: [UInt8]) -> String? {
        let whole = steps(input, pieces: .max)
        let dripped = steps(input, pieces: 1)
        return whole == dripped ? nil : "at once \(whole), byte by byte \(dripped)"
    }

    /// Cuts an input into frames and parses every body.
    private static func steps(_ input: [UInt8], pieces: Int) -> [FrameDecoder.Step] {
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
}

/// One server connection takes many inputs one after the other; a new one is made when it closes.
final class FuzzedServer {
    private var server: EmbeddedServer?
    private let isExtended: Bool
    private var count = 0
    /// That of the connection before: to be let go once it is closed.
    private weak var closed: ServerConnectionHandler?

    init(extended: Bool) { isExtended = extended }

    /// Closes the connection.
    func reset() {
        server?.finish()
        closed = server?.handler
        server = nil
    }

    /// Whether the connection that was closed last is still in memory.
    var leaks: Bool { closed != nil }

    func problem(with input: [UInt8]) throws -> String? {
        if leaks { return "the connection before was closed and is still in memory" }
        var limits = ServerLimits()
        limits.maxFrameBytes = 4096
        let server = try server ?? EmbeddedServer(limits: limits, applicationProtocol: isExtended ? "ttrpc-x1" : nil)
        try server.feed(ByteBuffer(bytes: input))
        let output = server.takeOutput()
        count += 1
        self.server = server
        if server.isClosed || count.isMultiple(of: 16) { reset() }
        // No input is answered by much more than itself: a Blob of "x" is an error, an error is small.
        return output <= 4096 * (input.count / 10 + 1) ? nil : "\(input.count) bytes were answered by \(output)"
    }
}

/// A client's connection with unary calls in flight.
final class FuzzedClient {
    private final class Counter: Sendable {
        let value = Atomic<Int>(0)
    }

    private let client: EmbeddedClient
    /// How often each call was told its end.
    private let ends: [Counter]

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

    func problem(with input: [UInt8]) throws -> String? {
        if client.channel.isActive { try client.channel.writeInbound(ByteBuffer(bytes: input)) }
        client.channel.embeddedEventLoop.run()
        let output = client.takeOutput()
        // A client answers PINGs and cancels streams; nothing a server says makes it say much.
        return output <= 256 * (input.count / 10 + 1) ? nil : "\(input.count) bytes were answered by \(output)"
    }

    /// Closes the connection: by then every call was told its end, once.
    func problemAtEnd() -> String? {
        _ = try? client.channel.finish(acceptAlreadyClosed: true)
        let ends = ends.map { $0.value.load(ordering: .relaxed) }
        return ends == [1, 1, 1, 1] ? nil : "the calls were told \(ends) ends"
    }
}

enum FuzzInputs {
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

    /// Frames of a client that make sense, half of the time changed.
    static func fromClient(_ random: inout SeededGenerator) -> [UInt8] {
        let methods = ["Inline", "Raw", "Fail", "Blob", "Nope"]
        return session(&random) { random in
            let id = UInt32.random(in: 0...12, using: &random)
            switch Int.random(in: 0..<6, using: &random) {
            case 0:
                return Raw.frame(
                    id,
                    UInt8.random(in: 0...255, using: &random),
                    UInt8.random(in: 0...7, using: &random)
                )
            case 1:
                return Raw.frame(id, 4, 0, [UInt8](repeating: 1, count: Int.random(in: 0...70, using: &random)))
            case 2: return Raw.data(id, Text("data"), flags: UInt8.random(in: 0...7, using: &random))
            default:
                return Raw.request(
                    id,
                    methods.randomElement(using: &random) ?? "",
                    Text("x"),
                    flags: UInt8.random(in: 0...7, using: &random),
                    metadata: Bool.random(using: &random) ? [("k", "v")] : []
                )
            }
        }
    }

    /// Frames of a server, half of the time changed. Ids are those of the calls, and others.
    static func fromServer(_ random: inout SeededGenerator) -> [UInt8] {
        session(&random) { random in
            let id = UInt32.random(in: 0...10, using: &random)
            let flags = UInt8.random(in: 0...7, using: &random)
            switch Int.random(in: 0..<7, using: &random) {
            case 0: return Raw.frame(id, UInt8.random(in: 0...255, using: &random), flags)
            case 1: return Raw.frame(0, 4, 0, [UInt8](repeating: 1, count: Int.random(in: 0...70, using: &random)))
            case 2: return Raw.data(id, Text("data"), flags: flags)
            case 3:
                return Raw.frame(0, 0x41, 0, [0, 0, 0, UInt8.random(in: 0...9, using: &random), 0, 0, 0, 0])
            case 4: return Raw.frame(0, 0x42, 0, [0, 0, 0, UInt8(truncatingIfNeeded: id), 0, 0, 1, 0])
            case 5:
                let failure = Ttrpc_V1_Response.with {
                    $0.status.code = Int32.random(in: -1...20, using: &random)
                    $0.status.message = "no"
                }
                return Raw.frame(id, 2, flags, (try? failure.serializedBytes()) ?? [])
            default:
                let response = Ttrpc_V1_Response.with { $0.payload = Data("answer".utf8) }
                return Raw.frame(id, 2, flags, (try? response.serializedBytes()) ?? [])
            }
        }
    }

    private static func session(
        _ random: inout SeededGenerator,
        _ frame: (inout SeededGenerator) -> ByteBuffer
    ) -> [UInt8] {
        var all: [UInt8] = []
        for _ in 0..<Int.random(in: 1...4, using: &random) {
            all += Array(frame(&random).readableBytesView)
        }
        if Bool.random(using: &random) { Mutation.apply(&all, &random) }
        return all
    }
}
