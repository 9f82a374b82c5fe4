import CohortCore
import GRDB
import Synchronization

/// What retention and scrubbing do to the audit chain.
extension LogFile {
    /// Deletes groups of entries, with their rows: those that end at `sequence` or before, or the first one if none does.
    /// The last entry stays, and with it its group.
    ///
    /// - Parameter end: the last entry that may be deleted.
    func delete(through sequence: UInt64, atMost end: UInt64) throws(StoreError) -> Int {
        let keys = keyring.keys
        let (entries, rows) = try chained { db, _ in
            let newest = UInt64(max(0, try Int64.fetchOne(db, sql: "SELECT max(sequence) FROM entries") ?? 0))
            let floor = try Self.floor(db).flatMap { $0.isValid(keys) ? $0 : nil }
            var position = floor?.position ?? 0
            var through: UInt64 = 0
            var removals: [AuditRemoval] = []
            var positions: [UInt64] = []
            // Entries of before the chain are in no group.
            var loose = min(sequence, newest - min(newest, 1))
            search: while true {
                let rows = try Self.auditRows(
                    db,
                    "WHERE position > ? AND kind = \(AuditRowKind.commit.rawValue) ORDER BY position LIMIT 100",
                    [Int64(clamping: position)]
                )
                for row in rows {
                    position = row.position
                    guard let commit = row.commit, commit.last <= newest else { continue }
                    if positions.isEmpty { loose = min(loose, commit.first - 1) }
                    let isDue = commit.last <= sequence || positions.isEmpty && commit.first <= sequence
                    guard isDue, commit.last <= end, commit.last < newest else { break search }
                    removals.append(
                        AuditRemoval(
                            row,
                            after: try Self.mac(ofRow: position - 1, db),
                            entries: try Self.entries(of: commit, keys, db),
                            keys
                        )
                    )
                    positions.append(position)
                    through = commit.last
                }
                if rows.count < 100 { break }
            }
            through = max(through, loose)
            guard through > 0 else { return (0, 0) }
            try remove(positions, removals, keys, db)
            try db.execute(sql: "DELETE FROM audit_seals WHERE sequence <= ?", arguments: [Int64(through)])
            try db.execute(sql: "DELETE FROM entries WHERE sequence <= ?", arguments: [Int64(through)])
            let deleted = db.changesCount
            guard deleted > 0 else { return (0, positions.count) }
            try setFloor(
                AuditFloor(
                    sequence: max(through, floor?.sequence ?? 0),
                    position: positions.last ?? floor?.position ?? 0,
                    keys.current
                ),
                db
            )
            return (deleted, positions.count)
        }
        rowsRemoved.add(UInt64(rows), ordering: .relaxed)
        return entries
    }

    func deleteAudit(
        from position: UInt64,
        before time: Timestamp,
        limit: Int
    ) throws(StoreError) -> (deleted: Int, next: UInt64) {
        let keys = keyring.keys
        let head = chain.withLock { $0.head?.position }
        // Most of the time the first is too young, and there is nothing to do.
        guard let first = try auditRows(from: position, descending: false, limit: 1).first, first.time < time else {
            return (0, position)
        }
        let old = try auditRows(from: position, descending: false, limit: limit).prefix {
            $0.time < time && $0.position != head
        }
        let next = old.last.map { $0.position + 1 } ?? position
        let rows = old.filter(\.isRemovedByAge)
        guard !rows.isEmpty else { return (0, next) }
        try chained { db, _ in
            let removals = try rows.map { AuditRemoval($0, after: try Self.mac(ofRow: $0.position - 1, db), keys) }
            try remove(rows.map(\.position), removals, keys, db)
            try addOwnBytes(-rows.reduce(0) { $0 + Self.ownBytes($1) }, db)
        }
        rowsRemoved.add(UInt64(rows.count), ordering: .relaxed)
        return (rows.count, next)
    }

    /// Removes rows, and says so.
    private func remove(
        _ positions: [UInt64],
        _ removals: [AuditRemoval],
        _ keys: AuditKeys,
        _ db: Database
    ) throws {
        let delete = try RawStatement(db, "DELETE FROM audit WHERE position = ?")
        for position in positions {
            delete.bind(1, position)
            try delete.run()
        }
        for gap in AuditRemoval.gaps(removals) {
            let neighbours = try Self.gaps(
                db,
                "WHERE first = ? OR first = (SELECT max(first) FROM audit_gaps WHERE first < ?)",
                [Int64(gap.last + 1), Int64(gap.first)]
            )
            let (joined, absorbed) = gap.joined(with: neighbours, keys)
            for old in absorbed {
                try db.execute(sql: "DELETE FROM audit_gaps WHERE first = ?", arguments: [Int64(old.first)])
            }
            // In place of one that somebody has put there.
            let insert = try RawStatement(
                db,
                "INSERT OR REPLACE INTO audit_gaps (first, last, unsound, key, before, after, mac) VALUES (?, ?, ?, ?, ?, ?, ?)"
            )
            insert.bind(1, joined.first)
            insert.bind(2, joined.last)
            insert.bind(3, joined.unsound)
            insert.bind(4, joined.keyID)
            try joined.before.withUnsafeBytes { before in
                insert.bind(5, blob: before)
                try joined.after.withUnsafeBytes { after in
                    insert.bind(6, blob: after)
                    try joined.mac.withUnsafeBytes {
                        insert.bind(7, blob: $0)
                        try insert.run()
                    }
                }
            }
        }
    }

    /// The MAC that the row behind `position` follows; empty if that is not known.
    private static func mac(ofRow position: UInt64, _ db: Database) throws -> [UInt8] {
        if position == 0 { return AuditChain.origin }
        if let row = try auditRows(db, "WHERE position = ?", [Int64(clamping: position)]).first { return row.mac }
        let gap = try gaps(db, "WHERE first <= ? ORDER BY first DESC LIMIT 1", [Int64(clamping: position)]).first
        return gap?.last == position ? gap?.after ?? [] : []
    }

    private func setFloor(_ floor: AuditFloor, _ db: Database) throws {
        let insert = try RawStatement(
            db,
            "INSERT OR REPLACE INTO audit_floor (one, sequence, position, key, mac) VALUES (1, ?, ?, ?, ?)"
        )
        insert.bind(1, floor.sequence)
        insert.bind(2, floor.position)
        insert.bind(3, floor.keyID)
        try floor.mac.withUnsafeBytes {
            insert.bind(4, blob: $0)
            try insert.run()
        }
    }

    // MARK: Rewriting

    /// Notes what entries are before they are replaced by `rows`.
    func seal(_ rows: [LogRow], _ db: Database) throws {
        let keys = keyring.keys
        let select = try RawStatement(
            db,
            """
            SELECT sequence, seconds, nanoseconds, payload, masked, key, mac
            FROM entries LEFT JOIN audit_seals USING (sequence) WHERE sequence = ?
            """
        )
        let insert = try RawStatement(
            db,
            "INSERT OR REPLACE INTO audit_seals (sequence, masked, key, mac) VALUES (?, ?, ?, ?)"
        )
        for row in rows {
            select.bind(1, row.sequence)
            guard try select.next() else { continue }
            let old = LogRow(sequence: row.sequence, time: select.auditTime(1), payload: Array(select.bytes(3)))
            let oldSeal = select.seal(row.sequence, 4)
            select.reset()
            // The time stays as it is stored.
            let new = LogRow(sequence: row.sequence, time: old.time, payload: row.payload)
            let seal = AuditSeal.sealing(new, over: (old, oldSeal), keys)
            insert.bind(1, seal.sequence)
            insert.bind(3, seal.keyID)
            try seal.masked.withUnsafeBytes { masked in
                insert.bind(2, blob: masked)
                try seal.mac.withUnsafeBytes {
                    insert.bind(4, blob: $0)
                    try insert.run()
                }
            }
        }
    }
}
