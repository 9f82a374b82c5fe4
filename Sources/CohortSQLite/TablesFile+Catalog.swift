import CohortCore
import Foundation
import GRDB

/// Everything of the tables that is not a customer's row.
extension TablesFile {
    func storeID() throws(StoreError) -> String? { try read { try Schema.meta($0, "store_id") } }

    func setStoreID(_ id: String) throws(StoreError) {
        try write(durably: true) { try Schema.setMeta($0, "store_id", id) }
    }

    func summary(storeID: String, log: (first: UInt64, last: UInt64)) throws(StoreError) -> StoreSummary {
        try read { db in
            func number(_ key: String) throws -> Int64 { try Schema.meta(db, key) ?? 0 }
            guard
                let nanoseconds = Int32(exactly: try number("applied_nanoseconds")),
                let time = Timestamp(seconds: try number("applied_seconds"), nanoseconds: nanoseconds),
                let nextOrdinal = Ordinal(exactly: try number("next_ordinal"))
            else { throw StoreError.corrupt("\(Self.name): the state in table meta is damaged") }
            return StoreSummary(
                storeID: storeID,
                appliedSequence: UInt64(try number("applied_sequence")),
                firstLogSequence: log.first,
                lastLogSequence: log.last,
                nextOrdinal: nextOrdinal,
                customers: UInt64(try number("customers")),
                appliedTime: time
            )
        }
    }

    func loadCatalog() throws(StoreError) -> StoredCatalog {
        try read { db in
            let attributes = try Row.fetchAll(db, sql: "SELECT * FROM attributes ORDER BY slot").map { row in
                guard let type = AttributeType(rawValue: row["type"]) else {
                    throw StoreError.corrupt("\(Self.name): an attribute's type is not known")
                }
                return AttributeDeclaration(
                    name: row["name"],
                    type: type,
                    slot: row["slot"],
                    declaredAt: UInt64(row["declared_at"] as Int64)
                )
            }
            let versions = try Row.fetchAll(db, sql: "SELECT * FROM versions ORDER BY cohort, number")
            let grouped = Dictionary(grouping: versions) { $0["cohort"] as CohortNumber }
            let cohorts = try Row.fetchAll(db, sql: "SELECT * FROM cohorts ORDER BY number").map { row in
                try cohort(row, grouped[row["number"]] ?? [])
            }
            guard attributes.enumerated().allSatisfy({ $0.offset == $0.element.slot }),
                cohorts.enumerated().allSatisfy({ $0.offset == Int($0.element.number) })
            else { throw StoreError.corrupt("\(Self.name): attributes or cohorts are missing") }
            let bulks = try Row.fetchAll(
                db,
                sql: "SELECT * FROM bulk_changes WHERE sequence IS NOT NULL AND NOT folded ORDER BY sequence, stage"
            )
            return StoredCatalog(
                attributes: attributes,
                cohorts: cohorts,
                bulks: try bulks.map { row in
                    AppliedBulk(
                        sequence: UInt64(row["sequence"] as Int64),
                        time: try timestamp(row, ""),
                        change: try bulk(row)
                    )
                },
                requests: try changeRequests(db)
            )
        }
    }

    /// The sequence that a row was staged for: the low bits of its stage.
    private static let stageSequence = "(stage & \((1 as Int64) << BulkChange.stageSequenceBits - 1))"

    func stage(_ changes: [BulkChange]) throws(StoreError) {
        guard let first = changes.first else { return }
        try write(durably: true) { db in
            // What an entry that never came has left behind, which may have had more parts.
            try db.execute(
                sql: "DELETE FROM bulk_changes WHERE sequence IS NULL AND \(Self.stageSequence) = ?",
                arguments: [Int64(first.stage & (1 << BulkChange.stageSequenceBits - 1))]
            )
            for change in changes {
                try db.execute(
                    sql: "INSERT OR REPLACE INTO bulk_changes (stage, cohort, version, cause, sets) "
                        + "VALUES (?, ?, ?, ?, ?)",
                    arguments: [
                        Int64(change.stage), change.cohort, change.version, change.cause.rawValue,
                        Data(change.encodedSets()),
                    ]
                )
            }
        }
    }

    func loadBulk(_ reference: BulkReference) throws(StoreError) -> BulkChange {
        try read { db in
            let row = try Row.fetchOne(
                db,
                sql: "SELECT * FROM bulk_changes WHERE stage = ?",
                arguments: [Int64(reference.stage)]
            )
            guard let row else {
                throw StoreError.corrupt(
                    "\(Self.name): bulk change \(reference.stage), of which the log speaks, is missing"
                )
            }
            let change = try bulk(row)
            guard change.reference == reference else {
                throw StoreError.corrupt("\(Self.name): bulk change \(reference.stage) is not the one of the log")
            }
            return change
        }
    }

    /// Drops what was staged for an entry that never came.
    func dropStaged(after sequence: UInt64) throws(StoreError) {
        try write { db in
            try db.execute(
                sql: "DELETE FROM bulk_changes WHERE sequence IS NULL AND \(Self.stageSequence) > ?",
                arguments: [Int64(sequence)]
            )
            try db.execute(sql: "DELETE FROM assignment_changes WHERE stage > ?", arguments: [Int64(sequence)])
        }
    }

    func apply(_ batch: MaterializedBatch) throws(StoreError) {
        try write { db in
            let growth = try write(batch.customers, db)
            for attribute in batch.attributes {
                try db.execute(
                    sql: "INSERT INTO attributes (slot, name, type, declared_at) VALUES (?, ?, ?, ?)",
                    arguments: [attribute.slot, attribute.name, attribute.type.rawValue, Int64(attribute.declaredAt)]
                )
            }
            for cohort in batch.cohorts { try write(cohort, db) }
            try write(batch.assignments, through: batch.appliedSequence, db)
            try write(batch.closed, db)
            for (stage, sequence, time) in batch.bulks {
                try db.execute(
                    sql: "UPDATE bulk_changes SET sequence = ?, seconds = ?, nanoseconds = ? WHERE stage = ?",
                    arguments: [Int64(sequence), time.seconds, time.nanoseconds, Int64(stage)]
                )
            }
            try write(batch.erasures, db)
            try write(batch.requests, db)
            if let folded = batch.foldedThrough {
                try db.execute(
                    sql: "UPDATE bulk_changes SET folded = 1 WHERE sequence <= ?",
                    arguments: [Int64(folded)]
                )
            }
            let customers: Int64 = try Schema.meta(db, "customers") ?? 0
            try Schema.setMeta(db, "customers", customers + growth)
            try Schema.setMeta(db, "applied_sequence", Int64(batch.appliedSequence))
            try Schema.setMeta(db, "applied_seconds", batch.appliedTime.seconds)
            try Schema.setMeta(db, "applied_nanoseconds", Int64(batch.appliedTime.nanoseconds))
            try Schema.setMeta(db, "next_ordinal", Int64(batch.nextOrdinal))
        }
    }

    // MARK: Rows

    private func write(_ cohort: CohortRecord, _ db: Database) throws {
        try db.execute(
            sql: "INSERT OR REPLACE INTO cohorts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            arguments: [
                cohort.number, cohort.id, cohort.kind.rawValue, cohort.failPolicy.rawValue, cohort.description,
                cohort.state.rawValue, cohort.createdAt.seconds, cohort.createdAt.nanoseconds,
                cohort.updatedAt.seconds, cohort.updatedAt.nanoseconds, cohort.approvalRequired,
            ]
        )
        for version in cohort.versions {
            try db.execute(
                sql: "INSERT OR REPLACE INTO versions (cohort, number, rule, sequence, created_seconds, "
                    + "created_nanoseconds, principal, note, published_sequence, published_seconds, "
                    + "published_nanoseconds, publisher, reverts_to, discarded) "
                    + "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                arguments: [
                    cohort.number, version.number, version.rule, Int64(version.created.sequence),
                    version.created.time.seconds, version.created.time.nanoseconds, version.created.principal,
                    version.note, version.published.map { Int64($0.sequence) }, version.published?.time.seconds,
                    version.published?.time.nanoseconds, version.published?.principal, version.revertsTo,
                    version.isDiscarded,
                ]
            )
        }
        if cohort.state == .archived {
            try removeAssignments(ofCohort: cohort.number, db)
        }
    }

    private func write(_ closed: [ClosedInterval], _ db: Database) throws {
        let insert = try RawStatement(
            db,
            "INSERT OR IGNORE INTO intervals VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        )
        let ordered = closed.sorted {
            ($0.ordinal, $0.began.cohort, $0.began.sequence) < ($1.ordinal, $1.began.cohort, $1.began.sequence)
        }
        for interval in ordered {
            insert.bind(1, interval.ordinal)
            insert.bind(2, interval.began.cohort)
            insert.bind(3, interval.began.sequence)
            insert.bind(4, Int64(interval.began.membership.rawValue))
            insert.bind(5, interval.began.time.seconds)
            insert.bind(6, Int64(interval.began.time.nanoseconds))
            insert.bind(7, interval.began.version)
            insert.bind(8, Int64(interval.began.cause.rawValue))
            insert.bind(9, interval.endSequence)
            insert.bind(10, interval.endTime.seconds)
            insert.bind(11, Int64(interval.endTime.nanoseconds))
            insert.bind(12, interval.endVersion)
            insert.bind(13, Int64(interval.endCause.rawValue))
            try insert.run()
        }
    }

    private func cohort(_ row: Row, _ versions: [Row]) throws -> CohortRecord {
        guard let kind = CohortKind(rawValue: row["kind"]), let policy = FailPolicy(rawValue: row["fail_policy"]),
            let state = CohortLifecycle(rawValue: row["state"]), !versions.isEmpty,
            versions.enumerated().allSatisfy({ $0.element["number"] as Int == $0.offset + 1 })
        else { throw StoreError.corrupt("\(Self.name): a cohort's row is damaged") }
        return CohortRecord(
            number: row["number"],
            id: row["id"],
            kind: kind,
            failPolicy: policy,
            description: row["description"],
            state: state,
            createdAt: try timestamp(row, "created_"),
            updatedAt: try timestamp(row, "updated_"),
            approvalRequired: row["approval_required"],
            versions: try versions.map { row in
                CohortVersion(
                    number: row["number"],
                    rule: row["rule"],
                    note: row["note"],
                    created: CohortVersion.Change(
                        sequence: UInt64(row["sequence"] as Int64),
                        time: try timestamp(row, "created_"),
                        principal: row["principal"]
                    ),
                    published: try (row["published_sequence"] as Int64?).map { sequence in
                        CohortVersion.Change(
                            sequence: UInt64(sequence),
                            time: try timestamp(row, "published_"),
                            principal: row["publisher"]
                        )
                    },
                    revertsTo: row["reverts_to"],
                    isDiscarded: row["discarded"]
                )
            }
        )
    }

    private func bulk(_ row: Row) throws -> BulkChange {
        guard let cause = TransitionCause(rawValue: row["cause"]) else {
            throw StoreError.corrupt("\(Self.name): the cause of a bulk change is not known")
        }
        let (stage, cohort, version) = (row["stage"] as Int64, row["cohort"] as UInt32, row["version"] as UInt32)
        return try (row["sets"] as Data).withUnsafeBytes { sets in
            do throws(CodecError) {
                return try BulkChange(
                    stage: UInt64(stage),
                    cohort: cohort,
                    version: version,
                    cause: cause,
                    decodingSets: sets
                )
            } catch {
                throw StoreError.corrupt("\(Self.name): bulk change \(stage) cannot be read: \(error.message)")
            }
        }
    }

    private func timestamp(_ row: Row, _ prefix: String) throws -> Timestamp {
        guard let time = Timestamp(seconds: row[prefix + "seconds"], nanoseconds: row[prefix + "nanoseconds"]) else {
            throw StoreError.corrupt("\(Self.name): a time is out of range")
        }
        return time
    }
}
