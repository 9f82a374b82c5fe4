import CohortCore
import Foundation
import GRDB

/// Changes that need approval. A row holds one whole: they are few, read once, at start, and never searched.
extension TablesFile {
    func changeRequests(_ db: Database) throws -> [ChangeRequest] {
        try Row.fetchAll(db, sql: "SELECT number, request FROM change_requests").map { row in
            let number = row["number"] as Int64
            return try (row["request"] as Data).withUnsafeBytes { bytes in
                do throws(CodecError) {
                    let request = try ChangeRequest(decoding: bytes)
                    guard request.number == UInt64(number) else { throw CodecError("it is of another number") }
                    return request
                } catch {
                    throw StoreError.corrupt("\(Self.name): change request \(number) cannot be read: \(error.message)")
                }
            }
        }
    }

    func write(_ requests: [(number: UInt64, request: ChangeRequest?)], _ db: Database) throws {
        for (number, request) in requests {
            if let request {
                try db.execute(
                    sql: "INSERT OR REPLACE INTO change_requests VALUES (?, ?)",
                    arguments: [Int64(number), Data(request.encoded())]
                )
            } else {
                try db.execute(sql: "DELETE FROM change_requests WHERE number = ?", arguments: [Int64(number)])
            }
        }
    }
}
