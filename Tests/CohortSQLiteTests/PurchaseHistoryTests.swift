import Foundation
import Testing

@testable import CohortCore
@testable import CohortSQLite

/// Real purchases of an online shop (Fader & Hardie), where the file is at hand, replayed day by day on the shop's own clock.
@Suite(
    "The past of real purchases",
    .enabled(if: PurchaseReplay.isPresent, "skipped: ../shared/data/cdnow.csv is not there")
)
struct PurchaseHistoryTests {
    private static let dates = 100

    @Test("History, reads of the past and explanations agree with the file at 100 random dates, for every customer")
    func past() async throws {
        let replay = try PurchaseReplay()
        let directory = TemporaryDirectory()
        let clock = MovableClock(replay.days[0].advanced(bySeconds: -86_400))
        var configuration = EngineConfiguration.byHand
        configuration.historyRetentionAge = nil
        configuration.bulkThreshold = 500
        var engine = try await started(
            SQLiteStore(directory: directory.path),
            configuration: configuration,
            now: { clock.now }
        )
        _ = try await engine.declareAttribute(name: "items", type: .int64, context: tester)
        for (id, rule) in PurchaseReplay.rules { try await engine.rule(id, rule) }
        var lastSequences: [Timestamp: UInt64] = [:]
        for day in replay.days {
            clock.now = day
            let rows = replay.rows[day] ?? []
            for start in stride(from: 0, to: rows.count, by: 1_000) {
                let batch = rows[start..<min(start + 1_000, rows.count)].map { row in
                    CustomerPut(
                        customerID: row.customer,
                        attributes: [("daily_spend", .double(row.amount)), ("items", .int64(row.items))]
                    )
                }
                for result in try await engine.put(batch: batch, context: tester) { _ = try result.get() }
            }
            lastSequences[day] = engine.status.sequence
        }
        // A restart in between: all that follows is read from the files.
        try await engine.stop()
        engine = try await started(
            SQLiteStore(directory: directory.path),
            configuration: configuration,
            now: { clock.now }
        )
        #expect(engine.status.customers == 23_570)

        var random = SeededGenerator(state: 1_997)
        let asked = (0..<Self.dates).compactMap { _ in replay.days.randomElement(using: &random) }.sorted()
        let expected = replay.states(at: asked)
        let customers = replay.customers
        try await compareMembers(engine, asked, expected, lastSequences)
        try await compareHistories(engine, asked, expected, customers)
        for (place, day) in asked.enumerated() {
            for _ in 0..<50 {
                let customer = customers.randomElement(using: &random) ?? ""
                for (cohort, _) in PurchaseReplay.rules {
                    let answer = try await engine.checkMembership(
                        customer: customer,
                        cohort: cohort,
                        at: .time(day),
                        deadline: .far
                    )
                    let state = expected[place][customer]
                    #expect((answer.membership == .in) == (state?.contains(cohort) ?? false), "\(customer) \(cohort)")
                    #expect((answer.reason == .customerNotFound) == (state == nil))
                }
            }
        }
        try await compareExplanations(engine, customers, replay)
        try await engine.stop()
    }

    /// Who was in each cohort at each date, by time and by sequence.
    private func compareMembers(
        _ engine: Engine,
        _ asked: [Timestamp],
        _ expected: [[String: Set<String>]],
        _ lastSequences: [Timestamp: UInt64]
    ) async throws {
        for (place, day) in asked.enumerated() {
            for (cohort, _) in PurchaseReplay.rules {
                let wanted = Set(expected[place].filter { $0.value.contains(cohort) }.keys)
                let sequence = try #require(lastSequences[day])
                let point: PastPoint = place % 2 == 0 ? .time(day.advanced(bySeconds: 3_600)) : .sequence(sequence)
                let snapshot = try await engine.members(cohort: cohort, at: point, deadline: .far)
                var found: Set<String> = []
                while true {
                    let page = snapshot.nextPage(limit: 10_000)
                    if page.isEmpty { break }
                    found.formUnion(page)
                }
                #expect(found == wanted, "\(cohort) on \(day)")
                #expect(snapshot.sequence == sequence)
            }
        }
    }

    /// The whole history of every customer, read at each date.
    private func compareHistories(
        _ engine: Engine,
        _ asked: [Timestamp],
        _ expected: [[String: Set<String>]],
        _ customers: [String]
    ) async throws {
        var differences = 0
        for customer in customers {
            let history = try await engine.history(HistoryRequest(customer: customer, limit: 10_000), deadline: .far)
            for (place, day) in asked.enumerated() {
                let held = history.intervals.filter { interval in
                    interval.entered.time <= day && (interval.left.map { $0.time > day } ?? true)
                }
                if Set(held.map(\.cohort)) != expected[place][customer] ?? [] { differences += 1 }
                if held.count > PurchaseReplay.rules.count { differences += 1 }
                if (history.customerCreatedAt <= day) != (expected[place][customer] != nil) { differences += 1 }
            }
        }
        #expect(differences == 0)
    }

    /// Every customer's explanation in every cohort says what is stored, and names what decides.
    private func compareExplanations(_ engine: Engine, _ customers: [String], _ replay: PurchaseReplay) async throws {
        var differences: [String] = []
        for customer in customers {
            for (cohort, _) in PurchaseReplay.rules {
                guard case .answer(let stored) = try engine.checkMembership(customer: customer, cohort: cohort) else {
                    differences.append("\(customer) \(cohort): no answer")
                    continue
                }
                let found = try await engine.explain(customer: customer, cohort: cohort, deadline: .far)
                let deciding = found.expressions.filter(\.isDeciding)
                let wanted = replay.deciding(customer, cohort)
                let agrees =
                    found.membership == stored.membership && found.reason == stored.reason && deciding.count == 1
                    && found.expressions[0].value == (stored.membership == .in ? "true" : "false")
                    && deciding[0].source == wanted
                if !agrees { differences.append("\(customer) \(cohort): \(deciding.map(\.source)), not \(wanted)") }
            }
        }
        #expect(differences.isEmpty, "\(differences.count): \(differences.prefix(3))")
    }
}

/// The file, and what follows from it by itself.
struct PurchaseReplay {
    struct Row {
        let customer: String
        let items: Int64
        let amount: Double
    }

    static let path = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .appending(path: "../../../shared/data/cdnow.csv").standardized.path
    static var isPresent: Bool { FileManager.default.fileExists(atPath: path) }

    static let rules = [
        ("BIG_DAY", "customer.daily_spend > 100.0"),
        ("REGULAR", "customer.items >= 3 || (customer.daily_spend > 20.0 && customer.daily_spend <= 50.0)"),
    ]

    private static func isIn(_ row: Row, _ cohort: String) -> Bool {
        cohort == "BIG_DAY" ? row.amount > 100 : row.items >= 3 || (row.amount > 20 && row.amount <= 50)
    }

    /// In the order of the file within a day.
    let rows: [Timestamp: [Row]]
    /// Noons, ascending.
    let days: [Timestamp]
    /// The last purchase of each customer.
    let last: [String: Row]

    init() throws {
        var rows: [Timestamp: [Row]] = [:]
        let calendar = ISO8601DateFormatter()
        var noons: [Substring: Timestamp] = [:]
        for line in try String(contentsOfFile: Self.path, encoding: .utf8).split(separator: "\n").dropFirst() {
            let fields = line.split(separator: ",", omittingEmptySubsequences: false)
            let date = fields[1]
            if noons[date] == nil, let noon = calendar.date(from: "\(date)T12:00:00Z") {
                noons[date] = Timestamp(seconds: Int64(noon.timeIntervalSince1970))
            }
            guard let noon = noons[date], let items = Int64(fields[2]), let amount = Double(fields[3]) else {
                throw StoreError.failed("bad row \(line)")
            }
            rows[noon, default: []].append(Row(customer: String(fields[0]), items: items, amount: amount))
        }
        self.rows = rows
        days = rows.keys.sorted()
        var last: [String: Row] = [:]
        for day in days { for row in rows[day] ?? [] { last[row.customer] = row } }
        self.last = last
    }

    var customers: [String] { last.keys.sorted() }

    /// Of each customer that had bought by then, the cohorts of the last purchase.
    func states(at asked: [Timestamp]) -> [[String: Set<String>]] {
        var last: [String: Row] = [:]
        var result: [[String: Set<String>]] = []
        var next = days.startIndex
        for day in asked {
            while next < days.endIndex, days[next] <= day {
                for row in rows[days[next]] ?? [] { last[row.customer] = row }
                next += 1
            }
            result.append(last.mapValues { row in Set(Self.rules.map(\.0).filter { Self.isIn(row, $0) }) })
        }
        return result
    }

    /// The part of a cohort's rule that decides on the last purchase of a customer.
    func deciding(_ customer: String, _ cohort: String) -> String {
        guard cohort == "REGULAR", let row = last[customer] else { return Self.rules[0].1 }
        if row.items >= 3 { return "customer.items >= 3" }
        if row.amount > 20, row.amount <= 50 { return "customer.daily_spend > 20.0 && customer.daily_spend <= 50.0" }
        return Self.rules[1].1
    }
}
