import Foundation
import OTLP

/// OpenTelemetry's metrics as text that Prometheus scrapes: OpenMetrics 1.0, or the older exposition format 0.0.4.
///
/// Names follow OpenTelemetry's rules for Prometheus: `.` becomes `_`, the unit is appended, and totals end with `_total`.
struct PrometheusText {
    enum Format: Hashable {
        case openMetrics
        case text

        var contentType: String {
            switch self {
            case .openMetrics: "application/openmetrics-text; version=1.0.0; charset=utf-8"
            case .text: "text/plain; version=0.0.4; charset=utf-8"
            }
        }

        /// What a scraper would rather have, by its `Accept`: OpenMetrics only where it names it.
        init(accept: String?) {
            self = accept?.contains("application/openmetrics-text") == true ? .openMetrics : .text
        }
    }

    private let format: Format
    private var text = ""
    private var seen: Set<String> = []

    /// Everything of these metrics, with the resource as `target_info`.
    static func render(_ data: [OTLPMetricsData], as format: Format) -> String {
        var page = PrometheusText(format)
        for resource in data.flatMap(\.resourceMetrics) {
            page.appendTarget(resource.resource.attributes)
            for metric in resource.scopeMetrics.flatMap(\.metrics) { page.append(metric) }
        }
        if format == .openMetrics { page.text += "# EOF\n" }
        return page.text
    }

    private init(_ format: Format) {
        self.format = format
        text.reserveCapacity(64 << 10)
    }

    private mutating func appendTarget(_ attributes: [OTLPKeyValue]) {
        guard !attributes.isEmpty, seen.insert("target").inserted else { return }
        switch format {
        case .openMetrics: text += "# HELP target what is measured\n# TYPE target info\n"
        case .text: text += "# HELP target_info what is measured\n# TYPE target_info gauge\n"
        }
        text += "target_info\(Self.labels(attributes)) 1\n"
    }

    private mutating func append(_ metric: OTLPMetric) {
        switch metric.data {
        case .gauge(let gauge):
            let name = Self.name(metric.name, unit: metric.unit)
            guard appendHead(name, "gauge", metric) else { return }
            for point in gauge.dataPoints { text += "\(name)\(Self.labels(point.attributes)) \(Self.value(point))\n" }
        case .sum(let sum):
            let name = Self.name(metric.name, unit: metric.unit)
            guard appendHead(name, "counter", metric) else { return }
            for point in sum.dataPoints {
                text += "\(name)_total\(Self.labels(point.attributes)) \(Self.value(point))\n"
            }
        case .histogram(let histogram):
            let name = Self.name(metric.name, unit: metric.unit)
            guard appendHead(name, "histogram", metric) else { return }
            for point in histogram.dataPoints { append(point, name) }
        case nil: break
        }
    }

    /// False where another metric has that name already: a page that names it twice is refused as a whole.
    private mutating func appendHead(_ name: String, _ kind: String, _ metric: OTLPMetric) -> Bool {
        guard seen.insert(name).inserted else { return false }
        // In the older format a counter's family has the name of its samples.
        let family = format == .text && kind == "counter" ? name + "_total" : name
        text += "# HELP \(family) \(escapedHelp(metric.description_p.isEmpty ? metric.name : metric.description_p))\n"
        text += "# TYPE \(family) \(kind)\n"
        if format == .openMetrics, let unit = Self.unit(metric.unit), name.hasSuffix("_" + unit) {
            text += "# UNIT \(family) \(unit)\n"
        }
        return true
    }

    private mutating func append(_ point: OTLPHistogramDataPoint, _ name: String) {
        let pairs = Self.pairs(point.attributes)
        let before = pairs.isEmpty ? "" : pairs + ","
        var below: UInt64 = 0
        var exemplars = point.exemplars.sorted { $0.asDouble < $1.asDouble }[...]
        for (index, count) in point.bucketCounts.enumerated() {
            below += count
            let bound = index < point.explicitBounds.count ? point.explicitBounds[index] : .infinity
            text += "\(name)_bucket{\(before)le=\"\(Self.text(bound))\"} \(below)"
            if format == .openMetrics, let exemplar = Self.take(&exemplars, below: bound) {
                text += Self.text(exemplar)
            }
            text += "\n"
        }
        let labels = pairs.isEmpty ? "" : "{\(pairs)}"
        text += "\(name)_sum\(labels) \(Self.text(point.sum))\n\(name)_count\(labels) \(point.count)\n"
    }

    /// The last of the exemplars up to a bound; those are taken out.
    private static func take(_ exemplars: inout ArraySlice<OTLPExemplar>, below bound: Double) -> OTLPExemplar? {
        var last: OTLPExemplar?
        while let next = exemplars.first, next.asDouble <= bound {
            last = next
            exemplars.removeFirst()
        }
        return last
    }

    private static func text(_ exemplar: OTLPExemplar) -> String {
        let hex = { (data: Data) in data.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined() }
        let seconds = Double(exemplar.timeUnixNano / 1_000_000) / 1000
        return " # {trace_id=\"\(hex(exemplar.traceID))\",span_id=\"\(hex(exemplar.spanID))\"} "
            + "\(text(exemplar.asDouble)) \(seconds)"
    }

    // MARK: Names, values and labels

    /// `rpc.server.call.duration` in `s` is `rpc_server_call_duration_seconds`.
    static func name(_ name: String, unit: String) -> String {
        var name = String(String.UnicodeScalarView(name.unicodeScalars.map { isNamePart($0) ? $0 : "_" }))
        if name.first?.isNumber == true { name = "_" + name }
        if let unit = Self.unit(unit), !name.hasSuffix("_" + unit) { name += "_" + unit }
        return name
    }

    private static func isNamePart(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar {
        case "a"..."z", "A"..."Z", "0"..."9", "_": true
        default: false
        }
    }

    /// Prometheus' word for a unit of UCUM; nil for none and for things in braces.
    private static func unit(_ unit: String) -> String? {
        switch unit {
        case "s": "seconds"
        case "By": "bytes"
        default: nil
        }
    }

    private static func value(_ point: OTLPNumberDataPoint) -> String {
        switch point.value {
        case .asInt(let value): String(value)
        case .asDouble(let value): text(value)
        case nil: "0"
        }
    }

    private static func text(_ value: Double) -> String {
        if value == .infinity { return "+Inf" }
        if value == -.infinity { return "-Inf" }
        if value.isNaN { return "NaN" }
        return value == value.rounded() && abs(value) < 1e15 ? String(Int64(value)) : "\(value)"
    }

    private static func labels(_ attributes: [OTLPKeyValue]) -> String {
        attributes.isEmpty ? "" : "{\(pairs(attributes))}"
    }

    private static func pairs(_ attributes: [OTLPKeyValue]) -> String {
        attributes.map { "\(name($0.key, unit: ""))=\"\(escaped($0.value.stringValue))\"" }.joined(separator: ",")
    }

    private static func escaped(_ text: String) -> String {
        guard text.utf8.contains(where: { $0 == 0x5c || $0 == 0x22 || $0 == 0x0a }) else { return text }
        return text.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"").replacing("\n", with: "\\n")
    }

    /// In the older format quotation marks stay as they are.
    private func escapedHelp(_ text: String) -> String {
        format == .openMetrics
            ? Self.escaped(text) : text.replacing("\\", with: "\\\\").replacing("\n", with: "\\n")
    }
}
