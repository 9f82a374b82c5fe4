import CohortCore
import GRDB

/// Retention of history, and what erasures leave to be done.
extension TablesFile {
    /// A commit that is synced syncs all before it.
    func secure() throws(StoreError) -> UInt64 {
        var applied: Int64 = 0
        try write(durably: true) { db in
            applied = try Schema.meta(db, "applied_sequence") ?? 0
            try Schema.setMeta(db, "secured_sequence", applied)
        }
        return UInt64(applied)
    }

    func deleteBulkChanges(through sequence: UInt64, limit: Int) throws(StoreError) -> Int {
        // Without one there is nothing to write.
        let stages = try read { db in
            try Int64.fetchAll(
                db,
                sql: "SELECT stage FROM bulk_changes WHERE folded = 1 AND sequence <= ? ORDER BY stage LIMIT ?",
                arguments: [Int64(clamping: sequence), limit]
            )
        }
        guard !stages.isEmpty else { return 0 }
        try write { db in
            for stage in stages {
                try db.execute(sql: "DELETE FROM bulk_changes WHERE stage = ?", arguments: [stage])
            }
        }
        return stages.count
    }

    func deleteIntervals(of range: ClosedRange<Ordinal>, endedBefore time: Timestamp) throws(StoreError) -> Int {
        let condition = "ordinal BETWEEN ? AND ? AND (ended_seconds, ended_nanoseconds) < (?, ?)"
        let arguments: StatementArguments = [range.lowerBound, range.upperBound, time.seconds, time.nanoseconds]
        let isDue = try read { db in
            try Bool.fetchOne(
                db,
                sql: "SELECT EXISTS (SELECT 1 FROM intervals WHERE \(condition))",
                arguments: arguments
            )
        }
        guard isDue == true else { return 0 }
        var deleted = 0
        try write { db in
            let last = try Int64.fetchOne(
                db,
                sql: "SELECT max(ended_sequence) FROM intervals WHERE \(condition)",
                arguments: arguments
            )
            guard let last else { return }
            try db.execute(sql: "DELETE FROM intervals WHERE \(condition)", arguments: arguments)
            deleted = db.changesCount
            try Self.moveHorizon(db, HistoryHorizon(sequence: UInt64(last), time: time))
        }
        return deleted
    }

    // MARK: Erasures

    func write(_ erasures: [Erasure], _ db: Database) throws {
        for erasure in erasures {
            try db.execute(
                sql: "INSERT OR REPLACE INTO erasures (sequence, ordinal, seconds, nanoseconds) VALUES (?, ?, ?, ?)",
                arguments: [
                    Int64(erasure.sequence), erasure.ordinal, erasure.time.seconds, erasure.time.nanoseconds,
                ]
            )
        }
    }

    func erasures(limit: Int) throws(StoreError) -> [Erasure] {
        try read { db in
            let rows = try Row.fetchAll(
                db,
                sql: "SELECT * FROM erasures ORDER BY sequence LIMIT ?",
                arguments: [limit]
            )
            return try rows.map { row in
                guard let time = Timestamp(seconds: row["seconds"], nanoseconds: row["nanoseconds"]) else {
                    throw StoreError.corrupt("\(Self.name): a time is out of range")
                }
                return Erasure(ordinal: row["ordinal"], sequence: UInt64(row["sequence"] as Int64), time: time)
            }
        }
    }

    func erasureCount() throws(StoreError) -> Int {
        try read { try Int.fetchOne($0, sql: "SELECT count(*) FROM erasures") ?? 0 }
    }

    func deleteIntervals(of ordinals: [Ordinal]) throws(StoreError) {
        try write { db in
            for ordinal in ordinals {
                try db.execute(sql: "DELETE FROM intervals WHERE ordinal = ?", arguments: [ordinal])
            }
        }
    }

    func finishErasures(_ erasures: [Erasure]) throws(StoreError) {
        try write { db in
            for erasure in erasures {
                try db.execute(sql: "DELETE FROM erasures WHERE sequence = ?", arguments: [Int64(erasure.sequence)])
            }
        }
    }

    /// As `LogFile.restoreOldest`: pages between which SQLite has moved rows may hold what is left of a deleted one.
    func restoreCustomers(in range: ClosedRange<Ordinal>) throws(StoreError) {
        try write { db in
            var rows: [(ordinal: Ordinal, id: [UInt8], idCheck: Int64, record: [UInt8], recordCheck: Int64)] = []
            let select = try RawStatement(
                db,
                "SELECT ordinal, id, id_check, record, record_check FROM customers WHERE ordinal BETWEEN ? AND ? "
                    + "ORDER BY ordinal"
            )
            select.bind(1, range.lowerBound)
            select.bind(2, range.upperBound)
            while try select.next() {
                rows.append(
                    (
                        Ordinal(truncatingIfNeeded: select.int64(0)), Array(select.bytes(1)), select.int64(2),
                        Array(select.bytes(3)), select.int64(4)
                    )
                )
            }
            try db.execute(
                sql: "DELETE FROM customers WHERE ordinal BETWEEN ? AND ?",
                arguments: [range.lowerBound, range.upperBound]
            )
            let insert = try RawStatement(
                db,
                "INSERT INTO customers (ordinal, id, id_check, record, record_check) VALUES (?, ?, ?, ?, ?)"
            )
            for row in rows {
                try row.id.withUnsafeBytes { id in
                    try row.record.withUnsafeBytes { record in
                        insert.bind(1, row.ordinal)
                        insert.bind(2, text: id)
                        insert.bind(3, row.idCheck)
                        insert.bind(4, blob: record)
                        insert.bind(5, row.recordCheck)
                        try insert.run()
                    }
                }
            }
        }
    }

    /// As `LogFile.truncateWriteAheadLog`.
    func truncateWriteAheadLog() throws(StoreError) -> Bool {
        do {
            return try pool.writeWithoutTransaction { try $0.truncateWriteAheadLog(usualTimeout: busySeconds) }
        } catch {
            throw StoreError(error, Self.name)
        }
    }
}
