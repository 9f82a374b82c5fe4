import CohortAPI
import Foundation
import OTLP
import RPC
import SwiftProtobuf
import Synchronization
import Testing

/// Calls that leave one span each, in a trace of its own and of some size, at a steady pace until it is told to stop.
private final class SpanFlow: Sendable {
    static let name = "cohort.v1.MembershipService/CheckMembership"

    private let count = Atomic<UInt64>(0)
    private let isOver = Atomic<Bool>(false)

    var made: Int { Int(count.load(ordering: .relaxed)) }
    func stop() { isOver.store(true, ordering: .relaxed) }

    /// About 1000 a second.
    func run(_ client: Client) async throws {
        while !isOver.load(ordering: .relaxed) {
            try await call(client, 50)
            try await Task.sleep(for: .milliseconds(50))
        }
    }

    func call(_ client: Client, _ calls: Int) async throws {
        let membership = CohortClient(client).membership
        let state = ["a", "b", "c"].map { "\($0)=\(String(repeating: $0, count: 250))" }.joined(separator: ",")
        try await forEachConcurrently(Array(0..<calls), width: 8) { [self] _ in
            let number = count.wrappingAdd(1, ordering: .relaxed).newValue
            let hex = String(number, radix: 16)
            let trace = String(repeating: "0", count: 32 - hex.utf8.count) + hex
            var options = CallOptions.defaults
            options.metadata["traceparent"] = "00-\(trace)-b7ad6b7169203331-01"
            options.metadata["tracestate"] = state
            _ = try await membership.checkMembership(
                .with {
                    $0.customerID = "c1"; $0.cohortID = "BIG"
                },
                options: options
            )
        }
    }
}

@Suite("A collector that is away")
struct SidecarOutageTests {
    private static let isLong = ProcessInfo.processInfo.environment["COHORT_LONG"] == "1"
    /// What may wait.
    private static let (spans, bytes) = (2_000, 4_000_000)

    @Test(
        "While spans and metrics flow the collector is gone: memory is bounded, each loss is counted, and all arrives again",
        .timeLimit(.minutes(10))
    )
    func outage() async throws {
        let directory = try TemporaryDirectory()
        let server = try await TestServer(
            dataDirectory: directory.file("data"),
            arguments: ["--tracing-ratio", "0"]
        )
        try await server.cohortctl("cohorts", "create", "BIG", "--rule", "customer.daily_spend > 10.0")
        let before = try await TestCollector()
        let sidecar = try await TestSidecar(
            server: server.endpoint,
            ca: server.tlsFile("ca.pem"),
            ["--otlp-endpoint", before.endpoint, "--otlp-metrics-seconds", "1", "--otlp-compression", "none"]
                + ["--limits-export-spans", "\(Self.spans)", "--limits-export-bytes", "\(Self.bytes)"]
        )
        let flow = SpanFlow()
        let after = try await server.withClient { client in
            let flowing = Task { try await flow.run(client) }
            defer { flow.stop() }
            try await eventually("no spans: \(sidecar.program.errors)") {
                try await sidecar.items("spans", "sent") > 500
            }
            try await before.stop()
            try await watchOutage(sidecar)
            let after = try await TestCollector(port: before.port)
            // The wait between two tries has grown to half a minute and a fifth.
            let sent = try await sidecar.items("spans", "sent")
            try await eventually("it does not come back: \(sidecar.program.errors)", seconds: 90) {
                try await sidecar.items("spans", "sent") > sent
            }
            #expect(sidecar.program.errors.contains("the collector answers again"))
            flow.stop()
            try await flowing.value
            try await expectAccounted(sidecar, flow)
            let full = try await sidecar.items("spans", "full")
            #expect(full > 0)
            // From now on nothing is lost.
            for _ in 0..<5 {
                try await flow.call(client, 200)
                try await expectAccounted(sidecar, flow)
            }
            #expect(try await sidecar.items("spans", "full") == full)
            return after
        }
        try await expectArrived(sidecar, flow, before, after)
        #expect(try await server.stop() == 0)
    }

    @Test("A collector that is back when the sidecar ends gets what waits, however long the next try is away")
    func backAtTheEnd() async throws {
        let directory = try TemporaryDirectory()
        let server = try await TestServer(dataDirectory: directory.file("data"))
        let gone = try await TestCollector()
        try await gone.stop()
        let sidecar = try await TestSidecar(
            server: server.endpoint,
            ca: server.tlsFile("ca.pem"),
            ["--otlp-endpoint", gone.endpoint, "--otlp-metrics-seconds", "1", "--shutdown-seconds", "4"]
        )
        // After 1, 2 and 4 seconds: the next one is at least 6 away.
        try await eventually("it does not try: \(sidecar.program.errors)") {
            try await sidecar.sample(#"sidecar_export_requests_total{kind="metrics",outcome="again"}"#) >= 4
        }
        let back = try await TestCollector(port: gone.port)
        #expect(try await sidecar.stop() == 0)
        #expect(!sidecar.program.errors.contains("stopped before all was sent"), "\(sidecar.program.errors)")
        #expect(try await !back.decoded().metrics.isEmpty)
        #expect(try await server.stop() == 0)
    }

    /// The queues keep their limits, the process does not grow once they are full, and everybody else is served.
    private func watchOutage(_ sidecar: TestSidecar) async throws {
        let end = ContinuousClock.now + (Self.isLong ? .seconds(60) : .seconds(5))
        try await eventually("the queue does not become full") { try await sidecar.items("spans", "full") > 0 }
        let memory = "sidecar_process_memory_usage_bytes"
        let base = try await sidecar.sample(memory)
        while ContinuousClock.now < end {
            #expect(try await sidecar.sample(#"sidecar_export_queue_items{kind="spans"}"#) <= Double(Self.spans))
            for kind in ["spans", "metrics"] {
                let bytes = try await sidecar.sample("sidecar_export_queue_bytes{kind=\"\(kind)\"}")
                #expect(bytes <= Double(Self.bytes), "\(kind)")
            }
            for probe in ["/livez", "/readyz"] { #expect(try await sidecar.get(probe).status == 200) }
            try await Task.sleep(for: .milliseconds(500))
        }
        // A minute brings some 50 MB of spans.
        let growth = try await sidecar.sample(memory) - base
        print("memory at a full queue \(Int(base)), growth \(Int(growth)) bytes")
        #expect(growth < 24 * 1_048_576, "\(Int(growth)) bytes more than \(Int(base))")
    }

    /// Each span that was made is sent, or counted as lost by the sidecar or by the server; none is counted twice.
    private func expectAccounted(_ sidecar: TestSidecar, _ flow: SpanFlow) async throws {
        var counted = 0
        try await eventually("\(counted) of \(flow.made) spans: \(sidecar.program.errors)") {
            counted = try await sidecar.items("spans", "sent") + sidecar.items("spans", "full")
            counted += Int(try await sidecar.sample("telemetry_spans_dropped_total"))
            return counted >= flow.made
        }
        #expect(counted == flow.made)
    }

    private func expectArrived(
        _ sidecar: TestSidecar,
        _ flow: SpanFlow,
        _ before: TestCollector,
        _ after: TestCollector
    ) async throws {
        let sent = try await sidecar.items("spans", "sent")
        for outcome in ["rejected", "refused", "unclear", "expired", "shutdown"] {
            #expect(try await sidecar.items("spans", outcome) == 0, "\(outcome)")
        }
        #expect(try await sidecar.stop() == 0)
        let (first, second) = (try await before.decoded(), try await after.decoded())
        let traces = (first.spans + second.spans).map(\.span.traceID)
        #expect(traces.count == sent && Set(traces).count == sent, "\(traces.count) of \(sent)")
        // Totals lose nothing by what was dropped.
        let calls = second.metrics.flatMap(\.resourceMetrics).flatMap(\.scopeMetrics).flatMap(\.metrics)
            .last { $0.name == "rpc.server.call.duration" }
        let points = calls?.histogram.dataPoints.filter { point in
            point.attributes.contains { $0.value.stringValue == SpanFlow.name }
        }
        #expect(points?.reduce(0) { $0 + Int($1.count) } == flow.made)
    }
}
