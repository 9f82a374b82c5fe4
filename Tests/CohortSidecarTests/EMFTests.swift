import Foundation
import OTLP
import SwiftProtobuf
import Testing

@testable import cohort_sidecar

@Suite("CloudWatch lines")
struct EMFTests {
    private func attribute(_ key: String, _ value: String) -> OTLPKeyValue {
        .with {
            $0.key = key
            $0.value.stringValue = value
        }
    }

    private func data(_ metrics: [OTLPMetric], of service: String = "probe") -> OTLPMetricsData {
        .with {
            $0.resourceMetrics = [
                .with {
                    $0.resource.attributes = [attribute("service.name", service)]
                    $0.scopeMetrics = [.with { $0.metrics = metrics }]
                }
            ]
        }
    }

    private func total(_ value: Int64, start: UInt64 = 1, _ outcome: String = "ok") -> OTLPMetric {
        .with {
            $0.name = "calls"
            $0.unit = "{call}"
            $0.sum.dataPoints = [
                .with {
                    $0.attributes = [attribute("outcome", outcome)]
                    $0.startTimeUnixNano = start
                    $0.asInt = value
                }
            ]
        }
    }

    private func object(_ line: String) throws -> [String: Any] {
        #expect(line.hasSuffix("}\n") && line.utf8.count <= EMFText.bytes && !line.dropLast().contains("\n"))
        return try #require(JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
    }

    private func directive(_ object: [String: Any]) throws -> [String: Any] {
        let aws = try #require(object["_aws"] as? [String: Any])
        return try #require((aws["CloudWatchMetrics"] as? [[String: Any]])?.first)
    }

    @Test("A line says what the metric is, where it belongs and when it was")
    func line() throws {
        var state = EMFState()
        let level = OTLPMetric.with {
            $0.name = "memory \"x\""
            $0.unit = "By"
            $0.gauge.dataPoints = [
                .with {
                    $0.attributes = [attribute("kind", "a\"\\\n")]
                    $0.asDouble = 1.5
                }
            ]
        }
        let lines = state.lines([data([level])], namespace: "Cohort", now: 1_700_000_000_123_456_789)
        let object = try object(try #require(lines.first))
        let directive = try directive(object)
        #expect((object["_aws"] as? [String: Any])?["Timestamp"] as? Int == 1_700_000_000_123)
        #expect(directive["Namespace"] as? String == "Cohort" && directive["Dimensions"] as? [[String]] == [["kind"]])
        #expect(directive["Metrics"] as? [[String: String]] == [["Name": "memory \"x\"", "Unit": "Bytes"]])
        #expect(object["memory \"x\""] as? Double == 1.5 && object["kind"] as? String == "a\"\\\n")
        #expect(object["service.name"] as? String == "probe" && lines.count == 1)
    }

    @Test("Totals are told as what has come since; a first reading and a restart are understood")
    func totals() throws {
        var state = EMFState()
        func read(_ metric: OTLPMetric, at now: UInt64) throws -> Double? {
            let lines = state.lines([data([metric])], namespace: "C", now: now)
            return try lines.first.map { try object($0)["calls"] as? Double } ?? nil
        }
        #expect(try read(total(100), at: 1_000) == nil)
        #expect(try read(total(130), at: 2_000) == 30)
        #expect(try read(total(130), at: 3_000) == 0)
        // A series that begins later in the same process is new as a whole.
        #expect(try read(total(4, "failed"), at: 4_000) == 4)
        // Another process.
        #expect(try read(total(7, start: 4_500), at: 5_000) == 7)
        #expect(try read(total(9, start: 4_500), at: 6_000) == 2)
        // The server that did not answer comes back.
        #expect(state.lines([], namespace: "C", now: 7_000).isEmpty)
        #expect(try read(total(10, start: 4_500), at: 8_000) == 1)
        // Yet another one, that has counted further already.
        #expect(try read(total(500, start: 8_500), at: 9_000) == 500)
    }

    @Test(
        "Each process has marks of its own: while one does not answer the other's go on, and a restart meanwhile is told"
    )
    func processes() throws {
        var state = EMFState()
        func read(_ server: OTLPMetric?, own: Int64, at now: UInt64) throws -> [Double] {
            let readings = [server.map { data([$0], of: "server") }, data([total(own)], of: "own")].compactMap { $0 }
            return try state.lines(readings, namespace: "C", now: now).compactMap {
                try object($0)["calls"] as? Double
            }
        }
        #expect(try read(total(1_000), own: 5, at: 1_000).isEmpty)
        // The same series of both: neither counts from the other's mark.
        #expect(try read(total(1_001), own: 7, at: 2_000) == [1, 2])
        #expect(try read(nil, own: 8, at: 3_000) == [1])
        #expect(try read(total(1_010), own: 9, at: 4_000) == [9, 1])
        // It restarts, and does not answer before it has counted further.
        #expect(try read(nil, own: 9, at: 5_000) == [0])
        #expect(try read(total(40, start: 4_500), own: 9, at: 6_000) == [40, 0])
        // A process that was not there at first, and has begun since: none of it has been told.
        var late = EMFState()
        for now in [UInt64(100), 200] { #expect(late.lines([], namespace: "C", now: now).isEmpty) }
        let lines = late.lines([data([total(3, start: 150)])], namespace: "C", now: 300)
        #expect(try object(try #require(lines.first))["calls"] as? Double == 3)
    }

    @Test("Marks of series and processes that are gone go with them, and a value that is left out keeps its mark")
    func pruning() throws {
        var state = EMFState()
        for run in UInt64(1)...50 {
            let series = (0..<100).map { total(Int64(run), start: run * 10, "\(run)-\($0)") }
            _ = state.lines([data(series)], namespace: "C", now: run * 10 + 1)
            #expect(state.size == 100)
        }
        _ = state.lines([], namespace: "C", now: 600)
        #expect(state.size == 100, "marks stay while nobody answers")
        func sum(_ value: Double) -> OTLPMetric {
            .with {
                $0.name = "seconds"
                $0.sum.dataPoints = [
                    .with {
                        $0.startTimeUnixNano = 1
                        $0.asDouble = value
                    }
                ]
            }
        }
        var other = EMFState()
        #expect(other.lines([data([sum(100)])], namespace: "C", now: 10).isEmpty)
        #expect(other.lines([data([sum(.nan)])], namespace: "C", now: 20).isEmpty)
        #expect(other.skipped == 1)
        let line = try #require(other.lines([data([sum(101)])], namespace: "C", now: 30).first)
        #expect(try object(line)["seconds"] as? Double == 1)
    }

    @Test("Distributions are values with counts, of what has come since")
    func distributions() throws {
        var state = EMFState()
        func histogram(_ counts: [UInt64], _ sum: Double) -> OTLPMetric {
            .with {
                $0.name = "duration"
                $0.unit = "s"
                $0.histogram.dataPoints = [
                    .with {
                        $0.startTimeUnixNano = 1
                        $0.explicitBounds = [1, 3]
                        $0.bucketCounts = counts
                        $0.count = counts.reduce(0, +)
                        $0.sum = sum
                    }
                ]
            }
        }
        #expect(state.lines([data([histogram([5, 0, 0], 2)])], namespace: "C", now: 10).isEmpty)
        let lines = state.lines([data([histogram([7, 0, 1], 12)])], namespace: "C", now: 20)
        let members = try object(try #require(lines.first))
        let value = try #require(members["duration"] as? [String: Any])
        #expect(value["Values"] as? [Double] == [0.5, 3] && value["Counts"] as? [Double] == [2, 1])
        #expect(value["Sum"] as? Double == 10 && value["Count"] as? Double == 3)
        #expect(value["Min"] as? Double == 0.5 && value["Max"] as? Double == 3)
        // Nothing has come: nothing is told.
        #expect(state.lines([data([histogram([7, 0, 1], 12)])], namespace: "C", now: 30).isEmpty)
    }

    @Test("Lines keep CloudWatch's limits: metrics, dimensions, values, bytes, and numbers alone")
    func limits() throws {
        let metrics = (0..<250).map { EMFText.Metric(name: "m\($0)", unit: "None", value: .one(Double($0))) }
        let many = EMFText.Metric(
            name: "d",
            unit: "None",
            value: .many(values: (0..<230).map(Double.init), counts: Array(repeating: 2, count: 230), sum: 460)
        )
        let dimensions = (0..<40).map { ("k\($0)", String(repeating: "v", count: 2_000)) } + [("empty", "")]
        let lines = EMFText.lines(
            metrics + [many],
            time: 1,
            namespace: "C",
            dimensions: dimensions,
            properties: []
        )
        var seen: [String: Int] = [:]
        var count = 0.0
        for line in lines {
            let object = try object(line)
            let directive = try directive(object)
            let names = try #require(directive["Metrics"] as? [[String: String]]).compactMap { $0["Name"] }
            let keys = try #require((directive["Dimensions"] as? [[String]])?.first)
            #expect(names.count <= 100 && Set(names).count == names.count && keys.count == 30)
            for key in keys { #expect((object[key] as? String)?.count == 1_024) }
            for name in names {
                seen[name, default: 0] += 1
                guard let value = object[name] as? [String: Any] else { continue }
                #expect((value["Values"] as? [Double]).map { $0.count <= 100 } == true)
                count += value["Count"] as? Double ?? 0
            }
        }
        #expect(seen.count == 251 && seen["d"] == 3 && count == 460)
        // Large members: a line each, rather than one that is too long.
        let long = (0..<90).map { number in
            EMFText.Metric(
                name: "\(number)" + String(repeating: "x", count: 250),
                unit: "None",
                value: .many(
                    values: (0..<100).map { Double($0) + 0.123456789012345 * Double(number) },
                    counts: Array(repeating: 1e14, count: 100),
                    sum: 1
                )
            )
        }
        let wide = (0..<30).map { ("k\($0)", String(repeating: "\u{1}", count: 1_024)) }
        let heavy = EMFText.lines(long + long, time: 1, namespace: "C", dimensions: wide, properties: [])
        #expect(heavy.count >= 2 && heavy.allSatisfy { $0.utf8.count <= EMFText.bytes })
        var state = EMFState()
        let levels = [Double.nan, .infinity, 1e300, 1].map { value in
            OTLPMetric.with {
                $0.name = "g\(value)"
                $0.gauge.dataPoints = [.with { $0.asDouble = value }]
            }
        }
        let told = state.lines([data(levels)], namespace: "C", now: 1)
        #expect(told.count == 1 && state.skipped == 3)
        _ = try object(told[0])
    }
}
