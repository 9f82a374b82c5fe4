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

    /// - Throws: `ValidationError` for a file that could not be written: before the load, not after hours of it.
    func validate() throws { try ResultFiles.check(json: json, hgrm: hgrm, csv: csv, html: html) }

    /// Writes every file that can be written.
    ///
    /// - Throws: `FileProblem` for the first that cannot.
    func write(_ result: LoadResult) throws {
        var problem: (any Error)?
        func write(_ path: String?, _ data: () throws -> Data) {
            guard let path else { return }
            do { try ResultFiles.write(data(), to: path) } catch { problem = problem ?? error }
        }
        write(json) { try ResultFiles.encode(result) }
        write(hgrm) { Data(result.hgrm.utf8) }
        write(html) { Data(Report.run(result).utf8) }
        write(csv) { Data(result.csv.utf8) }
        if let problem { throw problem }
    }
}

extension SLO {
    /// - Throws: `ValidationError` that names the option, the term and what would be right.
    init(parsing text: String, option: String) throws {
        do { try self.init(parsing: text) } catch { throw ValidationError("\(option): \(error)") }
    }
}
