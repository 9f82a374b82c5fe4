import Logging
import RPC
import Testing

@testable import Telemetry

@Suite("Access log")
struct AccessLogTests {
    private let recorder = LogRecorder()
    private let tracer = SpanTracer(buffer: SpanBuffer(), sampler: Sampler(ratio: 0))

    private func client(_ policy: AccessLogPolicy) -> (Probe, AccessLog) {
        let log = AccessLog(logger: recorder.logger, policy: policy, tracer: tracer)
        let telemetry = CallTelemetry(
            TracingInterceptor(tracer),
            MetricsInterceptor(MetricsRegistry()),
            AccessLogInterceptor(log)
        )
        return (Probe([telemetry]), log)
    }

    @Test("Calls that fail have a line, those that succeed have none")
    func failures() async throws {
        let (client, _) = client(AccessLogPolicy())
        await client.code(ProbeService.Methods.succeed)
        await client.code(ProbeService.Methods.refuse, "secret")
        await client.code(ProbeService.Methods.fail, "secret")
        #expect(recorder.lines.map(\.level) == [.info, .error])
        let refused = try #require(recorder.lines.first).metadata
        #expect(refused["rpc.method"] == "test.v1.Probe/Refuse")
        #expect(refused["rpc.response.status_code"] == "NOT_FOUND")
        #expect(refused["reason"] == "NOPE" && refused["why"] == "failed")
        #expect(refused["peer"] == "192.0.2.7:5")
        #expect(refused["duration_us"].flatMap(Int.init) != nil)
        #expect(recorder.lines.last?.metadata["cause"] == "Cause")
        #expect(!"\(recorder.lines)".contains("secret"))
    }

    @Test("The line of a failed call names its span")
    func span() async throws {
        let (client, _) = client(AccessLogPolicy())
        await client.code(ProbeService.Methods.refuse)
        let line = try #require(recorder.lines.first).metadata
        let span = try #require(tracer.buffer.take(1).first)
        #expect(line["trace_id"] == "\(span.context.traceID)")
        #expect(line["span_id"] == "\(span.context.spanID)")
    }

    @Test("Slow calls have a line, and the asked part of all others")
    func slowAndSampled() async {
        let (slow, _) = client(AccessLogPolicy(slow: -1))
        await slow.code(ProbeService.Methods.succeed)
        let (all, _) = client(AccessLogPolicy(ratio: 1))
        await all.code(ProbeService.Methods.succeed)
        #expect(recorder.lines.map { $0.metadata["why"] } == ["slow", "sampled"])
    }

    @Test("Callers' failures are bounded in a second, the server's are not")
    func bounded() async {
        let (client, log) = client(AccessLogPolicy(failuresPerSecond: 0))
        for _ in 0..<5 { await client.code(ProbeService.Methods.refuse) }
        await client.code(ProbeService.Methods.fail)
        #expect(recorder.lines.map(\.level) == [.error])
        #expect(log.suppressed == 5)
    }

    @Test("The budget begins anew with the second, and tells how much it has suppressed")
    func budget() {
        var budget = LineBudget(limit: 2)
        #expect(budget.take(at: 10) == 0)
        #expect(budget.take(at: 10) == 0)
        #expect(budget.take(at: 10) == nil)
        #expect(budget.take(at: 9) == nil)
        #expect(budget.take(at: 11) == 2)
        #expect(budget.take(at: 11) == 0)
        #expect(budget.take(at: 11) == nil)
    }

    @Test("A caller's request id is taken where it is plain, else one is made")
    func requestID() async throws {
        let (client, _) = client(AccessLogPolicy())
        for given in ["order-17.a_B", "", "a b", "x\"", String(repeating: "a", count: 65)] {
            await client.code(ProbeService.Methods.refuse, "x", ["x-request-id": given])
        }
        let ids = recorder.lines.compactMap { $0.metadata["request_id"] }
        #expect(ids.first == "order-17.a_B")
        #expect(ids.count == 5)
        for made in ids.dropFirst() { #expect(made.count == 16 && UInt64(made, radix: 16) != nil, "\(made)") }
    }
}

@Suite("Log levels")
struct LogLevelsTests {
    @Test("A logger follows the level of all until it has its own, and again after")
    func levels() throws {
        let levels = LogLevels(.info)
        let engine = levels.cell(of: "engine")
        let rpc = levels.cell(of: "rpc")
        levels.set(.debug)
        #expect(engine.level == .debug && rpc.level == .debug)
        try levels.set(.error, of: "engine")
        levels.set(.trace)
        #expect(engine.level == .error && rpc.level == .trace)
        #expect(levels.all.base == .trace)
        #expect(levels.all.own.map(\.logger) == ["engine"])
        try levels.set(nil, of: "engine")
        #expect(engine.level == .trace && levels.all.own.isEmpty)
        #expect(levels.cell(of: "later").level == .trace)
    }

    @Test("A logger that is not there is refused, with those that are")
    func unknown() {
        let levels = LogLevels(.info)
        _ = levels.cell(of: "b")
        _ = levels.cell(of: "a")
        do {
            try levels.set(.debug, of: "c")
            Issue.record("accepted")
        } catch { #expect(error.known == ["a", "b"]) }
    }
}
