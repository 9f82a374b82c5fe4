/// The report of a plan.
struct PlanReport {
    let result: PlanResult

    var html: String {
        HTML.page(
            title: "Capacity plan",
            subtitle: "Traffic from \(result.from) through \(result.through), foretold through "
                + "\(result.forecast.last?.date ?? result.through) · times in UTC",
            body: HTML.cards(cards) + HTML.section("In words", HTML.lines(result.summary))
                + HTML.section("Plots", HTML.charts([traffic, instances])) + HTML.section("Months", months)
        )
    }

    private var cards: [(label: String, value: String, note: String, isBad: Bool)] {
        var cards = [
            ("Peak", Format.rate(result.peak.rate.value), "\(result.peak.time) UTC", false),
            ("Instances at the peak", "\(result.instancesAtPeak)", "one of them may fail", false),
            ("Run an instance at", Format.rate(result.operatingRate), "", false),
        ]
        if let instances = result.instances {
            cards.append(
                (
                    "Fleet of \(instances)" + (result.runsOut == nil ? "" : " runs out"), result.runsOut ?? "lasts",
                    result.runsOutEarliest.map { "\($0) at the earliest" } ?? "", result.runsOut != nil
                )
            )
        }
        if let test = result.backtest {
            cards.append(
                (
                    "Backtest", Format.percent(test.mape),
                    "off; the last week again: \(Format.percent(test.naiveMAPE))", false
                )
            )
        }
        return cards
    }

    private var time: Axis { Axis(title: "day", scale: .time, format: { TimeText.date($0) }) }

    private func points(_ days: [PlanResult.Day], _ value: (PlanResult.Day) -> Double?) -> [Chart.Point] {
        days.compactMap { day in TimeText.parse(day.date).map { Chart.Point(x: $0, y: value(day)) } }
    }

    private var traffic: Chart {
        var marks: [Chart.Mark] = []
        if let instances = result.instances, instances > 1 {
            let rate = Double(instances - 1) * result.operatingRate
            marks.append(Chart.Mark(name: "\(instances) instances, one may fail", place: .y(rate), colour: 3))
            if let capacity = result.capacityRate {
                marks.append(
                    Chart.Mark(
                        name: "all \(instances) at their limit",
                        place: .y(Double(instances) * capacity),
                        colour: 7
                    )
                )
            }
        }
        if let runsOut = result.runsOut.flatMap({ TimeText.parse($0) }) {
            marks.append(Chart.Mark(name: "runs out \(TimeText.date(runsOut))", place: .x(runsOut), colour: 7))
        }
        return Chart(
            title: "Busiest time of each day",
            text: "Past traffic, the forecast with its interval of 95 %, and what the fleet carries.",
            x: time,
            y: Axis(title: "calls a second", format: Format.number),
            series: [
                Chart.Series(
                    name: "95 % interval",
                    points: points(result.forecast, \.low),
                    style: .band(upper: points(result.forecast, \.high)),
                    colour: 2
                ),
                Chart.Series(name: "past", points: points(result.history, \.peak), colour: 1),
                Chart.Series(name: "forecast", points: points(result.forecast, \.peak), colour: 2),
            ],
            marks: marks
        )
    }

    private var instances: Chart {
        let marks =
            result.instances.map { [Chart.Mark(name: "there are \($0)", place: .y(Double($0)), colour: 3)] } ?? []
        return Chart(
            title: "Instances needed",
            text: "How many instances carry the busiest time of each day when one fails.",
            x: time,
            y: Axis(title: "instances", format: Format.number),
            series: [
                Chart.Series(
                    name: "needed",
                    points: points(result.forecast) { $0.instances.map(Double.init) },
                    colour: 2
                )
            ],
            marks: marks
        )
    }

    /// The busiest day of each month to come.
    private var months: String {
        var rows: [(month: String, day: PlanResult.Day)] = []
        for day in result.forecast {
            let month = String(day.date.prefix(7))
            if let last = rows.last, last.month == month {
                if day.peak > last.day.peak { rows[rows.count - 1].day = day }
            } else {
                rows.append((month, day))
            }
        }
        return HTML.table(
            ["month", "busiest day", "calls/s", "low", "high", "instances"],
            rows.map { row in
                [
                    row.month, row.day.date, Format.number(row.day.peak), Format.number(row.day.low ?? 0),
                    Format.number(row.day.high ?? 0), row.day.instances.map(String.init) ?? "",
                ]
            },
            numbers: [2, 3, 4, 5]
        )
    }
}
