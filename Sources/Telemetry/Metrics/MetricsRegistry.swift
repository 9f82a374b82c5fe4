package import CoreMetrics
import Synchronization

/// The metrics of a process: the backend of swift-metrics, read as a whole.
///
/// Two handles of the same name and dimensions are one series. A metric has at most ``seriesLimit`` series: what is asked for
/// beyond counts in one with the attribute `overflow="true"`. Series stay until the end of the process, so that totals never
/// go back.
package final class MetricsRegistry: MetricsFactory {
    enum Kind: Hashable { case total, fractionalTotal, level, histogram(isDuration: Bool) }

    enum Instrument {
        case total(TotalInstrument)
        case fractionalTotal(LevelInstrument)
        case level(LevelInstrument)
        case histogram(HistogramInstrument)

        init(_ kind: Kind) {
            switch kind {
            case .total: self = .total(TotalInstrument())
            case .fractionalTotal: self = .fractionalTotal(LevelInstrument())
            case .level: self = .level(LevelInstrument())
            case .histogram(let isDuration):
                self = .histogram(HistogramInstrument(isDuration ? .durations : .amounts))
            }
        }
    }

    /// Attributes in order of name, each name once.
    struct Attributes: Hashable {
        let pairs: [[String]]

        init(_ pairs: [(String, String)]) {
            let unique = Dictionary(pairs, uniquingKeysWith: { $1 })
            self.pairs = unique.sorted { $0.key < $1.key }.map { [$0.key, $0.value] }
        }

        static let overflow = Attributes([("overflow", "true")])

        static func precedes(_ one: Attributes, _ other: Attributes) -> Bool {
            one.pairs.lexicographicallyPrecedes(other.pairs) { $0.lexicographicallyPrecedes($1) }
        }
    }

    struct Series {
        let attributes: Attributes
        let instrument: Instrument
        /// The attributes as fields of a data point, serialized once for every reading to come.
        let encoded: [UInt8]
    }

    /// The series of one metric.
    struct Family {
        private(set) var ordered: [Series] = []
        private var byAttributes: [Attributes: Instrument] = [:]

        subscript(attributes: Attributes) -> Instrument? { byAttributes[attributes] }

        mutating func add(_ attributes: Attributes, _ instrument: Instrument, _ kind: Kind) {
            byAttributes[attributes] = instrument
            var low = 0
            var high = ordered.count
            while low < high {
                let middle = (low + high) / 2
                if Attributes.precedes(ordered[middle].attributes, attributes) {
                    low = middle + 1
                } else {
                    high = middle
                }
            }
            let encoded = MetricsEncoder.attributes(attributes, of: kind)
            ordered.insert(Series(attributes: attributes, instrument: instrument, encoded: encoded), at: low)
        }
    }

    struct FamilyKey: Hashable {
        var name: String
        var kind: Kind
    }

    struct State {
        var families: [FamilyKey: Family] = [:]
        var series = 0
        var overflowed: UInt64 = 0
    }

    package static let defaultSeriesLimit = 2_000

    /// Most series of one metric, that of the overflow not counted.
    package let seriesLimit: Int
    let resource: [(String, String)]
    let scope: String
    let descriptions: [String: MetricDescription]
    /// Nanoseconds since 1970.
    let startedAt: UInt64
    let state = Mutex(State())

    /// - Parameters:
    ///   - resource: What names the process, as `service.name`.
    ///   - scope: What the metrics are said to be made by.
    ///   - descriptions: Units and texts; a metric without one has neither.
    ///   - startedAt: Since when totals count, in nanoseconds since 1970.
    package init(
        resource: [(String, String)] = [],
        scope: String = "telemetry",
        descriptions: [MetricDescription] = [],
        seriesLimit: Int = defaultSeriesLimit,
        startedAt: UInt64 = WallClock.now()
    ) {
        self.resource = resource
        self.scope = scope
        self.descriptions = Dictionary(descriptions.map { ($0.name, $0) }, uniquingKeysWith: { $1 })
        self.seriesLimit = seriesLimit
        self.startedAt = startedAt
    }

    /// How many series there are, and how many were asked for beyond a limit.
    package var size: (series: Int, overflowed: UInt64) { state.withLock { ($0.series, $0.overflowed) } }

    private func instrument(_ kind: Kind, _ name: String, _ dimensions: [(String, String)]) -> Instrument {
        let attributes = Attributes(dimensions)
        return state.withLock { state in
            let key = FamilyKey(name: name, kind: kind)
            var family = state.families.removeValue(forKey: key) ?? Family()
            defer { state.families[key] = family }
            if let known = family[attributes] { return known }
            var place = attributes
            let count = family.ordered.count - (family[.overflow] == nil ? 0 : 1)
            if count >= seriesLimit, attributes != .overflow {
                state.overflowed += 1
                place = .overflow
                if let known = family[place] { return known }
            }
            let new = Instrument(kind)
            family.add(place, new, kind)
            state.series += 1
            return new
        }
    }

    // MARK: Handles

    package func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
        guard case .total(let handler) = instrument(.total, label, dimensions) else {
            return NOOPMetricsHandler.instance
        }
        return handler
    }

    package func makeFloatingPointCounter(
        label: String,
        dimensions: [(String, String)]
    ) -> any FloatingPointCounterHandler {
        guard case .fractionalTotal(let handler) = instrument(.fractionalTotal, label, dimensions) else {
            return NOOPMetricsHandler.instance
        }
        return handler
    }

    package func makeMeter(label: String, dimensions: [(String, String)]) -> any MeterHandler {
        guard case .level(let handler) = instrument(.level, label, dimensions) else {
            return NOOPMetricsHandler.instance
        }
        return handler
    }

    /// A gauge where it is not aggregated, a distribution of amounts where it is.
    package func makeRecorder(
        label: String,
        dimensions: [(String, String)],
        aggregate: Bool
    ) -> any RecorderHandler {
        switch instrument(aggregate ? .histogram(isDuration: false) : .level, label, dimensions) {
        case .histogram(let handler): return handler
        case .level(let handler): return handler
        default: return NOOPMetricsHandler.instance
        }
    }

    package func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
        duration(label, dimensions)
    }

    /// A distribution of durations, in seconds, that takes exemplars.
    package func duration(_ name: String, _ attributes: [(String, String)]) -> HistogramInstrument {
        guard case .histogram(let handler) = instrument(.histogram(isDuration: true), name, attributes) else {
            return HistogramInstrument(.durations)
        }
        return handler
    }

    /// Nothing: a total that went away and came again would go back.
    package func destroyCounter(_ handler: any CounterHandler) {}
    /// As `destroyCounter(_:)`.
    package func destroyFloatingPointCounter(_ handler: any FloatingPointCounterHandler) {}
    /// As `destroyCounter(_:)`.
    package func destroyMeter(_ handler: any MeterHandler) {}
    /// As `destroyCounter(_:)`.
    package func destroyRecorder(_ handler: any RecorderHandler) {}
    /// As `destroyCounter(_:)`.
    package func destroyTimer(_ handler: any TimerHandler) {}
}
