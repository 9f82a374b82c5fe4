import CohortAPI
import Foundation
import RPC
import SwiftProtobuf
import Testing

@Suite("Bad input")
struct BadInputTests {
    @Test("Requests that are wrong get an error that names the field and the fix, and change nothing")
    func requests() async throws {
        let directory = try TemporaryDirectory()
        let server = try await TestServer(dataDirectory: directory.path)
        try await server.withClient { client in
            let cohort = CohortClient(client)
            _ = try await cohort.cohorts.createCohort(
                .with {
                    $0.cohortID = "PREMIUM"
                    $0.rule = "customer.daily_spend > 100.0"
                }
            )
            let sequence = try await cohort.operations.getStatus(.init()).sequence

            func refusal(_ request: PutCustomerRequest) async throws -> RPCError {
                try #require(
                    await #expect(throws: RPCError.self) { _ = try await cohort.customers.putCustomer(request) }
                )
            }
            func put(_ name: String, _ value: AttributeValue, id: String = "anna") -> PutCustomerRequest {
                .with {
                    $0.customerID = id
                    // One that is right stands beside it.
                    $0.attributes = ["user_type": .with { $0.stringValue = "PAID" }]
                    $0.attributes[name] = value
                }
            }
            let cases: [(PutCustomerRequest, field: String, says: String)] = [
                (put("daily_spnd", .with { $0.doubleValue = 1 }), "attributes.daily_spnd", "daily_spend"),
                (put("daily_spend", .with { $0.stringValue = "1" }), "attributes.daily_spend", "double"),
                (put("daily_spend", .with { $0.doubleValue = .nan }), "attributes.daily_spend", "NaN"),
                (put("daily_spend", .with { $0.doubleValue = .infinity }), "attributes.daily_spend", ""),
                (put("daily_spend", .init()), "attributes.daily_spend", "no value"),
                (
                    put("user_type", .with { $0.stringValue = String(repeating: "x", count: 5_000) }),
                    "attributes.user_type", "4096"
                ),
                (put("daily_spend", .with { $0.doubleValue = 1 }, id: ""), "customer_id", ""),
                (put("daily_spend", .with { $0.doubleValue = 1 }, id: "a\nb"), "customer_id", "control"),
                (
                    put("daily_spend", .with { $0.doubleValue = 1 }, id: String(repeating: "i", count: 257)),
                    "customer_id", "256"
                ),
                (
                    .with {
                        $0.customerID = "anna"
                        $0.attributes = ["daily_spend": .with { $0.doubleValue = 1 }]
                        $0.eventTime = .init(seconds: Int64(Date.now.timeIntervalSince1970) + 3_600, nanos: 0)
                    }, "event_time", "ahead"
                ),
            ]
            for (request, field, says) in cases {
                let error = try await refusal(request)
                #expect(error.code == .invalidArgument)
                let violation = error.badRequest?.fieldViolations.first
                #expect(violation?.field == field, "\(error)")
                #expect(
                    violation?.description_p.localizedCaseInsensitiveContains(says) != false || says.isEmpty,
                    "\(error)"
                )
            }
            let unknown = await #expect(throws: RPCError.self) {
                _ = try await cohort.membership.checkMembership(
                    .with {
                        $0.customerID = "anna"
                        $0.cohortID = "PREMUM"
                    }
                )
            }
            #expect(unknown?.code == .notFound && unknown?.message.contains("PREMIUM") == true)
            let malformed = await #expect(throws: RPCError.self) {
                _ = try await cohort.cohorts.createCohort(
                    .with {
                        $0.cohortID = "premium"
                        $0.rule = "true"
                    }
                )
            }
            #expect(malformed?.badRequest?.fieldViolations.first?.field == "cohort_id")
            let rule = await #expect(throws: RPCError.self) {
                _ = try await cohort.cohorts.createCohort(
                    .with {
                        $0.cohortID = "BROKEN"
                        $0.rule = "customer.daily_spend >\n  customer.daily_spnd"
                    }
                )
            }
            #expect(
                rule?.errorInfo?.metadata["line"] == "2" && rule?.errorInfo?.metadata["rendered"]?.contains("^") == true
            )

            // None of it was half-written, and the server still serves.
            let status = try await cohort.operations.getStatus(.init())
            #expect(status.sequence == sequence && status.customers == 0 && status.cohorts.count == 1)
        }
        #expect(try await server.stop() == 0)
    }

    @Test(
        "cohortctl: usage is exit status 2, failures are 1, a bad rule gets a caret, bad rows get a line and a reason"
    )
    func commandLine() async throws {
        let directory = try TemporaryDirectory()
        let server = try await TestServer(dataDirectory: directory.file("data"))
        try await server.cohortctl("frobnicate", expecting: 2)
        try await server.cohortctl("check", "anna", expecting: 2)
        try await server.cohortctl("--ca", "/nowhere/ca.pem", "status", expecting: 2)
        try await server.cohortctl("cohorts", "create", "X", expecting: 2)
        let missing = try await server.cohortctl("check", "anna", "PREMIUM", expecting: 1)
        #expect(missing.errors.contains("NOT_FOUND") && missing.output.isEmpty)
        let rule = try await server.cohortctl(
            "cohorts",
            "create",
            "BROKEN",
            "--rule",
            "customer.daily_spend > ",
            expecting: 1
        )
        #expect(rule.errors.contains("^") && rule.errors.contains("line 1"), "\(rule.errors)")

        let column = try directory.write("column.csv", "customer_id,daily_spnd\na,1\n")
        let refused = try await server.cohortctl("customers", "import", column, expecting: 1)
        #expect(refused.errors.contains("did you mean 'daily_spend'?"), "\(refused.errors)")
        let rows = try directory.write(
            "rows.csv",
            "customer_id,daily_spend\na,1\nb,many\nc\n,4\ne,\"5\n"
        )
        let rejects = directory.file("rejects.csv")
        let receipt = try await server.cohortctl("customers", "import", rows, "--rejects", rejects)
        #expect(receipt.output.contains("accepted   1"), "\(receipt.output)")
        #expect(receipt.output.contains("rejected   4"), "\(receipt.output)")
        for line in [3, 4, 5, 6] { #expect(receipt.output.contains("line \(line): "), "\(receipt.output)") }
        let written = try String(contentsOfFile: rejects, encoding: .utf8)
        #expect(written.contains("\"b,many\"") && written.hasPrefix("line,reason,row\n"), "\(written)")

        let ndjson = try directory.write(
            "rows.ndjson",
            "{\"customer_id\":\"n\",\"daily_spend\":7}\n{\"customer_id\":\"m\",\"daily_spend\":\"7\"}\nnot json\n"
        )
        let lines = try await server.cohortctl("--output", "json", "customers", "import", ndjson)
        #expect(lines.output.contains("\"created\":1") && lines.output.contains("\"rejected\":2"), "\(lines.output)")
        let status = try await server.cohortctl("--output", "json", "status")
        #expect(status.output.contains("\"customers\":2"), "\(status.output)")
        #expect(try await server.stop() == 0)
    }

    @Test("An import of nothing but refused rows, each with a long id, ends with all of them told")
    func everyRowRefused() async throws {
        let directory = try TemporaryDirectory()
        let server = try await TestServer(dataDirectory: directory.file("data"))
        let id = String(repeating: "i", count: 1_500)
        let rows = (0..<20_000).map { "\(id)\($0),1" }.joined(separator: "\n")
        let file = try directory.write("wrong.csv", "customer_id,daily_spend\n" + rows)
        let receipt = try await server.cohortctl("customers", "import", file)
        #expect(receipt.output.contains("rejected   20000"), "\(receipt.output.prefix(300))")
        #expect(try await server.stop() == 0)
    }

    @Test("A server that cannot be reached is exit status 1, at once")
    func unreachable() async throws {
        let program = try RunningProgram(
            Programs.cohortctl,
            ["--endpoint", "127.0.0.1:1", "--timeout", "5", "status"]
        )
        #expect(try await program.wait() == 1)
        #expect(program.errors.contains("UNAVAILABLE"), "\(program.errors)")
    }
}

@Suite("Connections that misbehave")
struct HostileConnectionTests {
    /// Sends `bytes` over plain TCP, or through `openssl s_client` when `tls` options are given, and waits until the
    /// server closes.
    private func python(_ script: String, _ arguments: [String]) async throws -> String {
        let program = try RunningProgram(
            URL(fileURLWithPath: "/usr/bin/env"),
            ["python3", "-c", script] + arguments
        )
        let status = try await program.wait(seconds: 60)
        guard status == 0 else { throw HarnessError(program.errors) }
        return program.output
    }

    private static let script = """
        import socket, ssl, sys
        port, kind = int(sys.argv[1]), sys.argv[2]
        raw = socket.create_connection(("127.0.0.1", port), timeout=30)
        if kind == "plain":
            raw.sendall(b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
            peer = raw
        else:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            if kind == "tls1.1":
                context.minimum_version = ssl.TLSVersion.TLSv1
                context.maximum_version = ssl.TLSVersion.TLSv1_1
                context.set_ciphers("ALL:@SECLEVEL=0")
            try:
                peer = context.wrap_socket(raw)
            except (ssl.SSLError, ConnectionError) as error:
                print("refused")
                sys.exit(0)
            if kind == "garbage":
                peer.sendall(b"\\xff" * 64)
            if kind == "endless":
                # The header of a request of 100 bytes, and never the rest.
                peer.sendall(bytes([0, 0, 0, 100, 0, 0, 0, 1, 1, 0]) + b"x" * 10)
        try:
            while peer.recv(4096):
                pass
        except (ConnectionError, ssl.SSLError):
            pass
        print("closed")
        """

    @Test("Plain TCP, TLS 1.1, garbage, a frame that never ends: closed with a reason, others are unaffected")
    func closed() async throws {
        let directory = try TemporaryDirectory()
        let server = try await TestServer(
            dataDirectory: directory.path,
            arguments: ["--limits-frame-seconds", "0.5", "--log-level", "debug"]
        )
        let port = String(server.endpoint.port)
        try await server.withClient { client in
            let cohort = CohortClient(client)
            _ = try await cohort.operations.getStatus(.init())
            for (kind, end) in [
                ("plain", "closed\n"), ("tls1.1", "refused\n"), ("garbage", "closed\n"), ("endless", "closed\n"),
            ] {
                let said = try await python(Self.script, [port, kind])
                #expect(said == end, "\(kind): \(said)")
                _ = try await cohort.operations.getStatus(.init())
            }
        }
        let reasons = server.program.errors.split(separator: "\n").filter { $0.contains("\"reason\"") }
        #expect(reasons.count >= 4, "\(server.program.errors)")
        #expect(try await server.stop() == 0)
    }
}
