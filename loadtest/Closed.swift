import ArgumentParser
import Foundation
import RPC

extension LoadTest {
    /// A closed loop: each answer starts the next call, so a slow server is asked less. Good for the highest rate; its
    /// percentiles are those of the rate it settles at.
    struct Closed: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "closed",
            abstract: "Checks in a closed loop: every answer starts the next call.",
            discussion: """
                For the highest rate there is. Latencies count from when a call was sent, so they are not those that callers see at
                a rate of their own: 'run' measures these. Customers are chosen at random among those that 'seed' made.

                Exit status: 0 done, 1 a call failed or an objective of --slo was missed, 2 wrong usage.
                """
        )

        @OptionGroup(title: "Server") var server: ServerOptions
        @Option(help: "Connections, 1 to 10000.") var connections = 16
        @Option(help: "Calls in flight on each connection, 1 to 10000.") var inFlight = 100
        @Option(help: ArgumentHelp("How long is measured, as 30s or 10m.", valueName: "time")) var duration = "5s"
        @Option(help: ArgumentHelp("Time before, not measured.", valueName: "time")) var warmup = "1s"
        @Option(help: "How many customers were seeded.") var customers = 1_000_000
        @Option(help: "Bytes of an id: 15 or 36.") var idBytes = 36
        @Option(help: "The cohort that was seeded.") var cohort = "LOADTEST"
        @Option(help: "Customers in one BatchCheckMembership, 1 to 10000; 0 sends CheckMembership.") var batch = 0
        @OptionGroup(title: "Results") var output: OutputOptions

        func run() async throws {
            let scenario = try scenario()
            let inFlight = try LoadOptions.whole(inFlight, "--in-flight", 1...10_000, 1)
            let result = try await server.measure(scenario, output) { session, onInterval in
                try await session.runClosed(scenario, inFlight: inFlight, onInterval: onInterval)
            }
            if result.failed > 0 || result.slo.contains(where: { !$0.isMet }) { throw ExitCode(1) }
        }

        private func scenario() throws -> Scenario {
            let operation = batch == 0 ? Operation.checkMembership : .batchCheckMembership
            var scenario = Scenario(
                operation,
                rate: 0,
                duration: try LoadOptions.seconds(duration, "--duration"),
                population: try Population(customers: customers, idBytes: idBytes)
            )
            if batch != 0 { scenario.mix[0].size = try LoadOptions.whole(batch, "--batch", 0...10_000, 0) }
            scenario.warmup = try LoadOptions.seconds(warmup, "--warmup", allowsZero: true)
            scenario.connections = try LoadOptions.whole(
                connections,
                "--connections",
                1...Scenario.maximumConnections,
                1
            )
            scenario.cohorts = [cohort]
            return scenario
        }
    }
}
