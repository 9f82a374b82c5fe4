import Foundation
import RPC
import Testing

/// `cohort-loadtest` as a process, against real servers.
@Suite("Load test")
struct LoadTestTests {
    /// A result, as far as it is looked at here.
    private struct Result: Decodable {
        struct Interval: Decodable {
            var wanted: Int
            var sent: Int
            var lag_p99_ms: Double?
        }
        struct Method: Decodable {
            var method: String
            var sent: Int
            var errors: [String: Int]
        }
        struct Closed: Decodable {
            var ended: Int
            var members: Int
        }
        struct Outcome: Decodable { var is_met: Bool }
        struct Generator: Decodable { var is_bottleneck: Bool }
        struct Server: Decodable {
            struct Series: Decodable { var name: String }
            var series: [Series]
        }
        var model: String
        var sent: Int
        var answered: Int
        var not_sent: Int
        var errors: [String: Int]
        var warnings: [String]
        var p50_ms: Double
        var p99_ms: Double
        var methods: [Method]
        var slo: [Outcome]
        var closed: Closed?
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
        return try result(file)
    }

    private func result(_ file: String) throws -> Result {
        try JSONDecoder().decode(Result.self, from: Data(contentsOf: URL(fileURLWithPath: file)))
    }

    /// A server whose speed is known, with the certificate of another one.
    private func peer(_ server: TestServer, _ behaviour: String...) async throws -> (
        program: RunningProgram, address: String
    ) {
        let peer = try RunningProgram(
            Programs.loadtestPeer,
            [server.tlsFile("server.pem"), server.tlsFile("server.key")] + behaviour
        )
        try await eventually("the peer does not listen") { peer.output.contains("\n") }
        return (peer, peer.output.trimmingCharacters(in: .whitespacesAndNewlines))
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
        #expect(result.model == "open" && result.not_sent == 0 && result.warnings.isEmpty)
        #expect(result.intervals.allSatisfy { $0.sent == 0 || ($0.lag_p99_ms ?? 0) > 0 })
        #expect(result.intervals.count == 3 && result.intervals.reduce(0) { $0 + $1.wanted } == 1_500)
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
        // The puts change who is in the cohort, which the watches see.
        #expect(result.methods.map(\.method) == methods + ["WatchMemberships"])
        #expect(result.methods.allSatisfy { $0.sent > 0 && $0.errors.isEmpty }, "\(result.methods)")
    }

    @Test("The same number of customers is the same data set, on any server and any time")
    func seed() async throws {
        let directories = [try TemporaryDirectory(), try TemporaryDirectory()]
        var members: [String] = []
        for directory in directories {
            let server = try await seeded(directory)
            members.append(try await server.cohortctl("members", "LOADTEST").output)
            let again = try await loadtest(
                ["seed", "--customers", "2000", "--endpoint", "\(server.endpoint)", "--ca", server.tlsFile("ca.pem")]
            )
            #expect(again.status == 0, "\(again.errors)")
            members.append(try await server.cohortctl("members", "LOADTEST").output)
        }
        let ids = members.map { Set($0.split(separator: "\n")) }
        #expect(Set(ids).count == 1 && (900...1_100).contains(ids[0].count), "\(ids.map(\.count))")
    }

    @Test("What could not be sent misses an objective that the calls sent would meet, and is told")
    func neverSent() async throws {
        let directory = try TemporaryDirectory()
        let server = try await TestServer(dataDirectory: directory.file("data"))
        // Ten at once for 100 ms each are half of what is due.
        let peer = try await peer(server, "delay", "100", "1000000", "100")
        defer { peer.program.signal(SIGKILL) }
        let file = directory.file("result.json")
        let run = try await loadtest(
            [
                "run", "--endpoint", peer.address, "--ca", server.tlsFile("ca.pem"), "--method", "ExplainMembership",
                "--rate", "200", "--duration", "2s", "--max-in-flight", "10", "--max-lag", "10s", "--slo",
                "p90<60s,p99<60s,errors<100%", "--json", file, "--html", directory.file("result.html"),
            ]
        )
        #expect(
            run.status == 1 && run.output.contains("MISSED p99<60s, measured endless"),
            "\(run.output)\(run.errors)"
        )
        #expect(run.output.contains("were never sent"), "\(run.output)")
        let result = try result(file)
        #expect(result.not_sent > 40 && result.errors["NOT_SENT"] == result.not_sent && result.p99_ms < 60_000)
        #expect(result.slo.map(\.is_met) == [false, false, true] && result.warnings.count == 1)
        let html = try String(contentsOfFile: directory.file("result.html"), encoding: .utf8)
        #expect(html.contains("were never sent"))
    }

    @Test("A call that takes longer than its deadline is an error of its code")
    func deadline() async throws {
        let directory = try TemporaryDirectory()
        let server = try await TestServer(dataDirectory: directory.file("data"))
        let peer = try await peer(server, "delay", "1", "2", "2000")
        defer { peer.program.signal(SIGKILL) }
        let file = directory.file("result.json")
        let run = try await loadtest(
            [
                "run", "--endpoint", peer.address, "--ca", server.tlsFile("ca.pem"), "--method", "ExplainMembership",
                "--rate", "50", "--duration", "2s", "--deadline", "500ms", "--max-lag", "10s", "--json", file,
            ]
        )
        let result = try result(file)
        #expect(
            run.status == 0 && result.errors.keys.sorted() == ["DEADLINE_EXCEEDED"],
            "\(run.errors)\(result.errors)"
        )
        #expect((result.errors["DEADLINE_EXCEEDED"] ?? 0) > result.sent / 4 && result.answered > 0)
    }

    @Test("Certificates and tokens let a load in, and the refusal of either says what is missing")
    func credentials() async throws {
        let certificates = try AccessCertificates()
        try certificates.issue("reader", names: "URI:spiffe://test/reader")
        let server = try await SecuredServer(
            policy: """
                grants:
                  - certificate: spiffe://test/reader
                    roles: [reader]
                  - subject: loader
                    roles: [reader, writer, admin]

                """,
            certificates: certificates
        )
        let file = try server.files.write("token", try await server.signed("loader"))
        try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: file)
        let there = ["--endpoint", "\(server.endpoint)", "--ca", certificates.path("ca.pem"), "--customers", "500"]
        let load = ["run"] + there + ["--rate", "20", "--duration", "1s", "--max-lag", "10s"]
        let certificate = ["--cert", certificates.path("reader.pem"), "--key", certificates.path("reader.key")]
        let cases: [([String], Int32, String)] = [
            (["seed"] + there, 2, "seed: UNAUTHENTICATED"),
            (["seed"] + there + certificate, 2, "seed: PERMISSION_DENIED"),
            (["seed"] + there + ["--token-file", file], 0, ""),
            (load, 2, "a token (--token-file) that the server takes"),
            (load + certificate, 0, ""),
            (load + certificate + ["--method", "PutCustomer"], 2, "the principal needs a role that may call it"),
            (load + ["--token-file", file, "--method", "PutCustomer"], 0, ""),
            (["closed"] + there + certificate + ["--duration", "1s", "--warmup", "0s"], 0, ""),
            (["closed"] + there, 2, "UNAUTHENTICATED"),
        ]
        for (arguments, status, problem) in cases {
            let run = try await loadtest(arguments, seconds: 60)
            #expect(run.status == status, "\(arguments): \(run.status) \(run.output)\(run.errors)")
            #expect(problem.isEmpty || run.errors.contains(problem), "\(arguments): \(run.errors)")
        }
        let strict = try await TestServer(
            dataDirectory: server.files.file("strict"),
            arguments: ["--tls-clients", "require"],
            waitsUntilReady: false
        )
        let run = try await loadtest(
            [
                "run", "--endpoint", "\(strict.endpoint)", "--ca", strict.tlsFile("ca.pem"), "--rate", "1",
                "--duration", "1s",
            ],
            seconds: 60
        )
        #expect(run.status == 2 && run.errors.contains("requires a client certificate"), "\(run)")
        #expect(run.errors.contains("(--cert, --key)"), "\(run)")
    }

    @Test("A closed loop writes a result that is marked as one, and that is not compared with an open load")
    func closed() async throws {
        let directory = try TemporaryDirectory()
        let server = try await seeded(directory)
        let there = ["--endpoint", "\(server.endpoint)", "--ca", server.tlsFile("ca.pem"), "--customers", "2000"]
        let files = ["json", "hgrm", "csv", "html"].map { directory.file("closed." + $0) }
        for more in [[], ["--batch", "20"]] {
            let run = try await loadtest(
                ["closed"] + there + [
                    "--duration", "5s", "--warmup", "200ms", "--connections", "2", "--in-flight", "3", "--json",
                    files[0],
                    "--hgrm", files[1], "--csv", files[2], "--html", files[3], "--slo", "errors<1%",
                ] + more
            )
            #expect(run.status == 0 && run.output.contains("warning: in a closed loop"), "\(run.output)\(run.errors)")
            let result = try result(files[0])
            #expect(result.model == "closed" && result.errors.isEmpty && result.answered == result.sent)
            #expect(result.intervals.count == 5 && result.intervals.allSatisfy { $0.sent > 0 && $0.lag_p99_ms == nil })
            let closed = try #require(result.closed)
            #expect(closed.ended >= result.sent && closed.members > 0)
            #expect(result.warnings.contains { $0.hasPrefix("in a closed loop") })
            for file in files {
                #expect(try !Data(contentsOf: URL(fileURLWithPath: file)).isEmpty, "\(file)")
            }
        }
        _ = try await self.run(server, directory, ["--rate", "50", "--duration", "5s"])
        let comparison = try await loadtest(["compare", directory.file("result.json"), files[0], "--force"])
        #expect(comparison.status == 2 && comparison.errors.contains("of the closed model"), "\(comparison.errors)")
        let same = try await loadtest(["compare", files[0], files[0]])
        #expect(same.status == 0 && same.output.contains("no certain difference"), "\(same.output)\(same.errors)")
        let nobody = try await loadtest(["closed"] + there + ["--cohort", "NOPE"])
        #expect(nobody.status == 2 && nobody.errors.contains("there is no cohort 'NOPE'"), "\(nobody.errors)")
    }

    @Test("A closed loop whose server is killed ends, and says so")
    func closedWithoutServer() async throws {
        let directory = try TemporaryDirectory()
        let server = try await seeded(directory)
        let program = try RunningProgram(
            Programs.loadtest,
            [
                "closed", "--endpoint", "\(server.endpoint)", "--ca", server.tlsFile("ca.pem"), "--customers", "2000",
                "--duration", "60s", "--connections", "4", "--in-flight", "50",
            ]
        )
        try await eventually("the load does not begin: \(program.errors)") { program.errors.contains("2/60 s") }
        try await server.kill()
        let status = try await program.wait(seconds: 30)
        #expect(
            status == 1 && program.errors.contains("the server closed every connection before the end"),
            "\(status) \(program.errors)"
        )
    }

    @Test("A server that stands still for a second is seen by all the calls that were due meanwhile")
    func coordinatedOmission() async throws {
        let directory = try TemporaryDirectory()
        let server = try await seeded(directory)
        async let stall: Void = {
            // Somewhere within the ten seconds, also where the load begins late.
            try await Task.sleep(for: .seconds(5))
            try await server.program.pause()
            try await Task.sleep(for: .seconds(1))
            server.program.resume()
        }()
        let result = try await run(server, directory, ["--rate", "200", "--duration", "10s"])
        try await stall
        #expect(result.p99_ms > 800, "p99 is \(result.p99_ms) ms")
        #expect(result.errors.isEmpty && result.answered == result.sent)
    }

    @Test(
        "A generator that stands still for a second counts it to the calls that were due, shows its lag and is refused"
    )
    func lateGenerator() async throws {
        let directory = try TemporaryDirectory()
        let server = try await seeded(directory)
        let file = directory.file("result.json")
        let program = try RunningProgram(
            Programs.loadtest,
            [
                "run", "--endpoint", "\(server.endpoint)", "--ca", server.tlsFile("ca.pem"), "--customers", "2000",
                "--rate", "200", "--duration", "10s", "--max-lag", "500ms", "--json", file,
            ]
        )
        // A line a second: when it says the third, it is in the midst of it.
        try await eventually("the load does not begin: \(program.errors)") { program.errors.contains("3/10 s") }
        try await program.pause()
        try await Task.sleep(for: .seconds(1))
        program.resume()
        let status = try await program.wait(seconds: 60)
        #expect(status == 1 && program.errors.contains("the generator was the limit"), "\(program.errors)")
        let result = try result(file)
        #expect(result.generator.is_bottleneck && result.p99_ms > 800, "p99 is \(result.p99_ms) ms")
        #expect(result.intervals.contains { ($0.lag_p99_ms ?? 0) > 800 })
        #expect(result.answered == result.sent && result.sent > 1_800)
    }

    @Test("The capacity of a server that is known is found within 5 %")
    func capacity() async throws {
        let directory = try TemporaryDirectory()
        let server = try await TestServer(dataDirectory: directory.file("data"))
        // Two at once, 5 ms each: 400 a second. Beyond it the queue grows, and the median with it; what other processes do to single calls
        // it does not show.
        let runs = ProcessInfo.processInfo.environment["COHORT_LONG"] == nil ? 1 : 10
        for number in 1...runs {
            // One for each run: it ends by itself before ten are over.
            let peer = try await peer(server, "queue", "2", "5")
            defer { peer.program.signal(SIGKILL) }
            let file = directory.file("capacity.json")
            let run = try await loadtest(
                [
                    "capacity", "--endpoint", peer.address, "--ca", server.tlsFile("ca.pem"), "--method",
                    "ExplainMembership", "--slo", "p50<60ms", "--start", "100", "--step", "2s", "--hold", "5s",
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
            (
                load + ["--endpoint", "127.0.0.1:1"],
                "cannot connect to 127.0.0.1:1: connection refused; is the server running and the port right?"
            ),
            (
                load + ["--endpoint", "no-such-host.invalid:7443"],
                "cannot connect to no-such-host.invalid:7443: there is no such host; is the name right?"
            ),
            (
                ["--rate", "10", "--duration", "1s", "--endpoint", "\(server.endpoint)"],
                "cannot connect to \(server.endpoint): the server's certificate is not trusted; give its authority with --ca"
            ),
            (load + ["--endpoint", "nowhere"], "--endpoint is 'nowhere'; it takes HOST:PORT"),
            (there + ["--slo", "p99<5"], "--slo: term 1 'p99<5'"),
            (there + ["--scenario", scenario], "bad.yaml:2: 'method' of a part of 'mix' is 'Nope'"),
            (there + ["--scenario", directory.file("none.yaml")], "--scenario: cannot read"),
            (there + ["--cohort", "NOPE"], "NOT_FOUND: there is no cohort 'NOPE'"),
            (there + ["--token-file", token], "UNAUTHENTICATED"),
            (there + ["--method", "Nope"], "--method is 'Nope'; it takes CheckMembership"),
            (
                there + ["--json", "/no/such/directory/result.json"],
                "--json: no file can be made in /no/such/directory"
            ),
            (there + ["--connections", "0"], "--connections is 0; it takes 1 to 10000"),
            (there + ["--max-lag", "x"], "--max-lag is 'x'; it takes a time"),
            (["--endpoint", "\(server.endpoint)"], "give --rate and --duration, or a scenario with stages"),
        ]
        for (arguments, problem) in cases {
            let run = try await loadtest(["run"] + arguments, seconds: 30)
            #expect(run.status == 2 && run.errors.contains(problem), "\(arguments): \(run.status) \(run.errors)")
            #expect(!run.errors.contains("NIO") && !run.errors.contains("errno"), "\(run.errors)")
        }
        for command in ["seed", "closed", "capacity"] {
            let run = try await loadtest([command, "--endpoint", "127.0.0.1:1"], seconds: 30)
            #expect(
                run.status == 2 && run.errors.hasPrefix("error: cannot connect to 127.0.0.1:1: connection refused"),
                "\(run)"
            )
        }
    }

    @Test("Where nothing answers, it says so after a while, with exit status 2")
    func noAnswer() async throws {
        let silent = try SilentListener(), full = try SilentListener(isFull: true)
        let load = ["run", "--rate", "10", "--duration", "1s", "--endpoint"]
        async let first = loadtest(load + [silent.address], seconds: 60)
        async let second = loadtest(load + [full.address], seconds: 60)
        let (noHandshake, noConnection) = try await (first, second)
        #expect(
            noHandshake.status == 2
                && noHandshake.errors.hasPrefix(
                    "error: cannot connect to \(silent.address): the TLS handshake with \(silent.address) took too long"
                ),
            "\(noHandshake)"
        )
        #expect(
            noConnection.status == 2
                && noConnection.errors.hasPrefix(
                    "error: cannot connect to \(full.address): no answer; is the address right, and does a firewall"
                ),
            "\(noConnection)"
        )
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
