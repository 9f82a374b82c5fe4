import ArgumentParser
import Foundation

extension LoadTest {
    struct Plan: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "plan",
            abstract: "Foretell traffic, and how many instances it takes.",
            discussion: """
                Past traffic is a CSV file of timestamps (RFC 3339, or seconds since 1970) and rates (calls a second), two
                weeks at least. Exit status: 0 done, 1 not enough data, 2 wrong usage.
                """
        )

        @Option(help: ArgumentHelp("CSV file with the past traffic.", valueName: "file")) var traffic: String
        @Option(help: ArgumentHelp("What 'capacity --json' wrote.", valueName: "file")) var capacity: String?
        @Option(help: ArgumentHelp("Instead of it: calls a second of one instance.", valueName: "calls/s"))
        var instanceRate: Double?
        @Option(help: "The instances there are, 1 to 1000000.") var instances: Int?
        @Option(help: "How far ahead, 1 to 1095.") var days = 90
        @Option(help: ArgumentHelp("Write the plan here.", valueName: "file")) var json: String?
        @Option(help: ArgumentHelp("Write a report with plots here.", valueName: "file")) var html: String?

        func validate() throws {
            guard (capacity == nil) != (instanceRate == nil) else {
                throw ValidationError("give --capacity FILE, or --instance-rate and not both")
            }
            if let instanceRate, !(instanceRate >= 0.001 && instanceRate < 1e9) {
                throw ValidationError("--instance-rate is \(instanceRate); it takes 0.001 calls a second or more")
            }
            if let instances, !(1...1_000_000).contains(instances) {
                throw ValidationError("--instances is \(instances); it takes 1 to 1000000")
            }
            try ResultFiles.check(json: json, html: html)
            guard (1...1_095).contains(days) else { throw ValidationError("--days is \(days); it takes 1 to 1095") }
        }

        func run() async throws {
            let (operating, most) = try rates()
            let result = try CapacityPlan(
                traffic: try readTraffic(),
                operatingRate: operating,
                capacityRate: most,
                instances: instances,
                days: days
            ).result()
            print(result.summary)
            if let json { try ResultFiles.write(ResultFiles.encode(result), to: json) }
            if let html { try ResultFiles.write(Data(Report.plan(result).utf8), to: html) }
        }

        private func rates() throws -> (operating: Double, most: Double?) {
            if let instanceRate { return (instanceRate, nil) }
            let path = capacity ?? ""
            let result = try ResultFiles.decode(CapacityResult.self, path: path, what: "a result of capacity")
            guard let operating = result.operatingRate, operating > 0 else {
                throw FileProblem("\(path) found no capacity, so there is nothing to plan with; use --instance-rate")
            }
            if result.finding == .generatorLimited {
                FileHandle.standardError.write(
                    Data(
                        "warning: \(path) ends where its generator did: the server may do more, and fewer instances may do\n"
                            .utf8
                    )
                )
            }
            return (operating, result.capacityRate)
        }

        private func readTraffic() throws -> Traffic {
            let text = String(decoding: try ResultFiles.read(traffic), as: UTF8.self)
            do { return try Traffic(csv: text) } catch { throw FileProblem("\(traffic): \(error)") }
        }
    }
}
