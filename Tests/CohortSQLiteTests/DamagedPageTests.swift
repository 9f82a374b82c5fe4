import Foundation
import Testing

@testable import CohortCore
@testable import CohortSQLite

/// A byte that the disk has changed, anywhere in either file: it is told, or it does not matter, and no answer is wrong.
@Suite("Damaged pages")
struct DamagedPageTests {
    private static let trials = ModelTests.longRun ? 400 : 40

    /// All that can be asked of a store.
    private struct Answers: Equatable {
        var sequence: UInt64 = 0
        var cohorts: [String] = []
        var members: [String: [String]] = [:]
        var unknown: [String: [String]] = [:]
        var attributes: [String: [String]] = [:]
        /// Customers and lists that were not answered but refused as damaged.
        var refused = 0
    }

    private func answers(_ engine: Engine, customers: Int) async throws -> Answers {
        var answers = Answers()
        answers.sequence = engine.status.sequence
        for view in engine.catalog.cohorts.sorted(by: { $0.id < $1.id }) {
            answers.cohorts.append("\(view.id) \(view.state) \(view.version) \(view.rule ?? "") \(view.failPolicy)")
            guard view.state == .active else { continue }
            for state in [Membership.in, .unknown] {
                let snapshot = try await engine.members(cohort: view.id, state: state, deadline: .far)
                let page = snapshot.nextPage(limit: 10_000)
                if state == .in { answers.members[view.id] = page } else { answers.unknown[view.id] = page }
            }
        }
        for i in 0..<customers {
            var view: CustomerView?
            let error = await domainError { view = try await engine.customer(id: "customer-\(i)", deadline: .far) }
            if let view {
                answers.attributes["\(i)"] = view.attributes.map { "\($0.name) \($0.value) \($0.eventTime)" }
            } else if case .dataLoss? = error {
                answers.refused += 1
                #expect(engine.status.problem.contains("restore log and tables from one backup"))
            } else if case .notFound? = error {
                // Erased.
            } else {
                Issue.record("\(String(describing: error))")
            }
        }
        return answers
    }

    /// A store with something in every table.
    private func fill(_ path: String, customers: Int, tablesBehind: Bool) async throws -> Answers {
        var configuration = EngineConfiguration()
        configuration.bulkThreshold = 20
        configuration.maximumBulkChanges = 1_000
        let store = FaultyStore(SQLiteStore(directory: path))
        let engine = try await started(store, configuration: configuration)
        func cohort(_ id: String, _ rule: String?) async throws {
            let definition = CohortDefinition(id: id, kind: rule == nil ? .list : .rule, rule: rule)
            _ = try await engine.createCohort(definition, context: tester)
        }
        func put(_ range: Range<Int>, _ spend: Double) async throws {
            let rows = range.map {
                CustomerPut(
                    customerID: "customer-\($0)",
                    attributes: [
                        ("daily_spend", .double(spend + Double($0))),
                        ("user_type", .string(String(repeating: "x", count: 1 + $0 % 300))),
                    ]
                )
            }
            _ = try await engine.put(batch: rows, context: tester)
        }
        try await cohort("BIG", "customer.daily_spend > 100.0")
        try await cohort("LIST", nil)
        try await cohort("OLD", "true")
        try await put(0..<(customers / 2), 0)
        try await blocking { engine.materialize() }
        if tablesBehind { store.set { $0.apply = true } }
        try await put((customers / 3)..<customers, 7)
        try await cohort("LATER", "customer.user_type == 'x'")
        _ = try await engine.updateRule(cohort: "BIG", rule: "customer.daily_spend > 50.0", context: tester)
        _ = try await engine.archive(cohort: "OLD", context: tester)
        _ = try await engine.changeList(
            cohort: "LIST",
            add: (0..<90).map { "customer-\($0)" },
            remove: [],
            context: tester
        )
        _ = try await engine.setOverrides(
            cohort: "BIG",
            include: ["customer-1", "customer-2"],
            exclude: ["customer-150"],
            clear: [],
            context: tester
        )
        _ = try await engine.erase(customer: "customer-5", context: tester)
        let answers = try await answers(engine, customers: customers)
        try await blocking { engine.shutdown() }
        #expect(answers.refused == 0)
        return answers
    }

    @Test("One changed byte", arguments: ["log.db", "cohort.db"], [false, true])
    func flippedByte(file: String, tablesBehind: Bool) async throws {
        let root = TemporaryDirectory()
        let original = root.path + "/original"
        let customers = 300
        let expected = try await fill(original, customers: customers, tablesBehind: tablesBehind)
        var random = SeededGenerator(state: UInt64(file.utf8.count) * 2 + (tablesBehind ? 1 : 0))
        var (noticed, harmless) = (0, 0)
        for trial in 0..<Self.trials {
            let path = root.path + "/\(trial)"
            try FileManager.default.copyItem(atPath: original, toPath: path)
            let place = try flip(path + "/" + file, &random)
            let engine = Engine(store: SQLiteStore(directory: path))
            do {
                try await blocking { try engine.start() }
            } catch {
                let problem = engine.status.problem
                guard case .dataLoss? = error as? DomainError else {
                    Issue.record("\(file) \(place): \(error)")
                    continue
                }
                #expect(
                    problem.contains(file) && problem.contains("restore log and tables from one backup"),
                    "\(problem)"
                )
                noticed += 1
                continue
            }
            var found = try await answers(engine, customers: customers)
            // Writes meet the damage too, and say so.
            let row = CustomerPut(customerID: "customer-\(trial)", attributes: [("daily_spend", .double(1))])
            if let error = await domainError({ try await engine.put(row, context: tester) }) {
                guard case .dataLoss = error else {
                    Issue.record("\(file) \(place): \(error)")
                    continue
                }
                #expect(engine.status.problem.contains(file))
                found.refused += 1
            }
            try await blocking { engine.shutdown() }
            if found.refused > 0 { noticed += 1 } else { harmless += 1 }
            for (customer, attributes) in found.attributes {
                #expect(expected.attributes[customer] == attributes, "\(file) \(place)")
            }
            // What was refused was not answered; all else is as it was.
            if found.refused > 0 { found.attributes = expected.attributes }
            found.refused = 0
            #expect(found == expected, "\(file) \(place)")
            try FileManager.default.removeItem(atPath: path)
        }
        // The log is only read behind the tables.
        #expect(noticed > 0 || (file == "log.db" && !tablesBehind), "\(noticed) noticed, \(harmless) harmless")
    }

    /// Changes a bit or more of one byte.
    private func flip(_ path: String, _ random: inout SeededGenerator) throws -> String {
        let handle = try FileHandle(forUpdating: URL(fileURLWithPath: path))
        defer { try? handle.close() }
        let pages = try handle.seekToEnd() / 4_096
        let page = UInt64.random(in: 0..<pages, using: &random)
        // The first bytes of a page say what is in it: as often as all the rest.
        let offset = page * 4_096 + UInt64.random(in: 0..<(Bool.random(using: &random) ? 32 : 4_096), using: &random)
        try handle.seek(toOffset: offset)
        guard let old = try handle.read(upToCount: 1)?.first else { return "" }
        try handle.seek(toOffset: offset)
        try handle.write(contentsOf: [old ^ UInt8.random(in: 1...255, using: &random)])
        return "page \(page), byte \(offset % 4_096)"
    }
}
