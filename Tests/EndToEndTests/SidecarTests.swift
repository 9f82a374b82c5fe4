import CohortAPI
import Foundation
import RPC
import SwiftProtobuf
import Testing

@Suite("Sidecar")
struct SidecarTests {
    private static let openMetrics = "application/openmetrics-text; version=1.0.0"

    /// A server with 20 checks that found their cohort and 3 that did not.
    private func checkedServer(_ directory: TemporaryDirectory) async throws -> TestServer {
        let server = try await TestServer(dataDirectory: directory.file("data"), arguments: ["--tracing-ratio", "1"])
        try await server.cohortctl("cohorts", "create", "BIG", "--rule", "customer.daily_spend > 10.0")
        try await server.withClient { client in
            let membership = CohortClient(client).membership
            for number in 0..<23 {
                _ = try? await membership.checkMembership(
                    .with {
                        $0.customerID = "c1"; $0.cohortID = number < 20 ? "BIG" : "NOPE"
                    }
                )
            }
        }
        return server
    }

    @Test("Both formats are clean to promtool, and have the server's metrics beside the sidecar's own")
    func pages() async throws {
        let directory = try TemporaryDirectory()
        let server = try await checkedServer(directory)
        let sidecar = try await TestSidecar(server: server.endpoint, ca: server.tlsFile("ca.pem"))
        let text = try await sidecar.get("/metrics")
        #expect(text.status == 200 && text.type.hasPrefix("text/plain; version=0.0.4"))
        let file = try directory.write("page", text.body)
        let promtool = try RunningProgram(
            URL(fileURLWithPath: "/bin/sh"),
            ["-c", "promtool check metrics < \(file)"]
        )
        #expect(try await promtool.wait() == 0, "\(promtool.output)\(promtool.errors)")
        #expect(promtool.errors.isEmpty && promtool.output.isEmpty, "\(promtool.output)\(promtool.errors)")
        let page = try await sidecar.get("/metrics", accept: Self.openMetrics)
        #expect(page.type.hasPrefix("application/openmetrics-text"))
        #expect(page.body.hasSuffix("# EOF\n"))
        #expect(page.body.contains("# UNIT rpc_server_call_duration_seconds seconds\n"))
        #expect(
            page.body.contains(
                #/rpc_server_call_duration_seconds_bucket\{[^}]*CheckMembership[^}]*\} \d+ # \{trace_id="[0-9a-f]{32}"/#
            )
        )
        #expect(page.body.contains("sidecar_server_up 1\n") && page.body.contains("service_name=\"cohort-server\""))
        #expect(try await sidecar.get("/nothing").status == 404)
        sidecar.program.signal(SIGTERM)
        #expect(try await sidecar.program.wait() == 0)
    }

    @Test("A real Prometheus counts exactly what the client has sent")
    func prometheus() async throws {
        let directory = try TemporaryDirectory()
        let server = try await checkedServer(directory)
        let sidecar = try await TestSidecar(server: server.endpoint, ca: server.tlsFile("ca.pem"))
        let prometheus = try await TestPrometheus(target: sidecar.address)
        let calls = { (code: String) in
            "sum(rpc_server_call_duration_seconds_count{rpc_method=\"cohort.v1.MembershipService/CheckMembership\","
                + "rpc_response_status_code=\"\(code)\"})"
        }
        try await eventually("no scrape: \(prometheus.program.errors)") { await prometheus.query(calls("OK")) == 20 }
        #expect(await prometheus.query(calls("NOT_FOUND")) == 3)
        #expect(await prometheus.query("up{job=\"cohort\"}") == 1)
    }

    @Test("Probes follow the server: not yet there, serving, stalled, gone and back")
    func probes() async throws {
        let directory = try TemporaryDirectory()
        let data = directory.file("data")
        // Makes the certificates, and a port to come back to.
        let first = try await TestServer(dataDirectory: data)
        let endpoint = first.endpoint
        #expect(try await first.stop() == 0)
        let sidecar = try await TestSidecar(
            server: endpoint,
            ca: first.tlsFile("ca.pem"),
            ["--timeout-seconds", "0.5", "--probes-stale-seconds", "1", "--probes-stall-seconds", "3"]
        )
        func probe(_ name: String) async throws -> (status: Int, body: String) {
            let answer = try await sidecar.get("/" + name)
            #expect(answer.type == "application/json")
            return (answer.status, answer.body)
        }
        #expect(try await probe("startupz").status == 503)
        // Whoever asks learns that the server is away, and not where it is looked for: that is in the log.
        try await eventually("no reason") { try await probe("readyz").body.contains("it cannot be reached") }
        let reasons = try await probe("readyz").body
        #expect(reasons.contains("has not answered since the sidecar started") && !reasons.contains("UNAVAILABLE"))
        #expect(!reasons.contains("\(endpoint.port)") && sidecar.program.errors.contains("UNAVAILABLE"), "\(reasons)")
        #expect(try await sidecar.get("/metrics").body.contains("sidecar_server_up 0\n"))
        let server = try await TestServer(dataDirectory: data, listen: endpoint)
        for name in ["startupz", "readyz", "livez"] {
            try await eventually("\(name) stays bad") { try await probe(name).status == 200 }
        }
        // In turns: on a busy machine the server may have been silent for a second when it is asked.
        try await eventually("ready with reasons") {
            try await probe("readyz") == (200, #"{"ok":true,"reasons":[]}"#)
        }
        try await server.program.pause()
        try await eventually("ready though stalled") { try await probe("readyz").status == 503 }
        try await eventually("alive though stalled") { try await probe("livez").status == 503 }
        #expect(try await probe("startupz").status == 200)
        #expect(try await sidecar.get("/metrics").status == 200)
        server.program.resume()
        try await eventually("not back") { try await probe("livez").status == 200 }
        try await eventually("not ready again") { try await probe("readyz").status == 200 }
        try await server.kill()
        try await eventually("ready though gone") { try await probe("readyz").status == 503 }
        let again = try await TestServer(dataDirectory: data, listen: endpoint)
        try await eventually("not ready after a restart") { try await probe("readyz").status == 200 }
        #expect(try await again.stop() == 0)
    }

    @Test(
        "What the sidecar cannot use is named, with exit status 2",
        arguments: [
            (["--endpoint", "nowhere"], "--endpoint takes HOST:PORT"), (["--listen", "x"], "--listen takes HOST:PORT"),
            (["--cert", "a.pem"], "--cert needs --key"), (["--ca", "/none.pem"], "--ca:"),
            (["--bogus"], "no flag --bogus"),
            (["--poll-seconds", "0"], "--poll-seconds takes 0.1 to 60.0 seconds"),
            (["--token-file", "/none"], "--token-file:"),
        ]
    )
    func badSettings(arguments: [String], problem: String) async throws {
        let program = try RunningProgram(Programs.sidecar, arguments)
        #expect(try await program.wait() == 2)
        #expect(program.errors.contains(problem), "\(program.errors)")
    }
}
