import Foundation

/// Reports as one HTML file each, with plots.
enum Report {
    /// What `run` measured.
    static func run(_ result: LoadResult) -> String { RunReport(result: result).html }

    /// What `capacity` found.
    static func capacity(_ result: CapacityResult) -> String { CapacityReport(result: result).html }

    /// What `plan` foretells.
    static func plan(_ result: PlanResult) -> String { PlanReport(result: result).html }
}

/// The report of one run.
struct RunReport {
    let result: LoadResult

    private static let milliseconds: @Sendable (Double) -> String = { Format.milliseconds($0) }
    private static let seconds: @Sendable (Double) -> String = { Format.number($0) + " s" }

    var html: String {
        let when = TimeText.minute(result.startTime.timeIntervalSince1970)
        let load =
            result.model == .open
            ? "\(Format.rate(result.rateWanted)) wanted, \(result.arrivals) arrivals"
            : "closed loop, \(result.closed?.description ?? "")"
        return HTML.page(
            title: "Load test: \(result.scenario.isEmpty ? "no scenario" : result.scenario)",
            subtitle: "\(result.endpoint) · \(when) UTC · \(load) · \(Format.number(result.duration)) s after "
                + "\(Format.number(result.warmup)) s of warm-up · seed \(result.seed) · cohort-loadtest \(result.toolVersion)",
            body: HTML.warnings(warnings) + HTML.cards(cards) + objectives
                + HTML.section("Over time", HTML.charts([latency, throughput, inFlight, errors]))
                + HTML.section("Distribution", HTML.charts([percentiles, histogram]))
                + methods + HTML.section("Server beside the client", server)
                + HTML.section("Generator", HTML.cards(generator))
        )
    }

    /// What has to be known before the figures are believed.
    private var warnings: [String] {
        guard result.generator.isBottleneck else { return result.warnings }
        return ["the generator was the limit: \(result.generator.reason ?? "this says nothing of the server")"]
            + result.warnings
    }

    private var cards: [(label: String, value: String, note: String, isBad: Bool)] {
        let record = result.latency
        let isShort = result.model == .open && result.rateReached < 0.98 * result.rateWanted
        return [
            (
                "Rate reached", Format.rate(result.rateReached),
                result.model == .open ? "of \(Format.rate(result.rateWanted))" : "", isShort
            ),
            ("p50", Format.milliseconds(record.p50), "half are faster", false),
            ("p99", Format.milliseconds(record.p99), "1 of 100 is slower", false),
            ("p99.9", Format.milliseconds(record.p999), "1 of 1,000 is slower", false),
            ("Longest", Format.milliseconds(record.maximum), "mean \(Format.milliseconds(record.mean))", false),
            (
                "Errors", Format.percent(result.errorRatio),
                "\(Format.count(result.failed)) of \(Format.count(result.sent))", false
            ),
        ]
    }

    private var generator: [(label: String, value: String, note: String, isBad: Bool)] {
        let generator = result.generator
        let processor = ("Processor", Format.percent(generator.cpuRatio), "of the generator's thread", false)
        // In a closed loop nothing is due, so nothing is late.
        guard result.model == .open else { return [processor] }
        return [
            (
                "Verdict", generator.isBottleneck ? "was the limit" : "kept up",
                generator.isBottleneck ? "the result says nothing of the server" : "the result is the server's",
                generator.isBottleneck
            ),
            ("Lag p99", Format.milliseconds(generator.lagP99), "sent later than due", false),
            ("Lag, longest", Format.milliseconds(generator.lagMax), "", false),
            processor,
        ]
    }

    private var objectives: String {
        guard !result.slo.isEmpty else { return "" }
        let rows = result.slo.map { [$0.term, $0.measuredText, $0.isMet ? "✓ met" : "✗ missed"] }
        return HTML.section("Objectives", HTML.table(["objective", "measured", ""], rows))
    }

    private var methods: String {
        guard !result.methods.isEmpty else { return "" }
        let rows = result.methods.map { method in
            let errors = method.errors.sorted { $0.key < $1.key }.map { "\($0.key) \(Format.count($0.value))" }
            return [method.method, Format.count(method.sent)]
                + [method.latency.p50, method.latency.p99, method.latency.p999, method.latency.maximum]
                .map(Format.milliseconds) + [errors.isEmpty ? "none" : errors.joined(separator: ", ")]
        }
        let head = ["method", "sent", "p50", "p99", "p99.9", "longest", "errors"]
        return HTML.section("Methods", HTML.table(head, rows, numbers: [1, 2, 3, 4, 5]))
    }

    // Plots.

    private var time: Axis {
        Axis(title: "seconds since the start", domain: 0...max(result.duration, 1), format: Self.seconds)
    }

    private func over(_ value: (LoadResult.Interval) -> Double?) -> [Chart.Point] {
        result.middles.map { Chart.Point(x: $0.at, y: value($0.interval)) }
    }

    private var latency: Chart {
        func series(_ name: String, _ percentile: Double, _ colour: Int) -> Chart.Series {
            Chart.Series(
                name: name,
                points: over { $0.latency.count > 0 ? $0.latency.milliseconds(atPercentile: percentile) : nil },
                colour: colour
            )
        }
        return Chart(
            title: "Latency over time",
            text: "The percentiles of the calls that ended in each second, and how late the generator sent.",
            x: time,
            y: Axis(title: "latency", scale: .log, format: Self.milliseconds),
            series: [series("p50", 50, 3), series("p99", 99, 1), series("p99.9", 99.9, 5)]
                + (result.intervals.contains { $0.lagP99 != nil }
                    ? [Chart.Series(name: "generator's lag, p99", points: over(\.lagP99), style: .dashed, colour: 6)]
                    : []),
            marks: Self.limits(result.slo)
        )
    }

    /// The objectives on p50, p99 and p99.9 as lines.
    private static func limits(_ outcomes: [LoadResult.SLOOutcome]) -> [Chart.Mark] {
        outcomes.compactMap { outcome in
            guard let term = try? SLO(parsing: outcome.term).terms.first, [.p50, .p99, .p999].contains(term.figure)
            else {
                return nil
            }
            return Chart.Mark(name: term.text, place: .y(term.scaledLimit), colour: 7)
        }
    }

    private var throughput: Chart {
        Chart(
            title: "Throughput",
            text: "Calls due, sent and answered in each second.",
            x: time,
            y: Axis(title: "calls a second"),
            series: [
                // In a closed loop what is sent is what is wanted.
                result.model == .open
                    ? Chart.Series(name: "wanted", points: over { Double($0.wanted) }, style: .dashed, colour: 6) : nil,
                Chart.Series(name: "sent", points: over { Double($0.sent) }, colour: 2),
                Chart.Series(name: "answered", points: over { Double($0.answered) }, colour: 1),
            ].compactMap { $0 }
        )
    }

    private var inFlight: Chart {
        Chart(
            title: "Calls in flight",
            text: "The mean number of calls under way in each second.",
            x: time,
            y: Axis(title: "calls"),
            series: [Chart.Series(name: "in flight", points: over { $0.inFlight }, colour: 5)]
        )
    }

    private var errors: Chart {
        let codes = result.errors.sorted { $0.value > $1.value }.map { "\($0.key) \(Format.count($0.value))" }
        return Chart(
            title: "Errors" + (codes.isEmpty ? ": none" : ": " + codes.prefix(4).joined(separator: ", ")),
            text: "Calls that failed in each second.",
            x: time,
            y: Axis(title: "errors a second", domain: result.failed == 0 ? 0...1 : nil),
            series: [Chart.Series(name: "errors", points: over { Double($0.errors) }, style: .bars, colour: 7)]
        )
    }

    private var percentiles: Chart {
        let record = result.latency
        // As far as the calls reach: the last point stands for one call.
        let end = record.count > 1 ? 1 - 1 / Double(record.count) : 0.99
        let steps = Int(40 * max(1, -log10(1 - end)))
        var points: [Chart.Point] = []
        if record.count > 0 {
            points = (0...steps).map { step in
                let share = 1 - pow(1 - end, Double(step) / Double(steps))
                return Chart.Point(x: share, y: record.milliseconds(atPercentile: max(share * 100, 1e-6)))
            }
        }
        return Chart(
            title: "Latency by percentile",
            text: "The time that so many of the calls do not exceed.",
            x: Axis(title: "percentile", scale: .percentile, domain: nil, format: { Format.percent($0) }),
            y: Axis(title: "latency", scale: .log, format: Self.milliseconds),
            series: [Chart.Series(name: "latency", points: points, colour: 1)],
            marks: Self.limits(result.slo)
        )
    }

    private var histogram: Chart {
        // Twenty bars for each decade.
        var bars: [Int: UInt64] = [:]
        for bucket in result.latency.buckets where bucket.value > 0 {
            bars[Int((20 * log10(Double(bucket.value) / 1e6)).rounded(.down)), default: 0] += bucket.count
        }
        let keys = bars.keys.min().map { $0...(bars.keys.max() ?? $0) } ?? 0...0
        let points = keys.map { key in
            Chart.Point(x: pow(10, (Double(key) + 0.5) / 20), y: Double(bars[key] ?? 0))
        }
        return Chart(
            title: "Calls by latency",
            text: "How many calls took how long.",
            x: Axis(title: "latency", scale: .log, format: Self.milliseconds),
            y: Axis(title: "calls"),
            series: [Chart.Series(name: "calls", points: bars.isEmpty ? [] : points, style: .bars, colour: 1)]
        )
    }

    private var server: String {
        let charts = ServerCharts(result: result, time: time).charts
        return charts.isEmpty ? HTML.lines("The server was not asked for its metrics.") : HTML.charts(charts)
    }
}

extension LoadResult {
    /// The seconds of the run, each with its middle, where its figures are drawn.
    var middles: [(at: Double, interval: Interval)] {
        intervals.map { (($0.at + max($0.at, min($0.at + 1, duration))) / 2, $0) }
    }
}
