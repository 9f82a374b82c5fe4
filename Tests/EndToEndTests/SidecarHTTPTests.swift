import Foundation
import NIOCore
import NIOPosix
import Synchronization
import Testing

/// A connection that sends and reads as badly as it is told.
private final class BadClient: Sendable {
    private let channel: any Channel
    private let got = Atomic<Int>(0)

    private final class Reader: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        let got: @Sendable (Int) -> Void
        init(_ got: @escaping @Sendable (Int) -> Void) { self.got = got }
        func channelRead(context: ChannelHandlerContext, data: NIOAny) { got(unwrapInboundIn(data).readableBytes) }
        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }

    private final class Count: Sendable { let bytes = Atomic<Int>(0) }
    private let count: Count

    init(_ address: String, reads: Bool = true) async throws {
        let parts = address.split(separator: ":")
        let count = Count()
        self.count = count
        channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelOption(.autoRead, value: reads)
            .channelOption(.socketOption(.so_rcvbuf), value: 4_096)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(
                        Reader { count.bytes.wrappingAdd($0, ordering: .relaxed) }
                    )
                }
            }
            .connect(host: String(parts[0]), port: Int(parts[1]) ?? 0).get()
    }

    deinit { channel.close(promise: nil) }

    var bytes: Int { count.bytes.load(ordering: .relaxed) }
    var isOpen: Bool { channel.isActive }
    func send(_ text: String) { channel.writeAndFlush(ByteBuffer(string: text), promise: nil) }
    func read() { channel.setOption(.autoRead, value: true).whenComplete { _ in } }
}

@Suite("Sidecar's HTTP side")
struct SidecarHTTPTests {
    private func sidecar(_ arguments: [String]) async throws -> (TestSidecar, TestServer, TemporaryDirectory) {
        let directory = try TemporaryDirectory()
        let server = try await TestServer(dataDirectory: directory.file("data"))
        let sidecar = try await TestSidecar(server: server.endpoint, ca: server.tlsFile("ca.pem"), arguments)
        return (sidecar, server, directory)
    }

    private func closed(_ sidecar: TestSidecar, _ reason: String) async throws -> Double {
        try await sidecar.sample("sidecar_http_connections_closed_total{reason=\"\(reason)\"}")
    }

    @Test("Who sends no request, drips one, drips a body or sends too much of it is closed, and the others are served")
    func slowSenders() async throws {
        let (sidecar, server, _) = try await sidecar(["--limits-request-seconds", "1", "--limits-idle-seconds", "2"])
        let silent = try await BadClient(sidecar.address)
        let drip = try await BadClient(sidecar.address)
        let head = try await BadClient(sidecar.address)
        let body = try await BadClient(sidecar.address)
        head.send("GET /livez HTTP/1.1\r\nHost: localhost\r\nX: " + String(repeating: "x", count: 20_000))
        body.send(
            "POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"
                + String(repeating: "b", count: 20_000)
        )
        let slow = try await BadClient(sidecar.address)
        slow.send("GET /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n")
        for byte in "GET /metrics HTTP/1.1\r\nHost: localhost" where drip.isOpen {
            drip.send(String(byte))
            slow.send("x")
            try await Task.sleep(for: .milliseconds(100))
        }
        for (name, client) in [("silent", silent), ("drip", drip), ("head", head), ("body", body), ("slow", slow)] {
            try await eventually("\(name) is still open") { !client.isOpen }
        }
        #expect(try await closed(sidecar, "no_request") >= 2)
        #expect(try await closed(sidecar, "body") >= 1)
        #expect(try await sidecar.get("/readyz").status == 200)
        #expect(try await sidecar.stop() == 0)
        #expect(try await server.stop() == 0)
    }

    @Test("Who asks and reads nothing is closed, holds one page at most, and keeps nobody from scraping")
    func slowReaders() async throws {
        let (sidecar, server, _) = try await sidecar(
            ["--limits-request-seconds", "2", "--limits-connections", "40"]
        )
        let before = try await sidecar.sample("sidecar_process_memory_usage_bytes")
        var clients: [BadClient] = []
        for _ in 0..<30 {
            let client = try await BadClient(sidecar.address, reads: false)
            // More pages than any buffer of the system holds.
            client.send(String(repeating: "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", count: 500))
            clients.append(client)
        }
        #expect(try await sidecar.get("/livez").status == 200)
        #expect(try await sidecar.get("/metrics").body.contains("sidecar_server_up 1\n"))
        try await eventually("they are still open") { try await closed(sidecar, "slow") >= 30 }
        _ = clients
        let after = try await sidecar.sample("sidecar_process_memory_usage_bytes")
        #expect(after - before < 64 * 1_048_576, "\(before) \(after)")
        #expect(try await sidecar.stop() == 0)
        #expect(try await server.stop() == 0)
    }

    @Test("At the end who reads nothing holds nobody up, whatever the limit for an answer is")
    func slowReaderAtTheEnd() async throws {
        let (sidecar, server, _) = try await sidecar(["--limits-request-seconds", "600"])
        let requests = #"sidecar_http_requests_total{path="/metrics",status="200"}"#
        let client = try await BadClient(sidecar.address, reads: false)
        client.send(String(repeating: "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", count: 500))
        try await eventually("not asked") { try await sidecar.sample(requests) > 3 }
        #expect(client.isOpen)
        sidecar.program.signal(SIGTERM)
        #expect(try await sidecar.program.wait(seconds: 60) == 0)
        #expect(try await server.stop() == 0)
    }

    @Test("The dashboard's figures are rendered once for all who ask before there are others")
    func dashboardAnswers() async throws {
        let (sidecar, server, _) = try await sidecar(
            ["--dashboard-seconds", "60", "--poll-seconds", "60", "--dashboard-history-seconds", "3600"]
                + ["--probes-stale-seconds", "120", "--probes-stall-seconds", "300"]
        )
        var answers: [String] = []
        // The first sample and the first answer have come when two answers with both are the same.
        try await eventually("there is another answer each time: \(answers)") {
            let answer = try await sidecar.get("/dashboard/data").body
            answers = [answer, try await sidecar.get("/dashboard/data").body]
            return answer.contains(#""n":1"#) && answer.contains(#""up":true"#) && answers[0] == answers[1]
        }
        // It tells the time: rendered again it would be another one.
        try await Task.sleep(for: .milliseconds(20))
        #expect(try await sidecar.get("/dashboard/data?since=7").body == answers[0])
        let instance = try #require(answers[0].firstMatch(of: #/"instance":"([0-9a-f]+)"/#)?.1)
        #expect(try await sidecar.get("/dashboard/data?since=1&instance=\(instance)").body.contains(#""samples":[]"#))
        #expect(try await sidecar.stop() == 0)
        #expect(try await server.stop() == 0)
    }

    @Test("More connections than there may be wait, and are served when others are closed")
    func connections() async throws {
        let (sidecar, server, _) = try await sidecar(
            ["--limits-connections", "10", "--limits-request-seconds", "1", "--limits-idle-seconds", "1"]
        )
        var clients: [BadClient] = []
        for _ in 0..<60 { clients.append(try await BadClient(sidecar.address)) }
        // The last of six rounds is let in after the others' second is over.
        try await eventually("not served") { (try? await sidecar.get("/livez").status) == 200 }
        // The system hands out connections four at a time, so that a few more than the limit may be there.
        let open = try await sidecar.sample("sidecar_http_connections")
        #expect(open <= 14, "\(open)")
        _ = clients
        #expect(try await sidecar.stop() == 0)
        #expect(try await server.stop() == 0)
    }

    @Test("With a certificate and a token: TLS, 401 without the token, probes for everybody, and both may change")
    func protection() async throws {
        let directory = try TemporaryDirectory()
        let authority = try TestAuthority(directory: directory.file("tls"))
        let server = try await TestServer(dataDirectory: directory.file("data"))
        let secret = { (text: String) in
            let file = try directory.write("http-token", text)
            try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: file)
            return file
        }
        let token = try secret("first-token-0123456789\n")
        let sidecar = try await TestSidecar(
            server: server.endpoint,
            ca: server.tlsFile("ca.pem"),
            ["--http-cert", authority.file("server.pem"), "--http-key", authority.file("server.key")]
                + ["--http-token-file", token]
        )
        /// With curl: another implementation of TLS and HTTP.
        func curl(_ path: String, _ token: String? = nil, _ more: [String] = []) async throws -> String {
            let header = token.map { ["-H", "Authorization: Bearer \($0)"] } ?? []
            let program = try RunningProgram(
                URL(fileURLWithPath: "/usr/bin/env"),
                ["curl", "-s", "-i", "--cacert", authority.file("ca.pem")] + header + more
                    + ["https://\(sidecar.address)\(path)"]
            )
            _ = try await program.wait()
            return program.output
        }
        let refused = try await curl("/metrics")
        #expect(refused.hasPrefix("HTTP/1.1 401"))
        #expect(refused.lowercased().contains("www-authenticate: bearer realm=\"cohort-sidecar\""))
        #expect(!refused.contains("sidecar_"))
        #expect(try await curl("/nothing").hasPrefix("HTTP/1.1 401"))
        #expect(try await curl("/metrics", "wrong-token-0123456789").hasPrefix("HTTP/1.1 401"))
        #expect(try await curl("/metrics", "first-token-0123456789").contains("sidecar_server_up"))
        #expect(try await curl("/livez").hasPrefix("HTTP/1.1 200"))
        #expect(try await curl("/livez", nil, ["--tls-max", "1.1"]).isEmpty)
        await #expect(throws: (any Error).self) { _ = try await sidecar.get("/livez") }
        _ = try secret("second-token-0123456789\n")
        try await eventually("the new token does not hold") {
            try await curl("/metrics", "second-token-0123456789").hasPrefix("HTTP/1.1 200")
        }
        #expect(try await curl("/metrics", "first-token-0123456789").hasPrefix("HTTP/1.1 401"))
        #expect(try await sidecar.stop() == 0)
        #expect(try await server.stop() == 0)
    }

    @Test(
        "What would leave the door open is refused, with exit status 2",
        arguments: [
            (["--listen", "0.0.0.0:0"], "--listen 0.0.0.0:0 can be reached from other machines"),
            (["--http-cert", "a.pem"], "--http-cert needs --http-key"),
            (["--http-cert", "/none", "--http-key", "/none"], "--http-key:"),
            (["--http-token-file", "/none"], "--http-token-file:"),
            (["--otlp-endpoint", "nowhere"], "--otlp-endpoint takes the URL"),
            (["--otlp-endpoint", "http://user@host"], "--otlp-endpoint takes the URL"),
            (["--otlp-endpoint", "http://h:1", "--otlp-headers-file", "/none"], "--otlp-headers-file:"),
            (["--otlp-endpoint", "https://h:1", "--otlp-ca", "/none"], "--otlp-ca:"),
            (["--emf-output", "file"], "--emf-output file needs --emf-file"),
            (["--emf-output", "file", "--emf-file", "/none/x"], "--emf-file: cannot write"),
            (["--emf-output", "stdout", "--emf-namespace", "AWS/x"], "--emf-namespace takes"),
        ]
    )
    func badSettings(arguments: [String], problem: String) async throws {
        let program = try RunningProgram(Programs.sidecar, arguments)
        #expect(try await program.wait() == 2)
        #expect(program.errors.contains(problem), "\(program.errors)")
    }
}

extension SidecarHTTPTests {
    @Test("Without a token a request has to name this machine, so that no page of elsewhere reads the dashboard")
    func rebinding() async throws {
        let directory = try TemporaryDirectory()
        let server = try await TestServer(dataDirectory: directory.file("data"))
        let sidecar = try await TestSidecar(server: server.endpoint, ca: server.tlsFile("ca.pem"))
        func status(_ host: String) async throws -> String {
            let program = try RunningProgram(
                URL(fileURLWithPath: "/usr/bin/curl"),
                [
                    "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", "Host: \(host)",
                    "http://\(sidecar.address)/metrics",
                ]
            )
            _ = try await program.wait()
            return program.output
        }
        for host in ["localhost", "127.0.0.1:9464", "[::1]:9464", "127.1.2.3"] {
            #expect(try await status(host) == "200")
        }
        for host in ["evil.example:9464", "127.0.0.1.evil.example", "[::2]", "localhost.evil"] {
            #expect(try await status(host) == "421", "\(host)")
        }
    }
}
