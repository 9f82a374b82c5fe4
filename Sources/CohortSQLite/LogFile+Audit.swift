import CohortCore
import GRDB
import Synchronization

/// The audit chain.
extension LogFile {
    static func loadChain(_ db: Database) throws -> AuditChain {
        let last = try auditRows(db, "ORDER BY position DESC LIMIT 1").first
        let unchained = try Schema.meta(db, "audit_unchained") as Int64? ?? 0
        return AuditChain(last: last, unchained: UInt64(max(unchained, 0)))
    }

    static func countRemoved(_ db: Database) throws -> UInt64 {
        let count = try Int64.fetchOne(db, sql: "SELECT sum(last - first + 1) FROM audit_gaps WHERE last >= first") ?? 0
        return UInt64(max(count, 0))
    }

    func appendAudit(_ records: [AuditRecord], at now: Timestamp) throws(StoreError) {
        guard !records.isEmpty || chain.withLock({ $0.isBehind(keyring.keys) }) else { return }
        try chained { db, chain in try insert(chain.append(records, at: now, keyring.keys), db) }
    }

    func insert(_ rows: [AuditRow], _ db: Database) throws {
        let insert = try RawStatement(
            db,
            "INSERT INTO audit (position, seconds, nanoseconds, kind, payload, key, mac) VALUES (?, ?, ?, ?, ?, ?, ?)"
        )
        for row in rows {
            insert.bind(1, row.position)
            insert.bind(2, row.time.seconds)
            insert.bind(3, Int64(row.time.nanoseconds))
            insert.bind(4, Int64(row.kind))
            insert.bind(6, row.keyID)
            try row.payload.withUnsafeBytes { payload in
                insert.bind(5, blob: payload)
                try row.mac.withUnsafeBytes {
                    insert.bind(7, blob: $0)
                    try insert.run()
                }
            }
        }
        try addOwnBytes(rows.reduce(0) { $0 + Self.ownBytes($1) }, db)
    }

    // MARK: Bytes

    private static let ownBytesKey = "audit_own_bytes"
    /// About what a row takes besides its payload.
    private static let rowOverhead: Int64 = 64

    static func ownBytes(_ row: AuditRow) -> Int64 {
        row.kind == AuditRowKind.commit.rawValue ? 0 : Int64(row.payload.count) + rowOverhead
    }

    /// About the bytes of the rows that do not go with entries.
    func ownBytes(_ db: Database) throws -> UInt64 {
        UInt64(max(try Schema.meta(db, Self.ownBytesKey) as Int64? ?? 0, 0))
    }

    func addOwnBytes(_ bytes: Int64, _ db: Database) throws {
        guard bytes != 0 else { return }
        try Schema.setMeta(db, Self.ownBytesKey, max(0, Int64(try ownBytes(db)) + bytes))
    }

    // MARK: Reading

    func auditRows(from position: UInt64, descending: Bool, limit: Int) throws(StoreError) -> [AuditRow] {
        try readOnly { db in
            try Self.auditRows(
                db,
                descending
                    ? "WHERE position <= ? ORDER BY position DESC LIMIT ?"
                    : "WHERE position >= ? ORDER BY position LIMIT ?",
                [Int64(clamping: position), Int64(limit)]
            )
        }
    }

    func piece(from position: UInt64, limit: Int, entries: Int) throws(StoreError) -> AuditPiece {
        let keys = keyring.keys
        return try readOnly { db in
            var piece = AuditPiece()
            let rows = try Self.auditRows(
                db,
                "WHERE position >= ? ORDER BY position LIMIT ?",
                [Int64(clamping: position), Int64(limit)]
            )
            piece.isLast = rows.count < limit
            var count = 0
            for row in rows {
                if count >= entries {
                    piece.isLast = false
                    break
                }
                piece.rows.append(row)
                guard let commit = row.commit else { continue }
                let group = try Self.entries(of: commit, keys, db)
                piece.entries[row.position] = group
                count += group.count
            }
            let end = piece.isLast ? Int64.max : Int64(clamping: piece.rows.last?.position ?? position)
            piece.gaps = try Self.gaps(
                db,
                "WHERE last >= ? AND first <= ? AND first >= 1 AND last >= first ORDER BY first",
                [Int64(clamping: position), end]
            )
            piece.floor = try Self.floor(db)
            let first = try Int64.fetchOne(db, sql: "SELECT min(sequence) FROM entries")
            let last = try Int64.fetchOne(db, sql: "SELECT max(sequence) FROM entries")
            if let first, let last, first > 0 { piece.log = UInt64(first)...UInt64(last) }
            return piece
        }
    }

    func auditFigures() throws(StoreError) -> AuditStoreFigures {
        let removed = rowsRemoved.load(ordering: .relaxed)
        return try readOnly { db in
            var figures = AuditStoreFigures()
            let last = try Int64.fetchOne(db, sql: "SELECT max(position) FROM audit") ?? 0
            figures.rows = UInt64(last) - min(removed, UInt64(last))
            figures.oldest = try Self.auditRows(db, "WHERE position > 1 ORDER BY position LIMIT 1").first?.time
            let newest = try Int64.fetchOne(db, sql: "SELECT max(sequence) FROM entries") ?? 0
            let group = try Self.auditRows(
                db,
                "WHERE kind = \(AuditRowKind.commit.rawValue) ORDER BY position DESC LIMIT 1"
            ).first
            var accounted = UInt64(max(0, try Schema.meta(db, "audit_unchained") as Int64? ?? 0))
            if let group {
                // One that cannot be read says nothing, and verification tells of it.
                guard let commit = group.commit else { return figures }
                accounted = commit.last
            }
            if newest > 0, UInt64(newest) > accounted { figures.unaccounted = accounted + 1...UInt64(newest) }
            return figures
        }
    }

    static func auditRows(
        _ db: Database,
        _ condition: String,
        _ arguments: [Int64] = []
    ) throws -> [AuditRow] {
        let select = try RawStatement(
            db,
            "SELECT position, seconds, nanoseconds, kind, payload, key, mac FROM audit \(condition)"
        )
        defer { select.reset() }
        for (i, argument) in arguments.enumerated() { select.bind(Int32(i + 1), argument) }
        var rows: [AuditRow] = []
        while try select.next() {
            rows.append(
                AuditRow(
                    position: select.uint64(0),
                    time: select.auditTime(1),
                    kind: UInt8(truncatingIfNeeded: select.int64(3)),
                    payload: Array(select.bytes(4)),
                    keyID: select.uint64(5),
                    mac: Array(select.bytes(6))
                )
            )
        }
        return rows
    }

    static func gaps(_ db: Database, _ condition: String, _ arguments: [Int64]) throws -> [AuditGap] {
        let select = try RawStatement(
            db,
            "SELECT first, last, before, after, unsound, key, mac FROM audit_gaps \(condition)"
        )
        defer { select.reset() }
        for (i, argument) in arguments.enumerated() { select.bind(Int32(i + 1), argument) }
        var gaps: [AuditGap] = []
        while try select.next() {
            gaps.append(
                AuditGap(
                    first: select.uint64(0),
                    last: select.uint64(1),
                    before: Array(select.bytes(2)),
                    after: Array(select.bytes(3)),
                    unsound: select.uint64(4),
                    keyID: select.uint64(5),
                    mac: Array(select.bytes(6))
                )
            )
        }
        return gaps
    }

    static func floor(_ db: Database) throws -> AuditFloor? {
        let select = try RawStatement(db, "SELECT sequence, position, key, mac FROM audit_floor")
        defer { select.reset() }
        guard try select.next() else { return nil }
        return AuditFloor(
            sequence: select.uint64(0),
            position: select.uint64(1),
            keyID: select.uint64(2),
            mac: Array(select.bytes(3))
        )
    }

    static func entries(
        of commit: AuditCommit,
        _ keys: AuditKeys,
        _ db: Database
    ) throws -> [AuditPiece.Entry] {
        let select = try RawStatement(
            db,
            """
            SELECT entries.sequence, seconds, nanoseconds, payload, masked, key, mac
            FROM entries LEFT JOIN audit_seals USING (sequence) WHERE entries.sequence BETWEEN ? AND ? ORDER BY 1
            """
        )
        defer { select.reset() }
        select.bind(1, commit.first)
        select.bind(2, commit.last)
        var entries: [AuditPiece.Entry] = []
        while try select.next() {
            let row = LogRow(sequence: select.uint64(0), time: select.auditTime(1), payload: Array(select.bytes(3)))
            entries.append(AuditPiece.Entry(row, seal: select.seal(row.sequence, 4), keys))
        }
        return entries
    }
}

extension RawStatement {
    /// A time in two columns. One that is none becomes one that no MAC fits.
    func auditTime(_ column: Int32) -> Timestamp {
        Int32(exactly: int64(column + 1)).flatMap { Timestamp(seconds: int64(column), nanoseconds: $0) } ?? .minimum
    }

    /// A seal in three columns; `nil` if the first is NULL.
    func seal(_ sequence: UInt64, _ column: Int32) -> AuditSeal? {
        let masked = Array(bytes(column))
        guard !masked.isEmpty else { return nil }
        return AuditSeal(
            sequence: sequence,
            masked: masked,
            keyID: uint64(column + 1),
            mac: Array(bytes(column + 2))
        )
    }
}
