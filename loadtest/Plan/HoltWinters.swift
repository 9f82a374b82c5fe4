import Foundation

/// Exponential smoothing with a trend and two seasons, a day within a week (Holt 1957, Winters 1960; the second season is
/// Taylor's, "Short-term electricity demand forecasting using double seasonal exponential smoothing", 2003, without its
/// autoregressive term, which matters for hours and not for months).
///
/// A missing value changes no state: the level goes on along the trend. The first weeks give the initial states.
struct HoltWinters: Sendable {
    enum Kind: String, Codable, Sendable, CaseIterable {
        /// Seasons are added to the level.
        case additive
        /// Seasons multiply the level.
        case multiplicative
    }

    /// How fast each part follows, each between 0 and 1.
    struct Parameters: Codable, Sendable, Hashable {
        var level = 0.05
        var trend = 0.001
        var day = 0.05
        var week = 0.05
    }

    let kind: Kind
    let parameters: Parameters
    /// Intervals in a day; 1 when a day has no shape.
    private let dayLength: Int
    private let weekLength: Int
    private var level = 0.0
    /// By interval.
    private var trend = 0.0
    private var days: [Double]
    private var weeks: [Double]
    /// Values seen.
    private(set) var count = 0

    /// A model that has seen nothing but the values at the start that it begins from.
    init(_ values: ArraySlice<Double?>, day: Int?, week: Int, kind: Kind, parameters: Parameters = .init()) {
        self.kind = kind
        self.parameters = parameters
        dayLength = day ?? 1
        weekLength = week
        days = [Double](repeating: kind == .additive ? 0 : 1, count: dayLength)
        weeks = [Double](repeating: kind == .additive ? 0 : 1, count: week)
        begin(Array(values.prefix(Self.initialCount(values.count, week: week))))
    }

    /// Up to eight weeks, and at most half of the values, so that there is something left to learn from.
    static func initialCount(_ count: Int, week: Int) -> Int { week * max(1, min(8, count / week / 2)) }

    /// The line through the means of the weeks, and the mean of each part of day and week about it.
    private mutating func begin(_ values: [Double?]) {
        let means = stride(from: 0, to: values.count, by: weekLength).compactMap { begin -> (x: Double, y: Double)? in
            let present = values[begin..<min(begin + weekLength, values.count)].compactMap { $0 }
            guard !present.isEmpty else { return nil }
            return (Double(begin) + Double(weekLength - 1) / 2, present.mean)
        }
        let (centre, mean) = (means.map(\.x).mean, means.map(\.y).mean)
        if means.count >= 4 {
            let squares = means.reduce(0) { $0 + ($1.x - centre) * ($1.x - centre) }
            trend = means.reduce(0) { $0 + ($1.x - centre) * ($1.y - mean) } / squares
        }
        level = mean - trend * (centre + 1)
        func about(_ value: Double, _ index: Int) -> Double {
            let line = level + trend * Double(index + 1)
            return kind == .additive ? value - line : value / max(line, mean / 100, 1e-9)
        }
        func slots(_ length: Int, _ deviation: (Int, Double) -> Double) -> [Double] {
            var sums = [(sum: Double, count: Double)](repeating: (0, 0), count: length)
            for (index, value) in values.enumerated() {
                guard let value else { continue }
                sums[index % length].sum += deviation(index, about(value, index))
                sums[index % length].count += 1
            }
            return sums.map { $0.count > 0 ? $0.sum / $0.count : kind == .additive ? 0 : 1 }
        }
        let days = dayLength > 1 ? slots(dayLength) { $1 } : self.days
        self.days = days
        let dayLength = dayLength
        let isAdditive = kind == .additive
        weeks = slots(weekLength) { index, value in
            let day = days[index % dayLength]
            return isAdditive ? value - day : value / max(day, 1e-6)
        }
    }

    /// Takes the next values.
    mutating func update(_ values: ArraySlice<Double?>) {
        let (a, b, g, d) = (parameters.level, parameters.trend, parameters.day, parameters.week)
        let isAdditive = kind == .additive
        var (level, trend, count) = (level, trend, count)
        let (dayLength, weekLength) = (dayLength, weekLength)
        days.withUnsafeMutableBufferPointer { days in
            weeks.withUnsafeMutableBufferPointer { weeks in
                for value in values {
                    let (i, j) = (count % dayLength, count % weekLength)
                    count += 1
                    let expected = level + trend
                    guard let value else {
                        level = expected
                        continue
                    }
                    let (day, week) = (days[i], weeks[j])
                    if isAdditive {
                        let next = a * (value - day - week) + (1 - a) * expected
                        trend = b * (next - level) + (1 - b) * trend
                        level = next
                        if dayLength > 1 { days[i] = g * (value - next - week) + (1 - g) * day }
                        weeks[j] = d * (value - next - day) + (1 - d) * week
                    } else {
                        let next = a * value / max(day * week, 1e-6) + (1 - a) * expected
                        trend = b * (next - level) + (1 - b) * trend
                        level = max(next, 1e-9)
                        if dayLength > 1 { days[i] = g * value / max(level * week, 1e-9) + (1 - g) * day }
                        weeks[j] = d * value / max(level * day, 1e-9) + (1 - d) * week
                    }
                }
            }
        }
        (self.level, self.trend, self.count) = (level, trend, count)
    }

    /// The value `ahead` intervals after the last one seen, 1 or more; never below 0.
    func forecast(_ ahead: Int) -> Double {
        let index = count + ahead - 1
        let (line, day, week) = (level + Double(ahead) * trend, days[index % dayLength], weeks[index % weekLength])
        return max(0, kind == .additive ? line + day + week : line * day * week)
    }

    /// The parameters and the kind whose forecasts over up to four weeks, from origins through the values, are best.
    static func fit(_ values: ArraySlice<Double?>, day: Int?, week: Int) -> HoltWinters {
        let values = Array(values)[...]
        let present = values.compactMap { $0 }
        // A series that touches zero has no proportions.
        let kinds: [Kind] = present.contains { $0 <= 0 } ? [.additive] : Kind.allCases
        let scored = kinds.map { kind -> (kind: Kind, parameters: Parameters, error: Double) in
            func model(_ point: [Double]) -> HoltWinters {
                let rates = point.map { 1 / (1 + exp(-$0)) }
                let parameters = Parameters(level: rates[0], trend: rates[1], day: rates[2], week: rates[3])
                return HoltWinters(values, day: day, week: week, kind: kind, parameters: parameters)
            }
            func error(_ point: [Double]) -> Double { rollingErrors(model(point), values, week: week).score }
            let start = [0.05, 0.001, 0.05, 0.05].map { log($0 / (1 - $0)) }
            let best = NelderMead.minimise(from: start, step: 1.5, evaluations: 160, tolerance: 1e-4, error)
            return (kind, model(best).parameters, error(best))
        }
        let best = scored.min { $0.error < $1.error } ?? (.additive, Parameters(), 0)
        return HoltWinters(values, day: day, week: week, kind: best.kind, parameters: best.parameters)
    }

    /// What forecasts from origins along the values missed by.
    struct RollingErrors {
        /// The mean size of the errors, in proportion.
        var score: Double
        /// By weeks ahead from 0: squares of the errors in proportion to the forecast, and how many.
        var byWeek: [(squares: Double, count: Double)]
    }

    /// - Parameter model: One that has seen nothing yet.
    static func rollingErrors(_ model: HoltWinters, _ values: ArraySlice<Double?>, week: Int) -> RollingErrors {
        var model = model
        let first = initialCount(values.count, week: week)
        let horizon = max(1, min(4 * week, (values.count - first) / 2))
        let pause = max(1, min(week, (values.count - first) / 4))
        let mean = values.lazy.compactMap { $0 }.reduce(0, +) / Double(max(1, values.count))
        // A few of the hours ahead do; 5 shares no factor with 24 or 168, so every hour has its turn.
        let skip = horizon > 50 ? 5 : 1
        var errors = RollingErrors(score: 0, byWeek: .init(repeating: (0, 0), count: horizon / week + 1))
        var count = 0.0
        model.update(values[values.startIndex..<(values.startIndex + first)])
        var origin = first
        while origin + horizon <= values.count {
            for ahead in stride(from: 1 + origin % skip, through: horizon, by: skip) {
                guard let actual = values[values.startIndex + origin + ahead - 1] else { continue }
                let forecast = model.forecast(ahead)
                errors.score += abs(forecast - actual) / max(actual, mean / 20, 1e-9)
                count += 1
                let deviation = (actual - forecast) / max(forecast, mean / 20, 1e-9)
                errors.byWeek[(ahead - 1) / week].squares += deviation * deviation
                errors.byWeek[(ahead - 1) / week].count += 1
            }
            model.update(values[(values.startIndex + origin)..<(values.startIndex + min(origin + pause, values.count))])
            origin += pause
        }
        errors.score = count > 0 ? errors.score / count : .infinity
        return errors
    }
}
