import Foundation

/// The report of a search for the capacity.
struct CapacityReport {
    let result: CapacityResult

    private static let milliseconds: @Sendable (Double) -> String = { Format.milliseconds($0) }

    var html: String {
        HTML.page(
            title: "Capacity: \(result.scenario.isEmpty ? "no scenario" : result.scenario)",
            subtitle: "\(result.endpoint) · \(TimeText.minute(result.startTime.timeIntervalSince1970)) UTC · objective "
                + "\(result.slo) · cohort-loadtest \(result.toolVersion)",
            body: HTML.cards(cards) + HTML.section("In words", HTML.lines(result.summary))
                + HTML.section("Plots", HTML.charts([latency, scalability, littlesLaw, processors].compactMap { $0 }))
                + HTML.section("Steps", steps)
        )
    }

    private var cards: [(label: String, value: String, note: String, isBad: Bool)] {
        let capacity = result.capacityRate.map(Format.rate) ?? "none"
        var cards = [
            ("Capacity", capacity, result.slo.replacing(",", with: ", "), result.capacityRate == nil),
            (
                "Run it at", result.operatingRate.map(Format.rate) ?? "–",
                "\(Format.percent(result.headroom)) of it at most",
                false
            ),
            ("Limited by", result.limiting.words, "", result.limiting.resource == .client),
            (
                "Knee", result.kneeRate.map(Format.rate) ?? "none",
                result.kneeRate == nil ? "latency grows evenly as far as measured" : "latency grows faster from there",
                false
            ),
        ]
        if let target = result.target {
            cards.append(("Instances", "\(target.instances)", "for \(Format.rate(target.rate)), one may fail", false))
        }
        return cards
    }

    private var latency: Chart {
        let passed = result.steps.filter { $0.isMet && !$0.isGeneratorLimited }
        let missed = result.steps.filter { !$0.isMet && !$0.isGeneratorLimited }
        let limited = result.steps.filter(\.isGeneratorLimited)
        func points(_ steps: [CapacityResult.Step]) -> [Chart.Point] {
            steps.map { Chart.Point(x: $0.rateWanted, y: $0.p99) }
        }
        var series = [
            Chart.Series(name: "p99, objective met", points: points(passed), style: .points, colour: 3),
            Chart.Series(name: "p99, missed", points: points(missed), style: .crosses, colour: 7),
        ]
        if !limited.isEmpty {
            series.append(
                Chart.Series(name: "generator was the limit", points: points(limited), style: .points, colour: 6)
            )
        }
        var marks: [Chart.Mark] = []
        if let operating = result.operatingRate {
            marks.append(Chart.Mark(name: "run it at \(Format.rate(operating))", place: .x(operating), colour: 1))
        }
        if let knee = result.kneeRate {
            marks.append(Chart.Mark(name: "knee \(Format.rate(knee))", place: .x(knee), colour: 2))
        }
        if let capacity = result.capacityRate {
            marks.append(Chart.Mark(name: "capacity \(Format.rate(capacity))", place: .x(capacity), colour: 3))
        }
        if let limit = try? SLO(parsing: result.slo).latencyLimit() {
            marks.append(Chart.Mark(name: "p99 \(Format.milliseconds(limit))", place: .y(limit), colour: 7))
        }
        return Chart(
            title: "p99 by rate",
            text: "Each step of the search, with the objective and what was found.",
            x: Axis(title: "calls a second wanted", domain: domain, format: Format.number),
            y: Axis(title: "p99", scale: .log, format: Self.milliseconds),
            series: series,
            marks: marks
        )
    }

    /// Rates far beyond the capacity would push the rest of the plot to its edge.
    private var domain: ClosedRange<Double>? {
        guard let capacity = result.capacityRate else { return nil }
        let highest = result.steps.map(\.rateWanted).max() ?? capacity
        return 0...min(highest * 1.05, capacity * 1.6)
    }

    private var scalability: Chart? {
        guard let law = result.scalability, let first = law.points.first, let last = law.points.last else { return nil }
        // Calls in flight grow without end at the limit, so each decade takes the same room.
        let (begin, span) = (first.concurrency / 1.1, last.concurrency / first.concurrency * 1.3)
        let places = (0...80).map { begin * pow(span, Double($0) / 80) }
        let bands = places.map { law.band(at: $0) }
        func curve(_ value: (Estimate) -> Double) -> [Chart.Point] {
            zip(places, bands).map { Chart.Point(x: $0, y: value($1)) }
        }
        return Chart(
            title: "Universal Scalability Law" + (law.isPoor ? " (poor fit)" : ""),
            text: "Throughput by the calls in flight as measured, and the fitted curve with its interval of 95 %.",
            x: Axis(title: "calls in flight", scale: .log, format: Format.number),
            y: Axis(
                title: "calls a second",
                // Where little is known the interval is endless.
                domain: 0...(1.5 * (law.points.map(\.rate).max() ?? 1)),
                format: Format.number
            ),
            series: [
                Chart.Series(
                    name: "95 % interval",
                    points: curve(\.low),
                    style: .band(upper: curve(\.high)),
                    colour: 1
                ),
                Chart.Series(name: "fitted", points: curve(\.value), colour: 1),
                Chart.Series(
                    name: "measured",
                    points: law.points.map { Chart.Point(x: $0.concurrency, y: $0.rate) },
                    style: .points,
                    colour: 2
                ),
            ]
        )
    }

    private var littlesLaw: Chart {
        let steps = result.steps.filter { $0.littlesLaw.expected > 0 }
        let ends = [steps.map(\.littlesLaw.expected).min() ?? 1, steps.map(\.littlesLaw.expected).max() ?? 1]
        return Chart(
            title: "Little's law",
            text: "Calls in flight as counted and as the rate times the mean latency; they should be the same.",
            x: Axis(title: "rate × mean latency", scale: .log, format: Format.number),
            y: Axis(title: "calls in flight, counted", scale: .log, format: Format.number),
            series: [
                Chart.Series(
                    name: "the same",
                    points: ends.map { Chart.Point(x: $0, y: $0) },
                    style: .dashed,
                    colour: 6
                ),
                Chart.Series(
                    name: "within 10 %",
                    points: steps.filter(\.littlesLawHolds).map {
                        Chart.Point(x: $0.littlesLaw.expected, y: $0.littlesLaw.counted)
                    },
                    style: .points,
                    colour: 3
                ),
                Chart.Series(
                    name: "off",
                    points: steps.filter { !$0.littlesLawHolds }
                        .map { Chart.Point(x: $0.littlesLaw.expected, y: $0.littlesLaw.counted) },
                    style: .crosses,
                    colour: 7
                ),
            ]
        )
    }

    private var processors: Chart? {
        let points = result.steps.compactMap { step in
            step.processorsUsed.map { Chart.Point(x: step.rateReached, y: $0) }
        }
        guard !points.isEmpty else { return nil }
        return Chart(
            title: "Processors by rate",
            text: "The processors that the server used on each step.",
            x: Axis(title: "calls answered a second", format: Format.number),
            y: Axis(title: "processors", format: Format.number),
            series: [Chart.Series(name: "processors", points: points, style: .points, colour: 8)]
        )
    }

    private var steps: String {
        let rows = result.steps.map { step in
            [
                step.kind.rawValue + (step.attempt > 1 ? ", again" : ""), Format.number(step.rateWanted),
                Format.number(step.rateReached), Format.milliseconds(step.p50), Format.milliseconds(step.p99),
                Format.percent(step.errorRatio), Format.number(step.littlesLaw.counted),
                step.littlesLawHolds ? "holds" : "off by \(Format.percent(step.littlesLaw.deviation))",
                step.isGeneratorLimited ? "generator was the limit" : step.isMet ? "✓ met" : "✗ missed",
            ]
        }
        let head = ["step", "wanted/s", "answered/s", "p50", "p99", "errors", "in flight", "Little's law", "objective"]
        return HTML.table(head, rows, numbers: [1, 2, 3, 4, 5, 6])
    }
}
