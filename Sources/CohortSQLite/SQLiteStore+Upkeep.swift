package import CohortCore
import Foundation
import Synchronization

extension SQLiteStore: StoreUpkeep {
    package var upkeep: any StoreUpkeep { self }

    package var sizes: StoreSizes {
        var sizes = StoreSizes()
        sizes.logBytes = bytes(of: [LogFile.name, LogFile.name + "-wal"])
        sizes.tablesBytes = bytes(of: [TablesFile.name, TablesFile.name + "-wal"])
        sizes.logUsedBytes = (try? opened().log.space().used) ?? 0
        var disk = statvfs()
        if statvfs(directory, &disk) == 0 {
            let block = UInt64(disk.f_frsize)
            sizes.diskFreeBytes = UInt64(disk.f_bavail) * block
            // What is kept for the superuser is nobody's here.
            sizes.diskBytes = UInt64(disk.f_blocks - disk.f_bfree + disk.f_bavail) * block
        }
        return sizes
    }

    package func secureTables() throws(StoreError) -> UInt64 {
        let sequence = try opened().tables.secure()
        secured.withLock { $0 = sequence }
        return sequence
    }

    package func oldestEntries(limit: Int) throws(StoreError) -> [LogEntrySize] {
        try opened().log.oldest(limit: limit)
    }

    package func deleteEntries(through sequence: UInt64) throws(StoreError) -> Int {
        let secured = secured.withLock { $0 }
        let end = min(sequence, secured)
        return end > 0 ? try opened().log.delete(through: end, atMost: secured) : 0
    }

    package func deleteBulkChanges(through sequence: UInt64, limit: Int) throws(StoreError) -> Int {
        try opened().tables.deleteBulkChanges(through: sequence, limit: limit)
    }

    package func deleteIntervals(
        of range: ClosedRange<Ordinal>,
        endedBefore time: Timestamp
    ) throws(StoreError) -> Int { try opened().tables.deleteIntervals(of: range, endedBefore: time) }

    package func shrinkLog(bytes: Int, slack: UInt64) throws(StoreError) -> Bool {
        try opened().log.shrink(bytes: bytes, slack: slack)
    }

    package func erasureBacklog() throws(StoreError) -> (count: Int, oldest: Timestamp?) {
        let tables = try opened().tables
        return (try tables.erasureCount(), try tables.erasures(limit: 1).first?.time)
    }

    package func erasures(limit: Int) throws(StoreError) -> [Erasure] { try opened().tables.erasures(limit: limit) }

    package func deleteIntervals(of ordinals: [Ordinal]) throws(StoreError) {
        try opened().tables.deleteIntervals(of: ordinals)
    }

    package func rewriteEntries(_ rows: [LogRow]) throws(StoreError) {
        let end = secured.withLock { $0 }
        try opened().log.rewrite(rows.filter { $0.sequence <= end })
    }

    package func restoreCustomers(in range: ClosedRange<Ordinal>) throws(StoreError) {
        try opened().tables.restoreCustomers(in: range)
    }

    package func restoreOldestEntries(limit: Int) throws(StoreError) {
        try opened().log.restoreOldest(limit: limit, through: secured.withLock { $0 })
    }

    package func dropDeleted() throws(StoreError) -> Bool {
        let parts = try opened()
        guard try parts.tables.truncateWriteAheadLog() else { return false }
        return try parts.log.truncateWriteAheadLog()
    }

    package func finishErasures(_ erasures: [Erasure]) throws(StoreError) {
        try opened().tables.finishErasures(erasures)
    }
}
