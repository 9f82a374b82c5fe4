import Foundation

/// CloudWatch's Embedded Metric Format, as text: one JSON object on one line.
enum EMFText {
    /// Most metrics of one directive.
    static let metrics = 100
    /// Most dimensions of one set.
    static let dimensions = 30
    /// Most bytes of one event.
    static let bytes = 1_000_000
    /// Most values of one metric of one event.
    static let values = 100
    /// Longest name of a metric or a dimension; longest value of a dimension.
    static let name = 255
    static let dimensionValue = 1_024

    /// A metric with its values.
    struct Metric: Sendable, Equatable {
        var name: String
        var unit: String
        var value: Value
    }

    enum Value: Sendable, Equatable {
        case one(Double)
        /// Values that came several times, as AWS's own exporter of OpenTelemetry writes them.
        case many(values: [Double], counts: [Double], sum: Double)
    }

    static func isNamePart(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"):
            true
        default: "._-/#:".utf8.contains(byte)
        }
    }

    /// Lines for metrics that have the same dimensions, as few as the limits allow.
    ///
    /// - Parameters:
    ///   - time: Milliseconds since 1970.
    ///   - dimensions: Those beyond the limit are left out.
    ///   - properties: What stands beside, without being a dimension.
    static func lines(
        _ metrics: [Metric],
        time: UInt64,
        namespace: String,
        dimensions: [(String, String)],
        properties: [(String, String)]
    ) -> [String] {
        let dimensions = fitting(dimensions)
        let named = Set(dimensions.map(\.0))
        let properties = properties.filter { !named.contains($0.0) }
        let taken = named.union(properties.map(\.0)).union(["_aws"])
        var start =
            #"{"_aws":{"Timestamp":\#(time),"CloudWatchMetrics":[{"Namespace":\#(quoted(namespace)),"Dimensions":[["#
        start += dimensions.map { quoted($0.0) }.joined(separator: ",") + #"]],"Metrics":["#
        let members = (dimensions + properties).map { "\(quoted($0.0)):\(quoted($0.1))" }
        let fixed = start.utf8.count + members.reduce(0) { $0 + $1.utf8.count + 1 } + 16

        var lines: [String] = []
        var part: [(head: String, member: String)] = []
        var size = fixed
        func finish() {
            guard !part.isEmpty else { return }
            let heads = part.map(\.head).joined(separator: ",")
            lines.append("\(start)\(heads)]}]},\((members + part.map(\.member)).joined(separator: ","))}\n")
            part = []
            size = fixed
        }
        // A name comes once on a line: the parts of one with many values go to lines of their own.
        var names: Set<String> = []
        for metric in metrics.flatMap(split) where !taken.contains(metric.name) {
            let name = quoted(String(metric.name.prefix(name)))
            let entry = (#"{"Name":\#(name),"Unit":"\#(metric.unit)"}"#, "\(name):\(text(metric.value))")
            let bytes = entry.0.utf8.count + entry.1.utf8.count + 2
            if part.count == Self.metrics || size + bytes > Self.bytes || names.contains(metric.name) {
                finish()
                names = []
            }
            part.append(entry)
            names.insert(metric.name)
            size += bytes
        }
        finish()
        return lines
    }

    private static func fitting(_ dimensions: [(String, String)]) -> [(String, String)] {
        // CloudWatch takes no empty value.
        dimensions.filter { !$0.0.isEmpty && !$0.1.isEmpty }.prefix(Self.dimensions).map { key, value in
            (String((key == "_aws" ? "aws" : key).prefix(name)), String(value.prefix(dimensionValue)))
        }
    }

    /// At most ``values`` values each.
    private static func split(_ metric: Metric) -> [Metric] {
        guard case .many(let values, let counts, let sum) = metric.value, values.count > Self.values else {
            return [metric]
        }
        let total = counts.reduce(0, +)
        return stride(from: 0, to: values.count, by: Self.values).map { start in
            let range = start..<min(start + Self.values, values.count)
            let part = Array(counts[range])
            // The sum is known of the whole alone; each part has its share.
            let share = total > 0 ? sum * part.reduce(0, +) / total : 0
            return Metric(
                name: metric.name,
                unit: metric.unit,
                value: .many(values: Array(values[range]), counts: part, sum: share)
            )
        }
    }

    private static func text(_ value: Value) -> String {
        switch value {
        case .one(let value): return text(value)
        case .many(let values, let counts, let sum):
            let list = { (numbers: [Double]) in numbers.map(text).joined(separator: ",") }
            return #"{"Values":[\#(list(values))],"Counts":[\#(list(counts))],"Min":\#(text(values.min() ?? 0)),"#
                + #""Max":\#(text(values.max() ?? 0)),"Count":\#(text(counts.reduce(0, +))),"Sum":\#(text(sum))}"#
        }
    }

    private static func text(_ value: Double) -> String {
        value == value.rounded() && abs(value) < 1e15 ? String(Int64(value)) : "\(value)"
    }

    static func quoted(_ text: String) -> String {
        var quoted = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": quoted += "\\\""
            case "\\": quoted += "\\\\"
            case _ where scalar.value < 0x20:
                let hex = String(scalar.value, radix: 16)
                quoted += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
            default: quoted.unicodeScalars.append(scalar)
            }
        }
        return quoted + "\""
    }
}
