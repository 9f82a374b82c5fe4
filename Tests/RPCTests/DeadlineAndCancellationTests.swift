import NIOCore
import RPC
import SwiftProtobuf
import Synchronization
import Testing

@Suite("Deadlines and cancellation", .timeLimit(.minutes(2)))
struct DeadlineAndCancellationTests {
    @Test("a deadline ends the call at both ends", arguments: [false, true])
    func deadline(stock: Bool) async throws {
        try await withServer { harness in
            let client = try harness.client(stock: stock)
            // Connects first, so that the time goes to the call.
            let _: Text = try await client.unary(EchoService.Methods.inline, Text("x"), .defaults)
            let error = await #expect(throws: RPCError.self) {
                let _: Text = try await client.unary(
                    EchoService.Methods.hang,
                    Text("late"),
                    CallOptions(timeout: .seconds(1))
                )
            }
            #expect(error?.code == .deadlineExceeded)
            #expect(await harness.service.cancelled.next() == "late")
            await client.shutdown()
        }
    }

    @Test("the server itself answers DEADLINE_EXCEEDED")
    func serverDeadline() async throws {
        try await withServer { harness in
            let peer = try await RawPeer.connect(to: harness.endpoint)
            try await peer.write(Raw.request(1, "Hang", Text("raw"), timeoutNanos: 8_000_000_000))
            #expect(try await peer.frames(1).first?.code == 4)
            #expect(await harness.service.cancelled.next() == "raw")
            await peer.close()
        }
    }

    @Test("a call of a task that is cancelled already is not sent")
    func cancelledBefore() async throws {
        try await withServer { harness in
            let client = try harness.client()
            let _: Text = try await client.unary(EchoService.Methods.inline, Text("x"), .defaults)
            let task = Task {
                withUnsafeCurrentTask { $0?.cancel() }
                let _: Text = try await client.unary(EchoService.Methods.inline, Text("y"), .defaults)
            }
            let error = await #expect(throws: RPCError.self) { try await task.value }
            #expect(error?.code == .cancelled)
            let _: Text = try await client.unary(EchoService.Methods.inline, Text("z"), .defaults)
            #expect(harness.service.handled.load(ordering: .relaxed) == 2)
            await client.shutdown()
        }
    }

    @Test("an expired call never reaches its handler", arguments: ["Inline", "Hang"])
    func expired(method: String) async throws {
        try await withServer { harness in
            let peer = try await RawPeer.connect(to: harness.endpoint)
            try await peer.write(Raw.request(1, method, Text("x"), timeoutNanos: -1))
            #expect(try await peer.frames(1).first?.code == 4)
            #expect(harness.service.handled.load(ordering: .relaxed) == 0)
            #expect(harness.server.statistics.callsRunning == 0)
            await peer.close()
        }
    }

    @Test("what is left of the deadline reaches the handler")
    func propagates() async throws {
        let seen = Events<Duration?>()
        struct Look: ServerInterceptor {
            let seen: Events<Duration?>
            func begin(_ call: ServerCall) throws(RPCError) -> InterceptDecision {
                seen.send(call.timeRemaining)
                return .proceed
            }
        }
        try await withServer(interceptors: [Look(seen: seen)]) { harness in
            let client = try harness.client()
            let _: Text = try await client.unary(
                EchoService.Methods.inline,
                Text("x"),
                CallOptions(timeout: .seconds(60))
            )
            let left = await seen.next() ?? nil
            #expect(left.map { $0 > .seconds(30) && $0 <= .seconds(60) } == true)
            let _: Text = try await client.unary(EchoService.Methods.inline, Text("x"), .defaults)
            #expect(await seen.next() == .some(nil))
            await client.shutdown()
        }
    }

    @Test("cancelling the task cancels the handler, with the extensions")
    func cancelUnary() async throws {
        try await withServer { harness in
            let client = try harness.client()
            let task = Task {
                let _: Text = try await client.unary(EchoService.Methods.hang, Text("c"), .defaults)
            }
            #expect(await harness.service.hanging.next() == "c")
            task.cancel()
            let error = await #expect(throws: RPCError.self) { try await task.value }
            #expect(error?.code == .cancelled)
            #expect(await harness.service.cancelled.next() == "c")
            // The connection lives.
            let text: Text = try await client.unary(EchoService.Methods.inline, Text("on"), .defaults)
            #expect(text.value == "on")
            await client.shutdown()
        }
    }

    @Test("with a stock server the caller stops waiting and the handler runs on")
    func cancelStock() async throws {
        try await withServer { harness in
            let client = try harness.client(stock: true)
            let task = Task {
                let _: Text = try await client.unary(EchoService.Methods.hang, Text("s"), .defaults)
            }
            #expect(await harness.service.hanging.next() == "s")
            task.cancel()
            let error = await #expect(throws: RPCError.self) { try await task.value }
            #expect(error?.code == .cancelled)
            let text: Text = try await client.unary(EchoService.Methods.inline, Text("on"), .defaults)
            #expect(text.value == "on")
            #expect(harness.server.statistics.callsRunning == 1)
            await client.shutdown()
        }
    }

    @Test("dropping a response stream cancels the call")
    func dropStream() async throws {
        try await withServer { harness in
            let client = try harness.client()
            do {
                let stream: ResponseStream<Blob> = try await client.serverStream(
                    EchoService.Methods.blobs,
                    Number(1_000_000),
                    .defaults
                )
                var responses = stream.makeAsyncIterator()
                _ = try await responses.next()
            }
            #expect(try await eventually { harness.server.statistics.callsRunning == 0 })
            await client.shutdown()
        }
    }

    @Test("a disconnect cancels the calls of the connection and of no other")
    func disconnect() async throws {
        try await withServer { harness in
            let gone = try await RawPeer.connect(to: harness.endpoint)
            let stays = try await RawPeer.connect(to: harness.endpoint)
            try await gone.write(Raw.request(1, "Hang", Text("gone")))
            try await stays.write(Raw.request(1, "Hang", Text("stays")))
            _ = await harness.service.hanging.next()
            _ = await harness.service.hanging.next()
            await gone.close()
            #expect(await harness.service.cancelled.next() == "gone")
            #expect(try await eventually { harness.server.statistics.callsRunning == 1 })
            try await stays.write(Raw.request(3, "Inline", Text("still here")))
            #expect(try await stays.frames(1).first?.text == "still here")
            await stays.close()
        }
    }

    @Test("in process: deadline and cancellation")
    func inProcess() async throws {
        let service = EchoService()
        let client = InProcessClient(services: [service])
        let late = await #expect(throws: RPCError.self) {
            let _: Text = try await client.unary(
                EchoService.Methods.hang,
                Text("late"),
                CallOptions(timeout: .seconds(8))
            )
        }
        #expect(late?.code == .deadlineExceeded)
        #expect(await service.cancelled.next() == "late")
        let task = Task {
            let _: Text = try await client.unary(EchoService.Methods.hang, Text("c"), .defaults)
        }
        _ = await service.hanging.next()
        _ = await service.hanging.next()
        task.cancel()
        let error = await #expect(throws: RPCError.self) { try await task.value }
        #expect(error?.code == .cancelled)
        #expect(await service.cancelled.next() == "c")
    }
}
