import Foundation
import NIOCore
import RPC
import SwiftProtobuf
import Synchronization
import Testing

/// Every kind of call over real TLS, with and without the extensions, and in process.
@Suite("Kinds of call", .timeLimit(.minutes(2)))
struct CallKindTests {
    enum Transport: String, CaseIterable, Sendable {
        case extended
        case stock
        case inProcess
    }

    private func withTransport(
        _ transport: Transport,
        _ body: (any CallTransport) async throws -> Void
    ) async throws {
        if transport == .inProcess {
            return try await body(InProcessClient(services: [EchoService(), HealthService()]))
        }
        try await withServer { harness in
            let client = try harness.client(stock: transport == .stock)
            try await body(client)
            await client.shutdown()
        }
    }

    @Test("unary: inline, raw, parked and async handlers", arguments: Transport.allCases)
    func unary(_ transport: Transport) async throws {
        try await withTransport(transport) { client in
            let inline: Text = try await client.unary(EchoService.Methods.inline, Text("a"), .defaults)
            #expect(inline.value == "a")
            let raw: Text = try await client.unary(EchoService.Methods.raw, Text("b"), .defaults)
            #expect(raw.value == "b")
            let parked: Text = try await client.unary(EchoService.Methods.parked, Text("c"), .defaults)
            #expect(parked.value == "parked c")
            let async: Text = try await client.unary(EchoService.Methods.async, Text("d"), .defaults)
            #expect(async.value == "async d")
            let empty: Text = try await client.unary(EchoService.Methods.inline, Text(""), .defaults)
            #expect(empty.value == "")
        }
    }

    @Test("responses of every length", arguments: [0, 1, 100, 127, 128, 129, 16383, 16384, 1 << 20])
    func lengths(_ length: Int) async throws {
        try await withTransport(.extended) { client in
            let blob: Blob = try await client.unary(EchoService.Methods.blob, Number(Int64(length)), .defaults)
            #expect(blob.value == .init(repeating: 7, count: length))
        }
    }

    @Test("errors carry code, message and details", arguments: Transport.allCases)
    func errors(_ transport: Transport) async throws {
        try await withTransport(transport) { client in
            let error = await #expect(throws: RPCError.self) {
                let _: Text = try await client.unary(EchoService.Methods.fail, Text("x"), .defaults)
            }
            #expect(error?.code == .notFound)
            #expect(error?.message == "no x")
            #expect(error?.errorInfo?.reason == "NOPE")
            #expect(error?.errorInfo?.metadata == ["a": "b"])
            #expect(error?.badRequest?.fieldViolations.first?.field == "value")
            #expect(error?.retryDelay == .milliseconds(1500))
        }
    }

    @Test(
        "an unknown method is UNIMPLEMENTED, a request that is not one INVALID_ARGUMENT",
        arguments: Transport.allCases
    )
    func unknown(_ transport: Transport) async throws {
        try await withTransport(transport) { client in
            let unknown = await #expect(throws: RPCError.self) {
                let _: Text = try await client.unary(EchoService.Methods.make("Nope"), Text("x"), .defaults)
            }
            #expect(unknown?.code == .unimplemented)
            let invalid = await #expect(throws: RPCError.self) {
                // A string's field, with bytes that are not UTF-8.
                let wrong = Blob(Data([0xFF, 0xFE]))
                let _: Text = try await client.unary(EchoService.Methods.inline, wrong, .defaults)
            }
            #expect(invalid?.code == .invalidArgument)
        }
    }

    @Test("server stream", arguments: Transport.allCases)
    func serverStream(_ transport: Transport) async throws {
        try await withTransport(transport) { client in
            for count: Int64 in [0, 1, 1000] {
                let stream: ResponseStream<Number> = try await client.serverStream(
                    EchoService.Methods.count,
                    Number(count),
                    .defaults
                )
                var got: [Int64] = []
                for try await number in stream { got.append(number.value) }
                #expect(got == Array(0..<count))
            }
        }
    }

    @Test("a server stream that fails keeps what came before", arguments: Transport.allCases)
    func serverStreamFails(_ transport: Transport) async throws {
        try await withTransport(transport) { client in
            let stream: ResponseStream<Number> = try await client.serverStream(
                EchoService.Methods.countThenFail,
                Number(3),
                .defaults
            )
            var got: [Int64] = []
            let error = await #expect(throws: RPCError.self) {
                for try await number in stream { got.append(number.value) }
            }
            #expect(got == [0, 1, 2])
            #expect(error?.code == .dataLoss)
        }
    }

    @Test("client stream", arguments: Transport.allCases)
    func clientStream(_ transport: Transport) async throws {
        try await withTransport(transport) { client in
            let call: ClientStreamCall<Number, Number> = try await client.clientStream(
                EchoService.Methods.sum,
                .defaults
            )
            for number in Int64(0)..<500 { try await call.write(Number(number)) }
            #expect(try await call.finish().value == 499 * 500 / 2)
            let none: ClientStreamCall<Number, Number> = try await client.clientStream(
                EchoService.Methods.sum,
                .defaults
            )
            #expect(try await none.finish().value == 0)
        }
    }

    @Test("bidirectional stream, in turns", arguments: Transport.allCases)
    func bidirectional(_ transport: Transport) async throws {
        try await withTransport(transport) { client in
            let call: BidirectionalCall<Text, Text> = try await client.bidirectional(
                EchoService.Methods.chat,
                .defaults
            )
            var responses = call.responses.makeAsyncIterator()
            for text in ["a", "", "c"] {
                try await call.requests.write(Text(text))
                #expect(try await responses.next()?.value == "re: " + text)
            }
            call.requests.finish()
            #expect(try await responses.next() == nil)
        }
    }

    @Test("the server may end a bidirectional stream early, or fail it", arguments: Transport.allCases)
    func bidirectionalEnds(_ transport: Transport) async throws {
        try await withTransport(transport) { client in
            let stopped: BidirectionalCall<Text, Text> = try await client.bidirectional(
                EchoService.Methods.chat,
                .defaults
            )
            try await stopped.requests.write(Text("stop"))
            var responses = stopped.responses.makeAsyncIterator()
            #expect(try await responses.next() == nil)
            let failed: BidirectionalCall<Text, Text> = try await client.bidirectional(
                EchoService.Methods.chat,
                .defaults
            )
            try await failed.requests.write(Text("fail"))
            var failing = failed.responses.makeAsyncIterator()
            let error = await #expect(throws: RPCError.self) { _ = try await failing.next() }
            #expect(error?.code == .aborted)
        }
    }

    @Test("a thousand calls at once", arguments: Transport.allCases)
    func concurrent(_ transport: Transport) async throws {
        try await withTransport(transport) { client in
            try await withThrowingTaskGroup(of: Bool.self) { group in
                for index in 0..<1000 {
                    group.addTask {
                        let method = index.isMultiple(of: 3) ? EchoService.Methods.async : EchoService.Methods.inline
                        let text: Text = try await client.unary(method, Text("\(index)"), .defaults)
                        return text.value.hasSuffix("\(index)")
                    }
                }
                for try await right in group { #expect(right) }
            }
        }
    }

    @Test("health: Check, List and Watch")
    func health() async throws {
        let health = HealthService(services: ["a.B"])
        let client = InProcessClient(services: [health])
        health.set(.serving, for: "a.B")
        let check: Grpc_Health_V1_HealthCheckResponse = try await client.unary(
            HealthService.Methods.check,
            Grpc_Health_V1_HealthCheckRequest.with { $0.service = "a.B" },
            .defaults
        )
        #expect(check.status == .serving)
        let list: Grpc_Health_V1_HealthListResponse = try await client.unary(
            HealthService.Methods.list,
            Grpc_Health_V1_HealthListRequest(),
            .defaults
        )
        #expect(list.statuses[""]?.status == .notServing)
        let error = await #expect(throws: RPCError.self) {
            let _: Grpc_Health_V1_HealthCheckResponse = try await client.unary(
                HealthService.Methods.check,
                Grpc_Health_V1_HealthCheckRequest.with { $0.service = "x" },
                .defaults
            )
        }
        #expect(error?.code == .notFound)
        let watch: ResponseStream<Grpc_Health_V1_HealthCheckResponse> = try await client.serverStream(
            HealthService.Methods.watch,
            Grpc_Health_V1_HealthCheckRequest(),
            .defaults
        )
        var changes = watch.makeAsyncIterator()
        #expect(try await changes.next()?.status == .notServing)
        health.setAll(.serving)
        #expect(try await changes.next()?.status == .serving)
    }
}
