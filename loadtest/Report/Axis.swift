import Foundation

/// An axis of a chart: where values lie on it, and the ticks a reader expects.
struct Axis: Sendable {
    enum Scale: Sendable {
        case linear
        /// For values over 0.
        case log
        /// Of shares of 0 to below 1, at `log(1/(1−p))`, as HdrHistogram's plots have it: each nine takes the same room.
        case percentile
        /// Seconds since 1970.
        case time
    }

    var title: String
    var scale = Scale.linear
    /// What to show; from the data when there is none.
    var domain: ClosedRange<Double>?
    /// Whether a linear axis begins at 0.
    var startsAtZero = true
    /// How a value is written.
    var format: @Sendable (Double) -> String = Format.number

    /// Where the values lie once the range is known.
    struct Fitted {
        let axis: Axis
        let low: Double
        let high: Double

        /// From 0 at the low end to 1 at the high one.
        func position(_ value: Double) -> Double? {
            let (from, to, at) = (axis.transform(low), axis.transform(high), axis.transform(value))
            guard at.isFinite, to > from else { return nil }
            return (at - from) / (to - from)
        }

        /// - Parameter most: How many there is room for.
        func ticks(_ most: Int) -> [(value: Double, label: String)] {
            switch axis.scale {
            case .linear: linearTicks(most)
            case .log: logTicks(most)
            case .percentile: percentileTicks()
            case .time: timeTicks(most)
            }
        }

        private func linearTicks(_ most: Int) -> [(value: Double, label: String)] {
            let raw = (high - low) / Double(max(1, most))
            let unit = pow(10, floor(log10(raw)))
            let step = [1, 2, 5, 10].first { $0 * unit >= raw * 0.999_999 }.map { $0 * unit } ?? raw
            var ticks: [(Double, String)] = []
            var index = (low / step - 1e-9).rounded(.up)
            while index * step <= high + step * 1e-9, ticks.count < 100 {
                ticks.append((index * step, axis.format(index * step)))
                index += 1
            }
            return ticks
        }

        private func logTicks(_ most: Int) -> [(value: Double, label: String)] {
            let (from, to) = (Int(floor(log10(low))), Int(ceil(log10(high))))
            // 1, 2 and 5 of each decade when few are shown.
            let digits: [Double] = (to - from) <= 2 ? [1, 2, 5] : (to - from) * 2 <= most ? [1, 3] : [1]
            let pause = max(1, (to - from) / max(1, most))
            var ticks: [(Double, String)] = []
            for power in stride(from: from, through: to, by: pause) {
                for digit in digits {
                    let value: Double = digit * pow(10, Double(power))
                    if value >= low * 0.999_999, value <= high * 1.000_001 { ticks.append((value, axis.format(value))) }
                }
            }
            return ticks
        }

        private func percentileTicks() -> [(value: Double, label: String)] {
            [
                (0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %"), (0.9999, "99.99 %"),
                (0.99999, "5 nines"), (0.999999, "6 nines"),
            ]
            .filter { $0.0 >= low && $0.0 <= high }
            .map { (value: $0.0, label: $0.1) }
        }

        private func timeTicks(_ most: Int) -> [(value: Double, label: String)] {
            let day = 86_400.0
            let days = (high - low) / day / Double(max(1, most))
            let step = ([1, 2, 7, 14, 30, 61, 91, 182, 365, 730, 1_825].first { Double($0) >= days } ?? 3_650)
            guard step >= 30 else {
                let length = Double(step) * day
                return stride(from: (low / length).rounded(.up) * length, through: high, by: length)
                    .map { ($0, String(TimeText.date($0).dropFirst(5))) }
            }
            // Firsts of months: found by looking at each day.
            let months = max(1, step / 30)
            return stride(from: (low / day).rounded(.up) * day, through: high, by: day).compactMap { time in
                let date = TimeText.date(time)
                guard date.hasSuffix("-01"), let month = Int(date.dropFirst(5).prefix(2)),
                    (month - 1) % min(months, 12) == 0
                else { return nil }
                return (time, String(date.prefix(7)))
            }
        }
    }

    /// The range that holds the values, with a little room.
    func fitted(_ values: [Double]) -> Fitted {
        let usable = values.filter { transform($0).isFinite }
        var (low, high) = (usable.min() ?? 0, usable.max() ?? 1)
        if let domain { (low, high) = (domain.lowerBound, domain.upperBound) }
        switch scale {
        case .linear:
            if domain == nil {
                if startsAtZero { (low, high) = (min(0, low), max(high, 0) * 1.06) }
                if high <= low { high = low + 1 }
            }
        case .log:
            if usable.isEmpty, domain == nil { (low, high) = (0.1, 10) }
            if domain == nil { (low, high) = (low / 1.15, high * 1.15) }
            // At least a decade and a half, so that noise does not fill the plot.
            let missing = 1.2 - log10(high / low)
            if missing > 0 { (low, high) = (low * pow(10, -missing / 2), high * pow(10, missing / 2)) }
        case .percentile: (low, high) = (0, min(max(high, 0.99), 1 - 1e-7))
        case .time: if high <= low { high = low + 86_400 }
        }
        return Fitted(axis: self, low: low, high: high)
    }

    fileprivate func transform(_ value: Double) -> Double {
        switch scale {
        case .linear, .time: value
        case .log: value > 0 ? log10(value) : .nan
        case .percentile: value < 1 ? -log10(1 - value) : .nan
        }
    }
}
