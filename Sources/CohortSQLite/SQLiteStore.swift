package import CohortCore
import Foundation
import Synchronization

/// The embedded store: a data directory with the change log (`log.db`), the tables (`cohort.db`) and a lock file.
///
/// Two files, so that bringing the tables up to date never holds up a commit.
package final class SQLiteStore: Store {
    struct Parts: Sendable {
        var lock: DirectoryLock
        var log: LogFile
        var tables: TablesFile
    }

    let directory: String
    let keyring: AuditKeyring
    private let cacheBytes: Int
    private let readers: Int
    private let options: FileOptions
    let parts = Mutex<Parts?>(nil)
    /// Up to here the tables survive a power failure; what `secureTables` last returned.
    let secured = Mutex<UInt64>(0)

    /// - Parameters:
    ///   - directory: made, readable by its owner alone, if it is not there.
    ///   - audit: the keys of the audit chain.
    ///   - cacheBytes: page cache for writing the tables, in bytes.
    ///   - readers: how many threads may read the tables at once.
    package convenience init(
        directory: String,
        audit: AuditKeyring,
        cacheBytes: Int = 64 << 20,
        readers: Int = 6
    ) {
        self.init(directory: directory, audit: audit, cacheBytes: cacheBytes, readers: readers, options: FileOptions())
    }

    init(
        directory: String,
        audit: AuditKeyring,
        cacheBytes: Int = 64 << 20,
        readers: Int = 6,
        options: FileOptions
    ) {
        self.directory = directory
        keyring = audit
        self.cacheBytes = cacheBytes
        self.readers = readers
        self.options = options
    }

    package func open() throws(StoreError) -> StoreSummary {
        guard parts.withLock({ $0 == nil }) else { throw .refused("\(directory) is open already") }
        try DataDirectory.make(directory)
        try PageChecks.install()
        let lock = try DirectoryLock(directory: directory)
        do throws(StoreError) {
            let log = try LogFile(directory: directory, keyring: keyring, options: options)
            let tables = try openTables(log)
            let parts = Parts(lock: lock, log: log, tables: tables)
            do throws(StoreError) {
                let id = try agreeOnID(parts)
                let summary = try summarize(parts, id)
                try DataDirectory.sync(directory)
                self.parts.withLock { $0 = parts }
                return summary
            } catch {
                tables.close()
                log.close()
                throw error
            }
        } catch {
            lock.release()
            throw error
        }
    }

    private func openTables(_ log: LogFile) throws(StoreError) -> TablesFile {
        do throws(StoreError) {
            return try TablesFile(directory: directory, cacheBytes: cacheBytes, readers: readers, options: options)
        } catch {
            log.close()
            throw error
        }
    }

    /// Both files carry the store's id, so that files of different stores, or of different backups, are not mixed.
    private func agreeOnID(_ parts: Parts) throws(StoreError) -> String {
        let logID = try parts.log.storeID()
        let tablesID = try parts.tables.storeID()
        switch (logID, tablesID) {
        case (let a?, let b?):
            guard a == b else {
                throw .refused(
                    "\(LogFile.name) is of store \(a) but \(TablesFile.name) is of store \(b). Put back the file that "
                        + "belongs to the other, or restore both from one backup"
                )
            }
            return a
        case (let id?, nil):
            try parts.tables.setStoreID(id)
            return id
        case (nil, let id?):
            // Whether the log may be new is decided by the sequences.
            try parts.log.setStoreID(id)
            return id
        case (nil, nil):
            var random = SystemRandomNumberGenerator()
            let id = (0..<32).map { _ in String(UInt8.random(in: 0..<16, using: &random), radix: 16) }.joined()
            try parts.log.setStoreID(id)
            try parts.tables.setStoreID(id)
            return id
        }
    }

    private func summarize(_ parts: Parts, _ id: String) throws(StoreError) -> StoreSummary {
        let bounds = try parts.log.bounds()
        try parts.tables.dropStaged(after: bounds.last)
        return try parts.tables.summary(storeID: id, log: bounds)
    }

    package func loadCatalog() throws(StoreError) -> StoredCatalog { try opened().tables.loadCatalog() }

    package func scanAssignments(_ body: (Assignment) -> Void) throws(StoreError) {
        try opened().tables.scanAssignments(body)
    }

    package func scanCustomers(
        _ range: ClosedRange<Ordinal>,
        _ body: (Ordinal, UnsafeRawBufferPointer, UnsafeRawBufferPointer) throws(StoreError) -> Void
    ) throws(StoreError) { try opened().tables.scanCustomers(range, body) }

    package func readCustomers(
        _ ordinals: [Ordinal],
        _ body: (Int, UnsafeRawBufferPointer) throws(StoreError) -> Void
    ) throws(StoreError) { try opened().tables.readCustomers(ordinals, body) }

    package func readIntervals(
        _ query: IntervalQuery
    ) throws(StoreError) -> (intervals: [ClosedInterval], horizon: HistoryHorizon?) {
        try opened().tables.readIntervals(query)
    }

    package func scanIntervals(
        _ range: ClosedRange<Ordinal>,
        cohort: CohortNumber,
        at point: PastPoint,
        _ body: (Ordinal, Membership) throws(StoreError) -> Void
    ) throws(StoreError) { try opened().tables.scanIntervals(range, cohort: cohort, at: point, body) }

    package func historyHorizon() throws(StoreError) -> HistoryHorizon? { try opened().tables.historyHorizon() }

    package func append(_ rows: [LogRow]) throws(StoreError) { try opened().log.append(rows) }

    package func recoverLog() throws(StoreError) -> UInt64 {
        let old = try opened()
        old.log.close()
        let log = try LogFile(directory: directory, keyring: keyring, options: options)
        parts.withLock { $0?.log = log }
        try log.secure()
        return try log.bounds().last
    }

    package func readLog(from sequence: UInt64, limit: Int) throws(StoreError) -> [LogRow] {
        try opened().log.read(from: sequence, limit: limit)
    }

    package func stage(_ changes: [BulkChange]) throws(StoreError) { try opened().tables.stage(changes) }

    package func loadBulk(_ reference: BulkReference) throws(StoreError) -> BulkChange {
        try opened().tables.loadBulk(reference)
    }

    package func stage(_ change: AssignmentChange) throws(StoreError) { try opened().tables.stage(change) }

    package func loadAssignments(_ reference: AssignmentReference) throws(StoreError) -> AssignmentChange {
        try opened().tables.loadAssignments(reference)
    }

    package func apply(_ batch: MaterializedBatch) throws(StoreError) { try opened().tables.apply(batch) }

    package var sizeInBytes: UInt64 {
        bytes(of: [LogFile.name, LogFile.name + "-wal", TablesFile.name, TablesFile.name + "-wal"])
    }

    func bytes(of files: [String]) -> UInt64 {
        files.reduce(0) { sum, name in
            let attributes = try? FileManager.default.attributesOfItem(atPath: directory + "/" + name)
            return sum + ((attributes?[.size] as? NSNumber)?.uint64Value ?? 0)
        }
    }

    package func close() {
        let parts = parts.withLock { parts in
            defer { parts = nil }
            return parts
        }
        guard let parts else { return }
        parts.tables.close()
        parts.log.close()
        parts.lock.release()
    }

    func opened() throws(StoreError) -> Parts {
        guard let parts = parts.withLock({ $0 }) else { throw .failed("\(directory) is not open") }
        return parts
    }
}
