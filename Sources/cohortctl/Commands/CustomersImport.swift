import ArgumentParser
import CohortAPI
import Foundation
import RPC

extension CustomersCommand {
    struct Import: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "import",
            abstract: "Put the customers of a CSV or NDJSON file.",
            discussion: """
                A CSV file names its columns in the first line; an NDJSON file has one JSON object a line. Every column
                is an attribute of the same name unless the options say otherwise. An empty cell says nothing about its
                attribute; elements of a string_list are separated by semicolons; times are RFC 3339 or a date.
                A row that is refused does not stop the rest: the receipt names its line and the reason.
                How far the import got stands in FILE.cohort-import until it is complete; --resume goes on from there.
                """
        )

        @Argument(help: "The file: *.csv, or *.ndjson or *.jsonl.") var file: String
        @Option(help: "The column with the customer's id.") var idColumn = "customer_id"
        @Option(help: "The column that says when the row became true at its source.") var eventTimeColumn: String?
        @Option(help: ArgumentHelp("A column that is an attribute of another name.", valueName: "column=attribute"))
        var map: [String] = []
        @Option(help: "A column that is left out; may be repeated.") var ignore: [String] = []
        @Option(help: "A CSV file for the refused rows: line, reason, row.") var rejects: String?
        @Flag(help: "Go on where an interrupted import of the file stopped.") var resume = false
        @ParentCommand var root: Cohortctl

        func run() async throws {
            guard let handle = FileHandle(forReadingAtPath: file),
                let size = try? FileManager.default.attributesOfItem(atPath: file)[.size] as? Int
            else {
                throw CommandFailure.usage("cannot read the file '\(file)'")
            }
            var receipt = ImportReceipt()
            if resume {
                if let point = try ResumePoint.load(for: file, fileBytes: size) {
                    receipt = point.receipt
                    writeError("going on behind row \(receipt.rows)")
                } else {
                    writeError("nothing to resume; starting from the first row")
                }
            }
            try await root.session.withClient { client in
                let customers = CohortClient(client).customers
                let mapping = try await mapping(customers)
                var importer = Importer(
                    source: try source(handle, mapping),
                    rejects: try rejects.map { try RejectsFile(path: $0, appending: resume) },
                    resuming: receipt
                )
                try await run(&importer, customers, size)
            }
        }

        private func run(_ importer: inout Importer, _ customers: CustomerServiceClient, _ size: Int) async throws {
            var bar = ProgressBar(total: size)
            do {
                try await importer.run(customers) { bytes, receipt in
                    try ResumePoint(fileBytes: size, receipt: receipt).save(for: file)
                    bar.update(done: bytes, note: "\(receipt.rows) rows")
                }
            } catch let error as RPCError {
                bar.finish()
                writeError("stopped behind row \(importer.receipt.rows); run it again with --resume to go on")
                throw error
            } catch {
                bar.finish()
                throw error
            }
            bar.finish()
            ResumePoint.remove(for: file)
            try show(importer.receipt)
        }

        private func show(_ receipt: ImportReceipt) throws {
            switch root.session.output {
            case .table: print(receipt.text)
            case .json:
                let encoder = JSONEncoder()
                encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
                print(String(decoding: try encoder.encode(receipt), as: UTF8.self))
            }
        }

        private func mapping(_ customers: CustomerServiceClient) async throws -> RowMapping {
            let declared = try await customers.listAttributes(.init(), options: root.session.callOptions).attributes
            var renamed: [String: String] = [:]
            for pair in map {
                let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
                guard parts.count == 2, !parts[0].isEmpty, !parts[1].isEmpty else {
                    throw CommandFailure.usage("--map is '\(pair)'; it takes COLUMN=ATTRIBUTE")
                }
                renamed[String(parts[0])] = String(parts[1])
            }
            return RowMapping(
                idColumn: idColumn,
                eventTimeColumn: eventTimeColumn,
                renamed: renamed,
                ignored: Set(ignore),
                types: Dictionary(declared.map { ($0.name, $0.type) }, uniquingKeysWith: { first, _ in first })
            )
        }

        private func source(_ handle: FileHandle, _ mapping: RowMapping) throws -> any RowSource {
            switch file.split(separator: ".").last?.lowercased() {
            case "csv": CSVRowSource(file: handle, mapping: mapping)
            case "ndjson", "jsonl": NDJSONRowSource(file: handle, mapping: mapping)
            default:
                throw CommandFailure.usage("'\(file)' is of no known format; name it *.csv, *.ndjson or *.jsonl")
            }
        }
    }
}
