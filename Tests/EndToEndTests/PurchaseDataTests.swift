import CohortAPI
import Foundation
import RPC
import SwiftProtobuf
import Testing

/// Real purchases of an online shop (Fader & Hardie), where the file is at hand.
struct PurchaseData: Sendable {
    struct Row: Sendable {
        let customer: String
        let date: String
        let amount: Double
        let text: String
    }

    static let path = repositoryFile("../shared/data/cdnow.csv")
    static var isPresent: Bool { FileManager.default.fileExists(atPath: path) }

    let header: String
    let rows: [Row]

    init() throws {
        let lines = try String(contentsOfFile: Self.path, encoding: .utf8).split(separator: "\n")
        header = String(lines[0])
        rows = try lines.dropFirst().map { line in
            let fields = line.split(separator: ",", omittingEmptySubsequences: false)
            guard fields.count == 4, let amount = Double(fields[3]) else { throw HarnessError("bad row \(line)") }
            return Row(
                customer: String(fields[0]),
                date: String(fields[1]),
                amount: amount,
                text: String(line)
            )
        }
    }

    /// What was spent in the last purchase of each customer: by date, and in the order of the file within a date.
    var lastAmount: [String: Double] {
        var last: [String: (date: String, amount: Double)] = [:]
        for row in rows where row.date >= last[row.customer]?.date ?? "" {
            last[row.customer] = (row.date, row.amount)
        }
        return last.mapValues(\.amount)
    }

    /// The rows in another order that keeps the order within each date.
    func shuffled(seed: UInt64) -> [Row] {
        var generator = SeededGenerator(seed: seed)
        let dates = rows.map(\.date).shuffled(using: &generator)
        var queues = Dictionary(grouping: rows, by: \.date).mapValues { $0[...] }
        return dates.compactMap { queues[$0]?.popFirst() }
    }
}

@Suite("Real purchases", .enabled(if: PurchaseData.isPresent, "skipped: ../shared/data/cdnow.csv is not there"))
struct PurchaseDataTests {
    private static let importOptions = [
        "--id-column", "customer_id", "--event-time-column", "date", "--map", "amount_usd=daily_spend",
        "--ignore", "items",
    ]

    @Test("Every customer is in exactly the cohorts of the last purchase, also after kill -9")
    func lastPurchaseDecides() async throws {
        let directory = try TemporaryDirectory()
        let data = try PurchaseData()
        var server = try await TestServer(dataDirectory: directory.path)
        try await createCohorts(server)
        let receipt = try await server.cohortctl(["customers", "import", PurchaseData.path] + Self.importOptions)
        #expect(receipt.output.contains("rejected   0"))
        try await check(server, data)

        try await server.kill()
        server = try await TestServer(dataDirectory: directory.path)
        try await check(server, data)
        #expect(try await server.stop() == 0)
    }

    @Test("Any order of rows that keeps the order within a date gives the same cohorts", arguments: [1, 2])
    func orderMakesNoDifference(seed: UInt64) async throws {
        let directory = try TemporaryDirectory()
        let data = try PurchaseData()
        let text = ([data.header] + data.shuffled(seed: seed).map(\.text)).joined(separator: "\n") + "\n"
        let file = try directory.write("shuffled.csv", text)
        let server = try await TestServer(dataDirectory: directory.path)
        try await createCohorts(server)
        try await server.cohortctl(["customers", "import", file] + Self.importOptions)
        try await check(server, data)
        #expect(try await server.stop() == 0)
    }

    private func createCohorts(_ server: TestServer) async throws {
        try await server.cohortctl("cohorts", "create", "BIG_DAY", "--rule", "customer.daily_spend > 100.0")
        try await server.cohortctl("cohorts", "create", "SMALL_DAY", "--rule", "customer.daily_spend <= 20.0")
    }

    /// All four ways to ask agree with the file, for every customer.
    private func check(_ server: TestServer, _ data: PurchaseData) async throws {
        let last = data.lastAmount
        #expect(last.count == 23_570)
        let expected = [
            "BIG_DAY": Set(last.filter { $0.value > 100 }.keys),
            "SMALL_DAY": Set(last.filter { $0.value <= 20 }.keys),
        ]
        try await server.withClient { client in
            let cohort = CohortClient(client)
            let status = try await cohort.operations.getStatus(.init())
            #expect(status.customers == 23_570)
            for (id, members) in expected {
                let count = try await cohort.membership.countMembers(.with { $0.cohortID = id })
                #expect(count.members == UInt64(members.count) && count.unknown == 0)
                var listed: [String] = []
                for try await page in try await cohort.membership.listMembers(.with { $0.cohortID = id }) {
                    listed += page.customerIds
                }
                #expect(listed.count == members.count && Set(listed) == members)
            }
            try await forEachConcurrently(Array(last.keys)) { customer in
                let wanted = expected.filter { $0.value.contains(customer) }.keys.sorted()
                let cohorts = try await cohort.membership.listCustomerCohorts(.with { $0.customerID = customer })
                guard cohorts.cohorts.map(\.cohortID) == wanted else {
                    throw HarnessError("\(customer) is in \(cohorts.cohorts), which should be \(wanted)")
                }
                for id in expected.keys {
                    let answer = try await cohort.membership.checkMembership(
                        .with {
                            $0.customerID = customer
                            $0.cohortID = id
                        }
                    )
                    guard answer.membership == (wanted.contains(id) ? .in : .out) else {
                        throw HarnessError("\(customer) is \(answer.membership) in \(id), which should be \(wanted)")
                    }
                }
            }
        }
    }
}
