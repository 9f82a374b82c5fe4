import Foundation
import Testing

@testable import CohortCore

@Suite("Times as text")
struct TimestampTextTests {
    @Test("RFC 3339 with as many decimals as it takes")
    func examples() {
        #expect("\(Timestamp.epoch)" == "1970-01-01T00:00:00Z")
        #expect("\(Timestamp.minimum)" == "0001-01-01T00:00:00Z")
        #expect("\(Timestamp.maximum)" == "9999-12-31T23:59:59.999999999Z")
        #expect("\(Timestamp(seconds: 1_709_210_096, nanoseconds: 250_000_000)!)" == "2024-02-29T12:34:56.25Z")
        #expect("\(Timestamp(seconds: -1, nanoseconds: 1)!)" == "1969-12-31T23:59:59.000000001Z")
    }

    @Test("The same as Foundation's, at random times")
    func foundation() {
        var random = SeededGenerator(state: 1)
        let formatter = ISO8601DateFormatter()
        for _ in 0..<5_000 {
            // Foundation's calendar is Julian before 1582.
            let seconds = Int64.random(in: -12_219_292_800...Timestamp.maximum.seconds, using: &random)
            let expected = formatter.string(from: Date(timeIntervalSince1970: Double(seconds)))
            #expect("\(Timestamp(seconds: seconds)!)" == expected)
        }
    }
}
