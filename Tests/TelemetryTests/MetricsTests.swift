import CoreMetrics
import NIOCore
import OTLP
import RPC
import SwiftProtobuf
import Testing

@testable import Telemetry

@Suite("Metrics")
struct MetricsTests {
    @Test("Handles of one name and the same dimensions in any order are one series")
    func identity() throws {
        let registry = MetricsRegistry()
        registry.makeCounter(label: "a", dimensions: [("x", "1"), ("y", "2")]).increment(by: 3)
        registry.makeCounter(label: "a", dimensions: [("y", "2"), ("x", "1")]).increment(by: 4)
        registry.makeCounter(label: "a", dimensions: [("x", "2")]).increment(by: 5)
        let points = try #require(registry.metric("a")).sum.dataPoints
        #expect(points.map(\.asInt) == [7, 5])
        #expect(points.map { $0.attributes.map { "\($0.key)=\($0.value.stringValue)" } } == [["x=1", "y=2"], ["x=2"]])
        #expect(registry.size.series == 2)
    }

    @Test("What is asked for beyond the most series of a metric counts in one, and is counted")
    func overflow() throws {
        let registry = MetricsRegistry(seriesLimit: 3)
        for customer in 0..<10 {
            registry.makeCounter(label: "a", dimensions: [("id", "\(customer)")]).increment(by: 1)
        }
        registry.makeCounter(label: "a", dimensions: [("id", "1")]).increment(by: 1)
        registry.makeCounter(label: "b", dimensions: []).increment(by: 1)
        let points = try #require(registry.metric("a")).sum.dataPoints
        let byName = Dictionary(uniqueKeysWithValues: points.map { ($0.attributes[0].value.stringValue, $0.asInt) })
        #expect(byName == ["0": 1, "1": 2, "2": 1, "true": 7])
        #expect(registry.size == (5, 7))
    }

    @Test("Each kind is told as what it is, with the unit and the text of its description")
    func kinds() throws {
        let registry = MetricsRegistry(
            resource: [("service.name", "probe")],
            scope: "tests",
            descriptions: [MetricDescription("total", "{thing}", "things")],
            startedAt: 17
        )
        registry.makeCounter(label: "total", dimensions: []).increment(by: 2)
        registry.makeFloatingPointCounter(label: "fraction", dimensions: []).increment(by: 0.5)
        registry.makeMeter(label: "level", dimensions: []).set(1.25)
        registry.makeRecorder(label: "gauge", dimensions: [], aggregate: false).record(9 as Int64)
        registry.makeRecorder(label: "amounts", dimensions: [], aggregate: true).record(9 as Int64)
        registry.makeTimer(label: "times", dimensions: []).recordNanoseconds(30_000)
        _ = registry.makeTimer(label: "never", dimensions: [])
        let data = registry.snapshot(now: 42)
        let resource = try #require(data.resourceMetrics.first)
        #expect(resource.resource.attributes.map(\.value.stringValue) == ["probe"])
        #expect(resource.scopeMetrics.first?.scope.name == "tests")
        let total = try #require(registry.metric("total"))
        #expect(total.unit == "{thing}" && total.description_p == "things")
        #expect(total.sum.isMonotonic && total.sum.aggregationTemporality == .cumulative)
        #expect(total.sum.dataPoints.map(\.startTimeUnixNano) == [17])
        #expect(registry.metric("fraction")?.sum.dataPoints.map(\.asDouble) == [0.5])
        #expect(registry.metric("level")?.gauge.dataPoints.map(\.asDouble) == [1.25])
        #expect(registry.metric("gauge")?.gauge.dataPoints.map(\.asDouble) == [9])
        #expect(registry.metric("amounts")?.histogram.dataPoints.map(\.sum) == [9])
        let times = try #require(registry.metric("times"))
        #expect(times.unit == "s")
        let point = try #require(times.histogram.dataPoints.first)
        #expect(point.count == 1 && point.sum == 0.00003)
        #expect(point.bucketCounts.count == point.explicitBounds.count + 1)
        #expect(point.bucketCounts.firstIndex(of: 1) == 2)
        #expect(registry.metric("never") == nil)
    }

    @Test("What is written straight as bytes is what swift-protobuf would have written")
    func bytes() throws {
        let registry = MetricsRegistry(
            resource: [("service.name", "probe"), ("service.version", "1")],
            scope: "tests",
            descriptions: [MetricDescription("total", "{thing}", String(repeating: "long ", count: 60))],
            startedAt: 17
        )
        let tracer = TraceContext(
            traceID: TraceID(high: 1, low: 1 << 63 | 2),
            spanID: SpanID(0x0102_0304_0506_0708),
            isSampled: true
        )
        for number in 0..<60 {
            // From no attribute to some of more than 127 and more than 16,383 bytes.
            let dimensions = (0..<number % 4).map { ("key\($0)", String(repeating: "x", count: number * number * 6)) }
            registry.makeCounter(label: "total", dimensions: [("n", "\(number)")] + dimensions).increment(
                by: Int64(number) - 5
            )
            registry.makeFloatingPointCounter(label: "fraction", dimensions: dimensions).increment(by: 0.25)
            registry.makeMeter(label: "level", dimensions: dimensions).set(-Double(number))
            let times = registry.duration("times", dimensions)
            times.record(ticks: 1 << Int64(number % 40))
            if number % 3 == 0 { times.record(ticks: 1 << Int64(number % 40), in: tracer) }
            registry.makeRecorder(label: "amounts", dimensions: dimensions, aggregate: true).record(Int64(number))
        }
        let written = registry.serialized(now: 42)
        let message = registry.snapshot(now: 42)
        #expect(try message.serializedBytes() == Array(written.readableBytesView))
        #expect(written.readableBytes > 1 << 21)
        #expect(message.resourceMetrics.first?.scopeMetrics.first?.metrics.count == 5)
        let exemplar = try #require(registry.metric("times")?.histogram.dataPoints.first?.exemplars.first)
        #expect(exemplar.traceID == tracer.traceID.data && exemplar.spanID == tracer.spanID.data)
    }

    @Test("Nothing is lost where many threads count at once, and make the handles for it")
    func threads() throws {
        let registry = MetricsRegistry()
        onThreads(8) { thread in
            let total = registry.makeCounter(label: "a", dimensions: [])
            let fraction = registry.makeFloatingPointCounter(label: "b", dimensions: [])
            // Long enough to be interrupted between any two steps.
            for _ in 0..<1_000_000 { total.increment(by: 1) }
            for _ in 0..<10_000 { fraction.increment(by: 0.5) }
        }
        #expect(registry.metric("a")?.sum.dataPoints.first?.asInt == 8_000_000)
        #expect(registry.metric("b")?.sum.dataPoints.first?.asDouble == 40_000)
    }

    @Test("Calls are counted by method and outcome, those of no method together")
    func calls() async throws {
        let registry = MetricsRegistry()
        let client = Probe([MetricsInterceptor(registry)])
        for _ in 0..<3 { await client.code(ProbeService.Methods.succeed) }
        await client.code(ProbeService.Methods.refuse)
        await client.code(ProbeService.Methods.absent)
        let points = try #require(registry.metric(MetricsInterceptor.metric)).histogram.dataPoints
        let counts = Dictionary(
            uniqueKeysWithValues: points.map { point in
                let values = Dictionary(uniqueKeysWithValues: point.attributes.map { ($0.key, $0.value.stringValue) })
                let error = values["error.type"] ?? "-"
                return (
                    "\(values["rpc.method"] ?? "") \(values["rpc.response.status_code"] ?? "") \(error)", point.count
                )
            }
        )
        #expect(
            counts == [
                "test.v1.Probe/Succeed OK -": 3, "test.v1.Probe/Refuse NOT_FOUND NOT_FOUND": 1,
                "_OTHER UNIMPLEMENTED UNIMPLEMENTED": 1,
            ]
        )
    }

    @Test("A call of a sampled trace leaves its trace id with its duration")
    func exemplars() async throws {
        let registry = MetricsRegistry()
        let tracer = SpanTracer(buffer: SpanBuffer(), sampler: Sampler(ratio: 0))
        let client = Probe([TracingInterceptor(tracer), MetricsInterceptor(registry)])
        let trace = TraceContext(traceID: .random(), spanID: .random(), isSampled: true)
        await client.code(ProbeService.Methods.succeed)
        await client.code(ProbeService.Methods.succeed, "x", ["traceparent": trace.parentText])
        let point = try #require(registry.metric(MetricsInterceptor.metric)?.histogram.dataPoints.first)
        #expect(point.count == 2)
        #expect(point.exemplars.map(\.traceID) == [trace.traceID.data])
    }
}

extension MetricsRegistry {
    func metric(_ name: String) -> OTLPMetric? {
        snapshot().resourceMetrics.flatMap(\.scopeMetrics).flatMap(\.metrics).first { $0.name == name }
    }
}
