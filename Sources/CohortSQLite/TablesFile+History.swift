import CohortCore
import GRDB

/// Reads of memberships that are over. Rows lie together by customer; a cohort's are found by reading those of all.
extension TablesFile {
    func readIntervals(
        _ query: IntervalQuery
    ) throws(StoreError) -> (intervals: [ClosedInterval], horizon: HistoryHorizon?) {
        var conditions = ["ordinal = ?", "began_sequence <= ?"]
        var arguments: StatementArguments = [query.ordinal, Int64(clamping: query.through)]
        if let cohort = query.cohort {
            conditions.append("cohort = ?")
            arguments += [cohort]
        }
        if let time = query.begunBy {
            conditions.append("(began_seconds, began_nanoseconds) <= (?, ?)")
            arguments += [time.seconds, time.nanoseconds]
        }
        if let time = query.notEndedBy {
            conditions.append("(ended_sequence > ? OR (ended_seconds, ended_nanoseconds) > (?, ?))")
            arguments += [Int64(clamping: query.through), time.seconds, time.nanoseconds]
        }
        arguments += [query.limit]
        let sql =
            "SELECT * FROM intervals WHERE \(conditions.joined(separator: " AND ")) "
            + "ORDER BY began_sequence DESC, cohort LIMIT ?"
        return try read { db in
            (try Row.fetchAll(db, sql: sql, arguments: arguments).map(Self.interval), try Self.horizon(db))
        }
    }

    func scanIntervals(
        _ range: ClosedRange<Ordinal>,
        cohort: CohortNumber,
        at point: PastPoint,
        _ body: (Ordinal, Membership) throws(StoreError) -> Void
    ) throws(StoreError) {
        let condition: String
        switch point {
        case .sequence: condition = "began_sequence <= ? AND ended_sequence > ?"
        case .time:
            condition =
                "(began_seconds, began_nanoseconds) <= (?, ?) AND (ended_seconds, ended_nanoseconds) > (?, ?)"
        }
        try read { db in
            let select = try RawStatement(
                db,
                "SELECT ordinal, membership FROM intervals WHERE ordinal BETWEEN ? AND ? AND cohort = ? AND \(condition)"
            )
            defer { select.reset() }
            select.bind(1, range.lowerBound)
            select.bind(2, range.upperBound)
            select.bind(3, cohort)
            switch point {
            case .sequence(let sequence):
                select.bind(4, Int64(clamping: sequence))
                select.bind(5, Int64(clamping: sequence))
            case .time(let time):
                for position in [4, 6] as [Int32] {
                    select.bind(position, time.seconds)
                    select.bind(position + 1, Int64(time.nanoseconds))
                }
            }
            while try select.next() {
                guard let membership = Membership(rawValue: UInt8(truncatingIfNeeded: select.int64(1))) else {
                    throw Self.damaged
                }
                try body(Ordinal(truncatingIfNeeded: select.int64(0)), membership)
            }
        }
    }

    func historyHorizon() throws(StoreError) -> HistoryHorizon? { try read { try Self.horizon($0) } }

    /// Notes what is about to be deleted, in the transaction that deletes it.
    static func moveHorizon(_ db: Database, _ deleted: HistoryHorizon) throws {
        var horizon = deleted
        if let earlier = try Self.horizon(db) { horizon.formUnion(earlier) }
        try Schema.setMeta(db, "history_horizon_sequence", Int64(clamping: horizon.sequence))
        try Schema.setMeta(db, "history_horizon_seconds", horizon.time.seconds)
        try Schema.setMeta(db, "history_horizon_nanoseconds", Int64(horizon.time.nanoseconds))
    }

    private static func horizon(_ db: Database) throws -> HistoryHorizon? {
        guard let sequence: Int64 = try Schema.meta(db, "history_horizon_sequence") else { return nil }
        guard let seconds: Int64 = try Schema.meta(db, "history_horizon_seconds"),
            let nanoseconds: Int32 = try Schema.meta(db, "history_horizon_nanoseconds"),
            let time = Timestamp(seconds: seconds, nanoseconds: nanoseconds)
        else { throw StoreError.corrupt("\(Self.name): the state in table meta is damaged") }
        return HistoryHorizon(sequence: UInt64(sequence), time: time)
    }

    private static var damaged: StoreError { .corrupt("\(name): a row of the history is damaged") }

    private static func interval(_ row: Row) throws -> ClosedInterval {
        guard let membership = Membership(rawValue: row["membership"]),
            let beganCause = TransitionCause(rawValue: row["began_cause"]),
            let endedCause = TransitionCause(rawValue: row["ended_cause"]),
            let began = Timestamp(seconds: row["began_seconds"], nanoseconds: row["began_nanoseconds"]),
            let ended = Timestamp(seconds: row["ended_seconds"], nanoseconds: row["ended_nanoseconds"])
        else { throw damaged }
        return ClosedInterval(
            ordinal: row["ordinal"],
            began: OpenInterval(
                cohort: row["cohort"],
                membership: membership,
                sequence: UInt64(row["began_sequence"] as Int64),
                time: began,
                version: row["began_version"],
                cause: beganCause
            ),
            endSequence: UInt64(row["ended_sequence"] as Int64),
            endTime: ended,
            endVersion: row["ended_version"],
            endCause: endedCause
        )
    }
}
