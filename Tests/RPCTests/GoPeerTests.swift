import Foundation
import NIOCore
import NIOPosix
import RPC
import SwiftProtobuf
import Synchronization
import Testing

/// Debian's Go ttRPC (golang-github-containerd-ttrpc-dev) as a stock peer, in both directions, over TLS without ALPN.
@Suite(
    "Go ttRPC peers",
    .enabled(if: GoPeer.isAvailable, "needs golang-go and golang-github-containerd-ttrpc-dev"),
    .timeLimit(.minutes(3))
)
struct GoPeerTests {
    @Test("a Go client calls our server")
    func client() async throws {
        let binary = try await GoPeer.client.binary()
        try await withServer { harness in
            let lines = try await GoPeer.run(
                binary,
                ["\(harness.endpoint)", TestCertificates.shared.path("ca.pem")]
            )
            #expect(
                lines.enumerated().filter { $0.offset != 7 }.map(\.element) == [
                    "hello", "async hello", "parked hello", "", "error NotFound no thing",
                    "error Unimplemented this server has no method test.v1.Echo/Nope", "a,b", "500",
                ]
            )
            // Its own clock and the server's answer race; either is the deadline.
            #expect(
                ["error Unknown context deadline exceeded", "error DeadlineExceeded the deadline is over"].contains(
                    lines.dropFirst(7).first
                )
            )
            // The handler is cancelled by the deadline that came with the call.
            #expect(await harness.service.cancelled.next() == "go")
        }
    }

    @Test("our client calls a Go server")
    func server() async throws {
        let binary = try await GoPeer.server.binary()
        let certificates = TestCertificates.shared
        let process = Process()
        let input = Pipe()
        let output = Pipe()
        process.executableURL = URL(fileURLWithPath: binary)
        process.arguments = [certificates.path("server.pem"), certificates.path("server.key")]
        process.standardInput = input
        process.standardOutput = output
        try process.run()
        defer { try? input.fileHandleForWriting.close() }
        let address = String(decoding: output.fileHandleForReading.availableData, as: UTF8.self)
        let endpoint = try #require(Endpoint(address.trimmingCharacters(in: .whitespacesAndNewlines)))
        for stock in [true, false] {
            var configuration = ClientConfiguration(
                endpoints: [endpoint],
                tls: ClientTLS(trustRootsPath: certificates.path("ca.pem"))
            )
            if stock { configuration.applicationProtocols = [] }
            let client = try Client(configuration, eventLoopGroup: MultiThreadedEventLoopGroup.singleton)
            try await calls(client)
            await client.shutdown()
        }
    }

    private func calls(_ client: Client) async throws {
        let echo: Text = try await client.unary(EchoService.Methods.inline, Text("hello"), .defaults)
        #expect(echo.value == "hello")
        let failed = await #expect(throws: RPCError.self) {
            let _: Text = try await client.unary(EchoService.Methods.fail, Text("thing"), .defaults)
        }
        #expect(failed?.code == .notFound)
        #expect(failed?.message == "no thing")
        let unknown = await #expect(throws: RPCError.self) {
            let _: Text = try await client.unary(EchoService.Methods.make("Nope"), Text("x"), .defaults)
        }
        #expect(unknown?.code == .unimplemented)
        let metadata: Text = try await client.unary(
            EchoService.Methods.make("Metadata"),
            Text("tenant"),
            CallOptions(metadata: ["tenant": "a", "tenant": "b"])
        )
        #expect(metadata.value == "a,b")
        let deadline: Text = try await client.unary(
            EchoService.Methods.make("Deadline"),
            Text(""),
            CallOptions(timeout: .seconds(20))
        )
        #expect(deadline.value == "true")
        let late = await #expect(throws: RPCError.self) {
            let _: Text = try await client.unary(
                EchoService.Methods.hang,
                Text("x"),
                CallOptions(timeout: .milliseconds(300))
            )
        }
        #expect(late?.code == .deadlineExceeded)
        try await withThrowingTaskGroup(of: Bool.self) { group in
            for index in 0..<500 {
                group.addTask {
                    let text: Text = try await client.unary(EchoService.Methods.inline, Text("\(index)"), .defaults)
                    return text.value == "\(index)"
                }
            }
            for try await right in group { #expect(right) }
        }
    }
}

/// Builds a Go peer, once per test run.
actor GoPeer {
    static let client = GoPeer("client")
    static let server = GoPeer("server")

    private static let goPath = "/usr/share/gocode"
    static let isAvailable =
        FileManager.default.fileExists(atPath: goPath + "/src/github.com/containerd/ttrpc/server.go")
        && FileManager.default.isExecutableFile(atPath: "/usr/bin/go")

    private let name: String
    private var built: Task<String, any Error>?

    private init(_ name: String) { self.name = name }

    func binary() async throws -> String {
        if let built { return try await built.value }
        let task = Task { try await Self.build(name) }
        built = task
        return try await task.value
    }

    private static func build(_ name: String) async throws -> String {
        let source = URL(fileURLWithPath: #filePath).deletingLastPathComponent().resolvingSymlinksInPath()
            .deletingLastPathComponent().appendingPathComponent("GoPeer/\(name)/main.go").path
        let binary = TestCertificates.shared.path("go-\(name)")
        _ = try await run("/usr/bin/go", ["build", "-o", binary, source])
        return binary
    }

    /// Runs a program and returns the lines it prints.
    static func run(_ program: String, _ arguments: [String]) async throws -> [String] {
        try await Task.detached {
            let process = Process()
            let output = Pipe()
            process.executableURL = URL(fileURLWithPath: program)
            process.arguments = arguments
            process.environment = ProcessInfo.processInfo.environment.merging([
                "GO111MODULE": "off", "GOPATH": goPath, "GOFLAGS": "-p=1",
            ]) { $1 }
            process.standardOutput = output
            try process.run()
            let data = output.fileHandleForReading.readDataToEndOfFile()
            process.waitUntilExit()
            #expect(process.terminationStatus == 0)
            var lines = String(decoding: data, as: UTF8.self).split(separator: "\n", omittingEmptySubsequences: false)
            if lines.last == "" { lines.removeLast() }
            return lines.map(String.init)
        }.value
    }
}
