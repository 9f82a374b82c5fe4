import CohortAPI
import Foundation
import RPC
import SwiftProtobuf
import Testing

/// What the page showed at one moment.
private struct Look: Decodable {
    var state: String
    var alarm: String
    var tiles: [String: String]
    var sparks: [String: Int]
    /// Lengths of the lines drawn, by chart.
    var series: [String: [Double]]
    /// Pixels painted in the heat map.
    var heat: Int
    var cohorts: [String: String]
    var limits: String
    var builds: String
    var breakers: String
    var store: String
    var unlabelled: Int
    var overflow: Int
    var background: String
    var text: String
    var violations: [String]
}

/// What else is known of the page while the server is there.
private struct Seen: Decodable {
    var headers: [String: String]
    var spoken: String
    var pointed: String
    var tableRows: Int
    var dark: Look
    var phone: Look
    var token: [String]
    var errors: [String]
    var requests: [String]
}

@Suite("Dashboard")
struct DashboardTests {
    private static let python = URL(fileURLWithPath: repositoryFile(".build/tools/venv/bin/python"))
    private static let browse = repositoryFile("Tests/EndToEndTests/Dashboard/browse.py")

    @Test("A browser sees what the server has and does, in every form, and when the server or the sidecar goes")
    func page() async throws {
        let directory = try TemporaryDirectory()
        let server = try await TestServer(dataDirectory: directory.file("data"))
        try await server.cohortctl("cohorts", "create", "BIG", "--rule", "customer.daily_spend > 10.0")
        let sidecar = try await TestSidecar(
            server: server.endpoint,
            ca: server.tlsFile("ca.pem"),
            ["--dashboard-seconds", "0.5"]
        )
        let calls = Task { try await call(server) }
        defer { calls.cancel() }
        let browser = try RunningProgram(
            Self.python,
            [Self.browse, "facts", "http://\(sidecar.address)/", directory.path]
        )
        defer { browser.signal(SIGKILL) }
        func facts<Facts: Decodable>(_ name: String) async throws -> Facts {
            let path = directory.file("\(name).json")
            let deadline = ContinuousClock.now + .seconds(180)
            while !FileManager.default.fileExists(atPath: path) {
                guard browser.isRunning, ContinuousClock.now < deadline else {
                    throw HarnessError("the browser does not get to \(name): \(browser.errors)")
                }
                try await Task.sleep(for: .milliseconds(50))
            }
            return try JSONDecoder().decode(Facts.self, from: Data(contentsOf: URL(fileURLWithPath: path)))
        }
        let look: Look = try await facts("seen")
        expectFigures(look)
        let seen: Seen = try await facts("seen")
        expectForms(seen, look, origin: "http://\(sidecar.address)/")

        calls.cancel()
        _ = await calls.result
        try await server.kill()
        let gone: Look = try await facts("gone")
        #expect(gone.alarm.contains("The server has not answered since"), "\(gone.alarm)")
        #expect(gone.cohorts["BIG"] == "40", "what was known is still there")
        let again = try await TestServer(dataDirectory: server.dataDirectory, listen: server.endpoint)
        let back: Look = try await facts("back")
        #expect(back.alarm.isEmpty && back.cohorts["BIG"] == "40")
        #expect(try await again.stop() == 0)
        #expect(try await sidecar.stop() == 0)
        let alone: Look = try await facts("alone")
        #expect(alone.alarm.contains("The sidecar has not answered since"), "\(alone.alarm)")
        #expect(try await browser.wait() == 0, "\(browser.errors)")
    }

    /// Puts 60 customers of whom 40 are in BIG, then calls until it is cancelled.
    private func call(_ server: TestServer) async throws {
        try await server.withClient { client in
            let cohort = CohortClient(client)
            var round = 0
            while !Task.isCancelled {
                for number in 0..<60 {
                    _ = try await cohort.customers.putCustomer(
                        .with {
                            $0.customerID = "c\(number)"
                            $0.attributes["daily_spend"] = .with {
                                $0.doubleValue = (number < 40 ? 20 : 5) + Double(round % 2)
                            }
                        }
                    )
                    _ = try? await cohort.membership.checkMembership(
                        .with {
                            $0.customerID = "c\(number)"
                            $0.cohortID = number % 10 == 0 ? "NOPE" : "BIG"
                        }
                    )
                }
                round += 1
            }
        }
    }

    private func expectFigures(_ look: Look) {
        #expect(look.state == "Serving" && look.alarm.isEmpty)
        #expect(look.tiles["customers"] == "60")
        #expect(look.cohorts == ["BIG": "40"])
        #expect(look.tiles["calls"].map { $0.hasSuffix("/s") && !$0.hasPrefix("0 ") } == true, "\(look.tiles)")
        #expect(look.tiles["ingest"].map { $0.hasSuffix("rows/s") && !$0.hasPrefix("0 ") } == true, "\(look.tiles)")
        #expect(look.tiles["p99"].map { $0.hasSuffix("s") } == true, "\(look.tiles)")
        #expect(look.tiles["memory"]?.hasSuffix("MiB") == true, "\(look.tiles)")
        #expect(look.tiles.count == 8 && look.sparks.values.allSatisfy { $0 > 10 }, "\(look.sparks)")
        let lines = [
            "calls": 1, "errors": 2, "latency": 3, "flight": 4, "ingest": 3, "memory": 2, "processor": 1, "heat": 0,
        ]
        #expect(look.series.mapValues(\.count) == lines)
        for (chart, lengths) in look.series { #expect(lengths.allSatisfy { $0 > 2 }, "\(chart): \(lengths)") }
        #expect(look.heat > 0)
        #expect(look.limits.contains("Calls, read") && look.limits.contains("Calls, write"), "\(look.limits)")
        #expect(look.limits.contains("Rows before the committer"))
        #expect(look.builds == "No rule is being built.")
        #expect(look.breakers.contains("store writes") && look.breakers.contains("closed"), "\(look.breakers)")
        #expect(look.store.contains("Change log") && look.unlabelled == 0)
    }

    private func expectForms(_ seen: Seen, _ look: Look, origin: String) {
        #expect(seen.errors.isEmpty && look.violations.isEmpty, "\(seen.errors) \(look.violations)")
        #expect(seen.requests.count > 1 && seen.requests.allSatisfy { $0.hasPrefix(origin) || $0.hasPrefix("data:") })
        #expect(seen.headers["content-security-policy"]?.hasPrefix("default-src 'none'") == true, "\(seen.headers)")
        #expect(seen.headers["x-content-type-options"] == "nosniff")
        // The keyboard goes through time, and what it comes to is said.
        #expect(!seen.pointed.isEmpty && seen.spoken.contains(seen.pointed), "\(seen.spoken) \(seen.pointed)")
        #expect(seen.spoken.contains("answered") && seen.tableRows > 1)
        #expect(look.background == "rgb(244, 246, 249)" && look.text == "rgb(23, 32, 46)")
        #expect(seen.dark.background == "rgb(14, 19, 26)" && seen.dark.text == "rgb(231, 236, 243)")
        #expect(look.overflow <= 0 && seen.phone.overflow <= 0, "\(look.overflow) \(seen.phone.overflow)")
        #expect(seen.phone.tiles["customers"] == "60" && seen.phone.cohorts == ["BIG": "40"])
        #expect(seen.phone.heat > 0 && seen.phone.violations.isEmpty)
        #expect(seen.token.count == 3 && seen.token[0].contains("wants a token"), "\(seen.token)")
        #expect(seen.token[1].contains("does not take"))
        #expect(seen.token[2] == "60")
    }
}
