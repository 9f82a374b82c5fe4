import Foundation
import Telemetry
import Testing

@testable import cohort_server

@Suite("Metric catalogue")
struct MetricCatalogueTests {
    @Test("Every metric of the server is in the operator's manual with its unit, and nothing else is")
    func manual() throws {
        let path = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appending(path: "../../docs/operations/metrics.md").standardized.path
        let rows = try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n").compactMap { line in
            line.firstMatch(of: #/^\| `([a-z_.]+)` \| (?:total|level|histogram) \| ([^ ]+) \|/#).map {
                "\($0.1) \($0.2)"
            }
        }
        #expect(rows.count > 50)
        #expect(Set(rows) == Set(MetricCatalogue.all.map { "\($0.name) \($0.unit)" }))
        #expect(rows.count == MetricCatalogue.all.count)
    }
}
