import ArgumentParser
import Foundation
import RPC

/// What a load consists of, as flags: those given go before a scenario's file.
struct LoadOptions: ParsableArguments {
    @Option(help: ArgumentHelp("YAML file with a scenario (docs/examples/loadtest.yaml).", valueName: "file"))
    var scenario: String?
    @Option(help: ArgumentHelp("Method called, where no scenario mixes several.", valueName: "name"))
    var method: String?
    @Option(help: "Customers, rows or ids in one call, for methods that take many.") var size: Int?
    @Option(help: ArgumentHelp("Deadline of each call, as 50ms; none without it.", valueName: "time"))
    var deadline: String?
    @Option(help: "Arrivals: poisson (the default) or constant.") var arrivals: String?
    @Option(help: ArgumentHelp("Which customers: uniform (the default), zipf:0.99, hot:0.01:0.9.", valueName: "keys"))
    var keys: String?
    @Option(help: "How many customers were seeded; 1000000 without it.") var customers: Int?
    @Option(help: "Bytes of an id: 15 or 36 (the default).") var idBytes: Int?
    @Option(help: "A cohort asked about; may be given several times. LOADTEST without it.") var cohort: [String] = []
    @Option(help: "Connections, 1 to 10000; 16 without it.") var connections: Int?
    @Option(help: "Watches of all cohorts that run meanwhile, 0 to 10000.") var watches: Int?
    @Option(help: ArgumentHelp("Time before, not measured; 1s without it.", valueName: "time")) var warmup: String?
    @Option(help: "Begin of all that is random.") var seed: UInt64?
    @Option(help: "Calls under way at once, beyond which none is sent, 1 to 10000000.") var maxInFlight = 200_000
    @Option(help: ArgumentHelp("Time to wait for answers after the last call.", valueName: "time")) var drain = "10s"
    @Option(
        help: ArgumentHelp(
            "By how much one call of a hundred may be sent late before a run is refused.",
            valueName: "time"
        )
    )
    var maxLag = "2ms"
    @Flag(inversion: .prefixedNo, help: "Read the server's metrics each second.") var serverMetrics = true

    /// - Parameters:
    ///   - rate: Calls a second in place of the scenario's stages; a scenario without stages needs it.
    ///   - duration: In seconds; needed with a rate.
    /// - Throws: `ValidationError` naming the option, `ScenarioError` naming the line.
    func read(rate: Double?, duration: Double?) throws -> Scenario {
        var load = Scenario(rate: 0, duration: 0, population: try Population(customers: 1_000_000, idBytes: 36))
        load.profile = RateProfile()
        if let scenario {
            let text: String
            do { text = try String(contentsOfFile: scenario, encoding: .utf8) } catch {
                throw ValidationError("--scenario: cannot read \(scenario): \(error.localizedDescription)")
            }
            load.name = URL(fileURLWithPath: scenario).deletingPathExtension().lastPathComponent
            load = try ScenarioFile.read(text, file: scenario, usual: load)
        }
        try apply(to: &load)
        switch (rate, duration) {
        case (let rate?, let duration?): load.profile = .constant(rate, for: duration)
        case (nil, nil): break
        case (nil, _): throw ValidationError("--duration needs --rate")
        case (_, nil): throw ValidationError("--rate needs --duration")
        }
        guard load.profile.duration > 0 else {
            throw ValidationError("give --rate and --duration, or a scenario with stages")
        }
        return load
    }

    private func apply(to load: inout Scenario) throws {
        if let method {
            guard let operation = Operation(rawValue: method) else {
                let known = Operation.allCases.map(\.rawValue).joined(separator: ", ")
                throw ValidationError("--method is '\(method)'; it takes \(known)")
            }
            load.mix = [MixEntry(operation)]
            if scenario == nil { load.name = method }
        }
        if let size {
            guard load.mix.count == 1, let sizes = load.mix[0].operation.sizes else {
                throw ValidationError("--size needs one method that takes many, as BatchCheckMembership")
            }
            guard sizes.range.contains(size) else {
                throw ValidationError("--size takes \(sizes.range.lowerBound) to \(sizes.range.upperBound)")
            }
            load.mix[0].size = size
        }
        if let deadline {
            let seconds = try Self.seconds(deadline, "--deadline")
            for index in load.mix.indices { load.mix[index].deadline = .seconds(seconds) }
        }
        if let arrivals {
            guard let process = ArrivalSchedule.Process(rawValue: arrivals) else {
                throw ValidationError("--arrivals is '\(arrivals)'; it takes poisson or constant")
            }
            load.arrivals = process
        }
        if let keys {
            guard let distribution = KeyDistribution(keys) else {
                throw ValidationError("--keys is '\(keys)'; it takes \(KeyDistribution.expected)")
            }
            load.keys = distribution
        }
        load.population = try Population(
            customers: customers ?? load.population.customers,
            idBytes: idBytes ?? load.population.idBytes
        )
        if !cohort.isEmpty { load.cohorts = cohort }
        load.connections = try Self.whole(
            connections,
            "--connections",
            1...Scenario.maximumConnections,
            load.connections
        )
        load.watches = try Self.whole(watches, "--watches", 0...Scenario.maximumWatches, load.watches)
        if let warmup { load.warmup = try Self.seconds(warmup, "--warmup", allowsZero: true) }
        if let seed { load.seed = seed }
    }

    func limits() throws -> OpenLoop.Limits {
        OpenLoop.Limits(
            inFlight: try Self.whole(maxInFlight, "--max-in-flight", 1...10_000_000, 0),
            drain: .seconds(try Self.seconds(drain, "--drain", allowsZero: true)),
            lag: .seconds(try Self.seconds(maxLag, "--max-lag"))
        )
    }

    static func whole(_ value: Int?, _ option: String, _ range: ClosedRange<Int>, _ usual: Int) throws -> Int {
        guard let value else { return usual }
        guard range.contains(value) else {
            throw ValidationError("\(option) is \(value); it takes \(range.lowerBound) to \(range.upperBound)")
        }
        return value
    }

    static func seconds(_ text: String, _ option: String, allowsZero: Bool = false) throws -> Double {
        guard let seconds = DurationText.seconds(text), seconds > 0 || allowsZero, seconds <= LoadLimits.duration else {
            throw ValidationError("\(option) is '\(text)'; it takes \(DurationText.expected), a week at most")
        }
        return seconds
    }

    static func rate(_ rate: Double, _ option: String) throws -> Double {
        guard rate > 0, rate <= LoadLimits.rate else {
            throw ValidationError("\(option) is \(rate); it takes over 0 up to \(Int(LoadLimits.rate)) calls a second")
        }
        return rate
    }
}
