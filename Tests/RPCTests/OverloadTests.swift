import Logging
import MetricsTestKit
import NIOCore
import RPC
import SwiftProtobuf
import Synchronization
import Testing

/// Attaches the principal that the metadata names.
private struct Named: ServerInterceptor {
    func begin(_ call: ServerCall) throws(RPCError) -> InterceptDecision {
        call.principal = Principal(
            name: call.metadata["name"] ?? "nobody",
            source: .anonymous,
            grants: Grants(roles: [], table: MethodRoles([:]))
        )
        return .proceed
    }
}

@Suite("Overload", .timeLimit(.minutes(2)))
struct OverloadTests {
    private func control(
        _ change: (inout OverloadConfiguration) -> Void,
        as methodClass: MethodClass = .read
    ) -> OverloadControl {
        var configuration = OverloadConfiguration()
        configuration.metrics = TestMetrics()
        change(&configuration)
        return OverloadControl(configuration) { _ in methodClass }
    }

    private func call(_ client: any CallTransport, _ method: MethodDescriptor, as name: String = "ann") async
        -> RPCError?
    {
        do throws(RPCError) {
            let _: Text = try await client.unary(method, Text("x"), CallOptions(metadata: ["name": name]))
            return nil
        } catch {
            return error
        }
    }

    private func client(_ control: OverloadControl) -> InProcessClient {
        InProcessClient(services: [EchoService()], interceptors: [Named()] + control.interceptors)
    }

    // MARK: Rates

    @Test("a caller gets no more than its rate, whatever objects stand for it; others are not concerned")
    func rate() async throws {
        let control = control { $0.rates = [.read: GCRA.Limit(perSecond: 0.001, burst: 3)] }
        let client = client(control)
        for _ in 0..<3 { #expect(await call(client, EchoService.Methods.inline) == nil) }
        let error = try #require(await call(client, EchoService.Methods.inline))
        #expect(error.code == .resourceExhausted && error.errorInfo?.reason == "RATE_LIMITED")
        #expect(error.retryDelay ?? .zero >= .seconds(900) && error.quotaFailure != nil)
        #expect(error.metadata["ratelimit-policy"] == "\"read\";q=3;w=3000")
        #expect(error.metadata["ratelimit"]?.hasPrefix("\"read\";r=0;t=") == true)
        #expect(error.metadata[RetryPolicy.pushbackKey].flatMap(Int.init) ?? 0 >= 900_000)
        #expect(await call(client, EchoService.Methods.inline, as: "bob") == nil)
        #expect(control.counters.rejected == ["rate_limit": 1] && control.counters.principals == 2)
    }

    @Test("a dry run counts what it would refuse, and refuses nothing; off is not there")
    func dryRun() async {
        let dry = control {
            $0.rates = [.read: GCRA.Limit(perSecond: 0.001, burst: 1)]
            $0.mode = .dryRun
        }
        let client = client(dry)
        for _ in 0..<4 { #expect(await call(client, EchoService.Methods.inline) == nil) }
        #expect(dry.counters.rejected == ["rate_limit": 3])
        #expect(control { $0.mode = .off }.interceptors.isEmpty)
    }

    @Test("principals beyond the limit share one budget")
    func manyPrincipals() async {
        let control = control {
            $0.rates = [.read: GCRA.Limit(perSecond: 0.001, burst: 1)]
            $0.maximumPrincipals = 2
        }
        let client = client(control)
        for name in ["a", "b", "c"] { #expect(await call(client, EchoService.Methods.inline, as: name) == nil) }
        #expect(await call(client, EchoService.Methods.inline, as: "d") != nil)
        #expect(await call(client, EchoService.Methods.inline, as: "a") != nil)
        #expect(control.counters.principals == 2)
    }

    @Test("a principal that has gone and owes nothing makes room for another")
    func principalsGo() async throws {
        let control = control {
            $0.rates = [.read: GCRA.Limit(perSecond: 1_000, burst: 1)]
            $0.maximumPrincipals = 2
        }
        let client = client(control)
        for name in ["a", "b"] { #expect(await call(client, EchoService.Methods.inline, as: name) == nil) }
        #expect(control.counters.principals == 2)
        // Looked for once a second at most.
        let isAlone = try await eventually {
            _ = await call(client, EchoService.Methods.inline, as: "c")
            return control.counters.principals == 1
        }
        #expect(isAlone)
    }

    @Test("over a socket the refusal's metadata comes with it")
    func metadata() async throws {
        let control = control { $0.rates = [.read: GCRA.Limit(perSecond: 0.001, burst: 1)] }
        try await withServer(interceptors: [Named()] + control.interceptors) { harness in
            let client = try harness.client()
            #expect(await call(client, EchoService.Methods.inline) == nil)
            let error = await call(client, EchoService.Methods.inline)
            #expect(error?.metadata["ratelimit-policy"] != nil && error?.metadata[RetryPolicy.pushbackKey] != nil)
            await client.shutdown()
        }
    }

    // MARK: Calls in tasks

    private func full(_ service: EchoService, _ control: OverloadControl) -> InProcessClient {
        InProcessClient(services: [service], interceptors: [Named()] + control.interceptors)
    }

    @Test(
        "calls beyond the limit wait; those for whom there is no room are refused; who waits runs when another has ended"
    )
    func concurrency() async throws {
        let control = control {
            ($0.concurrency.limit.initial, $0.concurrency.limit.minimum, $0.concurrency.limit.maximum) = (1, 1, 1)
            $0.concurrency.capacity = 1
        }
        let service = EchoService()
        let client = full(service, control)
        let running = Task { await call(client, EchoService.Methods.hang) }
        #expect(await service.hanging.next() == "x")
        let waiting = Task { await call(client, EchoService.Methods.async) }
        #expect(try await eventually { control.counters.queues[.read]?.waiting == 1 })
        let refused = await call(client, EchoService.Methods.async)
        #expect(refused?.code == .resourceExhausted && refused?.errorInfo?.reason == "OVERLOADED")
        #expect(refused?.errorInfo?.metadata["cause"] == "queue_full" && refused?.retryDelay != nil)
        // Inline calls are not held up by those.
        #expect(await call(client, EchoService.Methods.inline) == nil)
        running.cancel()
        #expect(await waiting.value == nil)
        #expect(await running.value?.code == .cancelled)
        #expect(try await eventually { control.counters.queues[.read]?.inFlight == 0 })
        #expect(control.counters.admitted == 2 && control.counters.rejected == ["queue_full": 1])
    }

    @Test("who waits and gives up leaves the queue")
    func cancelled() async throws {
        let control = control {
            ($0.concurrency.limit.initial, $0.concurrency.limit.minimum, $0.concurrency.limit.maximum) = (1, 1, 1)
        }
        let service = EchoService()
        let client = full(service, control)
        let running = Task { await call(client, EchoService.Methods.hang) }
        _ = await service.hanging.next()
        let waiting = Task { await call(client, EchoService.Methods.async) }
        #expect(try await eventually { control.counters.queues[.read]?.waiting == 1 })
        waiting.cancel()
        #expect(await waiting.value?.code == .cancelled)
        #expect(try await eventually { control.counters.queues[.read]?.waiting == 0 })
        running.cancel()
        #expect(try await eventually { control.counters.queues[.read]?.inFlight == 0 })
    }

    @Test("a call that waits and is then refused by another limit leaves the queue")
    func refusedBehind() async throws {
        let control = control {
            ($0.concurrency.limit.initial, $0.concurrency.limit.minimum, $0.concurrency.limit.maximum) = (1, 1, 1)
            $0.concurrency.longestWait = .seconds(600)
        }
        var limits = ServerLimits()
        limits.maxStreamsPerConnection = 2
        try await withServer(limits: limits, interceptors: [Named()] + control.interceptors) { harness in
            let client = try harness.client { $0.connectionsPerEndpoint = 1 }
            let running = Task { await call(client, EchoService.Methods.hang) }
            _ = await harness.service.hanging.next()
            let waiting = Task { await call(client, EchoService.Methods.async) }
            #expect(try await eventually { control.counters.queues[.read]?.waiting == 1 })
            let refused = await call(client, EchoService.Methods.async)
            #expect(refused?.code == .resourceExhausted && refused?.errorInfo?.reason != "OVERLOADED")
            #expect(control.counters.queues[.read]?.waiting == 1)
            running.cancel()
            #expect(await waiting.value == nil)
            #expect(try await eventually { control.counters.queues[.read]?.inFlight == 0 })
            #expect(control.counters.queues[.read]?.waiting == 0)
            await client.shutdown()
        }
    }

    @Test("a dry run counts the calls that would wait, and runs them")
    func dryWait() async throws {
        let control = control {
            ($0.concurrency.limit.initial, $0.concurrency.limit.minimum, $0.concurrency.limit.maximum) = (1, 1, 1)
            $0.mode = .dryRun
        }
        let service = EchoService()
        let client = full(service, control)
        let running = Task { await call(client, EchoService.Methods.hang) }
        _ = await service.hanging.next()
        for _ in 0..<2 { #expect(await call(client, EchoService.Methods.async) == nil) }
        #expect(control.counters.waited == 2 && control.counters.queues[.read]?.waiting == 0)
        running.cancel()
        #expect(try await eventually { control.counters.queues[.read]?.inFlight == 0 })
    }

    @Test("a dry run gives every place back, however many calls come at once")
    func dryPlaces() async throws {
        let control = control {
            ($0.concurrency.limit.initial, $0.concurrency.limit.minimum, $0.concurrency.limit.maximum) = (1, 1, 1)
            $0.mode = .dryRun
        }
        let client = full(EchoService(), control)
        await withTaskGroup { group in
            for _ in 0..<8 {
                group.addTask {
                    for _ in 0..<1_000 { #expect(await call(client, EchoService.Methods.async) == nil) }
                }
            }
        }
        #expect(control.counters.waited > 0)
        #expect(try await eventually { control.counters.queues[.read]?.inFlight == 0 })
    }

    @Test("operators are not held up")
    func reserve() async throws {
        let control = control(
            { ($0.concurrency.limit.minimum, $0.concurrency.limit.maximum, $0.concurrency.capacity) = (1, 1, 0) },
            as: .operator
        )
        let service = EchoService()
        let client = full(service, control)
        let running = (0..<3).map { _ in Task { await call(client, EchoService.Methods.hang) } }
        for _ in running { _ = await service.hanging.next() }
        #expect(await call(client, EchoService.Methods.async) == nil)
        for task in running { task.cancel() }
        #expect(control.counters.rejected.isEmpty)
    }

    // MARK: Inline calls

    private func outcome(_ interceptor: any ServerInterceptor, _ load: LoopLoad, id: UInt32, _ criticality: String?)
        -> Bool
    {
        let call = ServerCall(
            method: Method(descriptor: EchoService.Methods.inline, isKnown: true),
            id: id,
            metadata: criticality.map { ["x-criticality": $0] } ?? Metadata(),
            peer: Peer(address: "test", load: load),
            receivedAt: .now(),
            deadline: nil,
            requestBytes: 0
        )
        return (try? interceptor.begin(call)) != nil
    }

    @Test("calls of a late loop are shed, the least critical first")
    func shedding() throws {
        let control = control { _ in }
        let load = LoopLoad()
        let interceptors = control.interceptors.compactMap {
            $0.specialized(for: EchoService.Methods.inline, isInline: true)
        }
        let interceptor = try #require(interceptors.last)
        func passed(_ criticality: String?) -> Int {
            (0..<1_000).count { outcome(interceptor, load, id: UInt32($0 * 2 + 1), criticality) }
        }
        #expect(passed("SHEDDABLE") == 1_000)
        load.set(level: 0.3)
        #expect(abs(passed("SHEDDABLE") - 700) < 5 && passed("SHEDDABLE_PLUS") == 1_000)
        load.set(level: 2.5)
        #expect(passed("SHEDDABLE") == 0 && passed("SHEDDABLE_PLUS") == 0)
        #expect(abs(passed(nil) - 500) < 5 && passed("CRITICAL_PLUS") == 1_000)
        #expect(control.counters.rejected["shed"] ?? 0 > 2_000)
    }
}
