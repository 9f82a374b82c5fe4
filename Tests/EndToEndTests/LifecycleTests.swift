import CohortAPI
import Foundation
import Testing

@Suite("Start and stop")
struct LifecycleTests {
    @Test("A start that is refused ends with status 1 and says what to do; nothing hangs")
    func refusedStart() async throws {
        let directory = try TemporaryDirectory()
        let first = try await TestServer(dataDirectory: directory.path)
        let second = try RunningProgram(
            Programs.server,
            ["--dev", "--listen", "127.0.0.1:0", "--data-dir", directory.path]
        )
        #expect(try await second.wait(seconds: 60) == 1)
        #expect(second.errors.contains("another process"), "\(second.errors)")
        let third = try RunningProgram(
            Programs.server,
            ["--dev", "--listen", "\(first.endpoint)", "--data-dir", directory.file("other")]
        )
        #expect(try await third.wait(seconds: 60) == 1)
        #expect(third.errors.contains("--listen"), "\(third.errors)")
        #expect(try await first.stop() == 0)
    }

    @Test("Wrong settings end with status 2, --help and --version with 0")
    func settings() async throws {
        for (arguments, status) in [(["--frobnicate"], Int32(2)), ([], 2), (["--help"], 0), (["--version"], 0)] {
            let program = try RunningProgram(Programs.server, arguments)
            #expect(try await program.wait(seconds: 60) == status)
        }
    }

    @Test("SIGHUP reads the certificates again, with new ones for new connections and no call lost")
    func reload() async throws {
        let directory = try TemporaryDirectory()
        let server = try await TestServer(dataDirectory: directory.path)
        try await server.withClient { client in
            let operations = CohortClient(client).operations
            _ = try await operations.getStatus(.init())
            server.program.signal(SIGHUP)
            let deadline = ContinuousClock.now + .seconds(30)
            while !server.program.errors.contains("certificates reloaded"), ContinuousClock.now < deadline {
                _ = try await operations.getStatus(.init())
            }
            #expect(server.program.errors.contains("certificates reloaded"))
        }
        try await server.cohortctl("status")
        #expect(try await server.stop() == 0)
    }

    @Test("Where client certificates are required, a client without one is refused and one with one is served")
    func clientCertificates() async throws {
        let directory = try TemporaryDirectory()
        let server = try await TestServer(
            dataDirectory: directory.path,
            arguments: ["--tls-clients", "require"],
            waitsUntilReady: false
        )
        try await server.cohortctl(
            "--cert",
            server.tlsFile("client.pem"),
            "--key",
            server.tlsFile("client.key"),
            "status",
            "--wait",
            "30"
        )
        try await server.cohortctl("--timeout", "5", "status", expecting: 1)
        #expect(try await server.stop() == 0)
    }

    @Test("What was written outlives SIGTERM, and the data directory is for its owner alone")
    func stop() async throws {
        let directory = try TemporaryDirectory()
        let data = directory.file("data")
        var server = try await TestServer(dataDirectory: data)
        try await server.cohortctl("customers", "put", "anna", "daily_spend=5")
        #expect(try await server.stop() == 0)
        for name in try FileManager.default.contentsOfDirectory(atPath: data) where name.contains(".db") {
            let mode = try FileManager.default.attributesOfItem(atPath: data + "/" + name)[.posixPermissions] as? Int
            #expect(mode == 0o600, "\(name) has the mode \(String(mode ?? 0, radix: 8))")
        }
        server = try await TestServer(dataDirectory: data)
        let customer = try await server.cohortctl("customers", "get", "anna")
        #expect(customer.output.contains("daily_spend"))
        #expect(try await server.stop() == 0)
    }
}
