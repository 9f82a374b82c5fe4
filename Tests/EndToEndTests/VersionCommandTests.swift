import Foundation
import Testing

/// The life of a rule by `cohortctl`, against a real server.
@Suite("Versions by cohortctl")
struct VersionCommandTests {
    @Test("Draft, preview, publish, revert and list, for people and for scripts")
    func life() async throws {
        let directory = try TemporaryDirectory()
        let server = try await TestServer(dataDirectory: directory.file("data"))
        for (id, spend) in [("ANN", "9500"), ("BOB", "6000"), ("CAT", "100")] {
            try await server.cohortctl("customers", "put", id, "daily_spend=\(spend)")
        }
        try await server.cohortctl("customers", "put", "DAN", "user_type=PAID")
        try await server.cohortctl(
            "cohorts",
            "create",
            "PREMIUM",
            "--rule",
            "customer.?daily_spend.orValue(0.0) > 5000.0"
        )
        try await server.cohortctl("cohorts", "create", "BASIC", "--rule", "!in_cohort('PREMIUM')")
        let drafted = try await server.cohortctl(
            "cohorts",
            "draft",
            "PREMIUM",
            "customer.daily_spend > 8000.0",
            "--note",
            "spring"
        )
        #expect(drafted.output.hasPrefix("drafted version 2 of PREMIUM"))
        let preview = try await server.cohortctl("cohorts", "preview", "PREMIUM", "--version", "2")
        let lines = preview.output.split(separator: "\n").map { $0.split(separator: " ").map(String.init) }
        #expect(lines.contains(["PREMIUM", "0", "1", "1", "2", "1", "0", "1"]), "\(preview.output)")
        // DAN becomes UNKNOWN in PREMIUM, and so in BASIC as well.
        #expect(lines.contains(["BASIC", "1", "1", "1", "2", "2", "0", "1"]), "\(preview.output)")
        #expect(preview.output.contains("would leave PREMIUM, a sample:"))
        #expect(preview.output.contains("daily_spend = 6000.0"))
        #expect(preview.output.contains("attribute 'daily_spend' is absent"))
        #expect(!preview.output.contains("\u{1B}["), "no colours but on a terminal")

        let json = try await server.cohortctl("--output", "json", "cohorts", "preview", "PREMIUM", "--version", "2")
        let object = try JSONSerialization.jsonObject(with: Data(json.output.utf8)) as? [String: Any]
        let diff = object?["diff"] as? [String: Any]
        #expect(diff?["leaving"] as? Int == 1 && diff?["becoming_unknown"] as? Int == 1)

        let published = try await server.cohortctl("cohorts", "publish", "PREMIUM", "2")
        #expect(published.output.contains("0 entered, 1 left, 1 became UNKNOWN"))
        let again = try await server.cohortctl("cohorts", "publish", "PREMIUM", "2", expecting: 1)
        #expect(again.errors.contains("VERSION_ACTIVE"))
        let reverted = try await server.cohortctl("cohorts", "revert", "PREMIUM", "--note", "too strict")
        #expect(reverted.output.contains("now at version 3: 1 entered, 0 left"))
        try await server.cohortctl("cohorts", "draft", "PREMIUM", "true")
        try await server.cohortctl("cohorts", "discard", "PREMIUM", "4")
        let versions = try await server.cohortctl("cohorts", "versions", "PREMIUM")
        let states = versions.output.split(separator: "\n").dropFirst().map { $0.split(separator: " ")[1] }
        #expect(states == ["discarded", "active", "retired", "retired"])
        #expect(versions.output.contains("(reverts to 1) too strict"))
        _ = try await server.cohortctl("cohorts", "preview", "PREMIUM", expecting: 2)
        #expect(try await server.stop() == 0)
    }
}
