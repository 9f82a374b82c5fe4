import Foundation
import RPC
import Testing

/// `cohort-loadtest` as a process, against real servers.
@Suite("Load test")
struct LoadTestTests {
    /// A result, as far as it is looked at here.
    private struct Result: Decodable {
        struct Interval: Decodable { var sent: Int }
        struct Generator: Decodable { var is_bottleneck: Bool }
        struct Server: Decodable {
            struct Series: Decodable { var name: String }
            var series: [Series]
        }
        var sent: Int
        var answered: Int
        var errors: [String: Int]
        var p50_ms: Double
        var p99_ms: Double
        var intervals: [Interval]
        var generator: Generator
        var server: Server?
    }

    private struct Capacity: Decodable {
        var finding: String
        var capacity_rate: Double?
        var summary: String
    }

    private func loadtest(_ arguments: [String], seconds: Double = 120) async throws -> (
        status: Int32, output: String, errors: String
    ) {
        let program = try RunningProgram(Programs.loadtest, arguments)
        let status = try await program.wait(seconds: seconds)
        return (status, program.output, program.errors)
    }

    private func seeded(_ directory: TemporaryDirectory, _ more: [String] = []) async throws -> TestServer {
        let server = try await TestServer(dataDirectory: directory.file("data"), arguments: more)
        let seed = try await loadtest(
            ["seed", "--customers", "2000", "--endpoint", "\(server.endpoint)", "--ca", server.tlsFile("ca.pem")]
        )
        #expect(seed.status == 0, "\(seed.errors)")
        return server
    }

    private func run(_ server: TestServer, _ directory: TemporaryDirectory, _ arguments: [String]) async throws
        -> Result
    {
        let file = directory.file("result.json")
        // Other processes are at work: how late calls are sent is not looked at.
        let run = try await loadtest(
            [
                "run", "--endpoint", "\(server.endpoint)", "--ca", server.tlsFile("ca.pem"), "--customers", "2000",
                "--max-lag", "10s", "--json", file,
            ] + arguments
        )
        #expect(run.status == 0, "\(run.errors)")
        return try JSONDecoder().decode(Result.self, from: Data(contentsOf: URL(fileURLWithPath: file)))
    }

    @Test("A rate is sent as it was asked for, every call is answered, and the server counts as many")
    func exact() async throws {
        let directory = try TemporaryDirectory()
        let server = try await seeded(directory)
        let result = try await run(
            server,
            directory,
            ["--rate", "500", "--duration", "3s", "--arrivals", "constant", "--warmup", "0s"]
        )
        #expect(result.sent == 1_500 && result.answered == 1_500 && result.errors.isEmpty)
        #expect(result.intervals.count == 3 && result.intervals.reduce(0) { $0 + $1.sent } == 1_500)
        #expect(result.server?.series.contains { $0.name == "process.cpu.time rate" } == true)
        let metrics = try await server.cohortctl("metrics", "rpc.server.call.duration")
        // One more than was measured: whether the load can be sent at all is tried first.
        #expect(metrics.output.contains(#/CheckMembership.*1501/#), "\(metrics.output)")
    }

    @Test("Every method can be part of a mix")
    func mix() async throws {
        let directory = try TemporaryDirectory()
        let server = try await seeded(directory)
        let methods = [
            "CheckMembership", "BatchCheckMembership", "ListCustomerCohorts", "CountMembers", "ExplainMembership",
            "ListMembers", "GetCustomer", "GetMembershipHistory", "PutCustomer", "BatchPutCustomers",
            "ImportCustomers",
        ]
        let scenario = try directory.write(
            "scenario.yaml",
            "watches: 2\nmix:\n" + methods.map { "  - {method: \($0)}\n" }.joined()
        )
        let result = try await run(
            server,
            directory,
            ["--rate", "100", "--duration", "3s", "--scenario", scenario]
        )
        #expect(result.errors.isEmpty, "\(result.errors)")
        #expect(result.answered == result.sent && result.sent > 200)
    }

    @Test("A server that stands still for a second is seen by all the calls that were due meanwhile")
    func coordinatedOmission() async throws {
        let directory = try TemporaryDirectory()
        let server = try await seeded(directory)
        async let stall: Void = {
            // Somewhere within the ten seconds, also where the load begins late.
            try await Task.sleep(for: .seconds(5))
            server.program.signal(SIGSTOP)
            try await Task.sleep(for: .seconds(1))
            server.program.signal(SIGCONT)
        }()
        let result = try await run(server, directory, ["--rate", "200", "--duration", "10s"])
        try await stall
        #expect(result.p99_ms > 800, "p99 is \(result.p99_ms) ms")
        #expect(result.errors.isEmpty && result.answered == result.sent)
    }

    @Test("The capacity of a server that is known is found within 5 %")
    func capacity() async throws {
        let directory = try TemporaryDirectory()
        let server = try await TestServer(dataDirectory: directory.file("data"))
        // Two at once, 5 ms each: 400 a second.
        let peer = try RunningProgram(
            Programs.loadtestPeer,
            [server.tlsFile("server.pem"), server.tlsFile("server.key"), "queue", "2", "5"]
        )
        defer { peer.signal(SIGKILL) }
        try await eventually("the peer does not listen") { peer.output.contains("\n") }
        let address = peer.output.trimmingCharacters(in: .whitespacesAndNewlines)
        let runs = ProcessInfo.processInfo.environment["COHORT_LONG"] == nil ? 1 : 10
        for number in 1...runs {
            let file = directory.file("capacity.json")
            let run = try await loadtest(
                [
                    "capacity", "--endpoint", address, "--ca", server.tlsFile("ca.pem"), "--method",
                    "ExplainMembership", "--slo", "p99<50ms", "--start", "100", "--step", "2s", "--hold", "5s",
                    "--arrivals",
                    "constant", "--max-lag", "10s", "--drain", "3s", "--no-sweep", "--seed", "\(number)", "--json",
                    file,
                ],
                seconds: 300
            )
            let result = try JSONDecoder().decode(Capacity.self, from: Data(contentsOf: URL(fileURLWithPath: file)))
            #expect(run.status == 0 && result.finding == "found", "\(run.output)\(run.errors)")
            #expect(abs((result.capacity_rate ?? 0) - 400) <= 20, "\(run.output)\(run.errors)")
        }
    }

    @Test("What cannot work is told before the load, with exit status 2")
    func badInput() async throws {
        let directory = try TemporaryDirectory()
        let server = try await seeded(directory)
        let scenario = try directory.write("bad.yaml", "mix:\n  - {method: Nope}\n")
        let token = try directory.write("token", "not.a.token")
        try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: token)
        let load = ["--rate", "10", "--duration", "1s", "--ca", server.tlsFile("ca.pem")]
        let there = load + ["--endpoint", "\(server.endpoint)"]
        let cases: [([String], String)] = [
            (load + ["--endpoint", "127.0.0.1:1"], "--endpoint 127.0.0.1:1: UNAVAILABLE"),
            (load + ["--endpoint", "nowhere"], "--endpoint is 'nowhere'; it takes HOST:PORT"),
            (there + ["--slo", "p99<5"], "--slo: term 1 'p99<5'"),
            (there + ["--scenario", scenario], "bad.yaml:2: 'method' of a part of 'mix' is 'Nope'"),
            (there + ["--scenario", directory.file("none.yaml")], "--scenario: cannot read"),
            (there + ["--cohort", "NOPE"], "NOT_FOUND: there is no cohort 'NOPE'"),
            (there + ["--token-file", token], "UNAUTHENTICATED"),
            (there + ["--method", "Nope"], "--method is 'Nope'; it takes CheckMembership"),
            (there + ["--connections", "0"], "--connections is 0; it takes 1 to 10000"),
            (there + ["--max-lag", "x"], "--max-lag is 'x'; it takes a time"),
            (["--endpoint", "\(server.endpoint)"], "give --rate and --duration, or a scenario with stages"),
        ]
        for (arguments, problem) in cases {
            let run = try await loadtest(["run"] + arguments, seconds: 30)
            #expect(run.status == 2 && run.errors.contains(problem), "\(arguments): \(run.status) \(run.errors)")
        }
    }

    @Test("An objective that is missed and a generator that is the limit are exit status 1")
    func gates() async throws {
        let directory = try TemporaryDirectory()
        let server = try await seeded(directory)
        let there = [
            "run", "--rate", "50", "--duration", "1s", "--ca", server.tlsFile("ca.pem"), "--endpoint",
            "\(server.endpoint)", "--customers", "2000",
        ]
        let missed = try await loadtest(there + ["--max-lag", "10s", "--slo", "p50<1us"])
        #expect(missed.status == 1 && missed.output.contains("MISSED p50<1us"), "\(missed.output)")
        let met = try await loadtest(there + ["--max-lag", "10s", "--slo", "p50<60s,errors<1%,rate>1"])
        #expect(met.status == 0 && met.output.contains("met    p50<60s"), "\(met.output)\(met.errors)")
        let late = try await loadtest(there + ["--max-lag", "1us"])
        #expect(late.status == 1 && late.errors.contains("the generator was the limit"), "\(late.errors)")
    }
}
