import CrashTesting
import Foundation
import Synchronization
import Testing

@testable import CohortCore
@testable import CohortSQLite

/// kill -9 of a real process over the same data directory, in the middle of a model's run.
extension ModelRun {
    /// Has a worker process take over the directory, kills it while it works, and follows the log from where it was: what
    /// was acknowledged is there, each operation is wholly there or not at all, and nothing else is. Then goes on here.
    func kill() async throws {
        guard let directory else { return }
        try await close()
        let before = model.sequence
        let worker = try Worker(directory, clock: clock.seconds, &random)
        let goal = Int.random(in: 0...120, using: &random)
        var sent: [String: WorkerOperation] = [:]
        var rules: [String: ModelRule] = [:]
        // More than it will have done by then.
        var lines = Data()
        for i in 0..<(goal + 100) {
            let operation = randomOperation("op-\(before)-\(i)", &rules)
            sent[operation.name] = operation
            lines += try JSONEncoder().encode(operation) + [10]
        }
        worker.send(lines)
        let reports = try await worker.killAfter(
            reports: goal,
            microseconds: UInt32.random(in: 0...3_000, using: &random)
        )
        #expect(reports.compactMap(\.violation).isEmpty)
        #expect(reports.count >= goal, "\(worker.errors)")
        try follow(sent, rules, reports.filter { !$0.name.isEmpty }, directory)
        checks.all += reports.last?.checks ?? 0
        try await open()
        #expect(engine.status.sequence == model.sequence)
    }

    private func randomOperation(_ name: String, _ rules: inout [String: ModelRule]) -> WorkerOperation {
        func someone() -> [String] { (0..<Int.random(in: 0...5, using: &random)).map { _ in customer() } }
        func rule() -> String {
            let rule = ModelRule.random(&random, reading: [])
            rules[rule.source] = rule
            return rule.source
        }
        let cohorts = model.changeable
        let change: WorkerOperation.Change
        switch (Int.random(in: 0..<100, using: &random), cohorts.randomElement(using: &random)) {
        case (0..<5, _): change = .erase(customer())
        case (5..<8, _):
            lastName += 1
            change = .create(cohort: "C\(lastName)", rule: Bool.random(using: &random) ? rule() : nil)
        case (8..<14, let id?): change = .update(cohort: id, rule: rule())
        case (14..<20, _):
            let flipped = Bool.random(using: &random)
            let rule = ModelRule(source: "\(flipped)") { _ in flipped }
            rules[rule.source] = rule
            change = .update(cohort: InvariantCohorts.flip, rule: rule.source)
        case (20..<25, let id?):
            let people = Array(Set(someone() + someone() + someone())).sorted().shuffled(using: &random)
            let third = people.count / 3
            change = .override(
                cohort: id,
                include: Array(people[..<third]),
                exclude: Array(people[third..<(2 * third)]),
                clear: Array(people[(2 * third)...])
            )
        case (25..<30, let id?):
            let add = Array(Set(someone())).sorted()
            change = .list(cohort: id, add: add, remove: Array(Set(someone()).subtracting(add)).sorted())
        case (30, let id?) where cohorts.count > 6: change = .archive(id)
        default:
            let now = clock.seconds
            change = .put(
                (0..<Int.random(in: 1...12, using: &random)).map { _ in
                    WorkerOperation.Row(
                        customer: customer(),
                        attributes: randomAttributes().map { .init(name: $0.0, value: .init($0.1)) },
                        eventTime: Bool.random(using: &random) ? nil : now - Int64.random(in: -20...100, using: &random)
                    )
                }
            )
        }
        return WorkerOperation(name: name, change: change)
    }

    /// Brings the model to where the log ends, and compares what was acknowledged on the way.
    private func follow(
        _ sent: [String: WorkerOperation],
        _ rules: [String: ModelRule],
        _ reports: [WorkerReport],
        _ directory: String
    ) throws {
        let log = try LogFile(directory: directory, keyring: .forTests())
        defer { log.close() }
        let bounds = try log.bounds()
        let entries = try log.read(from: model.sequence + 1, limit: .max).map { try $0.decoded() }
        try #require(entries.map(\.sequence) == Array(model.sequence + 1..<bounds.last + 1), "the log has a gap")

        let acknowledged = Dictionary(uniqueKeysWithValues: reports.map { ($0.name, $0) })
        var seen: Set<String> = []
        /// Acknowledged puts that took no sequence: what they were told holds at this one.
        var unchanged: [UInt64: [WorkerReport]] = [:]
        for report in reports where !report.outcomes.isEmpty {
            if !report.outcomes.contains(where: { $0 <= PutOutcome.updated.rawValue }), let at = report.sequences.first
            {
                unchanged[at, default: []].append(report)
            }
        }
        var i = 0
        while true {
            for report in unchanged[model.sequence] ?? [] {
                guard let operation = sent[report.name] else { continue }
                var copy = model
                let results = copy.apply(operation.change, rules: rules, now: clock.seconds)
                #expect(results.map(\.outcome.rawValue) == report.outcomes, "\(operation)")
            }
            guard i < entries.count else { break }
            let name = entries[i].principal
            let operation = try #require(sent[name], "\(name) was not sent")
            #expect(seen.insert(name).inserted, "\(name) is there in pieces")
            let results = model.apply(operation.change, rules: rules, now: clock.seconds)
            let taken = entries[i...].prefix { $0.principal == name }.count
            i += taken
            // All of it, or the model would be elsewhere than the log.
            try #require(model.sequence == entries[i - 1].sequence, "\(name) is there in part")
            guard let report = acknowledged[name] else { continue }
            #expect(report.error == nil)
            if results.isEmpty {
                #expect(report.changed && report.sequences == [model.sequence], "\(operation)")
            } else {
                #expect(report.sequences == results.map(\.sequence), "\(operation)")
                #expect(report.outcomes == results.map(\.outcome.rawValue), "\(operation)")
            }
        }
        for report in reports where report.error == nil {
            let changed = report.changed || report.outcomes.contains { $0 <= PutOutcome.updated.rawValue }
            #expect(!changed || seen.contains(report.name), "\(report.name) was acknowledged and is lost")
            #expect(report.sequences.allSatisfy { $0 <= bounds.last })
        }
    }
}

/// The process.
private final class Worker: Sendable {
    private let process = Process()
    private let input = Pipe()
    private let output = Pipe()
    private let failure = Pipe()

    init(_ directory: String, clock: Int64, _ random: inout SeededGenerator) throws {
        let programs = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent()
        process.executableURL = programs.appending(path: "cohort-crash-worker")
        let sizes = [
            Int.random(in: 1...8, using: &random), 60, Int.random(in: 1...50, using: &random),
            Int.random(in: 1...8, using: &random), Int.random(in: 1...60, using: &random),
            Int.random(in: 1...20, using: &random), Int.random(in: 0...10, using: &random),
        ]
        process.arguments = [directory, "\(clock)"] + sizes.map { "\($0)" }
        process.standardInput = input
        process.standardOutput = output
        process.standardError = failure
        signal(SIGPIPE, SIG_IGN)
        try process.run()
        try? input.fileHandleForReading.close()
        try? output.fileHandleForWriting.close()
    }

    /// Goes on as the process reads, to the end or until it is dead.
    func send(_ lines: Data) {
        Thread.detachNewThread { [input] in try? input.fileHandleForWriting.write(contentsOf: lines) }
    }

    /// Waits for so many reports and a moment more, kills it, and returns all that it has said.
    func killAfter(reports goal: Int, microseconds: UInt32) async throws -> [WorkerReport] {
        try await blocking { [self] in
            var text = Data()
            var lines = 0
            while lines < goal {
                let piece = output.fileHandleForReading.availableData
                // It has ended by itself, which `errors` explains.
                if piece.isEmpty { break }
                lines += piece.count { $0 == 10 }
                text += piece
            }
            usleep(microseconds)
            Foundation.kill(process.processIdentifier, SIGKILL)
            text += try output.fileHandleForReading.readToEnd() ?? Data()
            process.waitUntilExit()
            // A line that was cut off was not said.
            return text.split(separator: 10, omittingEmptySubsequences: true).compactMap {
                try? JSONDecoder().decode(WorkerReport.self, from: $0)
            }
        }
    }

    var errors: String { String(decoding: failure.fileHandleForReading.availableData, as: UTF8.self) }
}
