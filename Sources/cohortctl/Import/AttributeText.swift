import CohortAPI
import Foundation
import SwiftProtobuf

/// Reads attribute values from the text of a CSV cell or of the command line.
enum AttributeText {
    /// - Returns: The value, or what is wrong with the text.
    static func parse(_ text: String, as type: AttributeType) -> Result<AttributeValue, Fault> {
        switch type {
        case .bool:
            switch text.lowercased() {
            case "true", "yes", "1": .success(.with { $0.boolValue = true })
            case "false", "no", "0": .success(.with { $0.boolValue = false })
            default: .failure("'\(text)' is no bool; write true or false")
            }
        case .int64:
            Int64(text).map { value in .success(.with { $0.int64Value = value }) }
                ?? .failure("'\(text)' is no whole number of 64 bits")
        case .double:
            // NaN and infinities parse; the server refuses them with its own words.
            Double(text).map { value in .success(.with { $0.doubleValue = value }) }
                ?? .failure("'\(text)' is no number; write it as 1234.5")
        case .string: .success(.with { $0.stringValue = text })
        case .timestamp:
            parseTime(text).map { time in .with { $0.timestampValue = time } }
        case .stringList:
            // Elements are separated by semicolons; an empty text is an empty list.
            .success(
                .with {
                    $0.stringListValue.values = text.isEmpty ? [] : text.components(separatedBy: ";")
                }
            )
        case .unspecified, .UNRECOGNIZED: .failure("the type of the attribute is not known to this release")
        }
    }

    /// RFC 3339 (`2026-03-01T12:00:00Z`), or a date (`2026-03-01`), which is its midnight in UTC.
    static func parseTime(_ text: String) -> Result<Google_Protobuf_Timestamp, Fault> {
        let full = text.utf8.count == 10 ? text + "T00:00:00Z" : text
        let isPlain = full.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "\"") }
        if isPlain, let time = try? Google_Protobuf_Timestamp(jsonString: "\"\(full)\"") { return .success(time) }
        return .failure("'\(text)' is no time; write it as 2026-03-01 or 2026-03-01T12:00:00Z")
    }

    /// What is wrong with a text.
    struct Fault: Error, Equatable, ExpressibleByStringLiteral, ExpressibleByStringInterpolation {
        let text: String
        init(stringLiteral value: String) { text = value }
    }
}
