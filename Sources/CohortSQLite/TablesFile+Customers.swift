import CohortCore
import Foundation
import GRDB

/// Rows of customers: each carries a checksum of its id and one of its record, both bound to the ordinal, so that a
/// damaged page is noticed and never answered from.
extension TablesFile {
    func scanCustomers(
        _ range: ClosedRange<Ordinal>,
        _ body: (Ordinal, UnsafeRawBufferPointer, UnsafeRawBufferPointer) throws(StoreError) -> Void
    ) throws(StoreError) {
        try read { db in
            let select = try RawStatement(
                db,
                "SELECT ordinal, id, id_check, record, record_check FROM customers WHERE ordinal BETWEEN ? AND ? "
                    + "ORDER BY ordinal"
            )
            defer { select.reset() }
            select.bind(1, range.lowerBound)
            select.bind(2, range.upperBound)
            while try select.next() {
                let ordinal = Ordinal(truncatingIfNeeded: select.int64(0))
                let id = select.bytes(1)
                let record = select.bytes(3)
                guard
                    Int64(Self.check(id, ordinal)) == select.int64(2),
                    Int64(Self.check(record, ordinal)) == select.int64(4)
                else { throw StoreError.corrupt("\(Self.name): the row of customer \(ordinal) is damaged") }
                try body(ordinal, id, record)
            }
        }
    }

    func readCustomers(
        _ ordinals: [Ordinal],
        _ body: (Int, UnsafeRawBufferPointer) throws(StoreError) -> Void
    ) throws(StoreError) {
        try read { db in
            let select = try RawStatement(db, "SELECT record, record_check FROM customers WHERE ordinal = ?")
            defer { select.reset() }
            for (i, ordinal) in ordinals.enumerated() {
                select.bind(1, ordinal)
                if try select.next() {
                    let record = select.bytes(0)
                    guard Int64(Self.check(record, ordinal)) == select.int64(1) else {
                        throw StoreError.corrupt("\(Self.name): the row of customer \(ordinal) is damaged")
                    }
                    try body(i, record)
                    select.reset()
                }
            }
        }
    }

    /// - Returns: by how much the number of customers grew.
    func write(_ customers: [(ordinal: Ordinal, row: MaterializedBatch.Row)], _ db: Database) throws -> Int64 {
        let insert = try RawStatement(
            db,
            "INSERT INTO customers (ordinal, id, id_check, record, record_check) VALUES (?, ?, ?, ?, ?)"
        )
        let update = try RawStatement(db, "UPDATE customers SET record = ?, record_check = ? WHERE ordinal = ?")
        let delete = try RawStatement(db, "DELETE FROM customers WHERE ordinal = ?")
        var erased: [Ordinal] = []
        var growth: Int64 = 0
        for (ordinal, row) in customers {
            switch row {
            case .insert(let id, let record):
                try id.withUnsafeBytes { id in
                    try record.withUnsafeBytes { record in
                        insert.bind(1, ordinal)
                        insert.bind(2, text: id)
                        insert.bind(3, Self.check(id, ordinal))
                        insert.bind(4, blob: record)
                        insert.bind(5, Self.check(record, ordinal))
                        try insert.run()
                    }
                }
                growth += 1
            case .update(let record):
                try record.withUnsafeBytes { record in
                    update.bind(1, blob: record)
                    update.bind(2, Self.check(record, ordinal))
                    update.bind(3, ordinal)
                    try update.run()
                }
                guard db.changesCount == 1 else {
                    throw StoreError.corrupt("\(Self.name): the row of customer \(ordinal) is missing")
                }
            case .delete:
                delete.bind(1, ordinal)
                try delete.run()
                // A customer that came and went between two batches has no row.
                growth -= Int64(db.changesCount)
                erased.append(ordinal)
            }
        }
        try removeAssignments(of: erased, db)
        return growth
    }

    private static func check(_ bytes: UnsafeRawBufferPointer, _ ordinal: Ordinal) -> UInt32 {
        Checksum.crc32c(bytes, seed: ordinal &* 0x9E37_79B1)
    }
}
