import CohortPageChecks
import Foundation
import GRDB
import PowerLossVFS
import Synchronization
import Testing

@testable import CohortCore
@testable import CohortSQLite

/// Whether this process may mount a file system of its own.
private let mayMount: Bool = {
    let directory = FileManager.default.temporaryDirectory.path + "/cohort-mount-\(getpid())"
    guard mkdir(directory, 0o700) == 0 else { return false }
    defer { rmdir(directory) }
    guard mount("tmpfs", directory, "tmpfs", 0, "size=64k") == 0 else { return false }
    return umount(directory) == 0
}()

/// What each customer's acknowledged put said.
private final class Acknowledged: Sendable {
    private let values = Mutex<[String: Double]>([:])

    var all: [String: Double] { values.withLock { $0 } }
    func note(_ id: String, _ spend: Double) { values.withLock { $0[id] = spend } }
}

/// A file system in memory of a given size.
private final class SmallDisk: Sendable {
    let path: String

    init(bytes: Int) throws {
        path = FileManager.default.temporaryDirectory.path + "/cohort-disk-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        try #require(mount("tmpfs", path, "tmpfs", 0, "size=\(bytes)") == 0)
    }

    func remount(readOnly: Bool) throws {
        try #require(mount("tmpfs", path, "tmpfs", UInt(MS_REMOUNT) | (readOnly ? UInt(MS_RDONLY) : 0), nil) == 0)
    }

    deinit {
        umount2(path, Int32(MNT_DETACH))
        rmdir(path)
    }
}

/// A disk that is full, read-only or damaged, and a lock that another holds: nothing acknowledged is lost, no answer is
/// wrong, the status says what is the matter.
@Suite("Disk faults", .serialized, .timeLimit(.minutes(5)))
struct DiskFaultTests {
    private func put(_ engine: Engine, _ id: String, _ spend: Double) async throws {
        _ = try await engine.put(
            CustomerPut(customerID: id, attributes: [("daily_spend", .double(spend))]),
            context: tester
        )
    }

    private func create(_ engine: Engine) async throws {
        _ = try await engine.createCohort(
            CohortDefinition(id: "BIG", kind: .rule, rule: "customer.daily_spend > 10.0"),
            context: tester
        )
        _ = try await engine.createCohort(CohortDefinition(id: "LIST", kind: .list, rule: nil), context: tester)
    }

    private func startFailure(_ store: SQLiteStore) async throws -> (DomainError?, problem: String) {
        let engine = Engine(store: store)
        do {
            try await blocking { try engine.start() }
            try await blocking { engine.shutdown() }
            return (nil, "")
        } catch {
            #expect(engine.status.state == .failed)
            return (error as? DomainError, engine.status.problem)
        }
    }

    /// Every acknowledged customer, and memberships that follow from what it says.
    private func check(_ directory: String, _ acknowledged: [String: Double]) async throws {
        let engine = try await started(SQLiteStore(directory: directory))
        #expect(engine.status.customers >= UInt64(acknowledged.count))
        for (id, spend) in acknowledged {
            let view = try await engine.customer(id: id, deadline: .far)
            #expect(view.attributes.first?.value == .double(spend))
            #expect(view.cohorts.map(\.cohort) == (spend > 10 ? ["BIG"] : []))
        }
        #expect(try await engine.audit().differences == 0)
        try await blocking { engine.shutdown() }
    }

    @Test(
        "A full disk: what is refused is told, reads go on, writes go on once there is room, nothing acknowledged is lost",
        .enabled(if: mayMount, "mounting a small file system takes root: not tested here")
    )
    func fullDisk() async throws {
        let disk = try SmallDisk(bytes: 4 << 20)
        let directory = disk.path + "/data"
        var configuration = EngineConfiguration()
        configuration.materializeInterval = 10
        let engine = try await started(
            SQLiteStore(directory: directory, options: FileOptions(busySeconds: 0.1)),
            configuration: configuration
        )
        try await create(engine)
        let acknowledged = Acknowledged()
        let filler = disk.path + "/filler"
        for round in 0..<3 {
            // Takes all the room there is.
            let file = open(filler, O_WRONLY | O_CREAT | O_APPEND, 0o600)
            let block = [UInt8](repeating: 1, count: 4_096)
            while write(file, block, block.count) > 0 {}
            close(file)
            let writing = Task { () -> DomainError? in
                for i in 0..<10_000 {
                    let id = "c\(round)-\(i)"
                    let error = await domainError { try await self.put(engine, id, Double(i % 20)) }
                    if let error { return error }
                    acknowledged.note(id, Double(i % 20))
                }
                return nil
            }
            let told = try await eventually { engine.status.problem.contains("SQLite 13") }
            #expect(told, "\(engine.status)")
            #expect(engine.status.problem.contains("Make room on the disk") && engine.status.problem.contains(".db"))
            // Reads go on, and see what was acknowledged.
            for (id, spend) in acknowledged.all {
                let found = try await engine.checkMembershipWaiting(customer: id, cohort: "BIG", deadline: .far)
                #expect(found.membership == (spend > 10 ? .in : .out))
            }
            // Let it meet the full log too, if it was the tables that were full first.
            _ = try await eventually { engine.status.state == .storeUnavailable }
            #expect(unlink(filler) == 0)
            let refused = await writing.value
            guard case .unavailable(UnavailableReason.storeUnavailable, let message, _)? = refused else {
                Issue.record("\(String(describing: refused)) \(engine.status)")
                break
            }
            #expect(message.contains("Nothing was written"))
            // Without a restart.
            try await put(engine, "after\(round)", 11)
            acknowledged.note("after\(round)", 11)
            #expect(try await eventually { engine.status.problem.isEmpty }, "\(engine.status.problem)")
            #expect(engine.status.state == .serving)
        }
        try await blocking { engine.shutdown() }
        try await check(directory, acknowledged.all)
    }

    @Test(
        "A directory that is mounted read-only refuses the start with directions, and starts once it can be written",
        .enabled(if: mayMount, "mounting a small file system takes root: not tested here")
    )
    func readOnlyDisk() async throws {
        let disk = try SmallDisk(bytes: 8 << 20)
        let directory = disk.path + "/data"
        let engine = try await started(SQLiteStore(directory: directory))
        try await create(engine)
        try await put(engine, "ann", 20)
        try await blocking { engine.shutdown() }
        try disk.remount(readOnly: true)
        let (error, problem) = try await startFailure(SQLiteStore(directory: directory))
        guard case .unavailable(UnavailableReason.storeUnavailable, _, _) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(problem.contains("read-only") && problem.contains(directory), "\(problem)")
        try disk.remount(readOnly: false)
        try await check(directory, ["ann": 20])
    }

    @Test(
        "A disk that refuses writes while the server runs",
        arguments: [
            ("log.db-wal", 8, "read-only"), ("log.db-wal", 778, "Check the disk"), ("log.db-wal", 13, "Make room"),
        ]
    )
    func failingWrites(file: String, code: Int, advice: String) async throws {
        try #require(power_loss_register() == 0 && cohort_page_checks_set_base("power-loss") == 0)
        defer { _ = cohort_page_checks_set_base("unix") }
        let root = TemporaryDirectory()
        let directory = root.path + "/data"
        power_loss_watch(directory)
        let engine = try await started(SQLiteStore(directory: directory))
        try await create(engine)
        try await put(engine, "ann", 20)
        power_loss_fail(Int32(POWER_LOSS_WRITE), file, Int32(code), .max)
        // The write waits: the log is reopened until it can be written.
        let writing = Task { await domainError { try await self.put(engine, "bob", 20) } }
        #expect(try await eventually { engine.status.state == .storeUnavailable })
        #expect(engine.status.problem.contains(advice) && engine.status.problem.contains("log.db"))
        #expect(engine.status.customers == 1)
        power_loss_fail(Int32(POWER_LOSS_WRITE), file, 0, 0)
        guard case .unavailable(_, let message, _) = await writing.value else {
            Issue.record("not refused")
            return
        }
        #expect(message.contains("Nothing was written"))
        try await put(engine, "bob", 20)
        // Upkeep that met the reopening tells of it until its next round.
        #expect(
            try await eventually { engine.status.problem.isEmpty && engine.status.state == .serving },
            "\(engine.status.problem)"
        )
        try await blocking { engine.shutdown() }
        try await check(directory, ["ann": 20, "bob": 20])
    }

    @Test("A lock that another program holds: the status names file and cure, and writes go on once it is gone")
    func locked() async throws {
        let root = TemporaryDirectory()
        let options = FileOptions(busySeconds: 0.05)
        let engine = try await started(SQLiteStore(directory: root.path, options: options))
        try await create(engine)
        try await put(engine, "ann", 20)
        var shell = Configuration()
        shell.allowsUnsafeTransactions = true
        let other = try DatabaseQueue(path: root.path + "/log.db", configuration: shell)
        try await other.writeWithoutTransaction { try $0.execute(sql: "BEGIN EXCLUSIVE") }
        let writing = Task { await domainError { try await self.put(engine, "bob", 20) } }
        #expect(try await eventually { engine.status.state == .storeUnavailable })
        #expect(try await eventually { engine.status.problem.contains("Another program holds a lock") })
        #expect(engine.status.problem.hasPrefix("log: log.db: database is locked"))
        #expect(try await engine.cohortsWaiting(ofCustomer: "ann", deadline: .far).memberships.count == 1)
        try await other.writeWithoutTransaction { try $0.execute(sql: "ROLLBACK") }
        guard case .unavailable(_, let message, _) = await writing.value else {
            Issue.record("not refused")
            return
        }
        #expect(message.contains("Nothing was written"))
        try await put(engine, "bob", 20)
        #expect(engine.status.problem.isEmpty && engine.status.state == .serving)
        try await blocking { engine.shutdown() }
        // At a start there is nothing to go on with: it is refused, and says why.
        try await other.writeWithoutTransaction { try $0.execute(sql: "BEGIN EXCLUSIVE") }
        let (_, problem) = try await startFailure(SQLiteStore(directory: root.path, options: options))
        #expect(problem.contains("log.db") && problem.contains("Another program holds a lock"))
        try await other.writeWithoutTransaction { try $0.execute(sql: "ROLLBACK") }
        try other.close()
        try await check(root.path, ["ann": 20, "bob": 20])
    }
}
