import CohortAPI
import Foundation
import SwiftProtobuf

/// Prints a message as JSON with the field names of the .proto, fit for scripts.
func printJSON(_ message: some Message) throws { print(try jsonText(message)) }

/// A message as JSON on one line, with the field names of the .proto.
func jsonText(_ message: some Message) throws -> String {
    var options = JSONEncodingOptions()
    options.preserveProtoFieldNames = true
    options.alwaysPrintInt64sAsNumbers = true
    options.useDeterministicOrdering = true
    return try message.jsonString(options: options)
}

extension SessionOptions {
    /// Prints `message` as JSON, or what `table` makes of it.
    func show(_ message: some Message, table: () -> String) throws {
        switch output {
        case .json: try printJSON(message)
        case .table: print(table())
        }
    }
}

extension Google_Protobuf_Timestamp {
    /// RFC 3339 in UTC, `-` when not set.
    var text: String {
        guard self != Google_Protobuf_Timestamp() else { return "-" }
        // The JSON form is the RFC 3339 text in quotes; only times outside of years 1 to 9999 have none.
        guard let json = try? jsonString() else { return "\(seconds)s" }
        return String(json.dropFirst().dropLast())
    }
}

extension Google_Protobuf_Duration {
    /// As `2d 3h`, `4m 5s` or `6s`.
    var text: String {
        let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60)
        if days > 0 { return "\(days)d \(hours)h" }
        if hours > 0 { return "\(hours)h \(minutes)m" }
        if minutes > 0 { return "\(minutes)m \(seconds % 60)s" }
        return "\(seconds)s"
    }
}

extension Membership {
    var text: String {
        switch self {
        case .in: "IN"
        case .out: "OUT"
        case .unknown: "UNKNOWN"
        case .unspecified, .UNRECOGNIZED: "?"
        }
    }
}

extension Reason {
    /// For people.
    var text: String {
        switch self {
        case .ruleMatch: "the rule is true"
        case .ruleNoMatch: "the rule is false"
        case .ruleError: "the rule failed"
        case .overrideInclude: "an override includes the customer"
        case .overrideExclude: "an override excludes the customer"
        case .listed: "on the list"
        case .notListed: "not on the list"
        case .customerNotFound: "no such customer"
        case .building: "the cohort is being built"
        case .unspecified, .UNRECOGNIZED: "?"
        }
    }
}

extension FailPolicy {
    var text: String {
        switch self {
        case .in: "in"
        case .out: "out"
        case .unknown, .unspecified, .UNRECOGNIZED: "unknown"
        }
    }

    /// From the words of the command line and of YAML files; nil when it is none of them.
    init?(text: String) {
        switch text {
        case "in": self = .in
        case "out": self = .out
        case "unknown": self = .unknown
        default: return nil
        }
    }
}

extension CohortState {
    var text: String {
        switch self {
        case .building: "building"
        case .active: "active"
        case .archived: "archived"
        case .unspecified, .UNRECOGNIZED: "?"
        }
    }
}

extension ServerState {
    var text: String {
        switch self {
        case .starting: "starting"
        case .serving: "serving"
        case .draining: "draining"
        case .degraded: "degraded"
        case .unspecified, .UNRECOGNIZED: "?"
        }
    }
}

extension CohortKind {
    var text: String {
        switch self {
        case .rule: "rule"
        case .static: "static"
        case .unspecified, .UNRECOGNIZED: "?"
        }
    }
}

/// In the largest unit that fits, as `1.5 MiB`.
func byteText(_ count: UInt64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"]
    var value = Double(count)
    var unit = 0
    while value >= 1024, unit < units.count - 1 {
        value /= 1024
        unit += 1
    }
    return unit == 0 ? "\(count) B" : "\((value * 10).rounded() / 10) \(units[unit])"
}
