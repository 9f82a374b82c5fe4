/// A fitted model with the uncertainty of what it foretells, and the test of it on data it had not seen.
struct Forecast: Sendable {
    /// Has seen all of the traffic.
    let model: HoltWinters
    let backtest: Backtest?
    private let spread: Spread

    struct Backtest: Codable, Sendable, Hashable {
        /// How far ahead it foretold.
        var days: Double
        /// How many times, each a week after the one before.
        var origins: Int
        /// The mean absolute error in proportion to the actual value, 0 to 1.
        var mape: Double
        /// The same of repeating the last week.
        var naiveMAPE: Double
        /// The share of the actual values within the interval of 95 %.
        var coverage: Double

        enum CodingKeys: String, CodingKey {
            case days, origins, mape, coverage
            case naiveMAPE = "seasonal_naive_mape"
        }
    }

    /// The variance of the relative error: a part that is always there, and one that grows with the square of the time,
    /// as the error of a trend does.
    private struct Spread {
        var constant: Double
        /// By week squared.
        var growth: Double

        init(_ errors: HoltWinters.RollingErrors) {
            let points = errors.byWeek.enumerated().filter { $0.element.count > 0 }
                .map { (x: (Double($0) + 0.5) * (Double($0) + 0.5), y: $1.squares / $1.count) }
            let (x, y) = (points.map(\.x).mean, points.map(\.y).mean)
            let squares = points.reduce(0) { $0 + ($1.x - x) * ($1.x - x) }
            let slope = squares > 0 ? points.reduce(0) { $0 + ($1.x - x) * ($1.y - y) } / squares : 0
            growth = min(max(slope, 0), y / max(x, 1e-9))
            constant = max(y - growth * x, 0)
        }

        func width(weeks: Double) -> Double { 1.96 * (constant + growth * weeks * weeks).squareRoot() }
    }

    /// - Parameter traffic: Of at least two weeks.
    init(_ traffic: Traffic) {
        let values = traffic.values[...]
        let fitted = HoltWinters.fit(values, day: traffic.day, week: traffic.week)
        spread = Spread(HoltWinters.rollingErrors(fitted, values, week: traffic.week))
        week = traffic.week
        backtest = Self.test(traffic)
        var model = fitted
        model.update(values)
        self.model = model
    }

    private let week: Int

    /// The value so many intervals after the last one, and the interval that holds it with 95 % probability.
    func value(_ ahead: Int) -> Estimate {
        let value = model.forecast(ahead)
        let width = spread.width(weeks: Double(ahead) / Double(week))
        return Estimate(value: value, low: max(0, value * (1 - width)), high: value * (1 + width))
    }

    /// Foretells the last part of the traffic from origins before it, with parameters that saw nothing after the first.
    private static func test(_ traffic: Traffic) -> Backtest? {
        let (values, week) = (traffic.values, traffic.week)
        let horizon = max(1, min(4 * week, values.count / 4))
        let origins = (0..<4).reversed().map { values.count - horizon - $0 * week }.filter { $0 >= 2 * week }
        guard let first = origins.first else { return nil }
        let fitted = HoltWinters.fit(values[..<first], day: traffic.day, week: week)
        let spread = Spread(HoltWinters.rollingErrors(fitted, values[..<first], week: week))
        var model = fitted
        var (error, naive, inside, count) = (0.0, 0.0, 0.0, 0.0)
        for origin in origins {
            model.update(values[model.count..<origin])
            for ahead in 1...horizon {
                guard let actual = values[origin + ahead - 1], actual > 0 else { continue }
                // The same hour of the last week that has it.
                var same = origin - week + (ahead - 1) % week
                while same >= week, values[same] == nil { same -= week }
                guard let last = values[same] else { continue }
                let forecast = model.forecast(ahead)
                error += abs(forecast - actual) / actual
                naive += abs(last - actual) / actual
                let width = spread.width(weeks: Double(ahead) / Double(week))
                if abs(actual - forecast) <= width * forecast { inside += 1 }
                count += 1
            }
        }
        guard count > 0 else { return nil }
        return Backtest(
            days: Double(horizon) * traffic.interval / 86_400,
            origins: origins.count,
            mape: error / count,
            naiveMAPE: naive / count,
            coverage: inside / count
        )
    }
}
