import CohortAPI
import Foundation
import GRDB
import RPC
import SwiftProtobuf
import Synchronization
import Testing

/// Whether this process may mount a file system of its own.
private let mayMount: Bool = {
    let directory = FileManager.default.temporaryDirectory.path + "/cohort-mount-\(getpid())"
    guard mkdir(directory, 0o700) == 0 else { return false }
    defer { rmdir(directory) }
    guard mount("tmpfs", directory, "tmpfs", 0, "size=64k") == 0 else { return false }
    return umount(directory) == 0
}()

/// A file system in memory of a given size.
private final class SmallDisk: Sendable {
    let directory: TemporaryDirectory

    init(bytes: Int) throws {
        directory = try TemporaryDirectory()
        try #require(mount("tmpfs", directory.path, "tmpfs", 0, "size=\(bytes)") == 0)
    }

    /// Takes all the room there is.
    func fill() {
        let file = open(directory.file("filler"), O_WRONLY | O_CREAT | O_APPEND, 0o600)
        let block = [UInt8](repeating: 1, count: 4_096)
        while write(file, block, block.count) > 0 {}
        close(file)
    }

    func empty() throws { try #require(unlink(directory.file("filler")) == 0) }

    deinit { umount2(directory.path, Int32(MNT_DETACH)) }
}

/// The store of a real server fails under it: the breaker of its writes opens, reads go on, what was acknowledged stays, and
/// writes come back by themselves.
@Suite("Store faults", .serialized, .timeLimit(.minutes(5)))
struct StoreFaultTests {
    /// What the server acknowledged.
    private final class Acknowledged: Sendable {
        private let values = Mutex<[String: Double]>([:])
        var all: [String: Double] { values.withLock { $0 } }
        func note(_ id: String, _ spend: Double) { values.withLock { $0[id] = spend } }
    }

    private let settings = [
        "--breaker-failures-row", "3", "--breaker-open-seconds", "2", "--breaker-trials", "2",
    ]

    /// Calls are made once: what the server answers is what is looked at.
    private func withPlainClient<R>(_ server: TestServer, _ body: (CohortClient) async throws -> R) async throws -> R {
        var configuration = ClientConfiguration(
            endpoints: [server.endpoint],
            tls: ClientTLS(trustRootsPath: server.tlsFile("ca.pem")),
            defaultTimeout: .seconds(60)
        )
        configuration.retry = nil
        return try await withClient(configuration) { try await body(CohortClient($0)) }
    }

    private func put(_ cohort: CohortClient, _ id: String, _ spend: Double, _ noted: Acknowledged) async -> RPCError? {
        do throws(RPCError) {
            _ = try await cohort.customers.putCustomer(
                .with {
                    $0.customerID = id
                    $0.attributes["daily_spend"] = .with { $0.doubleValue = spend }
                }
            )
            noted.note(id, spend)
            return nil
        } catch {
            return error
        }
    }

    private func writes(_ cohort: CohortClient) async throws -> BreakerStatus {
        let status = try await cohort.operations.getStatus(.init())
        return try #require(status.breakers.first { $0.name == "store_writes" })
    }

    /// Every acknowledged customer is there, and a member or not by what was acknowledged.
    private func check(_ cohort: CohortClient, _ noted: Acknowledged) async throws {
        for (id, spend) in noted.all {
            let answer = try await cohort.membership.checkMembership(
                .with {
                    $0.customerID = id
                    $0.cohortID = "BIG"
                }
            )
            #expect(answer.membership == (spend > 10 ? .in : .out) && answer.reason != .customerNotFound, "\(id)")
            #expect(answer.sequence > 0)
        }
    }

    /// Puts until the breaker is open, and looks at what is answered then. Returns the put that met the failure: whether it was
    /// written is known, and told, once the store answers again.
    private func open(
        _ server: TestServer,
        _ cohort: CohortClient,
        _ noted: Acknowledged
    ) async throws -> Task<RPCError?, Never> {
        let writing = Task { () -> RPCError? in
            for i in 0..<100_000 {
                if let error = await put(cohort, "w\(i)", Double(i % 20), noted) { return error }
            }
            return nil
        }
        try await eventually("the breaker does not open") { try await writes(cohort).state == .open }
        let error = try #require(await put(cohort, "refused", 11, noted))
        #expect(error.errorInfo?.reason == "STORE_CIRCUIT_OPEN", "\(error)")
        #expect(error.code == .unavailable && error.retryDelay != nil)
        let status = try await cohort.operations.getStatus(.init())
        #expect(error.message.contains("nothing was written") && error.message.contains("as of sequence"), "\(error)")
        #expect(status.breakers.first { $0.name == "store_writes" }?.opened ?? 0 >= 1)
        #expect(status.breakers.first { $0.name == "store_writes" }?.rejected ?? 0 >= 1)
        #expect(status.breakers.first { $0.name == "store_reads" }?.state == .closed)
        try await check(cohort, noted)
        let table = try await server.cohortctl("status").output
        #expect(table.contains("store writes") && table.contains("refused"), "\(table)")
        return writing
    }

    /// Puts go on, the breaker closes, and what was acknowledged outlives a `kill -9`.
    private func recover(_ server: TestServer, _ cohort: CohortClient, _ noted: Acknowledged) async throws {
        try await eventually("the breaker does not close") {
            for i in 0..<5 { _ = await put(cohort, "after\(i)", 11, noted) }
            return try await writes(cohort).state == .closed
        }
        #expect(await put(cohort, "last", 11, noted) == nil)
        try await eventually("the server still has a problem") {
            let status = try await cohort.operations.getStatus(.init())
            return status.state == .serving && status.stateDetail.isEmpty
        }
    }

    private func restart(_ server: TestServer, _ noted: Acknowledged) async throws {
        try await server.kill()
        let again = try await TestServer(dataDirectory: server.dataDirectory)
        try await withPlainClient(again) { cohort in
            try await check(cohort, noted)
            let status = try await cohort.operations.getStatus(.init())
            #expect(status.customers >= UInt64(noted.all.count))
        }
        #expect(try await again.stop() == 0)
    }

    @Test(
        "A full disk opens the breaker; reads go on, nothing acknowledged is lost, and it recovers by itself",
        .enabled(if: mayMount, "mounting a small file system takes root: not tested here")
    )
    func fullDisk() async throws {
        let disk = try SmallDisk(bytes: 8 << 20)
        let server = try await TestServer(dataDirectory: disk.directory.file("data"), arguments: settings)
        try await server.cohortctl("cohorts", "create", "BIG", "--rule", "customer.daily_spend > 10.0")
        let noted = Acknowledged()
        try await withPlainClient(server) { cohort in
            for i in 0..<50 { #expect(await put(cohort, "c\(i)", Double(i % 20), noted) == nil) }
            disk.fill()
            let writing = try await open(server, cohort, noted)
            try disk.empty()
            #expect(await writing.value?.code == .unavailable)
            try await recover(server, cohort, noted)
        }
        try await restart(server, noted)
    }

    @Test("A database that another program locks opens the breaker; reads go on, and it recovers by itself")
    func locked() async throws {
        let directory = try TemporaryDirectory()
        let server = try await TestServer(dataDirectory: directory.path, arguments: settings)
        try await server.cohortctl("cohorts", "create", "BIG", "--rule", "customer.daily_spend > 10.0")
        let noted = Acknowledged()
        try await withPlainClient(server) { cohort in
            for i in 0..<50 { #expect(await put(cohort, "c\(i)", Double(i % 20), noted) == nil) }
            var shell = Configuration()
            shell.allowsUnsafeTransactions = true
            let other = try DatabaseQueue(path: directory.file("log.db"), configuration: shell)
            try await other.writeWithoutTransaction { try $0.execute(sql: "BEGIN EXCLUSIVE") }
            let writing = try await open(server, cohort, noted)
            try await other.writeWithoutTransaction { try $0.execute(sql: "ROLLBACK") }
            try other.close()
            #expect(await writing.value?.code == .unavailable)
            try await recover(server, cohort, noted)
        }
        try await restart(server, noted)
    }
}
