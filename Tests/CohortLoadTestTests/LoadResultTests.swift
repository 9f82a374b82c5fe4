import Foundation
import Testing

@testable import cohort_loadtest

@Suite("Results")
struct LoadResultTests {
    @Test("A result comes back from its JSON as it was")
    func roundTrip() throws {
        var result = SampleResult.make()
        result.closed = .init(connections: 4, inFlight: 2, ended: 9, members: 4)
        result.intervals[0].lagP99 = nil
        let decoded = try JSONDecoder().decode(LoadResult.self, from: JSONEncoder().encode(result))
        #expect(decoded == result)
    }

    @Test("The JSON's keys are those that are promised")
    func keys() throws {
        let data = try JSONEncoder().encode(SampleResult.make())
        let json = try #require(JSONSerialization.jsonObject(with: data) as? [String: Any])
        let wanted = [
            "format", "tool_version", "start_time", "endpoint", "scenario", "model", "arrivals", "seed", "rate_wanted",
            "rate_reached", "duration_s", "warmup_s", "sent", "answered", "errors", "p50_ms", "p90_ms", "p95_ms",
            "p99_ms", "p999_ms", "max_ms", "mean_ms", "histogram", "methods", "intervals", "generator", "server", "slo",
            "not_sent", "warnings",
        ]
        #expect(Set(json.keys) == Set(wanted))
        #expect(json["format"] as? Int == 1)
        #expect(json["start_time"] as? String == "2026-05-01T10:00:00.250Z")
        let interval = try #require((json["intervals"] as? [[String: Any]])?.first)
        #expect(
            Set(interval.keys).isSuperset(of: [
                "at_s", "wanted", "sent", "answered", "errors", "in_flight", "lag_p99_ms", "p50_ms", "p99_ms",
                "p999_ms",
            ])
        )
        let generator = try #require(json["generator"] as? [String: Any])
        #expect(Set(generator.keys) == ["lag_p99_ms", "lag_max_ms", "cpu_ratio", "is_bottleneck"])
        let methods = try #require(json["methods"] as? [[String: Any]])
        #expect(methods[0]["method"] as? String == "cohort.v1.MembershipService/CheckMembership")
        #expect(methods[0]["p99_ms"] is Double)
        let slo = try #require((json["slo"] as? [[String: Any]])?.first)
        #expect(Set(slo.keys) == ["term", "measured", "is_met"])
    }

    @Test("A closed loop is marked as one, and warns of its latencies")
    func closed() throws {
        var result = SampleResult.make()
        #expect(result.warnings.isEmpty)
        result.model = .closed
        result.closed = .init(connections: 4, inFlight: 2, ended: 9, members: 4)
        #expect(result.warnings.count == 1 && result.warnings[0].contains("not from when"))
        result.generator.cpuRatio = 0.95
        result.closed?.members = 0
        let data = try JSONEncoder().encode(result)
        let json = try #require(JSONSerialization.jsonObject(with: data) as? [String: Any])
        #expect(json["model"] as? String == "closed")
        let warnings = try #require(json["warnings"] as? [String])
        #expect(warnings.count == 3 && warnings[1].contains("95 %") && warnings[2].contains("no answer said IN"))
    }

    @Test("A result of another format is refused by its number")
    func format() throws {
        let text = String(decoding: try JSONEncoder().encode(SampleResult.make()), as: UTF8.self)
        let other = text.replacingOccurrences(of: #""format":1"#, with: #""format":2"#)
        let error = #expect(throws: DecodingError.self) {
            try JSONDecoder().decode(LoadResult.self, from: Data(other.utf8))
        }
        #expect("\(try #require(error))".contains("format 2; this release reads 1"))
    }
}
