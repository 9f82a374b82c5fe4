import Histogram

/// Two results of the same load: how they differ, and how sure that is.
///
/// The intervals hold the true difference with 95 % confidence. They come from a bootstrap of the seconds of each run in
/// blocks (Künsch 1989), because neighbouring seconds are alike; percentiles are taken from the merged histograms of the
/// seconds drawn. The same results give the same intervals.
struct Comparison: Codable, Sendable, Hashable {
    enum Figure: String, Codable, Sendable, CaseIterable {
        case rate, p50, p90, p95, p99, p999, mean, errors

        /// For a rate less is worse.
        var isBetterHigher: Bool { self == .rate }
    }

    struct Difference: Codable, Sendable, Hashable {
        var figure: Figure
        /// In calls a second, milliseconds or, for errors, a share of 0 to 1.
        var before: Double
        var after: Double
        /// In proportion to before; for errors the difference of the shares.
        var change: Estimate

        /// Whether the interval excludes no difference.
        var isCertain: Bool { change.low > 0 || change.high < 0 }
        /// How much worse, 0 or more.
        var worsening: Double { max(0, figure.isBetterHigher ? -change.value : change.value) }
    }

    var differences: [Difference]

    /// Runs of fewer seconds have no spread to speak of.
    static let fewestIntervals = 5

    /// - Parameter draws: How many runs are drawn of each; more make the ends of the intervals steadier.
    /// - Throws: `FileProblem` as `check`.
    init(before: LoadResult, after: LoadResult, draws: Int = 1_000, seed: UInt64 = 42) throws(FileProblem) {
        try Self.check(before: before, after: after)
        var generator = SplitMix64(state: seed)
        let (one, other) = (Resampler(before), Resampler(after))
        var samples: [[Double]] = Figure.allCases.map { _ in [] }
        for _ in 0..<draws {
            let (x, y) = (one.draw(&generator), other.draw(&generator))
            for (index, figure) in Figure.allCases.enumerated() {
                samples[index].append(Self.change(figure, x[index], y[index]))
            }
        }
        differences = Figure.allCases.enumerated().map { index, figure in
            let (x, y) = (before.figure(figure), after.figure(figure))
            let finite = samples[index].filter(\.isFinite)
            let change = Estimate(
                value: Self.change(figure, x, y),
                low: finite.quantile(0.025),
                high: finite.quantile(0.975)
            )
            return Difference(figure: figure, before: x, after: y, change: change)
        }
    }

    /// - Throws: `FileProblem` when a run is too short, or when one is an open load and the other a closed loop.
    static func check(before: LoadResult, after: LoadResult) throws(FileProblem) {
        if before.model != after.model {
            throw FileProblem(
                "the result before is of the \(before.model) model, the one after of the \(after.model) model: latencies from when "
                    + "calls were due do not compare with those from when they were sent; measure both with 'run'"
            )
        }
        for (name, result) in [("before", before), ("after", after)] where result.intervals.count < fewestIntervals {
            throw FileProblem(
                "the result \(name) has \(result.intervals.count) seconds; a comparison takes \(fewestIntervals) or more"
            )
        }
    }

    private static func change(_ figure: Figure, _ before: Double, _ after: Double) -> Double {
        if figure == .errors { return after - before }
        return before == 0 ? (after == 0 ? 0 : .infinity) : after / before - 1
    }

    /// What makes the results loads of different shapes; empty when they can be compared.
    static func obstacles(before: LoadResult, after: LoadResult) -> [String] {
        var found: [String] = []
        func differ(_ name: String, _ one: String, _ other: String) {
            if one != other { found.append("\(name): \(one) before, \(other) after") }
        }
        differ("scenario", "'\(before.scenario)'", "'\(after.scenario)'")
        differ("closed loop", before.closed?.description ?? "none", after.closed?.description ?? "none")
        differ("arrivals", "'\(before.arrivals)'", "'\(after.arrivals)'")
        let methods = [before, after].map { Set($0.methods.map(\.method)).sorted().joined(separator: " ") }
        differ("methods", methods[0], methods[1])
        if abs(before.rateWanted - after.rateWanted) > 0.01 * max(before.rateWanted, after.rateWanted) {
            differ("rate wanted", Format.rate(before.rateWanted), Format.rate(after.rateWanted))
        }
        for (name, result) in [("before", before), ("after", after)] where result.generator.isBottleneck {
            found.append("the generator was the bottleneck of the result \(name)")
        }
        for (name, result) in [("before", before), ("after", after)] where result.notSent > 0 {
            found.append(
                "\(Format.count(result.notSent)) calls of the result \(name) were never sent, and have no latency"
            )
        }
        return found
    }
}

extension LoadResult {
    func figure(_ figure: Comparison.Figure) -> Double {
        switch figure {
        case .rate: rateReached
        case .p50: latency.p50
        case .p90: latency.p90
        case .p95: latency.p95
        case .p99: latency.p99
        case .p999: latency.p999
        case .mean: latency.mean
        case .errors: errorRatio
        }
    }
}

/// Draws runs like one that was measured, out of its seconds.
private struct Resampler {
    private struct Second {
        var answered: Double
        /// Of these, within the load.
        var within: Double
        var errors: Double
        /// In seconds.
        var length: Double
        /// Positions in `values` and counts.
        var counts: [(index: Int, count: Double)]
    }

    /// In milliseconds, ascending: the middle of each bucket that occurs.
    private let values: [Double]
    private let seconds: [Second]
    private let block: Int

    init(_ result: LoadResult) {
        let lows = Set(result.intervals.flatMap { $0.latency.buckets.map(\.value) }).sorted()
        let positions = Dictionary(uniqueKeysWithValues: lows.enumerated().map { ($1, $0) })
        let layout = LatencyRecord.makeHistogram(result.intervals.first?.latency.significantDigits ?? .two)
        values = lows.map { Double(layout.medianEquivalentForValue($0)) / 1e6 }
        seconds = zip(result.intervals, result.lengths).map { interval, length in
            Second(
                answered: Double(interval.answered),
                within: Double(interval.answered - min(interval.answered, interval.answeredLate)),
                errors: Double(interval.errors),
                length: length,
                counts: interval.latency.buckets.map { (positions[$0.value] ?? 0, Double($0.count)) }
            )
        }
        // The usual order of a block's length, the cube root.
        var length = 1
        while length * length * length < seconds.count { length += 1 }
        block = length
    }

    /// The figures of a drawn run, in the order of `Comparison.Figure`.
    func draw(_ generator: inout SplitMix64) -> [Double] {
        var counts = [Double](repeating: 0, count: values.count)
        var (answered, within, errors, length, drawn) = (0.0, 0.0, 0.0, 0.0, 0)
        while drawn < seconds.count {
            let start = Int.random(in: 0...(seconds.count - block), using: &generator)
            for second in seconds[start..<min(start + block, start + seconds.count - drawn)] {
                answered += second.answered
                within += second.within
                errors += second.errors
                length += second.length
                for entry in second.counts { counts[entry.index] += entry.count }
                drawn += 1
            }
        }
        let total = counts.reduce(0, +)
        var percentiles: [Double] = []
        var (seen, index) = (0.0, 0)
        for share in [0.5, 0.9, 0.95, 0.99, 0.999] {
            while index < counts.count, seen + counts[index] < share * total {
                seen += counts[index]
                index += 1
            }
            percentiles.append(index < values.count ? values[index] : values.last ?? 0)
        }
        let mean = total > 0 ? zip(counts, values).reduce(0) { $0 + $1.0 * $1.1 } / total : 0
        let ended = answered + errors
        return [length > 0 ? within / length : 0] + percentiles + [mean, ended > 0 ? errors / ended : 0]
    }
}
