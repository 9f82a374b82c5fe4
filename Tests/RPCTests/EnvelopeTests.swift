import Foundation
import NIOCore
import RPC
import SwiftProtobuf
import Synchronization
import Testing

/// The envelope that is parsed and written by hand, against SwiftProtobuf.
@Suite("Envelope")
struct EnvelopeTests {
    private struct Parsed: Equatable {
        var service: String
        var method: String
        var payload: [UInt8]
        var timeout: Int64
        var metadata: [[String]]
    }

    private static func byHand(_ bytes: [UInt8]) -> Parsed? {
        bytes.withUnsafeBytes { raw in
            do throws(WireReader.Failure) {
                let envelope = try RequestEnvelope(parsing: raw)
                return Parsed(
                    service: try RequestEnvelope.string(raw, envelope.service),
                    method: try RequestEnvelope.string(raw, envelope.method),
                    payload: Array(raw[envelope.payload]),
                    timeout: envelope.timeoutNanos,
                    metadata: try envelope.metadata(in: raw).map { [$0.key, $0.value] }
                )
            } catch {
                return nil
            }
        }
    }

    private static func bySwiftProtobuf(_ bytes: [UInt8]) -> Parsed? {
        guard let request = try? Ttrpc_V1_Request(serializedBytes: bytes) else { return nil }
        return Parsed(
            service: request.service,
            method: request.method,
            payload: Array(request.payload),
            timeout: request.timeoutNano,
            metadata: request.metadata.map { [Metadata.Entry(key: $0.key, value: "").key, $0.value] }
        )
    }

    private static func text(_ random: inout SeededGenerator) -> String {
        let alphabet = Array("abcXYZ/.é漢🙂\u{0}")
        return String((0..<Int.random(in: 0...40, using: &random)).map { _ in alphabet.randomElement(using: &random)! })
    }

    private static func request(_ random: inout SeededGenerator) -> Ttrpc_V1_Request {
        .with {
            $0.service = text(&random)
            $0.method = text(&random)
            $0.payload = Data((0..<Int.random(in: 0...300, using: &random)).map { UInt8(truncatingIfNeeded: $0) })
            $0.timeoutNano = Bool.random(using: &random) ? 0 : Int64.random(in: .min ... .max, using: &random)
            $0.metadata = (0..<Int.random(in: 0...3, using: &random)).map { _ in
                .with {
                    $0.key = text(&random).lowercased()
                    $0.value = text(&random)
                }
            }
        }
    }

    @Test("requests that SwiftProtobuf writes are read alike")
    func reads() throws {
        var random = SeededGenerator(seed: 1)
        for _ in 0..<3000 {
            let bytes: [UInt8] = try Self.request(&random).serializedBytes()
            #expect(Self.byHand(bytes) == Self.bySwiftProtobuf(bytes))
        }
    }

    @Test("bytes that were changed are read alike or refused alike")
    func mutations() async throws {
        var random = SeededGenerator(seed: 2)
        var refused = 0
        for round in 0..<60000 {
            if round.isMultiple(of: 100) { await Task.yield() }
            var bytes: [UInt8] = try Self.request(&random).serializedBytes()
            Mutation.apply(&bytes, &random)
            let byHand = Self.byHand(bytes)
            if byHand == nil { refused += 1 }
            let theirs = Self.bySwiftProtobuf(bytes)
            #expect(byHand == theirs, "round \(round): \(bytes)")
            if byHand != theirs { return }
        }
        #expect(refused > 1000)
    }

    @Test("requests that are written by hand are read by SwiftProtobuf")
    func writes() throws {
        var random = SeededGenerator(seed: 3)
        for _ in 0..<3000 {
            let request = Self.request(&random)
            let method = MethodDescriptor(service: request.service, method: request.method, kind: .unary)
            var buffer = ByteBuffer()
            buffer.writeRequest(
                RequestPrefix(method),
                streamID: 7,
                payload: ByteBuffer(bytes: request.payload),
                timeoutNanos: request.timeoutNano,
                metadata: Metadata(request.metadata.map { ($0.key, $0.value) })
            )
            let frame = try #require(RawPeer.frames(buffer).first)
            #expect(frame.streamID == 7 && frame.type == 1 && frame.flags == 0)
            #expect(try Ttrpc_V1_Request(serializedBytes: frame.body) == request)
        }
    }

    @Test("responses are written and read alike", arguments: [0, 1, 127, 128, 16383, 16384, 100_000])
    func responses(_ length: Int) throws {
        let payload = [UInt8](repeating: 9, count: length)
        for metadata: Metadata in [[:], ["a": "b", "a": "c"]] {
            var buffer = ByteBuffer(string: "what was there before")
            let before = buffer.readableBytes
            let start = buffer.beginResponse(streamID: 5)
            buffer.writeBytes(payload)
            let fits = buffer.endResponse(from: start, metadata: metadata, maxFrameBytes: 1 << 20)
            #expect(fits)
            buffer.moveReaderIndex(forwardBy: before)
            let frame = try #require(RawPeer.frames(buffer).first)
            #expect(frame.streamID == 5 && frame.type == 2)
            let expected = Ttrpc_V1_Response.with {
                $0.payload = Data(payload)
                $0.metadata = metadata.map { entry in
                    .with {
                        $0.key = entry.key
                        $0.value = entry.value
                    }
                }
            }
            #expect(try Ttrpc_V1_Response(serializedBytes: frame.body) == expected)
            frame.body.withUnsafeBytes { raw in
                let envelope = try? ResponseEnvelope(parsing: raw)
                #expect(envelope.map { Array(raw[$0.payload]) } == payload)
                #expect(envelope?.hasDetails == !metadata.isEmpty)
            }
        }
    }

    @Test("an error that was serialized beforehand is sent as it would be, and as it is once it was changed")
    func serializedErrors() {
        func frame(_ error: RPCError, maxFrameBytes: Int = 4096) -> ByteBuffer {
            var buffer = ByteBuffer()
            buffer.writeErrorResponse(error, streamID: 1, metadata: Metadata(), maxFrameBytes: maxFrameBytes)
            return buffer
        }
        let error = RPCError(.resourceExhausted, "too much").withPushback(.milliseconds(8))
        let beforehand = error.serialized()
        #expect(frame(beforehand) == frame(error) && frame(error).readableBytes > 20)
        for change in [{ $0.code = .internalError }, { $0.message = "other" }, { $0.details = [] }]
            as [(inout RPCError) -> Void]
        {
            var (changed, expected) = (beforehand, error)
            change(&changed)
            change(&expected)
            #expect(frame(changed) == frame(expected) && frame(changed) != frame(beforehand))
        }
        // Cut down where it does not fit.
        #expect(frame(beforehand, maxFrameBytes: 20) == frame(error, maxFrameBytes: 20))
    }

    @Test("a response over the limit leaves nothing behind")
    func tooLarge() {
        var buffer = ByteBuffer(string: "before")
        let start = buffer.beginResponse(streamID: 5)
        buffer.writeRepeatingByte(1, count: 2000)
        let fits = buffer.endResponse(from: start, metadata: [:], maxFrameBytes: 1000)
        #expect(!fits)
        #expect(String(buffer: buffer) == "before")
    }
}
