import RPC
import Synchronization
import Testing
import Tracing

@testable import Telemetry

@Suite("Tracing")
struct TracingTests {
    private let parent = TraceContext(
        traceID: .random(),
        spanID: .random(),
        isSampled: true,
        state: "other=1"
    )

    private func tracer(ratio: Double, capacity: Int = 100) -> SpanTracer {
        SpanTracer(buffer: SpanBuffer(capacity: capacity), sampler: Sampler(ratio: ratio))
    }

    @Test("A call is a span of the trace that its caller names")
    func caller() async throws {
        let tracer = tracer(ratio: 0)
        let client = Probe([TracingInterceptor(tracer)])
        await client.code(
            ProbeService.Methods.succeed,
            "x",
            ["traceparent": parent.parentText, "tracestate": "other=1"]
        )
        let span = try #require(tracer.buffer.take(10).first)
        #expect(span.context.traceID == parent.traceID)
        #expect(span.context.spanID != parent.spanID)
        #expect(span.context.state == "other=1")
        #expect(span.parent == parent.spanID)
        #expect(span.name == "test.v1.Probe/Succeed")
        #expect(span.kind == .server && span.failure == nil)
        #expect(span.end >= span.start)
        let attributes = Dictionary(uniqueKeysWithValues: span.attributes)
        #expect(attributes["rpc.response.status_code"] == .text("OK"))
        #expect(attributes["client.address"] == .text("192.0.2.7"))
    }

    @Test("Whether a trace is sampled is for its beginning to say")
    func decision() async {
        let none = tracer(ratio: 0)
        let all = tracer(ratio: 1)
        await Probe([TracingInterceptor(none)]).code(ProbeService.Methods.succeed)
        #expect(none.buffer.size.waiting == 0)
        let client = Probe([TracingInterceptor(all)])
        await client.code(ProbeService.Methods.succeed)
        #expect(all.buffer.take(10).count == 1)
        var unsampled = parent
        unsampled.isSampled = false
        await client.code(ProbeService.Methods.succeed, "x", ["traceparent": unsampled.parentText])
        #expect(all.buffer.size.waiting == 0)
        // Two parents are none.
        let twice = Metadata([("traceparent", unsampled.parentText), ("traceparent", unsampled.parentText)])
        await client.code(ProbeService.Methods.succeed, "x", twice)
        let span = all.buffer.take(10).first
        #expect(span != nil && span?.context.traceID != unsampled.traceID)
    }

    @Test("A failed call has a span whatever was sampled, without what its caller sent")
    func failures() async throws {
        let tracer = tracer(ratio: 0)
        let client = Probe([TracingInterceptor(tracer)])
        var unsampled = parent
        unsampled.isSampled = false
        await client.code(ProbeService.Methods.refuse, "secret", ["traceparent": unsampled.parentText])
        await client.code(ProbeService.Methods.fail, "secret")
        await client.code(ProbeService.Methods.absent, "secret")
        let spans = tracer.buffer.take(10).sorted { $0.start < $1.start }
        #expect(spans.map(\.name) == ["test.v1.Probe/Refuse", "test.v1.Probe/Fail", "_OTHER"])
        #expect(spans.map(\.failure) == ["NOPE", "INTERNAL", "UNIMPLEMENTED"])
        #expect(spans.first?.context.traceID == parent.traceID && spans.first?.parent == parent.spanID)
        #expect(!"\(spans)".contains("secret"))
    }

    @Test("What a call waits for is a span below its own, where it is sampled")
    func children() async throws {
        let tracer = tracer(ratio: 0)
        let client = Probe([TracingInterceptor(tracer)], tracer: tracer)
        await client.code(ProbeService.Methods.work)
        #expect(tracer.buffer.size.waiting == 0)
        await client.code(ProbeService.Methods.work, "x", ["traceparent": parent.parentText])
        let spans = tracer.buffer.take(10)
        let server = try #require(spans.first { $0.kind == .server })
        let work = try #require(spans.first { $0.name == "work" })
        #expect(work.parent == server.context.spanID)
        #expect(work.context.traceID == parent.traceID)
        #expect(server.parent == parent.spanID)
    }

    @Test("A client's span is the parent of the server's")
    func client() async throws {
        let tracer = tracer(ratio: 1)
        let client = Probe([TracingInterceptor(tracer)]) { TracingTransport($0, tracer: tracer) }
        await client.code(ProbeService.Methods.refuse)
        let spans = tracer.buffer.take(10)
        let outer = try #require(spans.first { $0.kind == .client })
        let inner = try #require(spans.first { $0.kind == .server })
        #expect(inner.parent == outer.context.spanID)
        #expect(inner.context.traceID == outer.context.traceID)
        #expect(outer.parent == nil)
        #expect(outer.failure == "NOPE")
    }

    @Test("A span is handed on once, and takes nothing after its end")
    func once() {
        let tracer = tracer(ratio: 1)
        let span = tracer.startSpan(
            "a",
            context: .topLevel,
            ofKind: .internal,
            at: DefaultTracerClock.now,
            function: "",
            file: "",
            line: 0
        )
        span.attributes["n"] = 1
        span.end()
        span.attributes["n"] = 2
        span.end()
        let spans = tracer.buffer.take(10)
        #expect(spans.count == 1)
        #expect(spans.first.map { Dictionary(uniqueKeysWithValues: $0.attributes) } == ["n": .whole(1)])
    }
}

@Suite("Span buffer")
struct SpanBufferTests {
    private func span(_ number: UInt64) -> SpanRecord {
        SpanRecord(
            context: TraceContext(traceID: TraceID(high: 0, low: 1), spanID: SpanID(number), isSampled: true),
            parent: nil,
            name: "a",
            kind: .internal,
            start: 0,
            end: 0
        )
    }

    @Test("What does not fit is dropped and counted; taking makes room")
    func capacity() {
        let buffer = SpanBuffer(capacity: 3)
        for number in 1...5 { buffer.add(span(UInt64(number))) }
        #expect(buffer.size == (3, 2))
        #expect(Set(buffer.take(2).map(\.context.spanID.value)).count == 2)
        buffer.add(span(6))
        #expect(buffer.size == (2, 2))
        #expect(buffer.take(10).count == 2)
        #expect(buffer.take(10).isEmpty)
    }

    @Test("Every span is handed out once or counted as dropped, whatever happens at once")
    func threads() {
        // Room for half of them: some are dropped, and some come while others are put back.
        let buffer = SpanBuffer(capacity: 100_000)
        let seen = Mutex<[UInt64]>([])
        let isDone = Atomic<Bool>(false)
        onThreads(5) { thread in
            guard thread < 4 else {
                while !isDone.load(ordering: .relaxed) {
                    let taken = buffer.take(64).map(\.context.spanID.value)
                    seen.withLock { $0 += taken }
                }
                return
            }
            for number in 0..<50_000 { buffer.add(span(UInt64(thread * 50_000 + number + 1))) }
            if thread == 0 { isDone.store(true, ordering: .relaxed) }
        }
        seen.withLock { $0 += buffer.take(.max).map(\.context.spanID.value) }
        let all = seen.withLock { $0 }
        #expect(Set(all).count == all.count)
        #expect(all.count + Int(buffer.size.dropped) == 200_000)
        #expect(buffer.size.waiting == 0)
    }

    @Test("There is one reader at a time")
    func reader() {
        let buffer = SpanBuffer()
        #expect(buffer.beginReading())
        #expect(!buffer.beginReading())
        buffer.endReading()
        #expect(buffer.beginReading())
    }
}
