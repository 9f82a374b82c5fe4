package import CohortCore
import Synchronization

extension SQLiteStore: AuditStore {
    package var audit: any AuditStore { self }

    package var head: AuditHead? { parts.withLock { $0 }?.log.chain.withLock { $0.head } }

    package var keys: AuditKeys { keyring.keys }

    package func append(_ records: [AuditRecord], at now: Timestamp) throws(StoreError) {
        try opened().log.appendAudit(records, at: now)
    }

    package func rows(from position: UInt64, descending: Bool, limit: Int) throws(StoreError) -> [AuditRow] {
        try opened().log.auditRows(from: position, descending: descending, limit: limit)
    }

    package func piece(from position: UInt64, limit: Int, entries: Int) throws(StoreError) -> AuditPiece {
        try opened().log.piece(from: position, limit: limit, entries: entries)
    }

    package func deleteRows(
        from position: UInt64,
        before time: Timestamp,
        limit: Int
    ) throws(StoreError) -> (deleted: Int, next: UInt64) {
        try opened().log.deleteAudit(from: position, before: time, limit: limit)
    }

    package func figures() throws(StoreError) -> AuditStoreFigures { try opened().log.auditFigures() }
}
