import CohortCore
import GRDB

/// Deleting and rewriting entries.
extension LogFile {
    /// Bytes that entries take with the rows of their groups, and bytes that are unused.
    func space() throws(StoreError) -> (used: UInt64, free: UInt64) {
        try readOnly { db in
            let page = UInt64(try Int64.fetchOne(db, sql: "PRAGMA page_size") ?? 0)
            let pages = UInt64(try Int64.fetchOne(db, sql: "PRAGMA page_count") ?? 0)
            let free = UInt64(try Int64.fetchOne(db, sql: "PRAGMA freelist_count") ?? 0)
            let used = page * (pages - min(free, pages))
            // Rows that do not go with entries: otherwise entries would have to go for them.
            return (used - min(try ownBytes(db), used), page * free)
        }
    }

    func oldest(limit: Int) throws(StoreError) -> [LogEntrySize] {
        try readOnly { db in
            let select = try RawStatement(
                db,
                "SELECT sequence, seconds, nanoseconds, length(payload) FROM entries ORDER BY sequence LIMIT ?"
            )
            defer { select.reset() }
            select.bind(1, Int64(limit))
            var entries: [LogEntrySize] = []
            while try select.next() {
                let time = Timestamp(
                    seconds: select.int64(1),
                    nanoseconds: Int32(truncatingIfNeeded: select.int64(2))
                )
                guard let time else {
                    throw StoreError.corrupt("\(Self.name): entry \(select.uint64(0)) has no valid time")
                }
                entries.append(
                    LogEntrySize(sequence: select.uint64(0), time: time, bytes: Int(select.int64(3)))
                )
            }
            return entries
        }
    }

    func rewrite(_ rows: [LogRow]) throws(StoreError) {
        try chained { db, _ in
            try seal(rows, db)
            let update = try RawStatement(db, "UPDATE entries SET payload = ? WHERE sequence = ?")
            for row in rows {
                try row.payload.withUnsafeBytes {
                    update.bind(1, blob: $0)
                    update.bind(2, row.sequence)
                    try update.run()
                }
            }
        }
    }

    /// Takes the first entries out and puts them back: `secure_delete` wipes a cell that is deleted and a page that
    /// becomes free, but not what is left of a cell in a page that SQLite has moved it out of.
    func restoreOldest(limit: Int, through last: UInt64) throws(StoreError) {
        let rows = try read(from: 0, limit: limit).filter { $0.sequence <= last }
        guard let first = rows.first, let end = rows.last else { return }
        try chained { db, _ in
            try db.execute(
                sql: "DELETE FROM entries WHERE sequence BETWEEN ? AND ?",
                arguments: [Int64(first.sequence), Int64(end.sequence)]
            )
            try insert(rows, db)
        }
    }

    func shrink(bytes: Int, slack: UInt64) throws(StoreError) -> Bool {
        let space = try space()
        guard space.free > slack else { return false }
        return try access { db in
            // A file made without it keeps its size, and uses the space again.
            guard try Int.fetchOne(db, sql: "PRAGMA auto_vacuum") == 2 else { return false }
            let page = try Int.fetchOne(db, sql: "PRAGMA page_size") ?? 4_096
            let pages = min(bytes, Int(clamping: space.free - slack)) / page
            guard pages > 0 else { return false }
            try db.execute(sql: "PRAGMA incremental_vacuum(\(pages))")
            return true
        }
    }

    /// Moves everything out of the write-ahead log and empties it; `false` while somebody reads what it holds.
    func truncateWriteAheadLog() throws(StoreError) -> Bool {
        try access { try $0.truncateWriteAheadLog(usualTimeout: busySeconds) }
    }
}

extension Database {
    /// `false` while somebody reads what the write-ahead log holds.
    ///
    /// - Parameter usualTimeout: seconds that this connection waits for locks else; here it holds writers up meanwhile.
    func truncateWriteAheadLog(usualTimeout: Double) throws -> Bool {
        _ = try Int.fetchOne(self, sql: "PRAGMA busy_timeout = 50")
        defer { _ = try? Int.fetchOne(self, sql: "PRAGMA busy_timeout = \(Int(usualTimeout * 1_000))") }
        do {
            // Most of it beside the readers, and then the rest.
            _ = try Row.fetchOne(self, sql: "PRAGMA wal_checkpoint(PASSIVE)")
            let row = try Row.fetchOne(self, sql: "PRAGMA wal_checkpoint(TRUNCATE)")
            return (row?[0] as Int?) == 0
        } catch let error as DatabaseError where [.SQLITE_BUSY, .SQLITE_LOCKED].contains(error.resultCode) {
            return false
        }
    }
}
