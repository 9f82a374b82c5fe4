import ArgumentParser
import CohortAPI
import CohortServices
import Foundation
import RPC
import SwiftProtobuf
import Testing

@testable import Telemetry
@testable import cohortctl

@Suite("Alert rules")
struct AlertRuleTests {
    private static let runbooks = "docs/operations/runbooks"

    private func run(_ program: String, _ arguments: [String]) async throws -> (status: Int32, output: String) {
        let program = try RunningProgram(URL(fileURLWithPath: "/usr/bin/\(program)"), arguments)
        let status = try await program.wait(seconds: 300)
        return (status, program.output + program.errors)
    }

    @Test("promtool and amtool find nothing wrong")
    func check() async throws {
        let directory = AlertRuleFiles.directory
        for (program, arguments) in [
            ("promtool", ["check", "rules"] + (try AlertRuleFiles.paths("rules"))),
            ("promtool", ["check", "config", "--syntax-only", "\(directory)/prometheus.yml"]),
            ("amtool", ["check-config", "\(directory)/alertmanager.yml"]),
        ] {
            let result = try await run(program, arguments)
            #expect(result.status == 0 && !result.output.contains("FAILED"), "\(result.output)")
        }
    }

    @Test("The tests of the rules pass", .timeLimit(.minutes(8)))
    func promtoolTests() async throws {
        let result = try await run("promtool", ["test", "rules"] + (try AlertRuleFiles.paths("tests")))
        #expect(result.status == 0, "\(result.output)")
    }

    @Test("Every alert has a case in which it fires, another in which it does not, a severity and a runbook")
    func alerts() throws {
        let alerts = try AlertRuleFiles.rules().filter { $0.alert != nil }
        #expect(alerts.count > 40)
        let names = alerts.compactMap(\.alert)
        #expect(Set(names).count == names.count)
        let cases = try AlertRuleFiles.tests()
        let index = try String(contentsOfFile: repositoryFile("\(Self.runbooks)/README.md"), encoding: .utf8)
        let manual = try String(contentsOfFile: repositoryFile("docs/operations/alerting.md"), encoding: .utf8)
        for alert in alerts {
            let name = alert.alert ?? ""
            let tests = cases.map { $0.alert_rule_test?.filter { $0.alertname == name } ?? [] }
            #expect(tests.contains { $0.contains { !$0.exp_alerts.isEmpty } }, "\(name) never fires in a test")
            #expect(
                tests.contains { !$0.isEmpty && $0.allSatisfy(\.exp_alerts.isEmpty) },
                "\(name) has no case in which it stays silent"
            )
            let severity = alert.labels?["severity"] ?? ""
            #expect(["page", "ticket", "info"].contains(severity) && alert.labels?["service"] == "cohort", "\(name)")
            #expect(manual.contains("| \(name) | \(severity) |"), "\(name) is not in alerting.md as \(severity)")
            for annotation in ["summary", "description", "runbook_url"] {
                #expect(alert.annotations?[annotation]?.isEmpty == false, "\(name) has no \(annotation)")
            }
            let url = alert.annotations?["runbook_url"] ?? ""
            let file = "\(alert.labels?["family"] ?? "").md"
            #expect(url.hasSuffix("/\(Self.runbooks)/\(file)"), "\(name) leads to \(url), and is of \(file)")
            let runbook = try? String(contentsOfFile: repositoryFile("\(Self.runbooks)/\(file)"), encoding: .utf8)
            #expect(runbook?.contains(name) == true, "\(file) does not tell of \(name)")
            #expect(index.contains(name) && index.contains("](\(file))"), "\(name) is not in the index of the runbooks")
        }
        for test in cases.flatMap({ $0.alert_rule_test ?? [] }) { #expect(names.contains(test.alertname)) }
    }

    @Test("Every metric in rules and runbooks is one that server or sidecar expose, and so are methods and bounds")
    func metrics() throws {
        let rules = try AlertRuleFiles.rules()
        let known = try ExposedMetrics.names().union(rules.compactMap(\.record))
        let bounds = Set(HistogramScale.durations.explicitBounds.map { "\($0)" })
        func check(_ expression: String, _ place: String) {
            let names = PromQLNames(expression)
            #expect(names.metrics.isSubset(of: known), "\(place): \(names.metrics.subtracting(known)) is not exposed")
            for (label, value) in names.labels {
                switch label {
                case "le": #expect(bounds.contains(value), "\(place): no bucket ends at \(value)")
                case "rpc_method" where value.hasPrefix("cohort.v1."):
                    #expect(AccessTable.rows.contains { $0.method == value }, "\(place): there is no method \(value)")
                case "rpc_response_status_code":
                    let codes = Set(RPCError.Code.all.map { "\($0)" })
                    #expect(codes.isSuperset(of: value.split(separator: "|").map(String.init)), "\(place): \(value)")
                default: break
                }
            }
        }
        for rule in rules { check(rule.expr, rule.record ?? rule.alert ?? "") }
        var expressions = 0
        for (file, block) in try Self.blocks("promql") {
            for line in block.split(separator: "\n") {
                check(String(line), file)
                expressions += 1
            }
        }
        #expect(expressions > 50)
    }

    @Test("Every cohortctl command in the runbooks is one")
    func commands() throws {
        var commands = 0
        for (file, block) in try Self.blocks("sh") {
            for line in block.split(separator: "\n") where line.hasPrefix("cohortctl ") {
                let words = line.split(separator: ">")[0].split(separator: " ").dropFirst().map(String.init)
                #expect(throws: Never.self, "\(file): \(line)") { _ = try Cohortctl.parseAsRoot(words) }
                commands += 1
            }
        }
        #expect(commands > 20)
    }

    /// The blocks of code of the runbooks that are in a language, with their files.
    private static func blocks(_ language: String) throws -> [(file: String, text: String)] {
        let directory = repositoryFile(runbooks)
        return try FileManager.default.contentsOfDirectory(atPath: directory).sorted().flatMap { file in
            let text = try String(contentsOfFile: "\(directory)/\(file)", encoding: .utf8)
            return text.components(separatedBy: "```\(language)\n").dropFirst().map {
                (file, $0.components(separatedBy: "\n```")[0])
            }
        }
    }

    @Test(
        "Alerts go to who is to deal with them",
        arguments: [
            ("page", "cohort-page"), ("ticket", "cohort-ticket"), ("info", "cohort-info"), ("", "cohort-ticket"),
        ]
    )
    func routes(severity: String, receiver: String) async throws {
        let result = try await run(
            "amtool",
            [
                "config", "routes", "test", "--config.file=\(AlertRuleFiles.directory)/alertmanager.yml",
                "--verify.receivers=\(receiver)", "service=cohort", "alertname=CohortX", "severity=\(severity)",
            ]
        )
        #expect(result.status == 0, "\(result.output)")
    }

    @Test("A real Prometheus evaluates every rule over a healthy server, and nothing fires", .timeLimit(.minutes(4)))
    func healthy() async throws {
        let directory = try TemporaryDirectory()
        let server = try await TestServer(dataDirectory: directory.file("data"))
        try await server.cohortctl("cohorts", "create", "BIG", "--rule", "customer.daily_spend > 10.0")
        let sidecar = try await TestSidecar(server: server.endpoint, ca: server.tlsFile("ca.pem"))
        let prometheus = try await TestPrometheus(
            target: sidecar.address,
            rules: "\(AlertRuleFiles.directory)/rules/*.yml"
        )
        func query(_ text: String) async -> String {
            String(decoding: await prometheus.get("query", [URLQueryItem(name: "query", value: text)]), as: UTF8.self)
        }
        try await server.withClient { client in
            let membership = CohortClient(client).membership
            try await eventually("no ratio: \(prometheus.program.errors)") {
                for _ in 0..<10 {
                    _ = try await membership.checkMembership(
                        .with {
                            $0.customerID = "c1"; $0.cohortID = "BIG"
                        }
                    )
                }
                return await query("instance:cohort_call_error_ratio:rate3d == 0").contains("\"value\"")
            }
        }
        // What the rules divide by, on the page from the start.
        for name in [
            "cohort_disk_size_bytes", "process_memory_limit_bytes", "process_file_descriptors_limit",
            "rpc_server_connections_limit", "rpc_server_certificate_not_after_seconds{certificate=\"server\"}",
            "rpc_server_certificate_not_after_seconds{certificate=\"client_authorities\"}",
        ] {
            try await eventually("there is no \(name)") { await query("\(name) > 0").contains("\"value\"") }
        }
        for name in [
            "rpc_server_limit_reached_total{limit=\"connections\"}", "rpc_server_authentication_limited_total",
            "rpc_server_certificate_reloads_total{outcome=\"failed\"}", "rpc_server_overload_rejected_total",
            "telemetry_log_lines_lost_total", "telemetry_spans_dropped_total", "cohort_audit_rows_lost_total",
            "telemetry_metrics_series_overflowed_total", "cohort_drift_differences_total",
        ] {
            // An increase is seen only of a counter that was there before.
            #expect(await query("\(name) == 0").contains("\"value\""), "\(name) is not there from the start")
        }
        let rules = try await settled { await prometheus.get("rules") }
        #expect(rules.count == (try AlertRuleFiles.rules().count))
        for rule in rules {
            #expect(rule.health == "ok" && rule.lastError == nil, "\(rule.name): \(rule.lastError ?? rule.health)")
        }
        #expect(try await server.stop() == 0)
        try await eventually("nobody says that the server is gone") {
            await query("ALERTS{alertname=\"CohortServerDown\"}").contains("\"value\"")
        }
        #expect(try await sidecar.stop() == 0)
    }

    private struct RulesAnswer: Decodable {
        struct Contents: Decodable { var groups: [Group] }
        struct Group: Decodable { var rules: [Rule] }
        struct Rule: Decodable {
            var name: String
            var type: String
            var health: String
            var lastError: String?
            var state: String?

            var isSettled: Bool { health != "unknown" && (type == "recording" || state == "inactive") }
        }
        var data: Contents
    }

    /// The rules of a Prometheus, once all of them were evaluated and no alert is about to fire: the tables may be a moment
    /// behind when the server has just started.
    private func settled(_ get: () async throws -> Data) async throws -> [RulesAnswer.Rule] {
        var rules: [RulesAnswer.Rule] = []
        var unsettled: [String] { rules.filter { !$0.isSettled }.map { "\($0.name): \($0.state ?? $0.health)" } }
        try await eventually("not settled: \(unsettled)") {
            rules = try JSONDecoder().decode(RulesAnswer.self, from: await get()).data.groups.flatMap(\.rules)
            #expect(!rules.contains { $0.state == "firing" }, "\(unsettled)")
            return rules.allSatisfy(\.isSettled)
        }
        return rules
    }
}
