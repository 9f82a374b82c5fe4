import CohortCore
import Foundation
import GRDB

/// Overrides and lists: for each cohort and kind the chunks of a bitmap, so that a million customers on a list are a few
/// hundred rows, and changing them is as many.
extension TablesFile {
    func scanAssignments(_ body: (Assignment) -> Void) throws(StoreError) {
        try read { db in
            let select = try RawStatement(db, "SELECT cohort, kind, chunk, bits, bits_check FROM assignment_chunks")
            defer { select.reset() }
            while try select.next() {
                let key = ChunkKey(
                    cohort: CohortNumber(truncatingIfNeeded: select.int64(0)),
                    kind: UInt8(truncatingIfNeeded: select.int64(1)),
                    chunk: Int(select.int64(2))
                )
                guard let kind = AssignmentKind(rawValue: key.kind) else {
                    throw StoreError.corrupt("\(Self.name): an assignment's kind is not known")
                }
                try key.decode(select.bytes(3), check: select.int64(4)).forEach {
                    body(Assignment(cohort: key.cohort, kind: kind, ordinal: $0, present: true))
                    return true
                }
            }
        }
    }

    func stage(_ change: AssignmentChange) throws(StoreError) {
        try write(durably: true) { db in
            try db.execute(
                sql: "INSERT OR REPLACE INTO assignment_changes (stage, cohort, sets) VALUES (?, ?, ?)",
                arguments: [Int64(change.stage), change.cohort, Data(change.encodedSets())]
            )
        }
    }

    func loadAssignments(_ reference: AssignmentReference) throws(StoreError) -> AssignmentChange {
        try read { db in
            let row = try Row.fetchOne(
                db,
                sql: "SELECT * FROM assignment_changes WHERE stage = ?",
                arguments: [Int64(reference.stage)]
            )
            guard let row else {
                throw StoreError.corrupt(
                    "\(Self.name): assignment change \(reference.stage), of which the log speaks, is missing"
                )
            }
            let cohort = row["cohort"] as UInt32
            let change = try (row["sets"] as Data).withUnsafeBytes { sets in
                do throws(CodecError) {
                    return try AssignmentChange(stage: reference.stage, cohort: cohort, decodingSets: sets)
                } catch {
                    throw StoreError.corrupt(
                        "\(Self.name): assignment change \(reference.stage) cannot be read: \(error.message)"
                    )
                }
            }
            guard change.reference == reference else {
                throw StoreError.corrupt(
                    "\(Self.name): assignment change \(reference.stage) is not the one of the log"
                )
            }
            return change
        }
    }

    // MARK: Inside of a transaction

    /// Applies changes, and drops what was staged for them.
    func write(_ deltas: [AssignmentDelta], through sequence: UInt64, _ db: Database) throws {
        if !deltas.isEmpty {
            let chunks = try ChunkStatements(db)
            for delta in deltas {
                let concerned = Set(delta.added.filledChunks).union(delta.removed.filledChunks)
                for chunk in concerned.sorted() {
                    let key = ChunkKey(cohort: delta.cohort, kind: delta.kind.rawValue, chunk: chunk)
                    let bits = try chunks.load(key)
                    bits.subtract(delta.removed.part(inChunk: chunk))
                    bits.formUnion(delta.added.part(inChunk: chunk))
                    try chunks.save(bits, key)
                }
            }
        }
        try db.execute(sql: "DELETE FROM assignment_changes WHERE stage <= ?", arguments: [Int64(sequence)])
    }

    /// Takes erased customers out of everything.
    func removeAssignments(of customers: [Ordinal], _ db: Database) throws {
        guard !customers.isEmpty else { return }
        let chunks = try ChunkStatements(db)
        for (chunk, ordinals) in Dictionary(grouping: customers, by: { Int($0 >> 16) }).sorted(by: { $0.key < $1.key })
        {
            for (key, bits) in try chunks.loadAll(chunk: chunk) {
                var changed = false
                for ordinal in ordinals where bits.remove(ordinal) { changed = true }
                if changed { try chunks.save(bits, key) }
            }
        }
    }

    func removeAssignments(ofCohort number: CohortNumber, _ db: Database) throws {
        try db.execute(sql: "DELETE FROM assignment_chunks WHERE cohort = ?", arguments: [number])
    }

    /// Takes over what format 1 kept: a row for each assignment.
    static func adoptRows(_ db: Database) throws {
        guard try db.tableExists("assignments") else { return }
        var sets: [ChunkKey: ChunkedBitmap] = [:]
        let rows = try Row.fetchCursor(db, sql: "SELECT cohort, kind, ordinal FROM assignments")
        while let row = try rows.next() {
            let ordinal = row["ordinal"] as UInt32
            let key = ChunkKey(cohort: row["cohort"], kind: row["kind"], chunk: Int(ordinal >> 16))
            let bits = sets[key] ?? ChunkedBitmap()
            bits.insert(ordinal)
            sets[key] = bits
        }
        let chunks = try ChunkStatements(db)
        for (key, bits) in sets { try chunks.save(bits, key) }
        try db.execute(sql: "DROP TABLE assignments")
    }
}

/// Which chunk of which bitmap a row is.
private struct ChunkKey: Hashable {
    var cohort: CohortNumber
    var kind: UInt8
    var chunk: Int

    /// Bound to the place, so that a row that is damaged or moved is noticed.
    func check(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
        let place = cohort &* 0x9E37_79B1 ^ UInt32(kind) << 16 ^ UInt32(truncatingIfNeeded: chunk)
        return Checksum.crc32c(bytes, seed: place)
    }

    func decode(_ bytes: UnsafeRawBufferPointer, check stored: Int64) throws -> ChunkedBitmap {
        do throws(CodecError) {
            guard Int64(check(bytes)) == stored else { throw CodecError("the checksum does not match") }
            var reader = ByteReader(bytes)
            let bits = try ChunkedBitmap(decoding: &reader)
            try reader.expectEnd()
            guard bits.filledChunks.allSatisfy({ $0 == chunk }) else { throw CodecError("it is of another chunk") }
            return bits
        } catch {
            throw StoreError.corrupt(
                "\(TablesFile.name): the assignments of cohort \(cohort) cannot be read: \(error.message)"
            )
        }
    }
}

/// Reads and writes single chunks.
private struct ChunkStatements {
    private let select: RawStatement
    private let selectAll: RawStatement
    private let replace: RawStatement
    private let delete: RawStatement

    init(_ db: Database) throws {
        let place = "WHERE chunk = ? AND cohort = ? AND kind = ?"
        select = try RawStatement(db, "SELECT bits, bits_check FROM assignment_chunks \(place)")
        selectAll = try RawStatement(
            db,
            "SELECT cohort, kind, bits, bits_check FROM assignment_chunks WHERE chunk = ?"
        )
        replace = try RawStatement(
            db,
            "INSERT INTO assignment_chunks (chunk, cohort, kind, bits, bits_check) VALUES (?, ?, ?, ?, ?) "
                + "ON CONFLICT (chunk, cohort, kind) DO UPDATE SET bits = excluded.bits, bits_check = excluded.bits_check"
        )
        delete = try RawStatement(db, "DELETE FROM assignment_chunks \(place)")
    }

    func load(_ key: ChunkKey) throws -> ChunkedBitmap {
        bind(select, key)
        defer { select.reset() }
        return try select.next() ? key.decode(select.bytes(0), check: select.int64(1)) : ChunkedBitmap()
    }

    func loadAll(chunk: Int) throws -> [(ChunkKey, ChunkedBitmap)] {
        selectAll.bind(1, Int64(chunk))
        defer { selectAll.reset() }
        var result: [(ChunkKey, ChunkedBitmap)] = []
        while try selectAll.next() {
            let key = ChunkKey(
                cohort: CohortNumber(truncatingIfNeeded: selectAll.int64(0)),
                kind: UInt8(truncatingIfNeeded: selectAll.int64(1)),
                chunk: chunk
            )
            result.append((key, try key.decode(selectAll.bytes(2), check: selectAll.int64(3))))
        }
        return result
    }

    func save(_ bits: ChunkedBitmap, _ key: ChunkKey) throws {
        guard !bits.isEmpty else {
            bind(delete, key)
            return try delete.run()
        }
        var writer = ByteWriter(reserving: 8 << 10)
        bits.encode(to: &writer)
        try writer.finish().withUnsafeBytes { bytes in
            bind(replace, key)
            replace.bind(4, blob: bytes)
            replace.bind(5, key.check(bytes))
            try replace.run()
        }
    }

    private func bind(_ statement: RawStatement, _ key: ChunkKey) {
        statement.bind(1, Int64(key.chunk))
        statement.bind(2, key.cohort)
        statement.bind(3, Int64(key.kind))
    }
}
