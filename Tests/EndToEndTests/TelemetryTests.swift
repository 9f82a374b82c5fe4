import CohortAPI
import Foundation
import OTLP
import RPC
import SwiftProtobuf
import Telemetry
import Testing

@testable import cohort_server

@Suite("Telemetry")
struct TelemetryTests {

    private func metrics(_ cohort: CohortClient) async throws -> [String: OTLPMetric] {
        let data = try await cohort.operations.scrapeMetrics(.init())
        let all = data.resourceMetrics.flatMap(\.scopeMetrics).flatMap(\.metrics)
        return Dictionary(uniqueKeysWithValues: all.map { ($0.name, $0) })
    }

    private func calls(_ metrics: [String: OTLPMetric], _ method: String, _ code: String) -> UInt64 {
        let points = metrics["rpc.server.call.duration"]?.histogram.dataPoints ?? []
        return points.filter { point in
            let values = Set(point.attributes.map { "\($0.key)=\($0.value.stringValue)" })
            return values.isSuperset(of: ["rpc.method=\(method)", "rpc.response.status_code=\(code)"])
        }.reduce(0) { $0 + $1.count }
    }

    @Test("Metrics tell exactly what was called and written, each with its description")
    func metrics() async throws {
        let directory = try TemporaryDirectory()
        let server = try await TestServer(dataDirectory: directory.path)
        try await server.cohortctl("cohorts", "create", "BIG", "--rule", "customer.daily_spend > 10.0")
        try await server.withClient { client in
            let cohort = CohortClient(client)
            for number in 0..<5 {
                _ = try await cohort.customers.putCustomer(
                    .with {
                        $0.customerID = "c\(number)"
                        $0.attributes["daily_spend"] = .with { $0.doubleValue = 20 }
                    }
                )
            }
            for number in 0..<20 {
                _ = try await cohort.membership.checkMembership(
                    .with {
                        $0.customerID = "c\(number % 5)"; $0.cohortID = "BIG"
                    }
                )
            }
            for _ in 0..<3 {
                await #expect(throws: RPCError.self) {
                    _ = try await cohort.membership.checkMembership(
                        .with {
                            $0.customerID = "c1"; $0.cohortID = "NOPE"
                        }
                    )
                }
            }
            let now = try await metrics(cohort)
            #expect(calls(now, "cohort.v1.MembershipService/CheckMembership", "OK") == 20)
            #expect(calls(now, "cohort.v1.MembershipService/CheckMembership", "NOT_FOUND") == 3)
            #expect(calls(now, "cohort.v1.CustomerService/PutCustomer", "OK") == 5)
            let created = now["cohort.ingest.rows"]?.sum.dataPoints.first {
                $0.attributes.first?.value.stringValue == "created"
            }
            #expect(created?.asInt == 5)
            #expect(now["cohort.customers"]?.gauge.dataPoints.first?.asDouble == 5)
            #expect(now["cohort.commit.duration"].map { $0.histogram.dataPoints[0].count >= 6 } == true)
            #expect(now["process.memory.usage"].map { $0.gauge.dataPoints[0].asDouble > 1e6 } == true)
            #expect(now["process.cpu.time"]?.sum.dataPoints.count == 2)
            let known = Set(MetricCatalogue.all.map(\.name))
            #expect(Set(now.keys).isSubset(of: known), "\(Set(now.keys).subtracting(known))")
            for (name, metric) in now { #expect(!metric.unit.isEmpty && !metric.description_p.isEmpty, "\(name)") }
            let status = try await cohort.operations.getStatus(.init()).telemetry
            #expect(status.series > 50 && status.seriesOverflowed == 0 && status.logLinesLost == 0)
        }
        let table = try await server.cohortctl("metrics", "rpc.server.call").output
        #expect(table.contains("rpc.method=cohort.v1.CustomerService/PutCustomer"), "\(table)")
        #expect(!table.contains("process."))
        #expect(try await server.stop() == 0)
    }

    @Test("A trace goes from the caller's metadata to the durable write, and each span is handed out once")
    func traces() async throws {
        let directory = try TemporaryDirectory()
        let server = try await TestServer(dataDirectory: directory.path, arguments: ["--tracing-ratio", "0"])
        try await server.cohortctl("attributes", "declare", "daily_spend", "double")
        let trace = "0af7651916cd43dd8448eb211c80319c"
        try await server.withClient { client in
            let cohort = CohortClient(client)
            var options = CallOptions.defaults
            options.metadata["traceparent"] = "00-\(trace)-b7ad6b7169203331-01"
            _ = try await cohort.customers.putCustomer(
                .with {
                    $0.customerID = "alice"
                    $0.attributes["daily_spend"] = .with { $0.doubleValue = 20 }
                },
                options: options
            )
            _ = try await cohort.customers.putCustomer(.with { $0.customerID = "bob" })
            await #expect(throws: RPCError.self) {
                _ = try await cohort.customers.getCustomer(.with { $0.customerID = "mallory" })
            }
        }
        let lines = try await server.cohortctl("--output", "json", "spans").output.split(separator: "\n")
        let spans = try lines.map { try OTLPTracesData(jsonString: String($0)) }
            .flatMap(\.resourceSpans).flatMap(\.scopeSpans).flatMap(\.spans)
        let put = try #require(spans.first { $0.name == "cohort.v1.CustomerService/PutCustomer" })
        let commit = try #require(spans.first { $0.name == "cohort.commit" })
        let failed = try #require(spans.first { $0.name == "cohort.v1.CustomerService/GetCustomer" })
        #expect(put.traceID.map { String(format: "%02x", $0) }.joined() == trace)
        #expect(put.parentSpanID.map { String(format: "%02x", $0) }.joined() == "b7ad6b7169203331")
        #expect(commit.parentSpanID == put.spanID && commit.traceID == put.traceID)
        #expect(commit.startTimeUnixNano >= put.startTimeUnixNano && commit.endTimeUnixNano <= put.endTimeUnixNano)
        #expect(failed.status.code == .error && failed.traceID != put.traceID)
        #expect(!lines.contains { $0.contains("alice") || $0.contains("mallory") })
        // bob's put was not sampled.
        #expect(spans.count { $0.name == "cohort.v1.CustomerService/PutCustomer" } == 1)
        let again = try await server.cohortctl("spans").output
        #expect(!again.contains(trace))
        #expect(try await server.stop() == 0)
    }

    @Test("There is one reader of spans, which a drain lets go")
    func reader() async throws {
        let directory = try TemporaryDirectory()
        let server = try await TestServer(dataDirectory: directory.path, arguments: ["--tracing-ratio", "1"])
        try await server.withClient { client in
            let cohort = CohortClient(client)
            let stream = try await cohort.operations.streamSpans(
                .with { $0.follow = true },
                options: CallOptions(timeout: nil)
            )
            var iterator = stream.makeAsyncIterator()
            _ = try await cohort.operations.getStatus(.init())
            #expect(try await iterator.next() != nil)
            let second = await #expect(throws: RPCError.self) {
                for try await _ in try await cohort.operations.streamSpans(.init()) {}
            }
            #expect(second?.code == .failedPrecondition && second?.errorInfo?.reason == "SPANS_ARE_READ")
            server.program.signal(SIGTERM)
            while try await iterator.next() != nil {}
        }
        #expect(try await server.program.wait() == 0)
    }

    @Test("Levels change at run time, the log goes to a file that can be moved away, and holds no attribute")
    func logs() async throws {
        let directory = try TemporaryDirectory()
        let log = directory.file("server.log")
        let program = try RunningProgram(
            Programs.server,
            ["--dev", "--listen", "127.0.0.1:0", "--data-dir", directory.file("data"), "--log-file-path", log]
        )
        defer { program.signal(SIGKILL) }
        let content = { (name: String) in (try? String(contentsOfFile: name, encoding: .utf8)) ?? "" }
        try await eventually("not loaded: \(content(log)) \(program.errors)") {
            content(log).contains("the index is loaded")
        }
        let address = try #require(content(log).firstMatch(of: #/"address":"([^"]+)"/#)?.1)
        func cohortctl(_ arguments: String..., expecting status: Int32 = 0) async throws -> String {
            let ctl = try RunningProgram(
                Programs.cohortctl,
                ["--endpoint", String(address), "--ca", directory.file("data/tls/ca.pem")] + arguments
            )
            #expect(try await ctl.wait() == status, "\(arguments) \(ctl.errors)")
            return ctl.output + ctl.errors
        }
        _ = try await cohortctl("customers", "get", "mallory", expecting: 1)
        try await eventually("no access line: \(content(log))") { content(log).contains("\"message\":\"call ended\"") }
        let line = try #require(content(log).split(separator: "\n").first { $0.contains("call ended") })
        #expect(line.contains("\"rpc.method\":\"cohort.v1.CustomerService/GetCustomer\"") && !line.contains("mallory"))
        #expect(try await cohortctl("log-level", "debug", "--logger", "cohort.rpc").contains("cohort.rpc"))
        #expect(try await cohortctl("log-level", "loud", expecting: 1).contains("no such level"))
        #expect(
            try await cohortctl("log-level", "debug", "--logger", "cohort.nope", expecting: 1).contains("cohort.engine")
        )
        try FileManager.default.moveItem(atPath: log, toPath: log + ".moved")
        program.signal(SIGHUP)
        try await eventually("not made anew") { FileManager.default.fileExists(atPath: log) }
        program.signal(SIGTERM)
        #expect(try await program.wait() == 0)
        #expect(
            content(log).contains("\"message\":\"stopped\"")
                && !content(log + ".moved").contains("\"message\":\"stopped\"")
        )
        #expect(program.errors.isEmpty, "\(program.errors)")
    }
}
