import CohortCore
import GRDB
import GRDBSQLite

/// A prepared statement used through SQLite's own interface, where a statement runs once for each of very many rows.
struct RawStatement {
    private let handle: OpaquePointer

    /// Prepares `sql`, or takes it from the connection's cache.
    init(_ db: Database, _ sql: String) throws {
        handle = try db.cachedStatement(sql: sql).sqliteStatement
        sqlite3_reset(handle)
    }

    func bind(_ position: Int32, _ value: Int64) { sqlite3_bind_int64(handle, position, value) }
    func bind(_ position: Int32, _ value: UInt64) { bind(position, Int64(bitPattern: value)) }
    func bind(_ position: Int32, _ value: UInt32) { bind(position, Int64(value)) }

    /// The bytes must stay valid until the statement has run.
    func bind(_ position: Int32, blob: UnsafeRawBufferPointer) {
        sqlite3_bind_blob64(handle, position, blob.baseAddress, UInt64(blob.count), nil)
    }

    /// The bytes must stay valid until the statement has run.
    func bind(_ position: Int32, text: UnsafeRawBufferPointer) {
        let start = text.baseAddress?.assumingMemoryBound(to: CChar.self)
        sqlite3_bind_text64(handle, position, start, UInt64(text.count), nil, UInt8(SQLITE_UTF8))
    }

    /// Runs a statement that returns no rows, and makes it ready for the next.
    func run() throws {
        let code = sqlite3_step(handle)
        sqlite3_reset(handle)
        guard code == SQLITE_DONE else { throw error(code) }
    }

    /// Steps to the next row; `false` at the end.
    func next() throws -> Bool {
        let code = sqlite3_step(handle)
        if code == SQLITE_ROW { return true }
        sqlite3_reset(handle)
        guard code == SQLITE_DONE else { throw error(code) }
        return false
    }

    func reset() { sqlite3_reset(handle) }

    func int64(_ column: Int32) -> Int64 { sqlite3_column_int64(handle, column) }
    func uint64(_ column: Int32) -> UInt64 { UInt64(bitPattern: int64(column)) }

    /// Valid until the next step.
    func bytes(_ column: Int32) -> UnsafeRawBufferPointer {
        let start = sqlite3_column_blob(handle, column)
        return UnsafeRawBufferPointer(start: start, count: Int(sqlite3_column_bytes(handle, column)))
    }

    private func error(_ code: Int32) -> DatabaseError {
        let connection = sqlite3_db_handle(handle)
        return DatabaseError(
            resultCode: ResultCode(rawValue: sqlite3_extended_errcode(connection)),
            message: String(cString: sqlite3_errmsg(connection))
        )
    }
}
