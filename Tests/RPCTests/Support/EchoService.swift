import Foundation
import NIOCore
import RPC
import SwiftProtobuf
import Synchronization

typealias Text = Google_Protobuf_StringValue
typealias Number = Google_Protobuf_Int64Value
typealias Blob = Google_Protobuf_BytesValue

/// A service with a method of every kind and every sort of handler.
final class EchoService: RegistrableService {
    enum Methods {
        static func make(_ name: String, _ kind: MethodDescriptor.Kind = .unary) -> MethodDescriptor {
            MethodDescriptor(service: "test.v1.Echo", method: name, kind: kind)
        }
        static let inline = make("Inline")
        static let raw = make("Raw")
        static let parked = make("Parked")
        static let async = make("Async")
        static let fail = make("Fail")
        static let crash = make("Crash")
        static let hang = make("Hang")
        static let metadata = make("Metadata")
        static let blob = make("Blob")
        static let count = make("Count", .serverStreaming)
        static let blobs = make("Blobs", .serverStreaming)
        static let countThenFail = make("CountThenFail", .serverStreaming)
        static let sum = make("Sum", .clientStreaming)
        static let sumSlowly = make("SumSlowly", .clientStreaming)
        static let chat = make("Chat", .bidirectional)
    }

    /// Calls of `Hang` that began, and that were cancelled.
    let hanging = Events<String>()
    let cancelled = Events<String>()
    let blobsSent = Atomic<Int>(0)
    let handled = Atomic<Int>(0)
    /// Lets `SumSlowly` go on.
    let gate = Gate()

    func register(with router: inout Router) {
        router.inline(Methods.inline) { [self] (request: Text, call) throws(RPCError) -> InlineResult<Text> in
            handled.add(1, ordering: .relaxed)
            if request.value == "metadata" { call.responseMetadata = ["answer": "42"] }
            return .reply(Text(request.value))
        }
        router.inlineRaw(Methods.raw) { (request, _, response) throws(RPCError) in
            response.writeBytes(request)
            if request.byteCount == 0 { throw RPCError(.invalidArgument, "empty") }
            return .reply
        }
        router.inline(Methods.parked) { (request: Text, _) throws(RPCError) -> InlineResult<Text> in
            .park { () async throws(RPCError) in
                await Task.yield()
                return Text("parked " + request.value)
            }
        }
        router.unary(Methods.async) { (request: Text, _) async throws(RPCError) -> Text in
            await Task.yield()
            return Text("async " + request.value)
        }
        router.inline(Methods.metadata) { (request: Text, call) throws(RPCError) -> InlineResult<Text> in
            .reply(Text(call.metadata.values(for: request.value).joined(separator: ",")))
        }
        router.inline(Methods.fail) { (request: Text, _) throws(RPCError) -> InlineResult<Text> in
            throw RPCError(.notFound, "no \(request.value)")
                .withErrorInfo(reason: "NOPE", domain: "test", metadata: ["a": "b"])
                .withBadRequest(field: "value", description: "is bad")
                .withRetryInfo(delay: .milliseconds(1500))
        }
        router.unary(Methods.hang) { [self] (request: Text, call) async throws(RPCError) -> Text in
            hanging.send(request.value)
            do { try await Task.sleep(for: .seconds(60)) } catch {
                cancelled.send(request.value)
                throw RPCError(.cancelled, "cancelled: \(call.isCancelled)")
            }
            return request
        }
        router.inline(Methods.blob) { (request: Number, _) throws(RPCError) -> InlineResult<Blob> in
            .reply(Blob(.init(repeating: 7, count: Int(request.value))))
        }
        registerStreams(with: &router)
    }

    private func registerStreams(with router: inout Router) {
        router.serverStream(Methods.count) {
            (request: Number, writer: ResponseWriter<Number>, call) async throws(RPCError) in
            for number in 0..<request.value { try await writer.write(Number(number)) }
            if call.metadata["want-metadata"] != nil { call.responseMetadata = ["total": "\(request.value)"] }
        }
        router.serverStream(Methods.blobs) {
            [self] (request: Number, writer: ResponseWriter<Blob>, _) async throws(RPCError) in
            for _ in 0..<request.value {
                try await writer.write(Blob(.init(repeating: 1, count: 16 << 10)))
                blobsSent.add(1, ordering: .relaxed)
            }
        }
        router.serverStream(Methods.countThenFail) {
            (request: Number, writer: ResponseWriter<Number>, _) async throws(RPCError) in
            for number in 0..<request.value { try await writer.write(Number(number)) }
            throw RPCError(.dataLoss, "lost the rest")
        }
        router.clientStream(Methods.sum) {
            (requests: RequestStream<Number>, _) async throws(RPCError) -> Number in
            var sum: Int64 = 0
            for try await request in requests { sum += request.value }
            return Number(sum)
        }
        router.clientStream(Methods.sumSlowly) {
            [self] (requests: RequestStream<Blob>, _) async throws(RPCError) -> Number in
            await gate.wait()
            var sum: Int64 = 0
            for try await request in requests { sum += Int64(request.value.count) }
            return Number(sum)
        }
        router.bidirectional(Methods.chat) {
            (requests: RequestStream<Text>, writer: ResponseWriter<Text>, _) async throws(RPCError) in
            for try await request in requests {
                if request.value == "stop" { return }
                if request.value == "fail" { throw RPCError(.aborted, "asked to fail") }
                try await writer.write(Text("re: " + request.value))
            }
        }
    }
}

/// Values that a test waits for.
final class Events<Value: Sendable>: Sendable {
    private let stream: AsyncStream<Value>
    private let continuation: AsyncStream<Value>.Continuation

    init() { (stream, continuation) = AsyncStream.makeStream(of: Value.self) }

    func send(_ value: Value) { continuation.yield(value) }

    func next() async -> Value? {
        for await value in stream { return value }
        return nil
    }
}

/// Opened once.
final class Gate: Sendable {
    private let stream: AsyncStream<Void>
    private let continuation: AsyncStream<Void>.Continuation

    init() { (stream, continuation) = AsyncStream.makeStream(of: Void.self) }

    func open() { continuation.finish() }
    func wait() async { for await _ in stream {} }
}
