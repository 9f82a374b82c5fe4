import Foundation
import Logging
import Testing

@testable import Telemetry

@Suite("Log file")
struct LogFileTests {
    private let directory = NSTemporaryDirectory() + "log-\(UUID().uuidString)"
    private var path: String { directory + "/server.log" }

    init() throws { try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true) }

    private func content(_ suffix: String = "") -> String? {
        try? String(contentsOfFile: path + suffix, encoding: .utf8)
    }
    private func file(bytes: Int, count: Int = 2) throws -> LogFile {
        try LogFile(LogFile.Settings(path: path, bytes: bytes, count: count))
    }

    @Test("A file that is full makes room, and the oldest goes")
    func rotation() throws {
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let file = try file(bytes: 10)
        for number in 1...4 {
            file.write("line \(number)\n")
        }
        #expect(content() == "line 4\n" && content(".1") == "line 3\n" && content(".2") == "line 2\n")
        #expect(content(".3") == nil)
        // A line longer than the file may be is written whole.
        file.write("a line of twenty letters\n")
        #expect(content() == "a line of twenty letters\n")
        #expect(file.linesLost == 0)
        let attributes = try FileManager.default.attributesOfItem(atPath: path)
        #expect(attributes[.posixPermissions] as? Int == 0o600)
    }

    @Test("What an earlier run has written counts")
    func continues() throws {
        defer { try? FileManager.default.removeItem(atPath: directory) }
        try file(bytes: 10).write("first\n")
        try file(bytes: 10).write("second\n")
        #expect(content() == "second\n" && content(".1") == "first\n")
    }

    @Test("A file that was renamed is made anew at the next opening")
    func reopen() throws {
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let file = try file(bytes: 1_000)
        file.write("before\n")
        try FileManager.default.moveItem(atPath: path, toPath: path + ".old")
        file.write("still\n")
        #expect(content() == nil)
        file.reopen()
        file.write("after\n")
        #expect(content(".old") == "before\nstill\n" && content() == "after\n")
    }

    @Test("Whole lines, whoever writes at once")
    func threads() throws {
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let file = try file(bytes: 4_000, count: 1_000)
        onThreads(4) { thread in
            for number in 0..<500 { file.write("\(thread) \(number)\n") }
        }
        var lines: [Substring] = []
        for name in try FileManager.default.contentsOfDirectory(atPath: directory) {
            let text = try String(contentsOfFile: directory + "/" + name, encoding: .utf8)
            #expect(text.utf8.count <= 4_000)
            lines += text.split(separator: "\n")
        }
        #expect(Set(lines).count == 2_000 && lines.count == 2_000)
    }

    @Test("Lines that cannot be written are counted; a file that cannot be opened is refused")
    func failures() throws {
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let full = try LogFile(LogFile.Settings(path: "/dev/full", bytes: 1_000_000, count: 1))
        full.write("a\n")
        full.write("b\n")
        #expect(full.linesLost == 2)
        let error = #expect(throws: LogFile.Unusable.self) {
            try LogFile(LogFile.Settings(path: directory + "/none/server.log", bytes: 1_000, count: 1))
        }
        #expect(error?.reason == "No such file or directory")
    }

    @Test("Times are of RFC 3339, to the millisecond")
    func times() {
        #expect(JSONLinesLogHandler.text(0) == "1970-01-01T00:00:00.000Z")
        #expect(JSONLinesLogHandler.text(1_709_251_199_250_999_999) == "2024-02-29T23:59:59.250Z")
        for time in stride(from: UInt64(0), to: 4_000_000_000_000_000_000, by: 12_345_678_901_234_567) {
            let text = Date(timeIntervalSince1970: Double(time / 1_000_000_000)).formatted(.iso8601).dropLast()
            #expect(JSONLinesLogHandler.text(time).hasPrefix(text))
        }
    }

    @Test("A line has the fields of its trace, and follows the level of its logger")
    func handler() throws {
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let file = try file(bytes: 100_000)
        let levels = LogLevels(.info)
        let output = LogOutput { file.write($0) }
        let logger = Logger(label: "test") { label in
            JSONLinesLogHandler(
                label: label,
                levels: levels,
                output: output,
                metadataProvider: Logger.MetadataProvider { ["trace_id": "0af7"] }
            )
        }
        logger.debug("silent")
        try levels.set(.debug, of: "test")
        logger.debug("a \"word\"\u{1}", metadata: ["level": "odd", "list": ["x", "y"]])
        output.flush()
        let line = try #require(content())
        let object = try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
        #expect(line.hasSuffix("\n") && line.split(separator: "\n").count == 1)
        #expect(object["message"] as? String == "a \"word\"\u{1}" && object["level"] as? String == "debug")
        #expect(object["field.level"] as? String == "odd" && object["trace_id"] as? String == "0af7")
        #expect(object["list"] as? [String] == ["x", "y"])
    }
}
