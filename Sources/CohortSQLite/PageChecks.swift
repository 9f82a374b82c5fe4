import CohortCore
import CohortPageChecks
import Foundation
import GRDB
import GRDBSQLite

/// Check sums of pages: a page that the disk has changed is an error when it is read, and never an answer.
enum PageChecks {
    /// Makes SQLite check pages in this process. Before any file is opened.
    static func install() throws(StoreError) {
        let code = cohort_page_checks_install()
        guard code == SQLITE_OK else { throw .failed("SQLite does not take the check of pages (SQLite \(code))") }
    }

    /// Leaves room for the sums in the pages of a file that is about to be made.
    @Sendable static func prepare(_ db: Database) throws {
        var bytes = COHORT_PAGE_CHECK_BYTES
        _ = sqlite3_file_control(db.sqliteConnection, "main", SQLITE_FCNTL_RESERVE_BYTES, &bytes)
    }

    /// Refuses a file whose header says that its pages have no sums: it is damaged, and reading on would go unchecked.
    /// Before the file is opened by SQLite: closing it drops the locks that this process holds on it.
    static func require(_ directory: String, file: String) throws(StoreError) {
        guard let handle = FileHandle(forReadingAtPath: directory + "/" + file) else { return }
        defer { try? handle.close() }
        guard let header = try? handle.read(upToCount: 100), !header.isEmpty else { return }
        guard header.count == 100, header[20] == UInt8(COHORT_PAGE_CHECK_BYTES) else {
            throw .corrupt("\(file): the header of the file is damaged. \(StoreError.restore)")
        }
    }
}
