import CohortAPI
import Foundation
import GRDB
import RPC
import SwiftProtobuf
import Testing

@Suite("kill -9 during an import")
struct CrashTests {
    private static let customers = 5_000

    /// Row `i` says `visits = i` of customer `i % customers`, one second after the row before.
    private static func csv(rows: Int) -> String {
        var text = "customer_id,visits,seen_at\n"
        let start = 1_750_000_000
        for row in 0..<rows {
            let time = Google_Protobuf_Timestamp(seconds: Int64(start + row), nanos: 0)
            // The JSON form of a time is its RFC 3339 text in quotes.
            let text3339 = (try? time.jsonString())?.dropFirst().dropLast() ?? ""
            text += "K\(row % customers),\(row),\(text3339)\n"
        }
        return text
    }

    @Test("20 kills: what was acknowledged is there, memberships follow the rule, the log has no gap, resume completes")
    func killAtRandomMoments() async throws {
        let rows = 100_000
        let directory = try TemporaryDirectory()
        let file = try directory.write("visits.csv", Self.csv(rows: rows))
        let data = directory.file("data")
        var generator = SeededGenerator(seed: UInt64.random(in: 0...UInt64.max))

        var server = try await TestServer(dataDirectory: data)
        try await server.cohortctl("attributes", "declare", "visits", "int64")
        try await server.cohortctl("cohorts", "create", "THIRD", "--rule", "customer.visits % 3 == 0")
        var done = 0
        var interrupted = 0
        for kill in 1...20 {
            let importing = try startImport(server, file)
            let goal = done + Int.random(in: 0...4_000, using: &generator)
            let deadline = ContinuousClock.now + .seconds(60)
            while acknowledged(file, rows, importing) < goal, importing.isRunning, ContinuousClock.now < deadline {
                try await Task.sleep(for: .microseconds(Int.random(in: 100...2_000, using: &generator)))
            }
            try await server.kill()
            let status = try await importing.wait()
            if status != 0 {
                interrupted += 1
                // Killed before the import had connected, there is nothing to resume.
                let says = importing.errors.contains("--resume") || importing.errors.contains("cannot connect")
                #expect(status == 1 && says, "\(importing.errors)")
            }
            let before = acknowledged(file, rows, importing)
            #expect(before >= done, "kill \(kill): acknowledged rows went from \(done) to \(before)")
            done = before
            server = try await TestServer(dataDirectory: data)
            try await check(server, done: done, kill: kill)
        }
        #expect(interrupted >= 10, "only \(interrupted) of 20 kills met a running import; make the file larger")
        if interrupted > 0 {
            let rest = try startImport(server, file)
            #expect(try await rest.wait() == 0, "\(rest.errors)")
        }
        try await check(server, done: rows, kill: 21)
        #expect(try await server.stop() == 0)
    }

    private func startImport(_ server: TestServer, _ file: String) throws -> RunningProgram {
        try RunningProgram(
            Programs.cohortctl,
            [
                "--endpoint", "\(server.endpoint)", "--ca", server.tlsFile("ca.pem"), "customers", "import", file,
                "--event-time-column", "seen_at", "--resume",
            ]
        )
    }

    /// Rows that cohortctl has noted as acknowledged; all of them once it is complete.
    private func acknowledged(_ file: String, _ rows: Int, _ importing: RunningProgram) -> Int {
        struct Point: Decodable {
            struct Receipt: Decodable { let rows: Int }
            let receipt: Receipt
        }
        guard let data = FileManager.default.contents(atPath: file + ".cohort-import"),
            let point = try? JSONDecoder().decode(Point.self, from: data)
        else { return importing.output.contains("accepted") ? rows : 0 }
        return point.receipt.rows
    }

    private func check(_ server: TestServer, done: Int, kill: Int) async throws {
        try await server.withClient { client in
            let cohort = CohortClient(client)
            var members: Set<String> = []
            for try await page in try await cohort.membership.listMembers(.with { $0.cohortID = "THIRD" }) {
                members.formUnion(page.customerIds)
            }
            let frozen = members
            try await forEachConcurrently(Array(0..<min(Self.customers, done))) { number in
                let customer = try await cohort.customers.getCustomer(.with { $0.customerID = "K\(number)" })
                let visits = Int(customer.attributes["visits"]?.value.int64Value ?? -1)
                // The last acknowledged row of this customer.
                let lastDone = (done - 1 - number) / Self.customers * Self.customers + number
                guard visits >= lastDone, visits % Self.customers == number else {
                    throw HarnessError(
                        "kill \(kill): K\(number) has visits \(visits), row \(lastDone) was acknowledged"
                    )
                }
                guard frozen.contains("K\(number)") == (visits % 3 == 0) else {
                    throw HarnessError("kill \(kill): K\(number) with visits \(visits) has the wrong membership")
                }
            }
        }
        try checkLog(server.dataDirectory + "/log.db", kill)
    }

    private func checkLog(_ path: String, _ kill: Int) throws {
        var configuration = Configuration()
        configuration.readonly = true
        let log = try DatabaseQueue(path: path, configuration: configuration)
        try log.read { database in
            let row = try Row.fetchOne(
                database,
                sql: "SELECT count(*) AS n, min(sequence) AS low, max(sequence) AS high FROM entries"
            )
            let (count, low, high): (Int, Int, Int) = (row?["n"] ?? 0, row?["low"] ?? 0, row?["high"] ?? 0)
            #expect(low >= 1 && count == high - low + 1, "kill \(kill): \(count) entries from \(low) to \(high)")
        }
    }
}
