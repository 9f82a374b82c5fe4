import CohortCore
import GRDB

/// The tables of the two files.
enum Schema {
    /// 2: the audit chain.
    static let logFormat: Int64 = 2
    /// 2: overrides and lists as chunks of bitmaps. 3: versions that are drafted before they are published.
    /// 4: changes that need approval.
    static let tablesFormat: Int64 = 4

    static let log = """
        CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value ANY) WITHOUT ROWID;
        CREATE TABLE IF NOT EXISTS entries (
            sequence INTEGER PRIMARY KEY,
            seconds INTEGER NOT NULL,
            nanoseconds INTEGER NOT NULL,
            payload BLOB NOT NULL
        );
        CREATE TABLE IF NOT EXISTS audit (
            position INTEGER PRIMARY KEY,
            seconds INTEGER NOT NULL,
            nanoseconds INTEGER NOT NULL,
            kind INTEGER NOT NULL,
            payload BLOB NOT NULL,
            key INTEGER NOT NULL,
            mac BLOB NOT NULL
        );
        CREATE TABLE IF NOT EXISTS audit_gaps (
            first INTEGER PRIMARY KEY,
            last INTEGER NOT NULL,
            before BLOB NOT NULL,
            after BLOB NOT NULL,
            unsound INTEGER NOT NULL,
            key INTEGER NOT NULL,
            mac BLOB NOT NULL
        );
        CREATE TABLE IF NOT EXISTS audit_floor (
            one INTEGER PRIMARY KEY CHECK (one = 1),
            sequence INTEGER NOT NULL,
            position INTEGER NOT NULL,
            key INTEGER NOT NULL,
            mac BLOB NOT NULL
        );
        CREATE TABLE IF NOT EXISTS audit_seals (
            sequence INTEGER PRIMARY KEY,
            masked BLOB NOT NULL,
            key INTEGER NOT NULL,
            mac BLOB NOT NULL
        );
        """

    static let tables = """
        CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value ANY) WITHOUT ROWID;
        CREATE TABLE IF NOT EXISTS attributes (
            slot INTEGER PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            type INTEGER NOT NULL,
            declared_at INTEGER NOT NULL
        );
        CREATE TABLE IF NOT EXISTS cohorts (
            number INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            kind INTEGER NOT NULL,
            fail_policy INTEGER NOT NULL,
            description TEXT NOT NULL,
            state INTEGER NOT NULL,
            created_seconds INTEGER NOT NULL,
            created_nanoseconds INTEGER NOT NULL,
            updated_seconds INTEGER NOT NULL,
            updated_nanoseconds INTEGER NOT NULL,
            approval_required INTEGER NOT NULL DEFAULT 0
        );
        CREATE TABLE IF NOT EXISTS change_requests (
            number INTEGER PRIMARY KEY,
            request BLOB NOT NULL
        );
        CREATE TABLE IF NOT EXISTS versions (
            cohort INTEGER NOT NULL,
            number INTEGER NOT NULL,
            rule TEXT,
            sequence INTEGER NOT NULL,
            created_seconds INTEGER NOT NULL,
            created_nanoseconds INTEGER NOT NULL,
            principal TEXT NOT NULL,
            note TEXT NOT NULL DEFAULT '',
            published_sequence INTEGER,
            published_seconds INTEGER,
            published_nanoseconds INTEGER,
            publisher TEXT,
            reverts_to INTEGER NOT NULL DEFAULT 0,
            discarded INTEGER NOT NULL DEFAULT 0,
            PRIMARY KEY (cohort, number)
        ) WITHOUT ROWID;
        CREATE TABLE IF NOT EXISTS customers (
            ordinal INTEGER PRIMARY KEY,
            id TEXT NOT NULL,
            id_check INTEGER NOT NULL,
            record BLOB NOT NULL,
            record_check INTEGER NOT NULL
        );
        CREATE TABLE IF NOT EXISTS assignment_chunks (
            chunk INTEGER NOT NULL,
            cohort INTEGER NOT NULL,
            kind INTEGER NOT NULL,
            bits BLOB NOT NULL,
            bits_check INTEGER NOT NULL,
            UNIQUE (chunk, cohort, kind)
        );
        CREATE TABLE IF NOT EXISTS assignment_changes (
            stage INTEGER PRIMARY KEY,
            cohort INTEGER NOT NULL,
            sets BLOB NOT NULL
        );
        CREATE TABLE IF NOT EXISTS intervals (
            ordinal INTEGER NOT NULL,
            cohort INTEGER NOT NULL,
            began_sequence INTEGER NOT NULL,
            membership INTEGER NOT NULL,
            began_seconds INTEGER NOT NULL,
            began_nanoseconds INTEGER NOT NULL,
            began_version INTEGER NOT NULL,
            began_cause INTEGER NOT NULL,
            ended_sequence INTEGER NOT NULL,
            ended_seconds INTEGER NOT NULL,
            ended_nanoseconds INTEGER NOT NULL,
            ended_version INTEGER NOT NULL,
            ended_cause INTEGER NOT NULL,
            PRIMARY KEY (ordinal, cohort, began_sequence)
        ) WITHOUT ROWID;
        CREATE TABLE IF NOT EXISTS bulk_changes (
            stage INTEGER PRIMARY KEY,
            cohort INTEGER NOT NULL,
            version INTEGER NOT NULL,
            cause INTEGER NOT NULL,
            sequence INTEGER,
            seconds INTEGER,
            nanoseconds INTEGER,
            folded INTEGER NOT NULL DEFAULT 0,
            sets BLOB NOT NULL
        );
        CREATE TABLE IF NOT EXISTS erasures (
            sequence INTEGER PRIMARY KEY,
            ordinal INTEGER NOT NULL,
            seconds INTEGER NOT NULL,
            nanoseconds INTEGER NOT NULL
        );
        """

    /// Before format 2 of the log nothing was chained: the chain begins by saying up to where.
    static func noteUnchained(_ db: Database) throws {
        try setMeta(db, "audit_unchained", Int64.fetchOne(db, sql: "SELECT max(sequence) FROM entries") ?? 0)
    }

    /// Before format 3 every version was published by the entry that made it.
    static func addPublications(_ db: Database) throws {
        let present = Set(try db.columns(in: "versions").map(\.name))
        for column in [
            "note TEXT NOT NULL DEFAULT ''", "published_sequence INTEGER", "published_seconds INTEGER",
            "published_nanoseconds INTEGER", "publisher TEXT", "reverts_to INTEGER NOT NULL DEFAULT 0",
            "discarded INTEGER NOT NULL DEFAULT 0",
        ] where !present.contains(String(column.prefix { $0 != " " })) {
            try db.execute(sql: "ALTER TABLE versions ADD COLUMN \(column)")
        }
        try db.execute(
            sql: "UPDATE versions SET published_sequence = sequence, published_seconds = created_seconds, "
                + "published_nanoseconds = created_nanoseconds, publisher = principal"
        )
    }

    /// Before format 4 no change needed approval.
    static func addApprovals(_ db: Database) throws {
        guard try !db.columns(in: "cohorts").contains(where: { $0.name == "approval_required" }) else { return }
        try db.execute(sql: "ALTER TABLE cohorts ADD COLUMN approval_required INTEGER NOT NULL DEFAULT 0")
    }

    /// Makes the tables of a new file, brings an older one up to `format`, and refuses a file of a later one.
    ///
    /// - Parameter upgrade: brings a file from an earlier format, from 1 on, to this one.
    static func prepare(
        _ db: Database,
        _ sql: String,
        file: String,
        format: Int64,
        upgrade: (_ from: Int64) throws -> Void = { _ in }
    ) throws {
        try db.execute(sql: sql)
        if let found = try meta(db, "format") as Int64? {
            guard (1...format).contains(found) else {
                throw StoreError.refused(
                    "\(file) is of format \(found), this version reads format \(format). Use the version of Cohort that "
                        + "wrote it"
                )
            }
            if found == format { return }
            try upgrade(found)
        }
        try setMeta(db, "format", format)
    }

    static func meta<T: DatabaseValueConvertible>(_ db: Database, _ key: String) throws -> T? {
        try T.fetchOne(db, sql: "SELECT value FROM meta WHERE key = ?", arguments: [key])
    }

    static func setMeta(_ db: Database, _ key: String, _ value: some DatabaseValueConvertible) throws {
        try db.execute(
            sql: "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            arguments: [key, value]
        )
    }
}
