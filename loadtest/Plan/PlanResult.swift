import Foundation

/// How traffic will grow and what carries it: the value behind `plan`'s JSON file and report. Rates are in calls a second,
/// times are in UTC.
struct PlanResult: Codable, Sendable, Hashable {
    var kind = "plan"
    var format = 1
    /// The first and the last day of the past traffic.
    var from: String
    var through: String
    var interval: Double
    var missing: Int
    var model: HoltWinters.Kind
    var parameters: HoltWinters.Parameters
    var backtest: Forecast.Backtest?
    var peakFactor: Double
    /// Of one instance.
    var operatingRate: Double
    var capacityRate: Double?
    /// The instances there are.
    var instances: Int?
    var peak: Peak
    var instancesAtPeak: Int
    /// The first day on which the fleet is too small; nothing when it lasts.
    var runsOut: String?
    /// The same when traffic is at the upper end of its interval.
    var runsOutEarliest: String?
    var history: [Day]
    var forecast: [Day]
    var warnings: [String]
    var summary: String

    struct Peak: Codable, Sendable, Hashable {
        /// `2026-03-01 12:00`.
        var time: String
        var rate: Estimate
    }

    /// The busiest interval of a day.
    struct Day: Codable, Sendable, Hashable {
        var date: String
        var peak: Double
        var low: Double?
        var high: Double?
        var instances: Int?
    }

    enum CodingKeys: String, CodingKey {
        case kind, format, from, through, missing, model, parameters, backtest, instances, peak, history, forecast,
            warnings
        case summary
        case interval = "interval_s"
        case peakFactor = "peak_factor"
        case operatingRate = "operating_rate"
        case capacityRate = "capacity_rate"
        case instancesAtPeak = "instances_at_peak"
        case runsOut = "runs_out"
        case runsOutEarliest = "runs_out_earliest"
    }
}

/// There is less traffic than a forecast takes: the work fails, but nothing is wrong with the file.
struct NotEnoughData: Error, CustomStringConvertible {
    var description: String
}

/// Foretells traffic and says how many instances carry it.
struct CapacityPlan {
    var traffic: Traffic
    /// Calls a second that one instance is run at, and what it can do at most if that is known.
    var operatingRate: Double
    var capacityRate: Double?
    var instances: Int?
    /// How far ahead.
    var days: Int

    /// The share of missing values up to which a forecast is made.
    private static let mostMissing = 0.2

    /// - Throws: `NotEnoughData` for fewer than two weeks, or too many gaps.
    func result() throws(NotEnoughData) -> PlanResult {
        let weeks = Double(traffic.values.count) / Double(traffic.week)
        guard weeks >= 2 else {
            throw NotEnoughData(
                description:
                    "not enough data: \(Format.number(weeks * 7)) days of traffic; the weekly season takes two "
                    + "weeks at least"
            )
        }
        let missing = Double(traffic.missing) / Double(traffic.values.count)
        guard missing <= Self.mostMissing else {
            throw NotEnoughData(
                description: "not enough data: \(Format.percent(missing)) of the time has no record; at most "
                    + "\(Format.percent(Self.mostMissing)) may be missing"
            )
        }
        let forecast = Forecast(traffic)
        let ahead = dailyForecast(forecast)
        // Not empty: at least a day is foretold.
        let highest = ahead.max { $0.peak.value < $1.peak.value } ?? (0, Estimate(value: 0, low: 0, high: 0))
        var result = PlanResult(
            from: TimeText.date(traffic.start),
            through: TimeText.date(traffic.end - traffic.interval),
            interval: traffic.interval,
            missing: traffic.missing,
            model: forecast.model.kind,
            parameters: forecast.model.parameters,
            backtest: forecast.backtest,
            peakFactor: traffic.peakFactor,
            operatingRate: operatingRate,
            capacityRate: capacityRate,
            instances: instances,
            peak: PlanResult.Peak(time: TimeText.minute(highest.time), rate: highest.peak),
            instancesAtPeak: CapacityResult.instances(for: highest.peak.value, operatingRate: operatingRate),
            runsOut: firstDay(ahead) { $0.value },
            runsOutEarliest: firstDay(ahead) { $0.high },
            history: dailyHistory(),
            forecast: ahead.map { day in
                PlanResult.Day(
                    date: TimeText.date(day.time),
                    peak: day.peak.value,
                    low: day.peak.low,
                    high: day.peak.high,
                    instances: CapacityResult.instances(for: day.peak.value, operatingRate: operatingRate)
                )
            },
            warnings: warnings(forecast),
            summary: ""
        )
        result.summary = PlanSummary(result, days: days).text
        return result
    }

    private func firstDay(
        _ ahead: [(time: Double, peak: Estimate)],
        _ value: (Estimate) -> Double
    ) -> String? {
        guard let instances else { return nil }
        return ahead.first { CapacityResult.instances(for: value($0.peak), operatingRate: operatingRate) > instances }
            .map { TimeText.date($0.time) }
    }

    /// The highest forecast of each day, with what is on top of the mean within an interval.
    private func dailyForecast(_ forecast: Forecast) -> [(time: Double, peak: Estimate)] {
        var result: [(time: Double, peak: Estimate)] = []
        for ahead in 1...max(1, days * Int(86_400 / traffic.interval)) {
            let time = traffic.end + Double(ahead - 1) * traffic.interval
            var value = forecast.value(ahead)
            value.value *= traffic.peakFactor
            value.low *= traffic.peakFactor
            value.high *= traffic.peakFactor
            if let last = result.last, TimeText.isSameDay(last.time, time) {
                if value.value > last.peak.value { result[result.count - 1] = (time, value) }
            } else {
                result.append((time, value))
            }
        }
        return result
    }

    private func dailyHistory() -> [PlanResult.Day] {
        var result: [(time: Double, peak: Double)] = []
        for (index, value) in traffic.values.enumerated() {
            guard let value else { continue }
            let (time, rate) = (traffic.time(index), value * traffic.peakFactor)
            if let last = result.last, TimeText.isSameDay(last.time, time) {
                result[result.count - 1].peak = max(last.peak, rate)
            } else {
                result.append((time, rate))
            }
        }
        return result.map { PlanResult.Day(date: TimeText.date($0.time), peak: $0.peak) }
    }

    private func warnings(_ forecast: Forecast) -> [String] {
        var warnings: [String] = []
        let history = Double(traffic.values.count) * traffic.interval / 86_400
        if history < 730 {
            warnings.append(
                "\(Format.number(history)) days of traffic do not show a yearly season (it takes two years): holidays and "
                    + "seasonal peaks are not in the forecast"
            )
        } else {
            warnings.append(
                "a yearly season is not part of the model: holidays and seasonal peaks are not in the forecast"
            )
        }
        if Double(days) > history / 2 {
            warnings.append("\(days) days ahead is far for \(Format.number(history)) days of traffic")
        }
        if traffic.missing > 0 {
            warnings.append(
                "\(Format.count(UInt64(traffic.missing))) of \(Format.count(UInt64(traffic.values.count))) values are "
                    + "missing, the longest gap is \(Format.number(Double(traffic.longestGap) * traffic.interval / 3_600)) "
                    + "hours; the model goes on along its trend there"
            )
        }
        if let backtest = forecast.backtest, backtest.mape >= backtest.naiveMAPE {
            warnings.append("in the backtest repeating the last week was as good: do not trust the trend")
        }
        if forecast.backtest == nil {
            warnings.append("there is too little traffic to test the forecast on a part of it")
        }
        return warnings
    }
}

extension TimeText {
    static func isSameDay(_ one: Double, _ other: Double) -> Bool {
        (one / 86_400).rounded(.down) == (other / 86_400).rounded(.down)
    }
}

/// The plan in words.
private struct PlanSummary {
    let result: PlanResult
    let days: Int

    init(_ result: PlanResult, days: Int) { (self.result, self.days) = (result, days) }

    var text: String {
        ([traffic, backtest, peak, fleet] + result.warnings.map { "Mind: \($0)." }).joined(separator: "\n")
    }

    private var traffic: String {
        let hours = result.interval / 3_600
        let each =
            hours == 1
            ? "a value an hour" : hours == 24 ? "a value a day" : "a value every \(Format.number(hours)) hours"
        let within =
            result.peakFactor > 1.02
            ? " Within an hour up to \(Format.percent(result.peakFactor - 1)) is on top of its mean, which peaks include."
            : ""
        return "Traffic from \(result.from) through \(result.through), \(each).\(within)"
    }

    private var backtest: String {
        guard let test = result.backtest else { return "Forecast: \(result.model) Holt-Winters, not tested." }
        return "Forecast: \(result.model) Holt-Winters. On the last \(Format.number(test.days)) days, foretold from "
            + "\(test.origins) \(test.origins == 1 ? "origin" : "origins"), it is \(Format.percent(test.mape)) off (MAPE); "
            + "repeating the last week is \(Format.percent(test.naiveMAPE)) off. "
            + "\(Format.percent(test.coverage)) of the values were within the interval of 95 %."
    }

    private var peak: String {
        let rate = result.peak.rate
        return "Peak of the next \(days) days: \(Format.rate(rate.value)) (\(Format.number(rate.low)) to "
            + "\(Format.number(rate.high))) at \(result.peak.time) UTC. It takes \(result.instancesAtPeak) instances at "
            + "\(Format.rate(result.operatingRate)) each, of which one may fail."
    }

    private var fleet: String {
        guard let instances = result.instances else {
            return "Give --instances to learn when the fleet runs out."
        }
        let count = "\(instances) \(instances == 1 ? "instance" : "instances")"
        if let runsOut = result.runsOut {
            let earliest = result.runsOutEarliest.map { $0 == runsOut ? "" : ", \($0) at the earliest" } ?? ""
            return "The fleet of \(count) runs out on \(runsOut)\(earliest)."
        }
        if let earliest = result.runsOutEarliest {
            return "The fleet of \(count) is expected to last these \(days) days, but may run out from \(earliest) on."
        }
        return "The fleet of \(count) lasts these \(days) days."
    }
}
