import CohortPageChecks
import Foundation
import PowerLossVFS
import Synchronization
import Testing

@testable import CohortCore
@testable import CohortSQLite

/// Loss of power, simulated below SQLite (Tests/PowerLossVFS): what was synced survives, of the rest a random part.
@Suite("Loss of power", .serialized)
struct PowerLossTests {
    private struct Outcome {
        /// Crash points, and among them those in the middle of an open.
        var crashes = 0
        var opens = 0
        var bulkChanges = 0
        /// Crash points at which something acknowledged was gone, or the rest refused to start.
        var lost: [String] = []
    }

    @Test("100 crash points: no acknowledged write is lost, nothing is half there, the store opens")
    func synchronousFull() async throws {
        for seed in 0..<(ModelTests.longRun ? 20 : 4) {
            let outcome = try await crashes(25, seed: UInt64(seed), .full)
            #expect(outcome.lost.isEmpty, "seed \(seed): \(outcome.lost)")
            #expect(outcome.crashes == 25 && outcome.opens > 0 && outcome.bulkChanges > 0)
        }
    }

    @Test("The same without syncing the log loses acknowledged writes, so the test can see it")
    func synchronousOff() async throws {
        var lost: [String] = []
        // Gone for good: the log is shorter than what was acknowledged, or than the tables, which makes the start refuse.
        // A damaged log, which refuses as well, is the more frequent end.
        func isShort(_ text: String) -> Bool {
            text.contains("is left of") || text.contains("but the change log ends at")
        }
        for seed in 0..<60 as Range<UInt64> {
            lost += try await crashes(25, seed: seed, .off).lost
            if seed >= 5, lost.contains(where: isShort) { break }
        }
        #expect(lost.count >= 6 && lost.contains(where: isShort), "\(lost)")
    }

    /// A model's run in which the power fails `count` times, each time at a random write, sync, truncation, creation or
    /// deletion of a file. It goes on from what survived.
    private func crashes(
        _ count: Int,
        seed: UInt64,
        _ synchronous: FileOptions.Synchronous
    ) async throws -> Outcome {
        try #require(power_loss_register() == 0 && cohort_page_checks_set_base("power-loss") == 0)
        defer { _ = cohort_page_checks_set_base("unix") }
        let root = TemporaryDirectory()
        var options = FileOptions(logSynchronous: synchronous)
        // Small, so that they come often.
        options.logCheckpointPages = 30
        options.tablesCheckpointPages = 20
        var directory = root.path + "/0"
        var outcome = Outcome()
        let run = ModelRun(seed: seed, operations: 0) { SQLiteStore(directory: directory, options: options) }
        power_loss_watch(directory)
        run.history = [:]
        try await run.open()
        try await run.declare()
        for crash in 1...count {
            let next = root.path + "/\(crash)"
            try FileManager.default.createDirectory(atPath: next, withIntermediateDirectories: true)
            power_loss_acknowledge(run.model.sequence)
            let reopens = crash % 5 == 0
            let operations = Int.random(in: 1...(reopens ? 40 : 150), using: &run.random)
            let head = run.engine.status.audit.head
            power_loss_arm(operations, run.random.next(), next)
            if reopens { try await run.reopen(losingTables: false) }
            if power_loss_struck() != 0 { outcome.opens += 1 }
            for _ in 0..<60 where power_loss_struck() == 0 {
                try await run.step()
                power_loss_acknowledge(run.model.sequence)
                outcome.bulkChanges += run.engine.shared.published.withLock { $0.bulks.count }
            }
            power_loss_strike()
            outcome.crashes += 1
            try await run.close()
            let acknowledged = power_loss_acknowledged()
            directory = next
            power_loss_watch(directory)
            do {
                try await run.open()
            } catch {
                outcome.lost.append("crash \(crash), \(acknowledged) acknowledged: \(error)")
                return outcome
            }
            let reached = run.engine.status.sequence
            guard reached >= acknowledged, let model = run.history?[reached] else {
                outcome.lost.append("crash \(crash): \(reached) is left of \(acknowledged)")
                try await run.close()
                return outcome
            }
            run.history = [:]
            run.model = model
            if synchronous == .full {
                try await run.compare()
                #expect(try await run.engine.verdict(known: head).findings == [])
            }
        }
        try await run.close()
        return outcome
    }

    @Test("After a sync that failed, what is acknowledged later is durable all the same")
    func failedSync() async throws {
        try #require(power_loss_register() == 0 && cohort_page_checks_set_base("power-loss") == 0)
        defer { _ = cohort_page_checks_set_base("unix") }
        let root = TemporaryDirectory()
        let (directory, survivors) = (root.path + "/0", root.path + "/1")
        try FileManager.default.createDirectory(atPath: survivors, withIntermediateDirectories: true)
        power_loss_watch(directory)
        // Upkeep would meet the log while it is opened anew, and say so for some seconds.
        var configuration = EngineConfiguration()
        configuration.upkeepInterval = 0
        let engine = try await started(SQLiteStore(directory: directory), configuration: configuration)
        for i in 0..<30 {
            // The kernel drops what it could not write, and says so once.
            if i % 3 == 0 { power_loss_fail(Int32(POWER_LOSS_SYNC), "log.db-wal", 1_034, 1) }
            let put = CustomerPut(customerID: "c\(i)", attributes: [("daily_spend", .double(1))])
            _ = await domainError { try await engine.put(put, context: tester) }
        }
        let sequence = engine.status.sequence
        #expect(sequence >= 22 && engine.status.problem.isEmpty)
        power_loss_acknowledge(sequence)
        power_loss_arm(1_000_000, 1, survivors)
        power_loss_strike()
        try await blocking { engine.shutdown() }
        power_loss_watch(survivors)
        let again = try await started(SQLiteStore(directory: survivors))
        #expect(again.status.sequence == sequence)
        #expect(try await again.audit().differences == 0)
        try await blocking { again.shutdown() }
    }
}
