import CohortCore
import Foundation
import GRDB
import Synchronization

/// The change log: `log.db`. A COMMIT here is what acknowledges a write, so it is the one file with
/// `synchronous = FULL`.
final class LogFile: Sendable {
    static let name = "log.db"

    private let queue: DatabaseQueue
    /// Reading goes on beside a commit, and a commit beside reading.
    private let reader: DatabaseQueue
    /// Seconds that a connection waits for a lock.
    let busySeconds: Double
    /// Who reads or writes holds one of these: a log that failed is closed and opened anew while others may be at work, and
    /// a connection must not be used once it is closed.
    private let (reading, writing) = (NSLock(), NSLock())
    private let isClosed = Atomic<Bool>(false)
    let keyring: AuditKeyring
    /// The end of the audit chain. Changed by who holds `writing`, once the rows are durable.
    let chain: Mutex<AuditChain>
    /// Rows that have been removed from the chain.
    let rowsRemoved: Atomic<UInt64>

    init(directory: String, keyring: AuditKeyring, options: FileOptions = .init()) throws(StoreError) {
        do {
            queue = try Self.open(directory, options)
            reader = try Self.openReader(directory, options)
            busySeconds = options.busySeconds
            self.keyring = keyring
            let (chain, removed) = try queue.read { (try Self.loadChain($0), try Self.countRemoved($0)) }
            self.chain = Mutex(chain)
            rowsRemoved = Atomic(removed)
        } catch {
            throw StoreError(error, Self.name)
        }
    }

    private static func open(_ directory: String, _ options: FileOptions) throws -> DatabaseQueue {
        var configuration = Configuration()
        configuration.label = "cohort-log"
        configuration.journalMode = .wal
        // A reader of the log, or a backup, may hold a lock for a moment.
        configuration.busyMode = .timeout(options.busySeconds)
        configuration.prepareDatabase { db in
            try PageChecks.prepare(db)
            // Heeded only before the file has its first page.
            try db.execute(sql: "PRAGMA auto_vacuum = INCREMENTAL")
            _ = try Int.fetchOne(db, sql: "PRAGMA secure_delete = ON")
        }
        try PageChecks.require(directory, file: name)
        let queue = try DatabaseQueue(path: directory + "/" + name, configuration: configuration)
        try queue.writeWithoutTransaction { db in
            try db.execute(sql: "PRAGMA synchronous = \(options.logSynchronous.rawValue)")
            try db.execute(sql: "PRAGMA wal_autocheckpoint = \(options.logCheckpointPages)")
            try db.execute(sql: "PRAGMA cache_size = -8192")
            _ = try Int.fetchOne(db, sql: "PRAGMA journal_size_limit = \(64 << 20)")
            guard try Int.fetchOne(db, sql: "PRAGMA synchronous") == options.logSynchronous.rawValue else {
                throw StoreError.refused("\(name) cannot be opened with synchronous = FULL")
            }
            try db.inTransaction(.immediate) {
                try Schema.prepare(db, Schema.log, file: name, format: Schema.logFormat) { _ in
                    try Schema.noteUnchained(db)
                }
                return .commit
            }
        }
        return queue
    }

    private static func openReader(_ directory: String, _ options: FileOptions) throws -> DatabaseQueue {
        var configuration = Configuration()
        configuration.label = "cohort-log-reader"
        configuration.readonly = true
        configuration.busyMode = .timeout(options.busySeconds)
        return try DatabaseQueue(path: directory + "/" + name, configuration: configuration)
    }

    func storeID() throws(StoreError) -> String? {
        try access { try Schema.meta($0, "store_id") }
    }

    func setStoreID(_ id: String) throws(StoreError) {
        try access { try Schema.setMeta($0, "store_id", id) }
    }

    func bounds() throws(StoreError) -> (first: UInt64, last: UInt64) {
        try access { db in
            let first = try Int64.fetchOne(db, sql: "SELECT min(sequence) FROM entries") ?? 0
            let last = try Int64.fetchOne(db, sql: "SELECT max(sequence) FROM entries") ?? 0
            return (UInt64(first), UInt64(last))
        }
    }

    func append(_ rows: [LogRow]) throws(StoreError) {
        try chained { db, chain in
            try insert(rows, db)
            try insert(chain.append(rows, keyring.keys), db)
        }
    }

    func insert(_ rows: [LogRow], _ db: Database) throws {
        let insert = try RawStatement(
            db,
            "INSERT INTO entries (sequence, seconds, nanoseconds, payload) VALUES (?, ?, ?, ?)"
        )
        for row in rows {
            insert.bind(1, row.sequence)
            insert.bind(2, row.time.seconds)
            insert.bind(3, Int64(row.time.nanoseconds))
            try row.payload.withUnsafeBytes {
                insert.bind(4, blob: $0)
                try insert.run()
            }
        }
    }

    func read(from sequence: UInt64, limit: Int) throws(StoreError) -> [LogRow] {
        try readOnly { db in
            let select = try RawStatement(
                db,
                "SELECT sequence, seconds, nanoseconds, payload FROM entries WHERE sequence >= ? ORDER BY sequence LIMIT ?"
            )
            defer { select.reset() }
            select.bind(1, sequence)
            select.bind(2, Int64(limit))
            var rows: [LogRow] = []
            while try select.next() {
                guard
                    let nanoseconds = Int32(exactly: select.int64(2)),
                    let time = Timestamp(seconds: select.int64(1), nanoseconds: nanoseconds)
                else { throw StoreError.corrupt("\(Self.name): entry \(select.uint64(0)) has no valid time") }
                rows.append(LogRow(sequence: select.uint64(0), time: time, payload: Array(select.bytes(3))))
            }
            return rows
        }
    }

    /// Moves everything from the write-ahead log into the file and syncs both. After a failed sync this writes the pages
    /// anew: syncing again what the kernel has already dropped as written would prove nothing.
    func secure() throws(StoreError) {
        try access { try $0.execute(sql: "PRAGMA wal_checkpoint(TRUNCATE)") }
    }

    /// What SQLite says of `synchronous`: 2 is FULL.
    func synchronousSetting() throws(StoreError) -> Int {
        try access { try Int.fetchOne($0, sql: "PRAGMA synchronous") ?? 0 }
    }

    /// The writing connection last: it empties the write-ahead log.
    func close() {
        isClosed.store(true, ordering: .releasing)
        reading.withLock { try? reader.close() }
        writing.withLock { try? queue.close() }
    }

    func readOnly<R>(_ body: (Database) throws -> R) throws(StoreError) -> R {
        reading.lock()
        defer { reading.unlock() }
        try requireOpen()
        do {
            return try reader.read(body)
        } catch {
            throw StoreError(error, Self.name)
        }
    }

    func access<R>(_ body: (Database) throws -> R) throws(StoreError) -> R {
        writing.lock()
        defer { writing.unlock() }
        try requireOpen()
        do {
            return try queue.writeWithoutTransaction(body)
        } catch {
            throw StoreError(error, Self.name)
        }
    }

    /// Runs `body` in one transaction, with the end of the chain to add to.
    func chained<R>(_ body: (Database, inout AuditChain) throws -> R) throws(StoreError) -> R {
        try access { db in
            var end = chain.withLock { $0 }
            var result: R?
            try db.inTransaction(.immediate) {
                result = try body(db, &end)
                return .commit
            }
            guard let result else { throw StoreError.failed("\(Self.name): no result") }
            chain.withLock { $0 = end }
            return result
        }
    }

    private func requireOpen() throws(StoreError) {
        if isClosed.load(ordering: .acquiring) { throw .failed("\(Self.name) is being opened anew") }
    }
}
