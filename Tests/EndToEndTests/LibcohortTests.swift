import Foundation
import RPC
import Testing

/// The C client library against the real server: built by its Makefile, under the address and undefined-behaviour
/// sanitizers, and run as programs of its own.
@Suite("libcohort, the C client", .timeLimit(.minutes(10)))
struct LibcohortTests {
    /// The programs, as `make` made them in a directory of the test.
    private struct Built {
        let directory: String
        let endpoint: String
        let authority: String

        init(server: TestServer, directory: String) async throws {
            self.directory = directory
            endpoint = "\(server.endpoint)"
            authority = server.tlsFile("ca.pem")
            let make = try RunningProgram(
                URL(fileURLWithPath: "/usr/bin/env"),
                [
                    "make", "-C", repositoryFile("Sources/CohortC"), "-j2", "BUILD=\(directory)", "all",
                    "check-programs",
                ]
            )
            try #require(try await make.wait(seconds: 300) == 0, "\(make.output)\(make.errors)")
        }

        /// Runs the example; `input` is a file for its standard input.
        func query(_ arguments: String..., input: String = "/dev/null") async throws -> (
            status: Int32, output: String, errors: String
        ) {
            // RunningProgram has no standard input, so the shell opens it.
            let program = try RunningProgram(
                URL(fileURLWithPath: "/bin/sh"),
                ["-c", #"exec "$@" <"$INPUT""#, "sh", "\(directory)/check/cohort-query"]
                    + ["--endpoint", endpoint, "--ca", authority] + arguments,
                environment: ["INPUT": input]
            )
            let status = try await program.wait()
            return (status, program.output, program.errors)
        }
    }

    private static func id(_ number: Int) -> String {
        let digits = "\(number)"
        return "m" + String(repeating: "0", count: 5 - digits.count) + digits
    }

    /// 10,000 customers, the first 5,000 of them in HALF, and one of whom nothing is known.
    private static func fill(_ server: TestServer, _ directory: TemporaryDirectory) async throws {
        try await server.cohortctl("cohorts", "create", "HALF", "--rule", "customer.daily_spend > 100.0")
        var rows = "customer_id,daily_spend\n"
        for number in 0..<10_000 { rows += "\(id(number)),\(number < 5_000 ? 500 : 50)\n" }
        try await server.cohortctl("customers", "import", try directory.write("customers.csv", rows))
        try await server.cohortctl("customers", "put", "blank", "user_type=FREE")
    }

    @Test("The example asks every question, and tells errors with their reason")
    func example() async throws {
        let directory = try TemporaryDirectory()
        let server = try await TestServer(dataDirectory: directory.file("data"))
        try await Self.fill(server, directory)
        let programs = try await Built(server: server, directory: directory.file("libcohort"))

        for alpn in ["x1", "ttrpc", "none"] {
            let check = try await programs.query("--alpn", alpn, "check", Self.id(42), "HALF")
            #expect(check.status == 0 && check.output.hasPrefix("IN RULE_MATCH member=true version=1 "), "\(check)")
        }
        let unknown = try await programs.query("check", "blank", "HALF")
        #expect(unknown.output.hasPrefix("UNKNOWN RULE_ERROR version=1 "), "\(unknown)")
        #expect(unknown.output.contains("daily_spend"), "\(unknown)")
        let nobody = try await programs.query("check", "nobody", "HALF")
        #expect(nobody.output.hasPrefix("OUT CUSTOMER_NOT_FOUND member=false "), "\(nobody)")

        let missing = try await programs.query("check", Self.id(42), "HALV")
        #expect(missing.status == 1 && missing.output.isEmpty, "\(missing)")
        #expect(missing.errors.hasPrefix("NOT_FOUND NOT_FOUND: "), "\(missing)")
        #expect(missing.errors.contains("did you mean 'HALF'"), "\(missing)")

        let ids = (0..<10_000).map(Self.id)
        let input = try directory.write("ids", ids.joined(separator: "\n") + "\n")
        let batch = try await programs.query("batch", "HALF", input: input)
        let expected = ids.enumerated().map { "\($1) \($0 < 5_000 ? "IN" : "OUT")\n" }.joined()
        #expect(batch.status == 0 && batch.output == expected, "\(batch.errors)")

        let cohorts = try await programs.query("cohorts", Self.id(42))
        #expect(cohorts.status == 0 && cohorts.output == "HALF IN version=1\n", "\(cohorts)")
        let members = try await programs.query("members", "HALF")
        #expect(members.status == 0, "\(members.errors)")
        #expect(members.output.split(separator: "\n").sorted() == ids.prefix(5_000).map { Substring($0) })
        let some = try await programs.query("members", "HALF", "1234")
        #expect(some.status == 0 && some.output.split(separator: "\n").count == 1_234, "\(some.errors)")
        let count = try await programs.query("count", "HALF")
        #expect(count.output.hasPrefix("members=5000 unknown=1 version=1 "), "\(count)")

        // A sequence that is not reached in time, first by the caller's deadline, then by the server's limit.
        let late = try await programs.query(
            "--min-sequence",
            "1000000000",
            "--timeout",
            "0.2",
            "check",
            Self.id(42),
            "HALF"
        )
        #expect(late.status == 1 && late.errors.hasPrefix("DEADLINE_EXCEEDED "), "\(late)")
        let behind = try await programs.query("--min-sequence", "1000000000", "check", Self.id(42), "HALF")
        #expect(behind.status == 1 && behind.errors.hasPrefix("UNAVAILABLE SEQUENCE_NOT_REACHED: "), "\(behind)")

        let stranger = try await programs.query("--server-name", "example.com", "count", "HALF")
        #expect(stranger.status == 1 && stranger.errors.hasPrefix("UNAVAILABLE CERTIFICATE_REJECTED: "), "\(stranger)")
        #expect(try await server.stop() == 0)
    }

    @Test("The library's own test against a server passes over every ALPN")
    func membershipTest() async throws {
        let directory = try TemporaryDirectory()
        let server = try await TestServer(dataDirectory: directory.file("data"))
        try await Self.fill(server, directory)
        let programs = try await Built(server: server, directory: directory.file("libcohort"))
        let test = try RunningProgram(
            URL(fileURLWithPath: programs.directory + "/check/membership-test"),
            [server.endpoint.host, "\(server.endpoint.port)", programs.authority]
        )
        #expect(try await test.wait(seconds: 300) == 0, "\(test.output)\(test.errors)")
        #expect(test.output.contains("ok memberships over ttrpc-x1"), "\(test.output)")
        #expect(try await server.stop() == 0)
    }
}
