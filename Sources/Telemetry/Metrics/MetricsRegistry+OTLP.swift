import Foundation
package import OTLP
import SwiftProtobuf
import Synchronization

extension MetricsRegistry {
    /// Every metric as it is now: totals since the start. Distributions without a value are left out.
    ///
    /// - Parameter now: Nanoseconds since 1970.
    package func snapshot(now: UInt64 = WallClock.now()) -> OTLPMetricsData {
        // Instruments are read outside of the lock, so that nobody who makes a handle waits for it.
        let families = state.withLock { $0.families }
        var metrics: [OTLPMetric] = []
        for (key, series) in families.sorted(by: { ($0.key.name, "\($0.key.kind)") < ($1.key.name, "\($1.key.kind)") })
        {
            let description = descriptions[key.name]
            var metric = OTLPMetric.with {
                $0.name = key.name
                $0.unit = description?.unit ?? ""
                $0.description_p = description?.text ?? ""
            }
            if case .histogram(let isDuration) = key.kind, isDuration, metric.unit.isEmpty { metric.unit = "s" }
            let ordered = series.sorted {
                $0.key.pairs.lexicographicallyPrecedes($1.key.pairs) { $0.joined() < $1.joined() }
            }
            switch key.kind {
            case .total, .fractionalTotal:
                metric.sum = .with {
                    $0.aggregationTemporality = .cumulative
                    $0.isMonotonic = true
                    $0.dataPoints = ordered.map { number($0.key, $0.value, now: now) }
                }
            case .level:
                metric.gauge.dataPoints = ordered.map { number($0.key, $0.value, now: now) }
            case .histogram:
                let points = ordered.compactMap { distribution($0.key, $0.value, now: now) }
                if points.isEmpty { continue }
                metric.histogram = .with {
                    $0.aggregationTemporality = .cumulative
                    $0.dataPoints = points
                }
            }
            metrics.append(metric)
        }
        return .with {
            $0.resourceMetrics = [
                .with {
                    $0.resource.attributes = resource.map { OTLPKeyValue($0.0, $0.1) }
                    $0.scopeMetrics = [
                        .with {
                            $0.scope.name = scope
                            $0.metrics = metrics
                        }
                    ]
                }
            ]
        }
    }

    private func number(_ attributes: Attributes, _ instrument: Instrument, now: UInt64) -> OTLPNumberDataPoint {
        .with {
            $0.attributes = attributes.otlp
            $0.timeUnixNano = now
            switch instrument {
            case .total(let total):
                $0.startTimeUnixNano = startedAt
                $0.asInt = total.value
            case .fractionalTotal(let total):
                $0.startTimeUnixNano = startedAt
                $0.asDouble = total.value
            case .level(let level): $0.asDouble = level.value
            case .histogram: break
            }
        }
    }

    private func distribution(
        _ attributes: Attributes,
        _ instrument: Instrument,
        now: UInt64
    ) -> OTLPHistogramDataPoint? {
        guard case .histogram(let histogram) = instrument else { return nil }
        let reading = histogram.reading
        let count = reading.count
        guard count > 0 else { return nil }
        return .with {
            $0.attributes = attributes.otlp
            $0.startTimeUnixNano = startedAt
            $0.timeUnixNano = now
            $0.count = count
            $0.sum = reading.sum
            $0.bucketCounts = reading.buckets
            $0.explicitBounds = histogram.scale.explicitBounds
            $0.exemplars = reading.exemplars.map { exemplar in
                .with {
                    $0.timeUnixNano = exemplar.time
                    $0.asDouble = Double(exemplar.ticks) / histogram.scale.ticksPerUnit
                    $0.traceID = exemplar.context.traceID.data
                    $0.spanID = exemplar.context.spanID.data
                }
            }
        }
    }
}

extension MetricsRegistry.Attributes {
    fileprivate var otlp: [OTLPKeyValue] { pairs.map { OTLPKeyValue($0[0], $0[1]) } }
}

extension OTLPKeyValue {
    init(_ key: String, _ value: String) {
        self.init()
        self.key = key
        self.value.stringValue = value
    }
}
