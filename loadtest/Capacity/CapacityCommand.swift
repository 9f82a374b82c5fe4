import ArgumentParser
import Foundation
import RPC

extension LoadTest {
    /// Finds the highest rate that meets an objective.
    struct Capacity: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "capacity",
            abstract: "Find the highest rate at which the server meets an objective, and say what follows from it.",
            discussion: """
                Doubles the rate until the objective is missed, bisects, and holds the rate that was found for longer. Then steps
                through loads around it, for the knee, the limit and the model of scalability. A scenario's stages do not count
                here: its mix is sent at constant rates.

                Exit status: 0 a capacity was found, 1 none was or it is the generator's, 2 wrong usage.
                """
        )

        @OptionGroup(title: "Server") var server: ServerOptions
        @OptionGroup(title: "Load") var load: LoadOptions
        @Option(help: ArgumentHelp("The objective, as 'p99<5ms,errors<0.1%'.", valueName: "terms"))
        var slo = "p99<5ms,errors<0.1%"
        @Option(help: "Calls a second to begin with.") var start = 1_000.0
        @Option(help: "The highest rate tried.") var highest = 1_000_000.0
        @Option(help: ArgumentHelp("How near the answer has to be, in percent, 0.5 to 50.", valueName: "percent"))
        var tolerance = 2.0
        @Option(help: ArgumentHelp("Time of each step.", valueName: "time")) var step = "5s"
        @Option(help: ArgumentHelp("Time for which the answer has to hold.", valueName: "time")) var hold = "30s"
        @Flag(
            inversion: .prefixedNo,
            help: "Step through loads around the answer, for the knee, the limit and the model."
        )
        var sweep = true
        @Option(help: "A rate that a fleet has to carry: tells how many instances.") var target: Double?
        @Option(help: ArgumentHelp("Write the answer as JSON, which 'plan' reads.", valueName: "file")) var json:
            String?
        @Option(help: ArgumentHelp("Write a report with plots, one file.", valueName: "file")) var html: String?

        func run() async throws {
            try ResultFiles.check(json: json, html: html)
            let slo = try SLO(parsing: slo, option: "--slo")
            let (step, hold) = (
                try LoadOptions.seconds(step, "--step"), try LoadOptions.seconds(hold, "--hold")
            )
            guard (0.5...50).contains(tolerance) else {
                throw ValidationError("--tolerance is \(tolerance); it takes 0.5 to 50 percent")
            }
            var settings = CapacitySearch.Settings()
            settings.highest = try LoadOptions.rate(highest, "--highest")
            settings.start = min(try LoadOptions.rate(start, "--start"), settings.highest)
            settings.tolerance = tolerance / 100
            if !sweep { settings.sweep = [] }
            let target = try target.map { try LoadOptions.rate($0, "--target") }
            let scenario = try load.read(rate: settings.start, duration: step)
            let limits = try load.limits()
            let session = try await server.open(connections: scenario.connections)
            let analysis: CapacityAnalysis
            do {
                try await session.check(scenario)
                analysis = try await search(CapacitySearch(settings), slo, target) { next in
                    var scenario = scenario
                    scenario.profile = .constant(next.rate, for: next.kind == .hold ? hold : step)
                    scenario.seed &+= UInt64(next.attempt)
                    return try await session.run(scenario, limits: limits, readsServer: load.serverMetrics)
                }
                await session.close()
            } catch {
                await session.close()
                throw error
            }
            let result = analysis.result()
            print(result.summary)
            if let json { try ResultFiles.write(ResultFiles.encode(result), to: json) }
            if let html { try ResultFiles.write(Data(Report.capacity(result).utf8), to: html) }
            if ![.found, .highestPassed].contains(result.finding) { throw ExitCode(1) }
        }

        private func search(
            _ search: CapacitySearch,
            _ slo: SLO,
            _ target: Double?,
            _ run: (CapacitySearch.Step) async throws -> LoadResult
        ) async throws -> CapacityAnalysis {
            var search = search
            var steps: [(step: CapacitySearch.Step, result: LoadResult)] = []
            while let next = search.next() {
                var result = try await run(next)
                result.judge(by: slo)
                let outcome = CapacitySearch.Outcome(result, slo: slo)
                steps.append((next, result))
                report(next, result, outcome)
                search.observe(outcome)
            }
            return CapacityAnalysis(search: search, steps: steps, slo: slo, targetRate: target)
        }

        private func report(_ step: CapacitySearch.Step, _ result: LoadResult, _ outcome: CapacitySearch.Outcome) {
            let word =
                switch outcome {
                case .met: "met"
                case .missed: "missed"
                case .generatorLimited: "the generator was the limit"
                }
            let line = String(
                format: "%@ %.0f/s: %.0f/s answered, p50 %@, p99 %@, %llu errors: %@\n",
                step.kind.rawValue,
                step.rate,
                result.rateReached,
                Format.milliseconds(result.latency.p50),
                Format.milliseconds(result.latency.p99),
                result.failed,
                word
            )
            FileHandle.standardError.write(Data(line.utf8))
        }
    }
}
