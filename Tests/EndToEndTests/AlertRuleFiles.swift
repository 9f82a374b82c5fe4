import Foundation
import Telemetry
import Yams

@testable import cohort_server
@testable import cohort_sidecar

/// The files in `deploy/prometheus`, as far as tests ask about them.
enum AlertRuleFiles {
    struct RuleFile: Decodable {
        struct Group: Decodable {
            var name: String
            var rules: [Rule]
        }

        struct Rule: Decodable {
            var record: String?
            var alert: String?
            var expr: String
            var labels: [String: String]?
            var annotations: [String: String]?
        }

        var groups: [Group]
    }

    struct TestFile: Decodable {
        struct Case: Decodable {
            struct AlertTest: Decodable {
                struct Expected: Decodable {}

                var alertname: String
                var exp_alerts: [Expected]
            }

            var name: String
            var alert_rule_test: [AlertTest]?
        }

        var tests: [Case]
    }

    static let directory = repositoryFile("deploy/prometheus")

    static func paths(_ name: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: "\(directory)/\(name)").sorted()
            .filter { $0.hasSuffix(".yml") }.map { "\(directory)/\(name)/\($0)" }
    }

    static func rules() throws -> [RuleFile.Rule] {
        try decoded(RuleFile.self, in: "rules").flatMap(\.groups).flatMap(\.rules)
    }

    static func tests() throws -> [TestFile.Case] { try decoded(TestFile.self, in: "tests").flatMap(\.tests) }

    private static func decoded<File: Decodable>(_ type: File.Type, in name: String) throws -> [File] {
        try paths(name).map { try YAMLDecoder().decode(type, from: String(contentsOfFile: $0, encoding: .utf8)) }
    }
}

/// The names in an expression of PromQL that a series may have, and the values that its labels are compared with.
///
/// No parser: what a name cannot be is taken away, and what is left has to be one.
struct PromQLNames {
    var metrics: Set<String> = []
    /// Label, value.
    var labels: [(String, String)] = []

    private static let words: Set<String> = [
        "and", "or", "unless", "on", "ignoring", "by", "without", "group_left", "group_right", "bool", "offset", "inf",
        "nan",
    ]

    init(_ expression: String) {
        for match in expression.matches(of: #/(\w+) *(?:=~|!~|!=|=) *"([^"]*)"/#) {
            labels.append((String(match.1), String(match.2)))
        }
        let rest =
            expression
            .replacing(#/\{[^}]*\}/#, with: " ")
            .replacing(#/\[[^\]]*\]/#, with: " ")
            .replacing(#/\b(?:by|without|on|ignoring|group_left|group_right) *\([^)]*\)/#, with: " ")
            .replacing(#/[A-Za-z_]\w* *\(/#, with: "( ")
        for match in rest.matches(of: #/[A-Za-z_:][A-Za-z0-9_:]*/#)
        where !Self.words.contains(String(match.0).lowercased()) {
            // `14.4` and `1e9` begin with a digit, which stands ahead of what looks like a name.
            let before = match.startIndex == rest.startIndex ? " " : rest[rest.index(before: match.startIndex)]
            if !before.isNumber && before != "." { metrics.insert(String(match.0)) }
        }
    }
}

/// What a sidecar's page has, by the catalogues of server and sidecar and the names that Prometheus gives them.
enum ExposedMetrics {
    /// As docs/operations/metrics.md has it, which a test holds against the server.
    private static func kinds() throws -> [String: String] {
        let text = try String(contentsOfFile: repositoryFile("docs/operations/metrics.md"), encoding: .utf8)
        let rows = text.matches(of: #/\| `([a-z_.]+)` \| (total|level|histogram) \|/#)
        return Dictionary(rows.map { (String($0.1), String($0.2)) }, uniquingKeysWith: { $1 })
    }

    static func names() throws -> Set<String> {
        let kinds = try kinds()
        var names: Set<String> = ["up"]
        for metric in MetricCatalogue.all {
            let name = PrometheusText.name(metric.name, unit: metric.unit)
            switch kinds[metric.name] {
            case "total": names.insert(name + "_total")
            case "histogram": names.formUnion(["_bucket", "_count", "_sum"].map { name + $0 })
            default: names.insert(name)
            }
        }
        // No table has the kinds of these, so any is taken.
        for metric in SidecarMetrics.all {
            let name = PrometheusText.name(metric.name, unit: metric.unit)
            names.formUnion(["", "_total", "_bucket", "_count", "_sum"].map { name + $0 })
        }
        return names
    }
}
