import ArgumentParser
import Foundation

/// What is wanted of a result, and where it goes.
struct OutputOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Objectives, as 'p99<5ms,errors<0.1%'; exit status 1 where one is missed.",
            valueName: "terms"
        )
    )
    var slo: String?
    @Option(help: ArgumentHelp("Write the result as JSON.", valueName: "file")) var json: String?
    @Option(help: ArgumentHelp("Write the latencies as HdrHistogram's percentiles.", valueName: "file")) var hgrm:
        String?
    @Option(help: ArgumentHelp("Write each second as CSV.", valueName: "file")) var csv: String?
    @Option(help: ArgumentHelp("Write a report with plots, one file.", valueName: "file")) var html: String?
}

extension OutputOptions {
    /// - Throws: `ValidationError` naming the term and what would be right.
    func objectives() throws -> SLO? { try slo.map { try SLO(parsing: $0, option: "--slo") } }

    /// - Throws: `FileProblem` for a file that cannot be written.
    func write(_ result: LoadResult) throws {
        if let json { try ResultFiles.write(ResultFiles.encode(result), to: json) }
        if let hgrm { try ResultFiles.write(Data(result.hgrm.utf8), to: hgrm) }
        if let html { try ResultFiles.write(Data(Report.run(result).utf8), to: html) }
        if let csv { try ResultFiles.write(Data(result.csv.utf8), to: csv) }
    }
}

extension SLO {
    /// - Throws: `ValidationError` that names the option, the term and what would be right.
    init(parsing text: String, option: String) throws {
        do { try self.init(parsing: text) } catch { throw ValidationError("\(option): \(error)") }
    }
}
