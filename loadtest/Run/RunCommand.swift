import ArgumentParser
import Foundation
import RPC

extension LoadTest {
    /// An open load: calls are sent when they are due.
    struct Run: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "run",
            abstract:
                "Send calls at a rate of your choice, whether or not the server keeps up, and tell how long they took.",
            discussion: """
                Every call has a time at which it is due, and its latency counts from then: a server that stalls is seen by all
                the calls that were due meanwhile. A run in which the generator itself was too slow is refused.

                Exit status: 0 done, 1 an objective of --slo was missed or the generator was the limit, 2 wrong usage.
                """
        )

        @OptionGroup(title: "Server") var server: ServerOptions
        @OptionGroup(title: "Load") var load: LoadOptions
        @Option(help: "Calls a second, in place of the scenario's stages.") var rate: Double?
        @Option(help: ArgumentHelp("How long, as 30s or 10m.", valueName: "time")) var duration: String?
        @OptionGroup(title: "Results") var output: OutputOptions

        func run() async throws {
            let scenario = try load.read(
                rate: rate.map { try LoadOptions.rate($0, "--rate") },
                duration: duration.map { try LoadOptions.seconds($0, "--duration") }
            )
            let limits = try load.limits()
            let readsServer = load.serverMetrics
            let result = try await server.measure(scenario, output) { session, onInterval in
                try await session.run(scenario, limits: limits, readsServer: readsServer, onInterval: onInterval)
            }
            if result.generator.isBottleneck {
                throw LoadFailure("the generator was the limit: \(result.generator.reason ?? "")")
            }
            if result.slo.contains(where: { !$0.isMet }) { throw ExitCode(1) }
        }
    }
}

extension ServerOptions {
    /// Connects, tries what the scenario calls, runs the load with a view of it, and tells and writes the result.
    func measure(
        _ scenario: Scenario,
        _ output: OutputOptions,
        load: (LoadSession, @escaping @Sendable (LoadResult.Interval, Int) -> Void) async throws -> LoadResult
    ) async throws -> LoadResult {
        let objectives = try output.objectives()
        let session = try await open(connections: scenario.connections)
        var result: LoadResult
        do {
            try await session.check(scenario)
            let view = LiveView(duration: scenario.profile.duration)
            result = try await load(session) { view.show($0, inFlight: $1) }
            view.end()
            await session.close()
        } catch {
            await session.close()
            throw error
        }
        if let objectives { result.judge(by: objectives) }
        print(result.summary)
        try output.write(result)
        return result
    }

    /// Connects.
    ///
    /// - Throws: `LoadFailure` where the server cannot be reached.
    func open(connections: Int) async throws -> LoadSession {
        let configuration = try configuration()
        do {
            return try await LoadSession.open(configuration, connections: connections)
        } catch let error as RPCError {
            throw LoadFailure(connecting: error, to: configuration.endpoints[0])
        } catch let error as TLSSettingsError {
            throw LoadFailure("\(error)", isUsage: true)
        }
    }
}

extension LoadResult {
    /// For people, on a few lines.
    var summary: String {
        func milliseconds(_ value: Double) -> String { Format.milliseconds(value) }
        func rate(_ value: Double) -> String { String(format: value < 100 ? "%.3g" : "%.0f", value) }
        let asked = closed.map(\.description) ?? "\(rate(rateWanted))/s wanted"
        var lines = [
            "\(scenario): \(asked), \(rate(rateReached))/s answered over \(rate(duration)) s",
            "latency  p50 \(milliseconds(latency.p50))  p90 \(milliseconds(latency.p90))  p99 \(milliseconds(latency.p99))  "
                + "p99.9 \(milliseconds(latency.p999))  max \(milliseconds(latency.maximum))",
        ]
        if failed > 0, let answered = answeredLatency {
            lines.append(
                "of the answered  p50 \(milliseconds(answered.p50))  p99 \(milliseconds(answered.p99))  "
                    + "max \(milliseconds(answered.maximum))"
            )
        }
        if methods.count > 1 {
            lines += methods.map {
                "  \($0.method): \($0.sent)  p50 \(milliseconds($0.latency.p50))  p99 \(milliseconds($0.latency.p99))"
            }
        }
        let codes = errors.sorted { $0.value > $1.value }.map { "\($0.key) \($0.value)" }.joined(separator: ", ")
        lines.append("errors   \(failed) of \(sent)" + (codes.isEmpty ? "" : ": \(codes)"))
        let lag =
            model == .open ? "lag p99 \(milliseconds(generator.lagP99))  max \(milliseconds(generator.lagMax))  " : ""
        lines.append("generator  \(lag)" + String(format: "%.0f %% of a processor", generator.cpuRatio * 100))
        lines += slo.map { "\($0.isMet ? "met   " : "MISSED") \($0.term), measured \($0.measuredText)" }
        lines += warnings.map { "warning: \($0)" }
        return lines.joined(separator: "\n")
    }
}
