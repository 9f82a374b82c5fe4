import CohortAPI
import Foundation
import OTLP
import RPC
import SwiftProtobuf
import Testing

@Suite("Sidecar's exports")
struct SidecarExportTests {
    private func sidecar(
        _ server: TestServer,
        _ collector: TestCollector,
        _ arguments: [String] = [],
        metricsSeconds: Int = 1
    ) async throws -> TestSidecar {
        try await TestSidecar(
            server: server.endpoint,
            ca: server.tlsFile("ca.pem"),
            ["--otlp-endpoint", collector.endpoint, "--otlp-metrics-seconds", "\(metricsSeconds)"] + arguments
        )
    }

    private func tracedServer(_ directory: TemporaryDirectory, ratio: String = "1") async throws -> TestServer {
        let server = try await TestServer(
            dataDirectory: directory.file("data"),
            arguments: ["--tracing-ratio", ratio]
        )
        try await server.cohortctl("cohorts", "create", "BIG", "--rule", "customer.daily_spend > 10.0")
        return server
    }

    /// Checks of a customer, each with a span of its own where all are traced.
    private func check(_ server: TestServer, _ count: Int) async throws {
        try await server.withClient { client in
            let membership = CohortClient(client).membership
            for _ in 0..<count {
                _ = try await membership.checkMembership(
                    .with {
                        $0.customerID = "c1"; $0.cohortID = "BIG"
                    }
                )
            }
        }
    }

    private static let checkName = "cohort.v1.MembershipService/CheckMembership"

    private func checks(_ collector: TestCollector) async throws -> Int {
        try await collector.decoded().spans.count { $0.span.name == Self.checkName }
    }

    @Test("A trace id from a call is found at the collector with its child spans, beside the metrics of both processes")
    func traces() async throws {
        let directory = try TemporaryDirectory()
        let server = try await tracedServer(directory, ratio: "0")
        let collector = try await TestCollector()
        let headers = try directory.write("headers", "X-Tenant: shop 7\n")
        try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: headers)
        let sidecar = try await sidecar(server, collector, ["--otlp-headers-file", headers])
        let trace = "0af7651916cd43dd8448eb211c80319c"
        try await server.withClient { client in
            var options = CallOptions.defaults
            options.metadata["traceparent"] = "00-\(trace)-b7ad6b7169203331-01"
            _ = try await CohortClient(client).customers.putCustomer(
                .with {
                    $0.customerID = "alice"
                    $0.attributes["daily_spend"] = .with { $0.doubleValue = 20 }
                },
                options: options
            )
        }
        try await eventually("no span and no metrics: \(sidecar.program.errors)") {
            let paths = Set(collector.requests.map(\.path))
            return paths == ["/v1/traces", "/v1/metrics"]
        }
        let (spans, metrics) = try await collector.decoded()
        let of = spans.filter { $0.span.traceID.map { String(format: "%02x", $0) }.joined() == trace }
        let put = try #require(of.first { $0.span.name == "cohort.v1.CustomerService/PutCustomer" })
        let commit = try #require(of.first { $0.span.name == "cohort.commit" })
        #expect(commit.span.parentSpanID == put.span.spanID && put.service == "cohort-server")
        #expect(put.span.parentSpanID.map { String(format: "%02x", $0) }.joined() == "b7ad6b7169203331")
        #expect(put.span.kind == .server && put.span.endTimeUnixNano > put.span.startTimeUnixNano)
        let request = try #require(collector.requests.first)
        #expect(request.header("content-type") == "application/x-protobuf")
        #expect(request.header("content-encoding") == "gzip" && request.header("x-tenant") == "shop 7")
        try await eventually("no metrics of both") {
            let services = try await collector.decoded().metrics.flatMap(\.resourceMetrics)
                .flatMap(\.resource.attributes).filter { $0.key == "service.name" }.map(\.value.stringValue)
            return Set(services) == ["cohort-server", "cohort-sidecar"]
        }
        let all = metrics.flatMap(\.resourceMetrics).flatMap(\.scopeMetrics).flatMap(\.metrics)
        for metric in all { #expect(!metric.unit.isEmpty && metric.data != nil, "\(metric.name)") }
        #expect(try await sidecar.stop() == 0)
        let calls = try await collector.decoded().metrics.flatMap(\.resourceMetrics).flatMap(\.scopeMetrics)
            .flatMap(\.metrics).last { $0.name == "rpc.server.call.duration" }
        let puts = calls?.histogram.dataPoints.filter { point in
            point.attributes.contains { $0.value.stringValue == "cohort.v1.CustomerService/PutCustomer" }
        }
        #expect(puts?.reduce(0) { $0 + $1.count } == 1)
    }

    @Test("What a collector asks to have again it gets, not sooner than it says; what it refuses it does not")
    func answers() async throws {
        let directory = try TemporaryDirectory()
        let server = try await tracedServer(directory)
        let collector = try await TestCollector()
        let sidecar = try await sidecar(server, collector, ["--otlp-signals", "traces", "--otlp-timeout-seconds", "1"])
        collector.behave(.status(503, retryAfter: "3"))
        try await check(server, 10)
        try await eventually("nothing came") { !collector.requests.isEmpty }
        let refused = ContinuousClock.now
        collector.behave(.takes)
        try await eventually("it does not come back") { collector.requests.count >= 2 }
        #expect(refused.duration(to: .now) > .seconds(2.5))
        try await eventually("not all of them") { try await checks(collector) == 10 }

        for (behaviour, outcome) in [
            (TestCollector.Behaviour.status(400, retryAfter: "1"), "refused"), (.garbage, "unclear"),
            (.rejects(1_000_000), "rejected"), (.status(307, retryAfter: nil), "refused"), (.flood, "unclear"),
        ] {
            let before = try await sidecar.items("spans", outcome)
            collector.behave(behaviour)
            try await check(server, 7)
            try await eventually("not \(outcome): \(sidecar.program.errors)") {
                try await sidecar.items("spans", outcome) >= before + 7
            }
        }
        // No answer at all, or none of HTTP: it comes again.
        for behaviour in [TestCollector.Behaviour.silent, .noise] {
            collector.behave(behaviour)
            try await check(server, 1)
            let again = #"sidecar_export_requests_total{kind="spans",outcome="again"}"#
            let before = try await sidecar.sample(again)
            try await eventually("not sent again: \(behaviour)") { try await sidecar.sample(again) > before }
            let taken = try await checks(collector)
            collector.behave(.takes)
            try await eventually("lost: \(behaviour)") { try await checks(collector) > taken }
        }
        #expect(try await sidecar.get("/readyz").status == 200)
        #expect(try await sidecar.stop() == 0)
    }

    @Test("A server that is stalled, killed and back again: the sidecar lives, and spans come again")
    func server() async throws {
        let directory = try TemporaryDirectory()
        let first = try await tracedServer(directory)
        let collector = try await TestCollector()
        let sidecar = try await sidecar(
            first,
            collector,
            ["--timeout-seconds", "0.5", "--probes-stale-seconds", "1", "--probes-stall-seconds", "3"]
        )
        try await check(first, 5)
        try await eventually("no spans") { try await checks(collector) == 5 }
        try await first.program.pause()
        try await eventually("ready though stalled") { try await sidecar.get("/readyz").status == 503 }
        try await eventually("alive though stalled") { try await sidecar.get("/livez").status == 503 }
        first.program.resume()
        try await eventually("not back") { try await sidecar.get("/readyz").status == 200 }
        // What is on its way while a connection breaks is lost; what comes after it is not.
        func arrive(_ server: TestServer, _ when: String) async throws {
            let before = try await checks(collector)
            try await eventually("no spans \(when): \(sidecar.program.errors)") {
                try await check(server, 1)
                return try await checks(collector) > before
            }
        }
        try await arrive(first, "after a stall")
        try await first.kill()
        try await eventually("ready though gone") { try await sidecar.get("/readyz").status == 503 }
        let again = try await TestServer(
            dataDirectory: directory.file("data"),
            arguments: ["--tracing-ratio", "1"],
            listen: first.endpoint
        )
        try await arrive(again, "after a restart")
        try await eventually("not ready again") { try await sidecar.get("/readyz").status == 200 }
        #expect(try await sidecar.stop() == 0)
    }

    @Test("At the end what waits is sent, and a collector that takes nothing holds nobody up")
    func drain() async throws {
        let directory = try TemporaryDirectory()
        let server = try await tracedServer(directory)
        let collector = try await TestCollector()
        let one = try await sidecar(
            server,
            collector,
            ["--shutdown-seconds", "20"],
            metricsSeconds: 3_600
        )
        collector.behave(.status(503, retryAfter: nil))
        try await check(server, 20)
        // The sidecar's own questions have spans too. Those that come three seconds later come behind the checks.
        let waiting = #"sidecar_export_queue_items{kind="spans"}"#
        let before = try await one.sample(waiting)
        try await eventually("nothing waits") { try await one.sample(waiting) >= before + 60 }
        collector.behave(.takes)
        #expect(try await one.stop() == 0)
        let (spans, metrics) = try await collector.decoded()
        #expect(spans.count { $0.span.name == Self.checkName } == 20 && !metrics.isEmpty)
        collector.behave(.silent)
        let two = try await sidecar(server, collector, ["--shutdown-seconds", "0.5"])
        try await check(server, 20)
        let requests = collector.requests.count
        try await eventually("nothing came") { collector.requests.count > requests }
        #expect(try await two.stop() == 0)
        #expect(two.program.errors.contains("stopped before all was sent"))
    }

    @Test("CloudWatch's lines come on standard output or in a file, each a JSON object within the limits")
    func cloudWatch() async throws {
        let directory = try TemporaryDirectory()
        let server = try await tracedServer(directory)
        for output in ["stdout", "file"] {
            let sidecar = try await TestSidecar(
                server: server.endpoint,
                ca: server.tlsFile("ca.pem"),
                ["--emf-output", output, "--emf-file", directory.file("emf"), "--emf-seconds", "1"]
                    + ["--emf-namespace", "Shop/Cohort"]
            )
            try await check(server, 3)
            try await eventually("no lines: \(sidecar.program.errors)") {
                try await sidecar.sample(#"sidecar_emf_lines_total{outcome="sent"}"#) > 30
            }
            #expect(try await sidecar.stop() == 0)
            let text =
                output == "file"
                ? try String(contentsOfFile: directory.file("emf"), encoding: .utf8) : sidecar.program.output
            var names: Set<String> = []
            for line in text.split(separator: "\n") {
                let object = try #require(JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
                let aws = try #require(object["_aws"] as? [String: Any])
                let directive = try #require((aws["CloudWatchMetrics"] as? [[String: Any]])?.first)
                #expect(directive["Namespace"] as? String == "Shop/Cohort")
                for metric in directive["Metrics"] as? [[String: String]] ?? [] {
                    let name = try #require(metric["Name"])
                    #expect(object[name] != nil)
                    names.insert(name)
                }
                for key in (directive["Dimensions"] as? [[String]])?.first ?? [] { #expect(object[key] is String) }
            }
            #expect(
                names.isSuperset(of: ["rpc.server.call.duration", "cohort.customers", "sidecar.polls"]),
                "\(names)"
            )
        }
    }
}
