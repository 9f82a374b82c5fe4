import RPC
import Yams

/// What is wrong with a scenario, and where.
struct ScenarioError: Error, CustomStringConvertible {
    var description: String
}

/// Reads a scenario from YAML. Every error names the line, the member and what would be right.
struct ScenarioFile {
    private let file: String

    /// - Parameters:
    ///   - text: The YAML.
    ///   - file: Its name, for errors.
    ///   - usual: What holds for members that are not there.
    /// - Throws: `ScenarioError`.
    static func read(_ text: String, file: String, usual: Scenario) throws -> Scenario {
        try ScenarioFile(file: file).read(text, usual)
    }

    private func read(_ text: String, _ usual: Scenario) throws -> Scenario {
        let root: Node
        do {
            guard let node = try Yams.compose(yaml: text) else { throw ScenarioError(description: "\(file) is empty") }
            root = node
        } catch let error as YamlError {
            throw ScenarioError(description: "\(file): \(error)")
        }
        var scenario = usual
        let map = try Members(
            root,
            "the scenario",
            [
                "name", "customers", "id_bytes", "cohorts", "keys", "arrivals", "connections", "watches", "warmup",
                "seed", "mix", "stages",
            ],
            file
        )
        if let name = try map.text("name") { scenario.name = name }
        let customers = try map.whole("customers", 1...999_999_999_999) ?? usual.population.customers
        let idBytes = try map.whole("id_bytes", 15...36) ?? usual.population.idBytes
        guard idBytes == 15 || idBytes == 36 else {
            throw map.wrong("id_bytes", "takes 15 (C and digits) or 36 (a UUID)")
        }
        scenario.population = try Population(customers: customers, idBytes: idBytes)
        if let cohorts = try map.texts("cohorts") { scenario.cohorts = cohorts }
        if let text = try map.text("keys") {
            guard let keys = KeyDistribution(text) else {
                throw map.wrong("keys", "takes \(KeyDistribution.expected)")
            }
            scenario.keys = keys
        }
        if let text = try map.text("arrivals") {
            guard let arrivals = ArrivalSchedule.Process(rawValue: text) else {
                throw map.wrong("arrivals", "takes constant or poisson")
            }
            scenario.arrivals = arrivals
        }
        if let count = try map.whole("connections", 1...Scenario.maximumConnections) { scenario.connections = count }
        if let count = try map.whole("watches", 0...Scenario.maximumWatches) { scenario.watches = count }
        if let warmup = try map.seconds("warmup", allowsZero: true) { scenario.warmup = warmup }
        if let seed = try map.whole("seed", 0...Int.max) { scenario.seed = UInt64(seed) }
        if let entries = try map.list("mix") { scenario.mix = try entries.map(entry) }
        if let stages = try map.list("stages") {
            scenario.profile = RateProfile()
            for stage in stages { scenario.profile.append(try self.stage(stage)) }
        }
        return scenario
    }

    private func entry(_ node: Node) throws -> MixEntry {
        let map = try Members(node, "a part of 'mix'", ["method", "weight", "size", "deadline", "criticality"], file)
        guard let name = try map.text("method") else { throw map.wrong(nil, "needs 'method'") }
        guard let operation = Operation(rawValue: name) else {
            let known = Operation.allCases.map(\.rawValue).joined(separator: ", ")
            throw map.wrong("method", "is '\(name)'; it takes \(known)")
        }
        var entry = MixEntry(operation)
        if let weight = try map.number("weight") {
            guard weight > 0, weight <= 1e9 else { throw map.wrong("weight", "takes a number over 0, up to 1e9") }
            entry.weight = weight
        }
        if map.has("size") {
            guard let sizes = operation.sizes else { throw map.wrong("size", "is not for \(name)") }
            if let size = try map.whole("size", sizes.range) { entry.size = size }
        }
        entry.deadline = try map.seconds("deadline").map { .seconds($0) }
        if let text = try map.text("criticality") {
            guard let criticality = Criticality(name: text) else {
                throw map.wrong("criticality", "takes SHEDDABLE, SHEDDABLE_PLUS, CRITICAL or CRITICAL_PLUS")
            }
            entry.criticality = criticality
        }
        return entry
    }

    private func stage(_ node: Node) throws -> Stage {
        let kinds = ["constant", "soak", "ramp", "step", "spike", "diurnal"]
        let map = try Members(node, "a stage", kinds, file)
        guard let (kind, body) = map.only else {
            throw map.wrong(nil, "takes one of \(kinds.joined(separator: ", "))")
        }
        func members(_ names: String...) throws -> Members { try Members(body, "'\(kind)'", names + ["for"], file) }
        switch kind {
        case "ramp":
            let map = try members("from", "to")
            return .ramp(from: try map.rate("from"), to: try map.rate("to"), duration: try map.duration("for"))
        case "step":
            let map = try members("from", "to", "steps")
            guard let count = try map.whole("steps", 1...1_000) else { throw map.wrong(nil, "needs 'steps'") }
            return .steps(
                from: try map.rate("from"),
                to: try map.rate("to"),
                count: count,
                duration: try map.duration("for")
            )
        case "spike":
            let map = try members("base", "peak")
            return .spike(base: try map.rate("base"), peak: try map.rate("peak"), duration: try map.duration("for"))
        case "diurnal":
            let map = try members("low", "high", "period")
            let period = try map.duration("period")
            guard period >= 1 else { throw map.wrong("period", "takes a second at least") }
            return .diurnal(
                low: try map.rate("low"),
                high: try map.rate("high"),
                period: period,
                duration: try map.duration("for")
            )
        default:
            // A soak is a constant load that lasts.
            let map = try members("rate")
            return .constant(rate: try map.rate("rate"), duration: try map.duration("for"))
        }
    }
}

/// A mapping of the file with the members that it may have.
private struct Members {
    private let node: Node
    private let members: Node.Mapping
    private let what: String
    private let file: String

    init(_ node: Node, _ what: String, _ names: [String], _ file: String) throws {
        self.node = node
        self.what = what
        self.file = file
        guard let members = node.mapping else {
            throw ScenarioError(
                description: "\(Self.place(node, file)): \(what) takes members: \(names.joined(separator: ", "))"
            )
        }
        self.members = members
        for (key, _) in members {
            guard let name = key.string, names.contains(name) else {
                let member = key.string ?? "a member that is no text"
                throw ScenarioError(
                    description: "\(Self.place(key, file)): \(what) has no '\(member)'; it takes "
                        + names.joined(separator: ", ")
                )
            }
        }
    }

    private static func place(_ node: Node, _ file: String) -> String {
        node.mark.map { "\(file):\($0.line)" } ?? file
    }

    /// An error about a member, or about the whole.
    func wrong(_ member: String?, _ problem: String) -> ScenarioError {
        let node = member.flatMap { members[$0] } ?? node
        let subject = member.map { "'\($0)' of \(what)" } ?? what
        return ScenarioError(description: "\(Self.place(node, file)): \(subject) \(problem)")
    }

    func has(_ name: String) -> Bool { members[name] != nil }

    /// The only member, if there is only one.
    var only: (String, Node)? {
        guard members.count == 1, let (key, value) = members.first, let name = key.string else { return nil }
        return (name, value)
    }

    func text(_ name: String) throws -> String? {
        guard let node = members[name] else { return nil }
        guard let text = node.scalar?.string, !text.isEmpty else { throw wrong(name, "takes a text") }
        return text
    }

    func texts(_ name: String) throws -> [String]? {
        guard let nodes = try list(name) else { return nil }
        return try nodes.map { node in
            guard let text = node.scalar?.string, !text.isEmpty else { throw wrong(name, "takes a list of texts") }
            return text
        }
    }

    func list(_ name: String) throws -> [Node]? {
        guard let node = members[name] else { return nil }
        guard let nodes = node.sequence, !nodes.isEmpty else { throw wrong(name, "takes a list of at least one") }
        return Array(nodes)
    }

    func whole(_ name: String, _ range: ClosedRange<Int>) throws -> Int? {
        guard let text = try text(name) else { return nil }
        guard let value = Int(text), range.contains(value) else {
            throw wrong(name, "is '\(text)'; it takes \(range.lowerBound) to \(range.upperBound)")
        }
        return value
    }

    func number(_ name: String) throws -> Double? {
        guard let text = try text(name) else { return nil }
        guard let value = Double(text), value.isFinite else { throw wrong(name, "is '\(text)'; it takes a number") }
        return value
    }

    /// Calls a second that have to be given.
    func rate(_ name: String) throws -> Double {
        guard let value = try number(name) else { throw wrong(nil, "needs '\(name)', calls a second") }
        guard (0...LoadLimits.rate).contains(value) else {
            throw wrong(name, "takes 0 to \(Int(LoadLimits.rate)) calls a second")
        }
        return value
    }

    func seconds(_ name: String, allowsZero: Bool = false) throws -> Double? {
        guard let text = try text(name) else { return nil }
        guard let value = DurationText.seconds(text), value > 0 || allowsZero, value <= LoadLimits.duration else {
            throw wrong(name, "is '\(text)'; it takes \(DurationText.expected)")
        }
        return value
    }

    /// Seconds that have to be given.
    func duration(_ name: String) throws -> Double {
        guard let value = try seconds(name) else { throw wrong(nil, "needs '\(name)', as 30s") }
        return value
    }
}

/// The most that a load may be.
enum LoadLimits {
    /// Calls a second.
    static let rate = 10_000_000.0
    /// Seconds: a week.
    static let duration = 604_800.0
}

/// Times as people write them: `250us`, `5ms`, `30s`, `10m`, `2h`; a number alone is seconds.
enum DurationText {
    static let expected = "a time as 250us, 5ms, 30s, 10m or 2h"

    private static let units: [(String, Double)] = [
        ("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1), ("m", 60), ("h", 3_600),
    ]

    /// In seconds; nil for what is no such time, and for what is less than none.
    static func seconds(_ text: String) -> Double? {
        let unit = units.first { text.hasSuffix($0.0) }
        guard let value = Double(text.dropLast(unit?.0.count ?? 0)), value.isFinite, value >= 0 else { return nil }
        return value * (unit?.1 ?? 1)
    }
}
