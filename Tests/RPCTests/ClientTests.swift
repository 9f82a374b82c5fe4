import Logging
import NIOCore
import NIOPosix
import RPC
import SwiftProtobuf
import Synchronization
import Testing

@Suite("Client", .timeLimit(.minutes(2)))
struct ClientTests {
    private func echo(_ client: Client, _ text: String) async throws -> String {
        let response: Text = try await client.unary(EchoService.Methods.inline, Text(text), .defaults)
        return response.value
    }

    @Test("a connection is replaced before its ids run out", arguments: [false, true])
    func rotation(stock: Bool) async throws {
        try await withServer { harness in
            let client = try harness.client(stock: stock) { $0.maxCallsPerConnection = 10 }
            for index in 0..<55 { #expect(try await echo(client, "\(index)") == "\(index)") }
            #expect(harness.server.statistics.connectionsAccepted == 6)
            #expect(harness.service.handled.load(ordering: .relaxed) == 55)
            await client.shutdown()
        }
    }

    @Test("calls in flight survive the rotation of their connection")
    func rotationInFlight() async throws {
        try await withServer { harness in
            let client = try harness.client { $0.maxCallsPerConnection = 7 }
            try await withThrowingTaskGroup(of: Bool.self) { group in
                for index in 0..<200 { group.addTask { try await echo(client, "\(index)") == "\(index)" } }
                for try await right in group { #expect(right) }
            }
            #expect(harness.service.handled.load(ordering: .relaxed) == 200)
            await client.shutdown()
        }
    }

    @Test("endpoints take turns; one that is down is left out and taken back")
    func endpoints() async throws {
        try await withServer { first in
            try await withServer { second in
                let client = try first.client { $0.endpoints = [first.endpoint, second.endpoint] }
                let both = try await eventually {
                    _ = try await echo(client, "x")
                    return first.service.handled.load(ordering: .relaxed) >= 10
                        && second.service.handled.load(ordering: .relaxed) >= 10
                }
                #expect(both)
                await client.shutdown()
            }
        }
    }

    @Test("a server that comes back is found again")
    func reconnect() async throws {
        var endpoint = Endpoint(host: "127.0.0.1", port: 0)
        var client: Client?
        try await withServer { harness in
            endpoint = harness.endpoint
            client = try harness.client { $0.backoff.initial = .milliseconds(10) }
            if let client { _ = try await echo(client, "x") }
        }
        let client2 = try #require(client)
        // It is down: calls fail as UNAVAILABLE, soon and not by waiting.
        let error = await #expect(throws: RPCError.self) {
            for _ in 0..<3 { _ = try await echo(client2, "down") }
        }
        #expect(error?.code == .unavailable)
        let server = Server(
            configuration: ServerConfiguration(listen: endpoint, tls: serverTLS()),
            services: [EchoService()],
            eventLoopGroup: MultiThreadedEventLoopGroup.singleton,
            logger: LogRecorder().logger
        )
        try await server.start()
        let back = try await eventually { (try? await echo(client2, "up")) == "up" }
        #expect(back)
        await client2.shutdown()
        await server.shutdown(grace: .zero)
    }

    @Test("a call that was sent is not sent again when its connection breaks")
    func notTwice() async throws {
        try await withServer { harness in
            let client = try harness.client()
            let task = Task {
                let _: Text = try await client.unary(EchoService.Methods.hang, Text("once"), .defaults)
            }
            #expect(await harness.service.hanging.next() == "once")
            await harness.server.shutdown(grace: .zero)
            let error = await #expect(throws: RPCError.self) { try await task.value }
            #expect(error?.code == .unavailable)
            #expect(harness.server.statistics.callsStarted == 1)
            await client.shutdown()
        }
    }

    @Test("no server: UNAVAILABLE with the cause, in time")
    func noServer() async throws {
        var configuration = ClientConfiguration(
            endpoints: [Endpoint(host: "127.0.0.1", port: 1)],
            tls: ClientTLS(trustRootsPath: TestCertificates.shared.path("ca.pem"))
        )
        configuration.backoff.initial = .seconds(60)
        let client = try Client(configuration, eventLoopGroup: MultiThreadedEventLoopGroup.singleton)
        let first = await #expect(throws: RPCError.self) { _ = try await echo(client, "x") }
        #expect(first?.code == .unavailable)
        #expect(first?.cause != nil)
        // The backoff of a minute has begun: the next call does not wait for it.
        let second = await #expect(throws: RPCError.self) { _ = try await echo(client, "x") }
        #expect(second?.code == .unavailable)
        await client.shutdown()
    }

    @Test("a server that accepts and says nothing: the handshake's time, then UNAVAILABLE")
    func silentServer() async throws {
        let silent = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .bind(host: "127.0.0.1", port: 0).get()
        var configuration = ClientConfiguration(
            endpoints: [Endpoint(host: "127.0.0.1", port: silent.localAddress?.port ?? 0)],
            tls: ClientTLS(trustRootsPath: TestCertificates.shared.path("ca.pem"))
        )
        configuration.connectTimeout = .milliseconds(200)
        let client = try Client(configuration, eventLoopGroup: MultiThreadedEventLoopGroup.singleton)
        let error = await #expect(throws: RPCError.self) { _ = try await echo(client, "x") }
        #expect(error?.code == .unavailable)
        let late = await #expect(throws: RPCError.self) {
            let _: Text = try await client.unary(
                EchoService.Methods.inline,
                Text("x"),
                CallOptions(timeout: .milliseconds(20))
            )
        }
        #expect(late?.code == .deadlineExceeded || late?.code == .unavailable)
        await client.shutdown()
        try await silent.close()
    }

    @Test("after shutdown calls are refused")
    func afterShutdown() async throws {
        try await withServer { harness in
            let client = try harness.client()
            _ = try await echo(client, "x")
            await client.shutdown()
            let error = await #expect(throws: RPCError.self) { _ = try await echo(client, "y") }
            #expect(error?.code == .unavailable)
        }
    }

    @Test("a stream of a stock server that is not read does not hold up other calls")
    func streamsOfTheirOwn() async throws {
        try await withServer { harness in
            let client = try harness.client(stock: true)
            let stream: ResponseStream<Blob> = try await client.serverStream(
                EchoService.Methods.blobs,
                Number(100_000),
                .defaults
            )
            var responses = stream.makeAsyncIterator()
            _ = try await responses.next()
            for index in 0..<50 { #expect(try await echo(client, "\(index)") == "\(index)") }
            stream.cancel()
            #expect(try await eventually { harness.server.statistics.callsRunning == 0 })
            await client.shutdown()
        }
    }
}
