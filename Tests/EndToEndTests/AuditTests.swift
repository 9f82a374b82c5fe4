import CohortAPI
import CohortPageChecks
import Foundation
import GRDB
import RPC
import SwiftProtobuf
import Testing

@Suite("The audit, end to end")
struct AuditTests {
    /// Edits the change log's file as somebody would who has it, and who minds the sums of its pages: otherwise a server that
    /// was stopped meanwhile refuses to start.
    private func edit(_ server: TestServer, _ sql: String) throws {
        #expect(cohort_page_checks_install() == 0)
        var configuration = Configuration()
        configuration.busyMode = .timeout(10)
        let log = try DatabaseQueue(path: server.dataDirectory + "/log.db", configuration: configuration)
        try log.write { try $0.execute(sql: sql) }
        try log.close()
    }

    private func prepare(_ server: TestServer) async throws {
        try await server.cohortctl("cohorts", "create", "BIG", "--rule", "customer.daily_spend > 5.0")
        for id in ["anna", "bert", "carl"] { try await server.cohortctl("customers", "put", id, "daily_spend=9") }
        try await server.cohortctl("customers", "erase", "bert")
        try await server.cohortctl("cohorts", "create", "SMALL", "--rule", "customer.daily_spend < 2.0")
        try await server.cohortctl("cohorts", "archive", "SMALL")
    }

    @Test("A changed, a removed and a truncated row are each found by `audit verify`, which then ends with 1")
    func verify() async throws {
        for (sql, kind) in [
            ("UPDATE audit SET payload = payload || x'00' WHERE position = 8", "CHANGED: row 8 "),
            ("DELETE FROM audit WHERE position = 8", "REMOVED: row 8 is missing"),
            (
                "DELETE FROM audit WHERE position >= (SELECT max(position) - 3 FROM audit)",
                "TRUNCATED: the chain ends with row"
            ),
            ("UPDATE entries SET payload = x'00' WHERE sequence = 5", "ENTRY_CHANGED: entry 5 "),
        ] {
            let directory = try TemporaryDirectory()
            let server = try await TestServer(dataDirectory: directory.file("data"))
            try await prepare(server)
            let sound = try await server.cohortctl("audit", "verify")
            #expect(sound.output.contains("log entries checked") && !sound.output.contains("CHANGED"))
            if kind.hasPrefix("TRUNCATED") {
                // The verification's own row would be at the end: cut off while the server writes nothing.
                #expect(try await truncatedWhileStopped(server))
                continue
            }
            try edit(server, sql)
            let found = try await server.cohortctl("audit", "verify", expecting: 1)
            #expect(found.output.contains(kind), "\(found.output)")
            #expect(found.errors.contains("does not verify"))
            #expect(try await server.cohortctl("status").output.contains("findings in the audit"))
            #expect(try await server.stop() == 0)
        }
    }

    /// With the head that the server logged when it stopped.
    private func truncatedWhileStopped(_ server: TestServer) async throws -> Bool {
        #expect(try await server.stop() == 0)
        let heads = server.program.errors.split(separator: "\n").filter { $0.contains("\"audit head\"") }
        guard let head = heads.last?.firstMatch(of: #/"head":"([^"]+)"/#)?.1 else { return false }
        try edit(server, "DELETE FROM audit WHERE position > (SELECT max(position) - 2 FROM audit)")
        let again = try await TestServer(dataDirectory: server.dataDirectory)
        let found = try await again.cohortctl("audit", "verify", "--head", String(head), expecting: 1)
        #expect(try await again.stop() == 0)
        return found.output.contains("TRUNCATED") || found.output.contains("HEAD_DIFFERS")
    }

    @Test("Rows cut off beside a running server are found without a head")
    func truncatedBeside() async throws {
        let directory = try TemporaryDirectory()
        let server = try await TestServer(dataDirectory: directory.file("data"))
        try await prepare(server)
        // The row of the reading goes on top of what is missing then.
        try edit(server, "DELETE FROM audit WHERE position >= (SELECT max(position) - 3 FROM audit)")
        let found = try await server.cohortctl("audit", "verify", expecting: 1)
        #expect(found.output.contains("REMOVED") || found.output.contains("TRUNCATED"), "\(found.output)")
        #expect(try await server.stop() == 0)
    }

    @Test("What was done is listed with who did it, a reading with itself, and no id of a customer")
    func list() async throws {
        let directory = try TemporaryDirectory()
        let server = try await TestServer(dataDirectory: directory.file("data"))
        try await prepare(server)
        let all = try await server.cohortctl("audit", "list").output
        #expect(all.contains("audit-read") && all.contains("cohort.v1.AuditService/ListAuditRows"))
        #expect(all.contains("cohort.v1.CohortService/ArchiveCohort") && all.contains("SMALL, sequence"))
        #expect(all.contains("customer_put") && all.contains("127.0.0.1") && !all.contains("bert"))
        let json = try await server.cohortctl(
            "--output",
            "json",
            "audit",
            "list",
            "--customer",
            "bert",
            "--oldest-first"
        ).output
        let rows = try json.split(separator: "\n").map { try AuditRow(jsonString: String($0)) }
        #expect(rows.map(\.change) == ["customer_put", "customer_erased", "", ""])
        #expect(rows[2].method == "cohort.v1.CustomerService/EraseCustomer" && rows[2].customerHash.count == 16)
        #expect(rows[2].sequence == rows[1].sequence && rows[3].kind == .auditRead)
        let hash = rows[2].customerHash.map { String(format: "%02x", $0) }.joined()
        let byHash = try await server.cohortctl("audit", "list", "--customer-hash", hash, "--kind", "administration")
        #expect(byHash.output.split(separator: "\n").count == 2)
        _ = try await server.cohortctl("cohorts", "archive", "NOWHERE", expecting: 1)
        let failed = try await server.cohortctl("audit", "list", "--outcome", "not_found")
        #expect(failed.output.contains("NOWHERE") && failed.output.contains("NOT_FOUND"))
        #expect(
            try await server.cohortctl("audit", "list", "--until", "2020-01-01").output.split(separator: "\n").count
                == 1
        )
        _ = try await server.cohortctl("audit", "list", "--outcome", "WRONG", expecting: 2)
        _ = try await server.cohortctl("audit", "verify", "--head", "7:abc", expecting: 1)
        #expect(try await server.stop() == 0)
    }

    @Test("`audit head` names what `audit verify --head` finds; the chain goes on over a kill and a new key")
    func headAndKeys() async throws {
        let directory = try TemporaryDirectory()
        let data = directory.file("data")
        let first = try await key()
        let path = try directory.write("audit.key", first + "\n")
        var server = try await TestServer(dataDirectory: data, arguments: ["--audit-key-file", path])
        try await prepare(server)
        let head = try await server.cohortctl("audit", "head").output.trimmingCharacters(in: .whitespacesAndNewlines)
        try await server.cohortctl("audit", "verify", "--head", head)
        try await server.kill()
        server = try await TestServer(dataDirectory: data, arguments: ["--audit-key-file", path])
        try await server.cohortctl("audit", "verify", "--head", head)
        try directory.write("audit.key", first + "\n" + (try await key()) + "\n")
        server.program.signal(SIGHUP)
        try await eventually("the keys are not reloaded: \(server.program.errors)") {
            server.program.errors.contains("audit keys reloaded")
        }
        try await server.cohortctl("customers", "put", "dora", "daily_spend=9")
        try await server.cohortctl("audit", "verify", "--head", head)
        #expect(try await server.cohortctl("audit", "list", "--kind", "key-change").output.contains("key-change"))
        // The erasure's row has the hash under the first key.
        let rows = try await server.cohortctl("audit", "list", "--customer", "bert", "--kind", "administration").output
        #expect(rows.contains("EraseCustomer"))
        #expect(try await server.stop() == 0)
    }

    private func key() async throws -> String {
        let program = try RunningProgram(Programs.cohortctl, ["audit", "key"])
        #expect(try await program.wait() == 0)
        return program.output.trimmingCharacters(in: .whitespacesAndNewlines)
    }
}
