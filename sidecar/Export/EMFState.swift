import Foundation
import OTLP

/// Turns metrics as they are read, totals since a start, into what CloudWatch wants: what has come since the reading before.
///
/// A total that is seen for the first time sets the mark and is not told, unless its process began after it was last read, or was read
/// before without it: then all of it is new. A process that does not answer keeps its marks; one that does has those of its answer
/// alone. CloudWatch takes numbers of 2^±360 alone, and nothing that is not finite.
struct EMFState: Sendable {
    private struct Key: Hashable {
        var metric: String
        var attributes: [[String]]
    }

    private struct Mark {
        var start: UInt64
        var value: Double = 0
        var buckets: [UInt64] = []
        var sum: Double = 0
    }

    /// What was last read of a process and of those before it in its place.
    private struct Source {
        var marks: [Key: Mark] = [:]
        var starts: Set<UInt64> = []
        /// In nanoseconds since 1970.
        var readAt: UInt64
    }

    /// By `service.name`: a run has an id of its own, and its successor is to be found in its place.
    private var sources: [String: Source] = [:]
    /// When the first reading was, in nanoseconds since 1970.
    private var first: UInt64?
    /// Values that CloudWatch does not take.
    private(set) var skipped = 0

    /// Lines for what has come since the reading before.
    ///
    /// - Parameter now: Nanoseconds since 1970.
    mutating func lines(_ data: [OTLPMetricsData], namespace: String, now: UInt64) -> [String] {
        skipped = 0
        var lines: [String] = []
        var read: [String: Source] = [:]
        for resource in data.flatMap(\.resourceMetrics) {
            let properties = resource.resource.attributes.map { ($0.key, $0.value.stringValue) }
            let name = properties.first { $0.0 == "service.name" }?.1 ?? ""
            var seen = read[name] ?? Source(readAt: now)
            var groups: [[[String]]: [EMFText.Metric]] = [:]
            for metric in resource.scopeMetrics.flatMap(\.metrics) {
                for (attributes, value) in values(metric, since: sources[name], &seen.marks) {
                    groups[attributes, default: []].append(
                        EMFText.Metric(name: metric.name, unit: Self.unit(metric.unit), value: value)
                    )
                }
            }
            read[name] = seen
            for (attributes, metrics) in groups.sorted(by: { "\($0.key)" < "\($1.key)" }) {
                lines += EMFText.lines(
                    metrics,
                    time: now / 1_000_000,
                    namespace: namespace,
                    dimensions: attributes.map { ($0[0], $0[1]) },
                    properties: properties
                )
            }
        }
        for (name, var source) in read {
            source.starts = Set(source.marks.values.map(\.start))
            sources[name] = source
        }
        first = first ?? now
        return lines
    }

    /// How many totals it knows of.
    var size: Int { sources.values.reduce(0) { $0 + $1.marks.count } }

    private mutating func values(
        _ metric: OTLPMetric,
        since source: Source?,
        _ seen: inout [Key: Mark]
    ) -> [([[String]], EMFText.Value)] {
        var found: [([[String]], EMFText.Value)] = []
        func key(_ attributes: [OTLPKeyValue]) -> Key {
            Key(metric: metric.name, attributes: attributes.map { [$0.key, $0.value.stringValue] })
        }
        func add(_ key: Key, _ value: EMFText.Value) { found.append((key.attributes, value)) }
        switch metric.data {
        case .gauge(let gauge):
            for point in gauge.dataPoints {
                let value = point.number
                if Self.isTaken(value) { add(key(point.attributes), .one(value)) } else { skipped += 1 }
            }
        case .sum(let sum):
            for point in sum.dataPoints {
                let key = key(point.attributes)
                let value = point.number
                guard Self.isTaken(value) else {
                    skipped += 1
                    seen[key] = source?.marks[key]
                    continue
                }
                seen[key] = Mark(start: point.startTimeUnixNano, value: value)
                guard let mark = mark(key, point.startTimeUnixNano, source) else { continue }
                add(key, .one(value >= mark.value ? value - mark.value : value))
            }
        case .histogram(let histogram):
            for point in histogram.dataPoints {
                let key = key(point.attributes)
                guard Self.isTaken(point.sum), point.bucketCounts.count == point.explicitBounds.count + 1 else {
                    skipped += 1
                    seen[key] = source?.marks[key]
                    continue
                }
                seen[key] = Mark(start: point.startTimeUnixNano, buckets: point.bucketCounts, sum: point.sum)
                guard let mark = mark(key, point.startTimeUnixNano, source) else { continue }
                if let value = Self.distribution(point, since: mark) { add(key, value) }
            }
        case nil: break
        }
        return found
    }

    /// What a total counts from; nil where that is not known yet.
    private func mark(_ key: Key, _ start: UInt64, _ source: Source?) -> Mark? {
        if let mark = source?.marks[key], mark.start == start { return mark }
        guard let before = source?.readAt ?? first else { return nil }
        // Another process, or a series that has begun since the reading before.
        return start >= before || source?.starts.contains(start) == true ? Mark(start: start) : nil
    }

    private static func distribution(_ point: OTLPHistogramDataPoint, since mark: Mark) -> EMFText.Value? {
        let bounds = point.explicitBounds
        let isSame = mark.buckets.count == point.bucketCounts.count
        var values: [Double] = []
        var counts: [Double] = []
        for (index, count) in point.bucketCounts.enumerated() {
            let earlier = isSame ? mark.buckets[index] : 0
            guard count > earlier else { continue }
            // The middle of the bucket; the last one has none.
            let lower = index == 0 ? 0 : bounds[index - 1]
            values.append(index < bounds.count ? (lower + bounds[index]) / 2 : lower)
            counts.append(Double(count - earlier))
        }
        return values.isEmpty ? nil : .many(values: values, counts: counts, sum: point.sum - (isSame ? mark.sum : 0))
    }

    private static func isTaken(_ value: Double) -> Bool { value.isFinite && abs(value) <= 0x1p360 }

    /// CloudWatch's word for a unit of UCUM.
    private static func unit(_ unit: String) -> String {
        switch unit {
        case "s": "Seconds"
        case "By": "Bytes"
        case "%": "Percent"
        case _ where unit.hasPrefix("{"): "Count"
        default: "None"
        }
    }
}
