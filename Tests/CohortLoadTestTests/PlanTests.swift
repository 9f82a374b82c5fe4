import Foundation
import Testing

@testable import cohort_loadtest

@Suite("Plans")
struct PlanTests {
    /// Hourly traffic from 2025-01-01, a Wednesday: a trend, a day's and a week's shape, and noise.
    static func traffic(
        days: Int = 365,
        growth: Double = 0.5,
        noise: Double = 0.03,
        isMultiplicative: Bool = true,
        seed: UInt64 = 1
    ) -> [Double] {
        var generator = SplitMix64(state: seed)
        return (0..<(days * 24)).map { hour in
            let line = 1_000 * (1 + growth * Double(hour) / (365 * 24))
            let day = 0.45 * sin(2 * .pi * (Double(hour % 24) - 8) / 24) + 0.12 * sin(4 * .pi * Double(hour % 24) / 24)
            let week = [0.06, 0.05, 0.02, -0.18, -0.24, 0.08, 0.07][(hour / 24) % 7]
            let clean = isMultiplicative ? line * (1 + day) * (1 + week) : line + 1_000 * (day + week)
            return max(0, clean * (1 + noise * SampleResult.normal(&generator)))
        }
    }

    static func csv(_ values: [Double]) -> String {
        "timestamp,rate\n"
            + values.enumerated().map { "\(1_735_689_600 + 3_600 * $0),\($1)\n" }.joined()
    }

    private static func mape(_ forecast: [Double], _ actual: [Double]) -> Double {
        zip(forecast, actual).map { abs($0 - $1) / $1 }.mean
    }

    @Test("A year with trend, seasons and 3 % of noise: the held-out month within 5 %, better than the last week again")
    func heldOutMonth() {
        for (seed, isMultiplicative) in [(UInt64(1), true), (2, true), (3, false)] {
            let values = Self.traffic(isMultiplicative: isMultiplicative, seed: seed)
            let (past, month) = (values.dropLast(30 * 24), values.suffix(30 * 24))
            let forecast = Forecast(Traffic(start: 1_735_689_600, interval: 3_600, values: past.map { $0 }))
            let ahead = (1...month.count).map { forecast.value($0).value }
            let naive = (0..<month.count).map { past[past.endIndex - 168 + $0 % 168] }
            let (error, naiveError) = (Self.mape(ahead, Array(month)), Self.mape(naive, Array(month)))
            #expect(error < 0.05 && error < naiveError, "seed \(seed): \(error), naive \(naiveError)")
            let inside = zip(1..., month).count { forecast.value($0).contains($1) }
            #expect(Double(inside) > 0.85 * Double(month.count), "seed \(seed): \(inside) of \(month.count)")
        }
    }

    @Test("The backtest agrees with a month that was really held out")
    func backtest() throws {
        let traffic = try Traffic(csv: Self.csv(Self.traffic(days: 200)))
        let test = try #require(Forecast(traffic).backtest)
        #expect(test.days == 28 && test.origins == 4)
        #expect((0.02...0.05).contains(test.mape), "\(test)")
        #expect(test.mape < test.naiveMAPE && test.coverage > 0.85)
    }

    @Test("A trend that turns is followed")
    func turningTrend() {
        let values = Self.traffic(days: 119, growth: 3) + Self.traffic(days: 119, growth: 0, seed: 9).map { $0 * 2 }
        let forecast = Forecast(Traffic(start: 1_735_689_600, interval: 3_600, values: values))
        let ahead = (1...(28 * 24)).map { forecast.value($0).value }
        let truth = Self.traffic(days: 147, growth: 0, noise: 0).suffix(28 * 24).map { $0 * 2 }
        #expect(Self.mape(ahead, truth) < 0.08)
    }

    @Test("Fewer than two weeks are not enough, and so is traffic that is mostly gaps")
    func notEnough() throws {
        func plan(_ traffic: Traffic) throws -> PlanResult {
            try CapacityPlan(traffic: traffic, operatingRate: 100, instances: nil, days: 30).result()
        }
        let short = try Traffic(csv: Self.csv(Self.traffic(days: 13)))
        let error = #expect(throws: NotEnoughData.self) { try plan(short) }
        #expect("\(try #require(error))".hasPrefix("not enough data: 13 days"))
        var gaps: [Double?] = Self.traffic(days: 30)
        for index in gaps.indices where index % 4 == 0 { gaps[index] = nil }
        let holes = Traffic(start: 1_735_689_600, interval: 3_600, values: gaps)
        #expect(throws: NotEnoughData.self) { try plan(holes) }
        #expect(try plan(Traffic(csv: Self.csv(Self.traffic(days: 14)))).backtest == nil)
    }

    @Test("Gaps are gone over, and said")
    func gaps() throws {
        let values = Self.traffic(days: 120)
        let lines = Self.csv(values).split(separator: "\n")
        // Two days and some single hours.
        let kept = lines.enumerated().filter { !(1_000..<1_048).contains($0.offset) && $0.offset % 97 != 5 }
            .map { $0.element + "\n" }.joined()
        let traffic = try Traffic(csv: kept)
        #expect(traffic.missing > 48 && traffic.longestGap >= 48)
        let result = try CapacityPlan(traffic: traffic, operatingRate: 500, instances: 5, days: 30).result()
        #expect(result.warnings.contains { $0.contains("the longest gap is") })
        let whole = try CapacityPlan(
            traffic: Traffic(csv: Self.csv(values)),
            operatingRate: 500,
            instances: 5,
            days: 30
        ).result()
        #expect(abs(result.peak.rate.value / whole.peak.rate.value - 1) < 0.02)
    }

    @Test("The fleet runs out on the day that needs one instance more, and the peak has its instances")
    func fleet() throws {
        let values = Self.traffic(growth: 1)
        let traffic = try Traffic(csv: Self.csv(values))
        let result = try CapacityPlan(traffic: traffic, operatingRate: 400, instances: 10, days: 180).result()
        // Without noise the same growth passes nine instances' worth on this day.
        let clean = Self.traffic(days: 365 + 180, growth: 1, noise: 0)
        let day = try #require(
            (365..<(365 + 180)).first { day in clean[(day * 24)..<(day * 24 + 24)].contains { $0 > 3_600 } }
        )
        let runsOut = try #require(result.runsOut.flatMap { TimeText.parse($0) })
        #expect(abs(runsOut - (1_735_689_600 + Double(day) * 86_400)) <= 15 * 86_400, "\(result.summary)")
        let earliest = try #require(result.runsOutEarliest.flatMap { TimeText.parse($0) })
        #expect(earliest <= runsOut)
        #expect(result.instancesAtPeak == Int((result.peak.rate.value / 400).rounded(.up)) + 1)
        #expect(result.forecast.count == 180 && result.history.count == 365)
        #expect(result.summary.contains("runs out on \(result.runsOut ?? "")"))
        let large = try CapacityPlan(traffic: traffic, operatingRate: 400, instances: 100, days: 180).result()
        #expect(large.runsOut == nil && large.summary.contains("lasts these 180 days"))
    }
}

@Suite("Files of traffic")
struct TrafficTests {
    @Test("Timestamps of every kind")
    func times() {
        let noon = 1_772_366_400.0
        for text in [
            "1772366400", "1772366400000", "2026-03-01T12:00:00Z", "2026-03-01T12:00:00.000Z", "2026-03-01 13:00+01:00",
            "2026-03-01T12:00", "2026-03-01T07:30:00-04:30",
        ] { #expect(TimeText.parse(text) == noon, "\(text)") }
        #expect(TimeText.parse("2024-02-29") == 1_709_164_800)
        #expect(TimeText.date(noon) == "2026-03-01" && TimeText.minute(noon) == "2026-03-01 12:00")
        for text in ["", "noon", "2026-02-29", "2026-13-01", "2026-03-01T25:00", "2026-03-01T12:00:00X", "-5", "nan"] {
            #expect(TimeText.parse(text) == nil, "\(text)")
        }
    }

    @Test("Records of five minutes become hours, with how much higher their peaks are")
    func aggregation() throws {
        let lines = (0..<(12 * 48)).map { "\(1_735_689_600 + 300 * $0),\($0 % 12 == 3 ? 200 : 100)\n" }
        let traffic = try Traffic(csv: lines.joined())
        #expect(traffic.interval == 3_600 && traffic.values.count == 48)
        #expect(abs((traffic.values[0] ?? 0) - 1_300 / 12) < 1e-9)
        #expect(abs(traffic.peakFactor - 200 / (1_300 / 12)) < 1e-9)
        #expect(traffic.day == 24 && traffic.week == 168)
    }

    @Test("An hour that has only begun is left out")
    func partial() throws {
        let lines = (0..<(12 * 48 + 3)).map { "\(1_735_689_600 + 300 * $0),100\n" }
        #expect(try Traffic(csv: lines.joined()).values.count == 48)
    }

    @Test("Days, quotes, Windows lines, further columns and any order are taken")
    func forms() throws {
        let text =
            "\u{FEFF}\"time\",\"rate\",\"note\"\r\n2026-03-02,20,b\r\n\"2026-03-01\",\"10\",a\r\n\r\n2026-03-04,40,\r\n"
        let traffic = try Traffic(csv: text)
        #expect(traffic.values == [10, 20, nil, 40] && traffic.interval == 86_400)
        #expect(traffic.day == nil && traffic.week == 7 && traffic.missing == 1 && traffic.peakFactor == 1)
    }

    @Test(
        "What is wrong is named with its line",
        arguments: [
            ("", "no line with a timestamp"),
            ("timestamp,rate\n", "no line with a timestamp"),
            ("2026-03-01,5\nyesterday,6\n", "line 2: 'yesterday' is no timestamp"),
            ("2026-03-01,5\n2026-03-02,many\n", "line 2: 'many' is no rate"),
            ("2026-03-01,5\n2026-03-02,-1\n", "line 2: '-1' is no rate"),
            ("2026-03-01,5\n2026-03-02\n", "line 2 '2026-03-02' has one column"),
            ("2026-03-01,5\n2026-03-02,6\n2026-03-01,7\n", "line 3 has the same time as line 1"),
            ("2026-03-01,5\n2026-04-01,6\n2026-05-01,7\n", "days apart; a forecast takes one a day"),
        ]
    )
    func refusals(text: String, reason: String) throws {
        let error = #expect(throws: FileProblem.self) { try Traffic(csv: text) }
        #expect("\(try #require(error))".contains(reason), "\(String(describing: error))")
    }
}
