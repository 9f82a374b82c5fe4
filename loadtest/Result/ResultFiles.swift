import ArgumentParser
import Foundation
import Histogram

/// A file that is not what it should be: exit status 2.
struct FileProblem: Error, Hashable, CustomStringConvertible {
    var description: String

    init(_ description: String) { self.description = description }
}

/// Reads and writes the tool's files.
enum ResultFiles {
    static func encode(_ value: some Encodable) throws -> Data {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        encoder.dateEncodingStrategy = .iso8601
        encoder.nonConformingFloatEncodingStrategy = .convertToString(
            positiveInfinity: "Infinity",
            negativeInfinity: "-Infinity",
            nan: "NaN"
        )
        return try encoder.encode(value) + Data("\n".utf8)
    }

    /// - Parameter what: What the file holds, for the message: `a result of run`.
    /// - Throws: `FileProblem`, with the path and what is wrong in it.
    static func decode<Value: Decodable>(_ type: Value.Type, path: String, what: String) throws(FileProblem) -> Value {
        let data = try read(path)
        let decoder = JSONDecoder()
        decoder.dateDecodingStrategy = .iso8601
        decoder.nonConformingFloatDecodingStrategy = .convertFromString(
            positiveInfinity: "Infinity",
            negativeInfinity: "-Infinity",
            nan: "NaN"
        )
        do {
            return try decoder.decode(type, from: data)
        } catch let error as DecodingError {
            throw FileProblem("\(path) is not \(what): \(Self.explain(error))")
        } catch {
            throw FileProblem("\(path) is not \(what): \(error)")
        }
    }

    static func read(_ path: String) throws(FileProblem) -> Data {
        do { return try Data(contentsOf: URL(fileURLWithPath: path)) } catch {
            throw FileProblem("cannot read \(path): \((error as NSError).localizedDescription)")
        }
    }

    /// - Throws: `ValidationError` that names the option whose file could not be written.
    static func check(json: String? = nil, hgrm: String? = nil, csv: String? = nil, html: String? = nil) throws {
        for (option, path) in [("--json", json), ("--hgrm", hgrm), ("--csv", csv), ("--html", html)] {
            guard let path else { continue }
            let directory = URL(fileURLWithPath: path).deletingLastPathComponent().path
            var isDirectory: ObjCBool = false
            if FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory) {
                if isDirectory.boolValue { throw ValidationError("\(option): \(path) is a directory; give a file") }
                guard FileManager.default.isWritableFile(atPath: path) else {
                    throw ValidationError("\(option): \(path) cannot be written; give another file")
                }
            } else if !FileManager.default.isWritableFile(atPath: directory) {
                throw ValidationError(
                    "\(option): no file can be made in \(directory); give a directory that can be written"
                )
            }
        }
    }

    static func write(_ data: Data, to path: String) throws(FileProblem) {
        do { try data.write(to: URL(fileURLWithPath: path)) } catch {
            throw FileProblem("cannot write \(path): \((error as NSError).localizedDescription)")
        }
    }

    private static func explain(_ error: DecodingError) -> String {
        func place(_ context: DecodingError.Context) -> String {
            context.codingPath.map { $0.intValue.map(String.init) ?? $0.stringValue }.joined(separator: ".")
        }
        switch error {
        case .keyNotFound(let key, let context):
            return "'\((place(context) + "." + key.stringValue).drop { $0 == "." })' is missing"
        case .typeMismatch(_, let context), .valueNotFound(_, let context):
            return "'\(place(context))': \(context.debugDescription)"
        case .dataCorrupted(let context):
            return context.codingPath.isEmpty ? "it is no JSON" : "'\(place(context))': \(context.debugDescription)"
        @unknown default: return "\(error)"
        }
    }
}

extension LoadResult {
    /// The percentiles as HdrHistogram's tools read and plot them, in milliseconds.
    var hgrm: String {
        var text = ""
        latency.histogram.outputPercentileDistribution(to: &text, outputValueUnitScalingRatio: 1e6)
        return text
    }

    /// A line for each second.
    var csv: String {
        var lines = ["at_s,wanted,sent,answered,errors,in_flight,p50_ms,p99_ms,p999_ms,lag_p99_ms"]
        for interval in intervals {
            let record = interval.latency
            let times = record.count == 0 ? ["", "", ""] : [record.p50, record.p99, record.p999].map { "\($0)" }
            let counts = [interval.wanted, interval.sent, interval.answered, interval.errors].map { "\($0)" }
            let lag = interval.lagP99.map { "\($0)" } ?? ""
            lines.append(
                (["\(interval.at)"] + counts + ["\(interval.inFlight)"] + times + [lag]).joined(separator: ",")
            )
        }
        return lines.joined(separator: "\n") + "\n"
    }
}
