import Foundation
import Histogram
import Testing

@testable import cohort_loadtest

@Suite("Files of results")
struct ResultFileTests {
    @Test(".hgrm has the columns and the totals of HdrHistogram's format")
    func hgrm() throws {
        let result = SampleResult.make(rate: 1_000, seconds: 5)
        let lines = result.hgrm.split(separator: "\n")
        #expect(lines[0].split(separator: " ") == ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"])
        let rows = lines.dropFirst().filter { !$0.hasPrefix("#") }.map {
            $0.split(separator: " ").compactMap { Double($0) }
        }
        let median = try #require(rows.first { $0[1] >= 0.5 })
        #expect(abs(median[0] - result.latency.p50) < 0.01 && median[3] == 2)
        #expect(rows.last?[2] == Double(result.latency.count))
        #expect(lines.contains { $0.hasPrefix("#[Max") && $0.contains("Total count") })
        // As plotters take them: an empty line after the names, four columns after a space, three on the last line, which is 100 %.
        #expect(result.hgrm.contains("(1-Percentile)\n\n"))
        let text = lines.dropFirst().filter { !$0.hasPrefix("#") }
        #expect(text.dropLast().allSatisfy { $0.wholeMatch(of: #/\s+[0-9.]+\s+[0-9.]+\s+[0-9]+\s+[0-9.]+/#) != nil })
        #expect(rows.last?.count == 3 && rows.last?[1] == 1)
        #expect(zip(rows, rows.dropFirst()).allSatisfy { $0[0] <= $1[0] && $0[1] <= $1[1] && $0[2] <= $1[2] })
        #expect(lines.suffix(3).map { $0.prefix(6) } == ["#[Mean", "#[Max ", "#[Buck"])
    }

    @Test("The CSV has a line for each second, empty where nothing was answered")
    func csv() {
        var result = SampleResult.make(seconds: 3)
        result.intervals[1].latency = LatencyRecord(significantDigits: .two)
        result.intervals[2].lagP99 = nil
        let lines = result.csv.split(separator: "\n").map { $0.split(separator: ",", omittingEmptySubsequences: false) }
        #expect(lines.count == 4 && lines.allSatisfy { $0.count == 10 })
        #expect(lines[0].last == "lag_p99_ms" && lines[1][0] == "0.0" && lines[2][6...8] == ["", "", ""])
        #expect(lines[1][9] == "0.05" && lines[3][9].isEmpty)
        #expect(Double(lines[3][7]) == result.intervals[2].latency.p99)
    }

    @Test("A file that is none of ours is refused with its path and what is missing")
    func refused() throws {
        let path = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString + ".json").path
        defer { try? FileManager.default.removeItem(atPath: path) }
        func refusal(_ text: String) throws -> String {
            try Data(text.utf8).write(to: URL(fileURLWithPath: path))
            let error = #expect(throws: FileProblem.self) {
                try ResultFiles.decode(LoadResult.self, path: path, what: "a result of run")
            }
            return try #require(error).description
        }
        #expect(try refusal("{}") == "\(path) is not a result of run: 'format' is missing")
        #expect(try refusal("nonsense").contains("it is no JSON"))
        var object = try #require(
            JSONSerialization.jsonObject(with: ResultFiles.encode(SampleResult.make(seconds: 1))) as? [String: Any]
        )
        object["sent"] = "many"
        let text = String(decoding: try JSONSerialization.data(withJSONObject: object), as: UTF8.self)
        #expect(try refusal(text).contains("'sent'"))
        #expect(throws: FileProblem.self) { try ResultFiles.read(path + ".none") }
    }
}
