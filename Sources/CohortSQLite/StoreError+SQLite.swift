import CohortCore
import GRDB
import GRDBSQLite

extension StoreError {
    static let restore =
        "Keep a copy of the data directory, check the disk, and restore log and tables from one backup"

    static let permission =
        "Let this user read and write the data directory and the files in it, and check that the disk is not mounted "
        + "read-only"

    /// What a call of the database failed with, in the store's terms: the file, SQLite's words, and what to do.
    init(_ error: any Error, _ file: String) {
        if let error = error as? StoreError {
            self = error
        } else if let error = error as? DatabaseError {
            let message = "\(file): \(error.message ?? "error") (SQLite \(error.extendedResultCode.rawValue))"
            switch (error.resultCode, error.extendedResultCode.rawValue) {
            case (.SQLITE_CORRUPT, _), (.SQLITE_NOTADB, _):
                self = .corrupt("\(message). The file is damaged. \(Self.restore)")
            case (_, Self.pageCheckFailed):
                self = .corrupt("\(file): a page does not match its check sum. The file is damaged. \(Self.restore)")
            case (let code, _): self = .failed(Self.advice(code).map { "\(message). \($0)" } ?? message)
            }
        } else {
            self = .failed("\(file): \(error)")
        }
    }

    /// SQLITE_IOERR_DATA, a macro that Swift does not see.
    private static var pageCheckFailed: Int32 { SQLITE_IOERR | 32 << 8 }

    private static func advice(_ code: ResultCode) -> String? {
        switch code {
        case .SQLITE_FULL: "Make room on the disk of the data directory"
        case .SQLITE_BUSY, .SQLITE_LOCKED:
            "Another program holds a lock on the file: end it, such as a database shell or a backup"
        case .SQLITE_READONLY, .SQLITE_CANTOPEN, .SQLITE_PERM, .SQLITE_AUTH:
            permission
        case .SQLITE_IOERR: "Check the disk and the system's log"
        default: nil
        }
    }
}
