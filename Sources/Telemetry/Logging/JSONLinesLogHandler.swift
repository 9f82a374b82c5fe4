import Foundation
package import Logging
import Tracing

/// Writes one JSON object a line: `timestamp level message logger` and the metadata as members of its own.
package struct JSONLinesLogHandler: LogHandler {
    /// That of all loggers of this name, which may change, unless this one was given one of its own.
    package var logLevel: Logger.Level {
        get { ownLevel ?? levels.level }
        set { ownLevel = newValue }
    }
    package var metadata: Logger.Metadata = [:]
    package var metadataProvider: Logger.MetadataProvider?
    private let label: String
    private let levels: LogLevels.Cell
    private var ownLevel: Logger.Level?
    private let output: LogOutput

    package init(label: String, levels: LogLevels, output: LogOutput, metadataProvider: Logger.MetadataProvider? = nil)
    {
        self.label = label
        self.levels = levels.cell(of: label)
        self.output = output
        self.metadataProvider = metadataProvider
    }

    /// `trace_id` and `span_id` of the call whose work this is, where it is traced.
    package static let traceFields = Logger.MetadataProvider {
        guard let trace = ServiceContext.current?.trace else { return [:] }
        return ["trace_id": "\(trace.traceID)", "span_id": "\(trace.spanID)"]
    }

    package subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    package func log(event: LogEvent) {
        var line = ""
        line.reserveCapacity(512)
        line += "{\"timestamp\":\""
        line += Self.text(WallClock.now())
        line += "\",\"level\":\"\(event.level.rawValue)\",\"message\":"
        Self.append(event.message.description, to: &line)
        line += ",\"logger\":"
        Self.append(label, to: &line)
        // Merging hashes every key anew, and most lines have one source of fields.
        var fields = metadata
        for more in [metadataProvider?.get(), event.metadata] {
            guard let more, !more.isEmpty else { continue }
            if fields.isEmpty { fields = more } else { fields.merge(more) { _, new in new } }
        }
        for (key, value) in fields.sorted(by: { $0.key < $1.key }) {
            line += ","
            // What a field is called never hides a member of the line itself.
            Self.append(Self.reserved.contains(key) ? "field.\(key)" : key, to: &line)
            line += ":"
            Self.append(value, to: &line)
        }
        if let error = event.error {
            line += ",\"error\":"
            Self.append("\(error)", to: &line)
        }
        line += "}\n"
        output.write(line)
        // Said before the end, as a rule.
        if event.level == .critical { output.flush() }
    }

    /// RFC 3339 in UTC, to the millisecond: `2026-05-01T10:00:00.250Z`.
    ///
    /// - Parameter time: Nanoseconds since 1970.
    static func text(_ time: UInt64) -> String {
        var seconds = time_t(time / 1_000_000_000)
        var parts = tm()
        gmtime_r(&seconds, &parts)
        return String(unsafeUninitializedCapacity: 24) { bytes in
            func put(_ value: Int, at place: Int, digits: Int) {
                var rest = value
                for index in (place..<place + digits).reversed() {
                    bytes.initializeElement(at: index, to: UInt8(ascii: "0") + UInt8(rest % 10))
                    rest /= 10
                }
            }
            put(Int(parts.tm_year) + 1900, at: 0, digits: 4)
            put(Int(parts.tm_mon) + 1, at: 5, digits: 2)
            put(Int(parts.tm_mday), at: 8, digits: 2)
            put(Int(parts.tm_hour), at: 11, digits: 2)
            put(Int(parts.tm_min), at: 14, digits: 2)
            put(Int(parts.tm_sec), at: 17, digits: 2)
            put(Int(time / 1_000_000 % 1_000), at: 20, digits: 3)
            for (index, mark) in [(4, "-"), (7, "-"), (10, "T"), (13, ":"), (16, ":"), (19, "."), (23, "Z")]
                as [(Int, Unicode.Scalar)]
            {
                bytes.initializeElement(at: index, to: UInt8(ascii: mark))
            }
            return 24
        }
    }

    private static let reserved: Set<String> = ["timestamp", "level", "message", "logger"]

    private static func append(_ value: Logger.Metadata.Value, to line: inout String) {
        switch value {
        case .string(let text): append(text, to: &line)
        case .stringConvertible(let value): append(value.description, to: &line)
        case .array(let values):
            line += "["
            for (index, value) in values.enumerated() {
                if index > 0 { line += "," }
                append(value, to: &line)
            }
            line += "]"
        case .dictionary(let members):
            line += "{"
            for (index, member) in members.sorted(by: { $0.key < $1.key }).enumerated() {
                if index > 0 { line += "," }
                append(member.key, to: &line)
                line += ":"
                append(member.value, to: &line)
            }
            line += "}"
        }
    }

    private static func append(_ text: String, to line: inout String) {
        line += "\""
        defer { line += "\"" }
        // Nearly every text: taken as it is, not scalar by scalar.
        guard !text.utf8.allSatisfy({ $0 >= 0x20 && $0 != UInt8(ascii: "\"") && $0 != UInt8(ascii: "\\") }) else {
            line += text
            return
        }
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": line += "\\\""
            case "\\": line += "\\\\"
            case "\n": line += "\\n"
            case "\r": line += "\\r"
            case "\t": line += "\\t"
            case _ where scalar.value < 0x20:
                let hex = String(scalar.value, radix: 16)
                line += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
            default: line.unicodeScalars.append(scalar)
            }
        }
    }
}
