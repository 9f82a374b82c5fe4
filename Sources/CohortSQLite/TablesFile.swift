import CohortCore
import Foundation
import GRDB

/// The tables: `cohort.db`. They follow the log, so losing the last transactions costs nothing: `synchronous = NORMAL`,
/// except for what must be there before the log speaks of it.
final class TablesFile: Sendable {
    static let name = "cohort.db"

    /// Seconds that a connection waits for a lock.
    let busySeconds: Double

    let pool: DatabasePool

    /// - Parameter cacheBytes: page cache of the writing connection; the readers have a quarter of it each.
    init(directory: String, cacheBytes: Int, readers: Int, options: FileOptions = .init()) throws(StoreError) {
        busySeconds = max(options.busySeconds, 0.1) * 6
        do {
            var configuration = Configuration()
            configuration.label = "cohort-tables"
            configuration.persistentReadOnlyConnections = true
            configuration.maximumReaderCount = readers
            configuration.busyMode = .timeout(busySeconds)
            configuration.prepareDatabase { db in
                try PageChecks.prepare(db)
                let share = db.configuration.readonly ? cacheBytes / 4 : cacheBytes
                try db.execute(sql: "PRAGMA cache_size = -\(max(share / 1_024, 1_024))")
                if !db.configuration.readonly { _ = try Int.fetchOne(db, sql: "PRAGMA secure_delete = ON") }
            }
            try PageChecks.require(directory, file: Self.name)
            pool = try DatabasePool(path: directory + "/" + Self.name, configuration: configuration)
            try pool.writeWithoutTransaction { db in
                try db.execute(sql: "PRAGMA wal_autocheckpoint = \(options.tablesCheckpointPages)")
                // A batch of random customers can make it large; it does not stay so.
                _ = try Int.fetchOne(db, sql: "PRAGMA journal_size_limit = \(128 << 20)")
                try db.inTransaction(.immediate) {
                    try Schema.prepare(db, Schema.tables, file: Self.name, format: Schema.tablesFormat) { from in
                        if from < 2 { try Self.adoptRows(db) }
                        if from < 3 { try Schema.addPublications(db) }
                        try Schema.addApprovals(db)
                    }
                    return .commit
                }
            }
        } catch {
            throw StoreError(error, Self.name)
        }
    }

    /// Empties the write-ahead log first: the pool's last connection to close may be one that only reads, which cannot.
    func close() {
        try? pool.writeWithoutTransaction { try $0.execute(sql: "PRAGMA wal_checkpoint(TRUNCATE)") }
        try? pool.close()
    }

    func read<R>(_ body: (Database) throws -> R) throws(StoreError) -> R {
        do {
            return try pool.read(body)
        } catch {
            throw StoreError(error, Self.name)
        }
    }

    /// One transaction, with `synchronous = FULL` if it must survive a power failure once it returns.
    func write(durably: Bool = false, _ body: (Database) throws -> Void) throws(StoreError) {
        do {
            try pool.writeWithoutTransaction { db in
                if durably { try db.execute(sql: "PRAGMA synchronous = FULL") }
                defer { if durably { try? db.execute(sql: "PRAGMA synchronous = NORMAL") } }
                try db.inTransaction(.immediate) {
                    try body(db)
                    return .commit
                }
            }
        } catch {
            throw StoreError(error, Self.name)
        }
    }
}
