import Foundation
import ServiceSettings
import Telemetry
import Testing

@testable import cohort_sidecar

@Suite("Sidecar settings")
struct SidecarSettingsTests {
    @Test("Every setting is in the operator's manual, and none is a member of another one")
    func manual() throws {
        let path = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appending(path: "../../docs/operations/sidecar.md").standardized.path
        let manual = try String(contentsOfFile: path, encoding: .utf8)
        let settings = SettingCatalogue.sidecar.settings
        for setting in settings {
            #expect(manual.contains("| `\(setting.flag)` |"), "\(setting.key) is missing")
            #expect(SettingCatalogue.sidecar.help.contains(setting.environmentVariable))
            #expect(!settings.contains { $0.key.hasPrefix(setting.key + ".") }, "\(setting.key)")
        }
    }

    @Test("Every metric of its own is in the operator's manual")
    func metrics() throws {
        let path = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appending(path: "../../docs/operations/sidecar.md").standardized.path
        let manual = try String(contentsOfFile: path, encoding: .utf8)
        for metric in SidecarMetrics.all where !metric.name.contains(#/\.(process|telemetry)\./#) {
            #expect(
                manual.contains("`\(PrometheusText.name(metric.name, unit: metric.unit))"),
                "\(metric.name) is missing"
            )
        }
    }
}
