import Foundation
import Histogram
import Testing

@testable import cohort_loadtest

/// Opens the reports in Chromium. Without it, or without Playwright, these tests fail: `scripts/setup` installs both.
@Suite("Reports", .serialized)
struct ReportTests {
    private struct View: Decodable {
        struct Chart: Decodable {
            var title: String
            var drawn: Int
            var ticks: Int
            var labels: Int
            var outside: Int
            var broken: Bool
            var accessible: Bool
        }

        var title: String
        var charts: [Chart]
        var scripts: Int
        var overflow: Double
        var background: String
        var font: Double?
        var messages: [String]
        var requests: Int
    }

    private static let tests = URL(fileURLWithPath: #filePath).deletingLastPathComponent()

    /// What Chromium sees of a page, by view: desktop, dark and phone.
    private func open(_ html: String, _ name: String) throws -> [String: View] {
        let python = Self.tests.deletingLastPathComponent().deletingLastPathComponent()
            .appending(path: ".build/tools/venv/bin/python")
        let file = FileManager.default.temporaryDirectory.appending(path: "\(name)-\(UUID().uuidString).html")
        try Data(html.utf8).write(to: file)
        defer { try? FileManager.default.removeItem(at: file) }
        let process = Process()
        process.executableURL = python
        process.arguments = [Self.tests.appending(path: "open_report.py").path, file.path]
        if let folder = ProcessInfo.processInfo.environment["COHORT_SCREENSHOTS"] {
            process.arguments?.append(folder + "/" + name)
        }
        let (output, errors) = (Pipe(), Pipe())
        process.standardOutput = output
        process.standardError = errors
        do { try process.run() } catch {
            Issue.record("\(python.path) does not start (\(error)); scripts/setup installs it")
            throw error
        }
        let text = output.fileHandleForReading.readDataToEndOfFile()
        let complaint = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        try #require(
            process.terminationStatus == 0,
            "open_report.py: \(complaint); scripts/setup installs what it needs"
        )
        return try JSONDecoder().decode([String: View].self, from: text)
    }

    private func check(_ views: [String: View], charts count: Int, mayBeEmpty: Set<String> = []) throws {
        #expect(views.count == 3)
        for (name, view) in views {
            #expect(view.messages.isEmpty && view.scripts == 0 && view.requests == 1, "\(name): \(view.messages)")
            #expect(view.charts.count == count, "\(name): \(view.charts.map(\.title))")
            for chart in view.charts {
                #expect(chart.drawn > 0 || mayBeEmpty.contains(chart.title), "\(name): \(chart.title) is empty")
                #expect(chart.ticks >= 5 && chart.labels == 2 && chart.accessible, "\(name): \(chart)")
                #expect(!chart.broken && chart.outside == 0, "\(name): \(chart)")
            }
            #expect(view.overflow <= 0, "\(name) is wider than its window by \(view.overflow)")
            #expect((view.font ?? 0) >= 8, "\(name): the smallest tick is \(view.font ?? 0) pixels high")
        }
        let (light, dark) = (try #require(views["desktop"]), try #require(views["dark"]))
        #expect(light.background != dark.background)
    }

    @Test("A run's report has every plot drawn, in light, in dark and on a phone")
    func run() throws {
        var result = SampleResult.make(rate: 1_500, seconds: 60, errorRatio: 0.002)
        // A stall, as reports are read for.
        result.intervals[30].latency = SampleResult.make(rate: 1_500, seconds: 1, median: 40).intervals[0].latency
        result.intervals[31].latency = LatencyRecord(significantDigits: .two)
        try check(open(Report.run(result), "run"), charts: 6 + 1 + 4)
    }

    @Test("A report says what has to be known before its figures are believed")
    func warnings() throws {
        var result = SampleResult.make(seconds: 5)
        #expect(!Report.run(result).contains("<ul class=\"words warn\">"))
        result.sent += 500
        result.errors["NOT_SENT"] = 500
        result.slo = try SLO(parsing: "p99<5ms").evaluate(result)
        let html = Report.run(result)
        #expect(html.contains("500 of ") && html.contains("were never sent") && html.contains("endless"))
        #expect(html.contains("generator&#39;s lag, p99"))
        var closed = SampleResult.make(seconds: 5, server: nil)
        closed.model = .closed
        closed.closed = .init(connections: 4, inFlight: 2, ended: 9_999, members: 4_000)
        closed.arrivals = ""
        closed.rateWanted = 0
        for index in closed.intervals.indices { closed.intervals[index].lagP99 = nil }
        let page = Report.run(closed)
        #expect(page.contains("closed loop, 4 x 2 calls in flight") && page.contains("looks better than it is"))
        #expect(!page.contains("lag") && !page.contains("wanted"))
        try check(open(page, "run-closed"), charts: 6)
    }

    @Test(
        "The server's figures have names for readers, limits lie beside what they limit, and unknown ones are shown too"
    )
    func server() throws {
        var result = SampleResult.make(seconds: 5)
        for (name, unit) in [
            ("cohort.queue.rows.limit", "{row}"), ("new.figure", "s"), ("rpc.server.call.duration p99", "s"),
        ] {
            result.server?.series.append(
                .init(name: name, unit: unit, points: [.init(at: 1, value: 2), .init(at: 2, value: 3)])
            )
        }
        let views = try open(Report.run(result), "run-server")
        try check(views, charts: 12)
        let titles = try #require(views["desktop"]).charts.map(\.title)
        #expect(
            titles.contains("Processors in use") && titles.contains("new.figure") && titles.contains("p99 at both ends")
        )
        #expect(
            titles.contains("Rows that wait for a commit, and their limit") && !titles.contains("cohort.queue.rows")
        )
    }

    @Test("A run without errors, without a server and without answers has a report too")
    func emptyRun() throws {
        var result = SampleResult.make(seconds: 2, errorRatio: 0, server: nil)
        result.latency = LatencyRecord()
        for index in result.intervals.indices {
            result.intervals[index].latency = LatencyRecord(significantDigits: .two)
        }
        let empty: Set = ["Latency over time", "Latency by percentile", "Calls by latency", "Errors: none"]
        try check(open(Report.run(result), "run-empty"), charts: 6, mayBeEmpty: empty)
    }

    @Test("Texts of others are shown, not obeyed")
    func escaping() throws {
        var result = SampleResult.make(scenario: "<script>alert(1)</script>\"'&<img src=x onerror=alert(2)>")
        result.methods[0].method = "</table><svg onload=alert(3)>"
        result.errors = ["<b>BAD</b>": 3]
        let html = Report.run(result)
        #expect(!html.contains("<script") && !html.contains("<img") && !html.contains("<b>BAD"))
        let views = try open(html, "run-hostile")
        try check(views, charts: 11)
        #expect(views["desktop"]?.title == "Load test: \(result.scenario)")
    }

    @Test("A capacity's report has every plot drawn")
    func capacity() throws {
        try check(open(Report.capacity(AnalysisTests.capacityResult()), "capacity"), charts: 4)
    }

    @Test("A plan's report has every plot drawn")
    func plan() throws {
        let traffic = try Traffic(csv: PlanTests.csv(PlanTests.traffic(growth: 1)))
        let plan = CapacityPlan(traffic: traffic, operatingRate: 400, capacityRate: 571, instances: 9, days: 120)
        try check(open(Report.plan(plan.result()), "plan"), charts: 2)
    }

    @Test("Ticks are round and in range")
    func ticks() {
        let linear = Axis(title: "").fitted([0, 87]).ticks(6).map(\.value)
        #expect(linear == [0, 20, 40, 60, 80])
        let log = Axis(title: "", scale: .log).fitted([0.2, 900]).ticks(6).map(\.value)
        #expect(log.contains { abs($0 - 1) < 1e-9 } && log.contains { abs($0 - 100) < 1e-9 } && log.count >= 4)
        let month = Axis(title: "", scale: .time).fitted([1_735_689_600, 1_767_225_600]).ticks(7)
        #expect(month.count >= 4 && month.allSatisfy { $0.label.count == 7 })
        let percentile = Axis(title: "", scale: .percentile).fitted([0, 0.9999])
        #expect(abs((percentile.position(0.99) ?? 0) - 0.5) < 1e-6 && percentile.position(1) == nil)
    }
}
