import CohortAPI
import Foundation
import NIOPosix
import RPC

/// The programs under test, as they were built beside the tests.
enum Programs {
    private static let directory: URL = {
        URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent()
    }()

    static var server: URL { directory.appending(path: "cohort-server") }
    static var cohortctl: URL { directory.appending(path: "cohortctl") }
    static var sidecar: URL { directory.appending(path: "cohort-sidecar") }
    static var loadtest: URL { directory.appending(path: "cohort-loadtest") }
    static var loadtestPeer: URL { directory.appending(path: "cohort-loadtest-peer") }
    static var generator: URL { directory.appending(path: "protoc-gen-swift-ttrpc") }
}

/// A file of the repository, or beside it.
func repositoryFile(_ path: String) -> String {
    URL(fileURLWithPath: #filePath).deletingLastPathComponent().appending(path: "../../\(path)").standardized.path
}

/// A directory that is removed with the value that holds it.
final class TemporaryDirectory: Sendable {
    let path: String

    init() throws {
        path = NSTemporaryDirectory() + "cohort-test-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func file(_ name: String) -> String { path + "/" + name }

    @discardableResult
    func write(_ name: String, _ text: String) throws -> String {
        try text.write(toFile: file(name), atomically: true, encoding: .utf8)
        return file(name)
    }
}

struct HarnessError: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

/// A running program whose output is collected, in files: no pipe can fill up or be closed under it.
final class RunningProgram: Sendable {
    private let process: Process
    private let directory: TemporaryDirectory

    init(_ program: URL, _ arguments: [String], environment: [String: String] = [:]) throws {
        directory = try TemporaryDirectory()
        process = Process()
        process.executableURL = program
        process.arguments = arguments
        var variables = ProcessInfo.processInfo.environment
        for name in variables.keys where name.hasPrefix("COHORT_") { variables[name] = nil }
        process.environment = variables.merging(environment) { _, new in new }
        process.standardInput = FileHandle.nullDevice
        for name in ["output", "errors"] { try directory.write(name, "") }
        process.standardOutput = FileHandle(forWritingAtPath: directory.file("output"))
        process.standardError = FileHandle(forWritingAtPath: directory.file("errors"))
        try process.run()
        try Self.watch(process.processIdentifier)
    }

    /// Ends the program when the tests die without ending it.
    private static func watch(_ program: Int32) throws {
        let watchdog = Process()
        watchdog.executableURL = URL(fileURLWithPath: "/bin/sh")
        watchdog.arguments = [
            "-c", "while kill -0 \(getpid()) && kill -0 \(program); do sleep 1; done 2>/dev/null; kill -9 \(program)",
        ]
        watchdog.standardInput = FileHandle.nullDevice
        watchdog.standardOutput = FileHandle.nullDevice
        watchdog.standardError = FileHandle.nullDevice
        try watchdog.run()
    }

    var output: String { (try? String(contentsOfFile: directory.file("output"), encoding: .utf8)) ?? "" }
    var errors: String { (try? String(contentsOfFile: directory.file("errors"), encoding: .utf8)) ?? "" }
    var isRunning: Bool { process.isRunning }

    func signal(_ number: Int32) { kill(process.processIdentifier, number) }

    /// Stops all of its threads. A signal alone is on its way for a while, in which a call is answered yet.
    func pause() async throws {
        signal(SIGSTOP)
        let tasks = "/proc/\(process.processIdentifier)/task"
        try await eventually("did not stop") {
            try FileManager.default.contentsOfDirectory(atPath: tasks).allSatisfy { task in
                // The state follows the name, which is in brackets.
                let status = try String(contentsOfFile: "\(tasks)/\(task)/stat", encoding: .utf8)
                return status.split(separator: ")").last?.split(separator: " ").first == "T"
            }
        }
    }

    func resume() { signal(SIGCONT) }

    /// Waits for the end; kills the program when that takes too long.
    func wait(seconds: Double = 120) async throws -> Int32 {
        let deadline = ContinuousClock.now + .seconds(seconds)
        while process.isRunning {
            guard ContinuousClock.now < deadline else {
                signal(SIGKILL)
                throw HarnessError("\(process.executableURL?.lastPathComponent ?? "?") did not end; it said: \(errors)")
            }
            try await Task.sleep(for: .milliseconds(2))
        }
        return process.terminationStatus
    }
}

/// Runs `body` with a client, which is shut down after it.
func withClient<Result>(
    _ configuration: ClientConfiguration,
    _ body: (Client) async throws -> Result
) async throws -> Result {
    let client = try Client(configuration, eventLoopGroup: MultiThreadedEventLoopGroup.singleton)
    do {
        let result = try await body(client)
        await client.shutdown()
        return result
    } catch {
        await client.shutdown()
        throw error
    }
}

/// Waits for what another process brings about.
///
/// - Throws: ``HarnessError`` with what is wrong when it takes longer than `seconds`.
func eventually(
    _ problem: @autoclosure () async -> String,
    seconds: Double = 30,
    _ condition: () async throws -> Bool
) async throws {
    let deadline = ContinuousClock.now + .seconds(seconds)
    while try await !condition() {
        guard ContinuousClock.now < deadline else { throw HarnessError(await problem()) }
        try await Task.sleep(for: .milliseconds(50))
    }
}

/// A real `cohort-server`, by default with `--dev`, on a free port of loopback.
final class TestServer: Sendable {
    let program: RunningProgram
    let endpoint: Endpoint
    let dataDirectory: String

    /// Returns when it listens and, unless told otherwise, has loaded its index.
    init(
        dataDirectory: String,
        arguments: [String] = [],
        listen: Endpoint = Endpoint(host: "127.0.0.1", port: 0),
        isDevelopment: Bool = true,
        waitsUntilReady: Bool = true
    ) async throws {
        self.dataDirectory = dataDirectory
        program = try RunningProgram(
            Programs.server,
            (isDevelopment ? ["--dev"] : []) + ["--listen", "\(listen)", "--data-dir", dataDirectory] + arguments
        )
        endpoint = try await Self.address(program)
        guard waitsUntilReady else { return }
        do { try await waitUntilReady() } catch {
            throw HarnessError("the server does not get ready: \(error); it said: \(program.errors)")
        }
    }

    deinit { program.signal(SIGKILL) }

    static func address(_ program: RunningProgram) async throws -> Endpoint {
        let deadline = ContinuousClock.now + .seconds(60)
        while ContinuousClock.now < deadline {
            for line in program.errors.split(separator: "\n") where line.contains("\"message\":\"listening\"") {
                guard let address = line.firstMatch(of: #/"address":"([^"]+)"/#)?.1,
                    let endpoint = Endpoint(String(address))
                else { continue }
                return endpoint
            }
            guard program.isRunning else { break }
            try await Task.sleep(for: .milliseconds(2))
        }
        program.signal(SIGKILL)
        throw HarnessError("the server does not listen; it said: \(program.errors)")
    }

    private func waitUntilReady() async throws {
        try await withClient { client in
            let deadline = ContinuousClock.now + .seconds(60)
            while ContinuousClock.now < deadline {
                let status = try await CohortClient(client).operations.getStatus(.init())
                if status.state == .serving { return }
                try await Task.sleep(for: .milliseconds(5))
            }
            throw HarnessError("the server is not ready; it said: \(program.errors)")
        }
    }

    func tlsFile(_ name: String) -> String { "\(dataDirectory)/tls/\(name)" }

    func withClient<Result>(_ body: (Client) async throws -> Result) async throws -> Result {
        try await EndToEndTests.withClient(
            ClientConfiguration(
                endpoints: [endpoint],
                tls: ClientTLS(trustRootsPath: tlsFile("ca.pem")),
                defaultTimeout: .seconds(60)
            ),
            body
        )
    }

    /// Runs cohortctl against this server.
    @discardableResult
    func cohortctl(_ arguments: String..., expecting status: Int32 = 0) async throws -> (output: String, errors: String)
    {
        try await cohortctl(arguments, expecting: status)
    }

    @discardableResult
    func cohortctl(_ arguments: [String], expecting status: Int32 = 0) async throws -> (output: String, errors: String)
    {
        let program = try RunningProgram(
            Programs.cohortctl,
            ["--endpoint", "\(endpoint)", "--ca", tlsFile("ca.pem")] + arguments
        )
        let ended = try await program.wait()
        guard ended == status else {
            throw HarnessError("cohortctl \(arguments) ended with \(ended): \(program.output)\(program.errors)")
        }
        return (program.output, program.errors)
    }

    /// `kill -9`, and waits until it is gone.
    func kill() async throws {
        program.signal(SIGKILL)
        _ = try await program.wait()
    }

    /// SIGTERM, and waits for the end.
    func stop() async throws -> Int32 {
        program.signal(SIGTERM)
        return try await program.wait()
    }
}

/// Runs `body` for every element, at most `width` at once.
func forEachConcurrently<Element: Sendable>(
    _ elements: [Element],
    width: Int = 64,
    _ body: @escaping @Sendable (Element) async throws -> Void
) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
        for (index, element) in elements.enumerated() {
            if index >= width { try await group.next() }
            group.addTask { try await body(element) }
        }
        try await group.waitForAll()
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): the same numbers for the same seed, everywhere.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
