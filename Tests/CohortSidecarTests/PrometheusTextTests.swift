import Foundation
import OTLP
import SwiftProtobuf
import Testing

@testable import cohort_sidecar

@Suite("Prometheus text")
struct PrometheusTextTests {
    private func attribute(_ key: String, _ value: String) -> OTLPKeyValue {
        .with {
            $0.key = key
            $0.value.stringValue = value
        }
    }

    private func data(_ metrics: [OTLPMetric], resource: [OTLPKeyValue] = []) -> OTLPMetricsData {
        .with {
            $0.resourceMetrics = [
                .with {
                    $0.resource.attributes = resource
                    $0.scopeMetrics = [.with { $0.metrics = metrics }]
                }
            ]
        }
    }

    private var total: OTLPMetric {
        .with {
            $0.name = "cohort.ingest.rows"
            $0.unit = "{row}"
            $0.description_p = "rows answered, by \"outcome\""
            $0.sum = .with {
                $0.isMonotonic = true
                $0.dataPoints = [
                    .with {
                        $0.attributes = [attribute("outcome", "a \"b\"\\\n")]
                        $0.asInt = 9_007_199_254_740_993
                    }
                ]
            }
        }
    }

    private var durations: OTLPMetric {
        .with {
            $0.name = "rpc.server.call.duration"
            $0.unit = "s"
            $0.description_p = "calls"
            $0.histogram.dataPoints = [
                .with {
                    $0.attributes = [attribute("rpc.method", "a/B")]
                    $0.explicitBounds = [0.00001, 1, 100]
                    $0.bucketCounts = [2, 0, 3, 1]
                    $0.count = 6
                    $0.sum = 130.25
                    $0.exemplars = [
                        .with {
                            $0.asDouble = 2.5
                            $0.traceID = Data(repeating: 0x0a, count: 16)
                            $0.spanID = Data(repeating: 0xb1, count: 8)
                            $0.timeUnixNano = 1_700_000_000_250_000_000
                        }
                    ]
                }
            ]
        }
    }

    @Test("OpenMetrics has units, exemplars and an end")
    func openMetrics() {
        let level = OTLPMetric.with {
            $0.name = "process.memory.usage"
            $0.unit = "By"
            $0.gauge.dataPoints = [.with { $0.asDouble = 1.5 }]
        }
        let text = PrometheusText.render(
            [data([total, durations, level], resource: [attribute("service.name", "probe")])],
            as: .openMetrics
        )
        #expect(
            text == #"""
                # HELP target what is measured
                # TYPE target info
                target_info{service_name="probe"} 1
                # HELP cohort_ingest_rows rows answered, by \"outcome\"
                # TYPE cohort_ingest_rows counter
                cohort_ingest_rows_total{outcome="a \"b\"\\\n"} 9007199254740993
                # HELP rpc_server_call_duration_seconds calls
                # TYPE rpc_server_call_duration_seconds histogram
                # UNIT rpc_server_call_duration_seconds seconds
                rpc_server_call_duration_seconds_bucket{rpc_method="a/B",le="1e-05"} 2
                rpc_server_call_duration_seconds_bucket{rpc_method="a/B",le="1"} 2
                rpc_server_call_duration_seconds_bucket{rpc_method="a/B",le="100"} 5 # {trace_id="0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a",span_id="b1b1b1b1b1b1b1b1"} 2.5 1700000000.25
                rpc_server_call_duration_seconds_bucket{rpc_method="a/B",le="+Inf"} 6
                rpc_server_call_duration_seconds_sum{rpc_method="a/B"} 130.25
                rpc_server_call_duration_seconds_count{rpc_method="a/B"} 6
                # HELP process_memory_usage_bytes process.memory.usage
                # TYPE process_memory_usage_bytes gauge
                # UNIT process_memory_usage_bytes bytes
                process_memory_usage_bytes 1.5
                # EOF

                """#
        )
    }

    @Test("The older format names counters as their samples, and has neither units nor exemplars")
    func text() {
        let text = PrometheusText.render([data([total, durations])], as: .text)
        #expect(
            text.hasPrefix(
                "# HELP cohort_ingest_rows_total rows answered, by \"outcome\"\n# TYPE cohort_ingest_rows_total counter\n"
            )
        )
        #expect(!text.contains("# UNIT") && !text.contains("trace_id") && !text.contains("# EOF"))
        #expect(text.contains("rpc_server_call_duration_seconds_bucket{rpc_method=\"a/B\",le=\"100\"} 5\n"))
    }

    @Test("A name comes once, whoever has it")
    func twice() {
        let text = PrometheusText.render([data([total]), data([total])], as: .openMetrics)
        #expect(text.components(separatedBy: "# TYPE cohort_ingest_rows counter").count == 2)
        #expect(text.components(separatedBy: "# EOF").count == 2)
    }

    @Test("Names are made of what Prometheus takes, with the unit once")
    func names() {
        #expect(PrometheusText.name("cohort.log.bytes", unit: "By") == "cohort_log_bytes")
        #expect(PrometheusText.name("a-b/c", unit: "{x}") == "a_b_c")
        #expect(PrometheusText.name("9a", unit: "s") == "_9a_seconds")
    }

    @Test("OpenMetrics is for who asks for it")
    func negotiation() {
        #expect(PrometheusText.Format(accept: nil) == .text)
        #expect(PrometheusText.Format(accept: "*/*") == .text)
        #expect(
            PrometheusText.Format(accept: "application/openmetrics-text;version=1.0.0,text/plain;q=0.5") == .openMetrics
        )
    }
}
