import ArgumentParser
import CohortAPI
import Foundation
import OTLP
import RPC
import SwiftProtobuf

struct MetricsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "metrics",
        abstract: "Every metric of the server as it is now.",
        discussion: "With --output json it is OpenTelemetry's MetricsData."
    )

    @Argument(help: ArgumentHelp("Only metrics whose name begins like this.", valueName: "prefix")) var prefix: String?
    @ParentCommand var root: Cohortctl

    func run() async throws {
        var data = try await root.session.withClient { client in
            try await CohortClient(client).operations.scrapeMetrics(.init(), options: root.session.callOptions)
        }
        if let prefix { data.keep { $0.name.hasPrefix(prefix) } }
        try root.session.show(data) { Self.table(data) }
    }

    static func table(_ data: OTLPMetricsData) -> String {
        var table = Table(["METRIC", "ATTRIBUTES", "VALUE", "UNIT"])
        for metric in data.resourceMetrics.flatMap(\.scopeMetrics).flatMap(\.metrics) {
            switch metric.data {
            case .gauge(let gauge):
                for point in gauge.dataPoints { table.add(row(metric, point.attributes, text(point))) }
            case .sum(let sum):
                for point in sum.dataPoints { table.add(row(metric, point.attributes, text(point))) }
            case .histogram(let histogram):
                for point in histogram.dataPoints { table.add(row(metric, point.attributes, text(point))) }
            case nil: break
            }
        }
        return table.text
    }

    private static func row(_ metric: OTLPMetric, _ attributes: [OTLPKeyValue], _ value: String) -> [String] {
        // What all series of the metric share is not worth its space.
        let shown = attributes.filter { $0.key != "rpc.system.name" && $0.key != "error.type" }
        return [
            metric.name, shown.map { "\($0.key)=\($0.value.stringValue)" }.joined(separator: " "), value, metric.unit,
        ]
    }

    private static func text(_ point: OTLPNumberDataPoint) -> String {
        switch point.value {
        case .asInt(let value): String(value)
        case .asDouble(let value): text(value)
        case nil: "-"
        }
    }

    private static func text(_ value: Double) -> String {
        value == value.rounded() && abs(value) < 1e15 ? String(Int64(value)) : String(format: "%.6g", value)
    }

    /// Count, mean, and the bounds below which half and 99 of a hundred values are.
    private static func text(_ point: OTLPHistogramDataPoint) -> String {
        let mean = point.count == 0 ? 0 : point.sum / Double(point.count)
        return "\(point.count) mean \(text(mean)) p50 ≤ \(bound(point, 0.5)) p99 ≤ \(bound(point, 0.99))"
    }

    private static func bound(_ point: OTLPHistogramDataPoint, _ quantile: Double) -> String {
        var seen: UInt64 = 0
        for (index, count) in point.bucketCounts.enumerated() {
            seen += count
            guard Double(seen) >= quantile * Double(point.count) else { continue }
            return index < point.explicitBounds.count ? text(point.explicitBounds[index]) : "inf"
        }
        return "-"
    }
}

extension OTLPMetricsData {
    fileprivate mutating func keep(_ isWanted: (OTLPMetric) -> Bool) {
        for resource in resourceMetrics.indices {
            for scope in resourceMetrics[resource].scopeMetrics.indices {
                resourceMetrics[resource].scopeMetrics[scope].metrics.removeAll { !isWanted($0) }
            }
        }
    }
}

struct SpansCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "spans",
        abstract: "Take the spans that the server has kept. Each is handed out once.",
        discussion:
            "With --output json each line is OpenTelemetry's TracesData in the JSON of protobuf: ids are base64, not hexadecimal."
    )

    @Flag(help: "Wait for those to come, until Ctrl-C.") var follow = false
    @ParentCommand var root: Cohortctl

    func run() async throws {
        try await root.session.withClient { client in
            var options = root.session.callOptions
            if follow { options.timeout = nil }
            let stream = try await CohortClient(client).operations.streamSpans(
                .with { $0.follow = follow },
                options: options
            )
            var table = Table(Self.header)
            for try await data in stream {
                guard root.session.output == .table else {
                    try printJSON(data)
                    continue
                }
                let spans = data.resourceSpans.flatMap(\.scopeSpans).flatMap(\.spans)
                for span in spans.sorted(by: { $0.startTimeUnixNano < $1.startTimeUnixNano }) {
                    table.add(Self.cells(span))
                }
                guard follow else { continue }
                print(table.text)
                table = Table(Self.header)
            }
            if root.session.output == .table, !follow { print(table.text) }
        }
    }

    private static let header = ["START", "TRACE", "SPAN", "PARENT", "NAME", "MICROSECONDS", "OUTCOME"]

    static func cells(_ span: OTLPSpan) -> [String] {
        let start = Google_Protobuf_Timestamp(
            seconds: Int64(span.startTimeUnixNano / 1_000_000_000),
            nanos: Int32(span.startTimeUnixNano % 1_000_000_000 / 1_000 * 1_000)
        )
        let duration = (span.endTimeUnixNano - min(span.startTimeUnixNano, span.endTimeUnixNano)) / 1000
        return [
            start.text, hex(span.traceID), hex(span.spanID), span.parentSpanID.isEmpty ? "-" : hex(span.parentSpanID),
            span.name, String(duration), span.status.code == .error ? span.status.message : "OK",
        ]
    }

    private static func hex(_ data: Data) -> String { data.map { String(format: "%02x", $0) }.joined() }
}

struct LogLevelCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "log-level",
        abstract: "Show what the server logs, or change it until it stops.",
        discussion: """
            cohortctl log-level                            show the levels
            cohortctl log-level debug                      the level of all loggers
            cohortctl log-level debug --logger cohort.rpc  of one
            cohortctl log-level --logger cohort.rpc        of one, back to that of all
            """
    )

    @Argument(help: "trace, debug, info, notice, warning, error or critical.") var level: String?
    @Option(help: "Only this logger.") var logger: String?
    @ParentCommand var root: Cohortctl

    func run() async throws {
        let request = SetLogLevelRequest.with {
            $0.level = level ?? ""
            $0.logger = logger ?? ""
        }
        let levels = try await root.session.withClient { client in
            try await CohortClient(client).operations.setLogLevel(request, options: root.session.callOptions)
        }
        try root.session.show(levels) {
            var table = Table(["LOGGER", "LEVEL"])
            for level in levels.levels { table.add([level.logger.isEmpty ? "all others" : level.logger, level.level]) }
            return table.text
        }
    }
}
