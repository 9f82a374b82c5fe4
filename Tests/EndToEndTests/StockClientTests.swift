import Foundation
import Testing

@Suite("A stock client of another implementation")
struct StockClientTests {
    @Test("Debian's Go ttRPC client calls CheckMembership over TLS without ALPN")
    func goClient() async throws {
        let directory = try TemporaryDirectory()
        let server = try await TestServer(dataDirectory: directory.file("data"))
        try await server.cohortctl("cohorts", "create", "RICH", "--rule", "customer.daily_spend > 100.0")
        try await server.cohortctl("customers", "put", "anna", "daily_spend=500")
        let client = directory.file("client")
        let build = try RunningProgram(
            URL(fileURLWithPath: "/usr/bin/env"),
            ["go", "build", "-o", client, repositoryFile("Tests/EndToEndTests/GoClient/main.go")],
            environment: [
                "GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOFLAGS": "", "GOCACHE": directory.file("cache"),
            ]
        )
        try #require(try await build.wait(seconds: 300) == 0, "\(build.errors)")

        func call(_ cohort: String) async throws -> (status: Int32, output: String) {
            let program = try RunningProgram(
                URL(fileURLWithPath: client),
                ["\(server.endpoint)", server.tlsFile("ca.pem"), "anna", cohort]
            )
            let status = try await program.wait()
            return (status, program.output)
        }
        let found = try await call("RICH")
        #expect(found.status == 0 && found.output == "membership 1 member true version 1\n", "\(found.output)")
        let missing = try await call("RCH")
        #expect(missing.status == 1 && missing.output.contains("did you mean 'RICH'"), "\(missing.output)")
        #expect(try await server.stop() == 0)
    }
}
