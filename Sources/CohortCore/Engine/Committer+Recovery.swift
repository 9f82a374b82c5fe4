import Synchronization

/// From what the store holds back to where the engine was: tables, then the log's tail.
extension Committer {
    func recover() throws(StoreError) {
        let summary = try shared.store.open()
        try check(summary)
        let stored = try shared.store.loadCatalog()
        catalog = CatalogState(stored)
        rules.declare(catalog.attributes)
        bulks = stored.bulks
        for cohort in catalog.cohorts { shared.index.add(cohort) }
        installRules()
        let known = catalog.cohorts.count
        try shared.store.scanAssignments { if Int($0.cohort) < known { shared.index.assign($0) } }
        try IndexLoader(store: shared.store, index: shared.index, threads: configuration.loadThreads)
            .load(customers: summary.customers, nextOrdinal: summary.nextOrdinal, bulks: bulks)
        let found = shared.index.size.customers
        guard found == summary.customers else {
            throw .corrupt(
                "the tables hold \(found) customers where \(summary.customers) are noted. Restore log and tables from one "
                    + "backup"
            )
        }
        sequence = summary.appliedSequence
        time = max(time, summary.appliedTime)
        nextOrdinal = summary.nextOrdinal
        shared.index.finishLoading(sequence: sequence)
        shared.figures.withLock {
            $0.storeID = summary.storeID
            $0.appliedSequence = summary.appliedSequence
            $0.appliedTime = summary.appliedTime
            $0.nextOrdinal = summary.nextOrdinal
            $0.upkeep.log.firstSequence = summary.firstLogSequence
        }
    }

    /// Whether log and tables can belong together without a loss.
    private func check(_ summary: StoreSummary) throws(StoreError) {
        let (applied, first, last) = (summary.appliedSequence, summary.firstLogSequence, summary.lastLogSequence)
        if last < applied {
            throw .refused(
                "the tables hold sequence \(applied) but the change log ends at \(last): the log was lost, replaced or "
                    + "restored from an older copy. Put back the log that belongs to these tables, or restore both "
                    + "from one backup"
            )
        }
        if last > 0, first > 1, applied == 0 {
            throw .refused(
                "the tables are missing or empty and the change log begins at \(first): retention has deleted the entries "
                    + "before, so the tables cannot be made again from the log. Put back the tables that belong to this "
                    + "log, or restore both from one backup that holds sequence \(first - 1) or later"
            )
        }
        if last > 0, first > applied + 1 {
            throw .refused(
                "the tables end at sequence \(applied) but the change log begins at \(first): entries in between are "
                    + "missing, as retention deletes them once the tables have them. Put back the tables that belong to "
                    + "this log, or restore both from one backup"
            )
        }
    }

    /// Applies the log behind the tables, entry by entry as it was committed.
    func replay(to last: UInt64) throws(StoreError) {
        while sequence < last {
            shared.pending.waitForRoom()
            let rows = try shared.store.readLog(from: sequence + 1, limit: configuration.groupRows)
            guard !rows.isEmpty else { throw .corrupt("the change log ends at \(sequence), before \(last)") }
            try replay(rows)
        }
    }

    private func replay(_ rows: [LogRow]) throws(StoreError) {
        var entries: [LogEntry] = []
        for (i, row) in rows.enumerated() {
            guard row.sequence == sequence + UInt64(i) + 1 else {
                throw .refused(
                    "the change log has a gap: \(row.sequence) follows \(sequence + UInt64(i)). Restore log and tables "
                        + "from one backup"
                )
            }
            do throws(CodecError) {
                entries.append(try row.decoded())
            } catch {
                throw .corrupt("entry \(row.sequence) of the change log cannot be read: \(error.message)")
            }
        }
        guard let last = entries.last else { return }
        var changes = PendingChanges(sequence: last.sequence, time: last.time, nextOrdinal: nextOrdinal)
        for entry in entries {
            if case .customerPutScrubbed(let ordinal, true) = entry.change { scrubbedAway.insert(ordinal) }
        }
        var working = try ReplayedCustomers(entries, self)
        for entry in entries {
            let own = try entry.bulks.map { (reference) throws(StoreError) in try shared.store.loadBulk(reference) }
            let assignments: AssignmentChange? =
                if case .assignmentsStaged(let reference) = entry.change {
                    try shared.store.loadAssignments(reference)
                } else { nil }
            apply(entry, &changes, bulks: own, assignments: assignments)
            try working.apply(entry, bulks, &changes)
            let prepared = own.map { shared.index.prepare($0) }
            let preparedAssignments = assignments.map { shared.index.prepare($0) }
            shared.index.lock.withWriteLock {
                shared.index.apply(entry, bulks: prepared, assignments: preparedAssignments)
            }
            shared.index.maintain()
        }
        working.finish(&changes)
        changes.nextOrdinal = max(nextOrdinal, working.nextOrdinal)
        shared.pending.add(changes)
        sequence = last.sequence
        time = last.time
        nextOrdinal = changes.nextOrdinal
    }

    /// The first entries of a new store: the attributes that exist from the start.
    func bootstrap() throws(DomainError) {
        guard sequence == 0 else { return }
        let context = WriteContext(principal: "system", method: "bootstrap")
        _ = try declareAttribute(name: "daily_spend", type: .double, context)
        _ = try declareAttribute(name: "user_type", type: .string, context)
    }
}

/// The customers that some entries of the log's tail change.
private struct ReplayedCustomers {
    private struct Customer {
        var record: CustomerRecord
        var newID: [UInt8]?
        var erased = false
    }

    private var customers: [Ordinal: Customer] = [:]
    private(set) var nextOrdinal: Ordinal = 0

    init(_ entries: [LogEntry], _ committer: Committer) throws(StoreError) {
        var created: Set<Ordinal> = []
        var needed: Set<Ordinal> = []
        for entry in entries {
            switch entry.change {
            case .customerPut(let put):
                if put.newID == nil { needed.insert(put.ordinal) } else { created.insert(put.ordinal) }
            case .customerErased(let ordinal): needed.insert(ordinal)
            case .customerPutScrubbed(let ordinal, let isNew):
                needed.insert(ordinal)
                if isNew { nextOrdinal = max(nextOrdinal, ordinal + 1) }
            default: break
            }
            for transition in entry.transitions { needed.insert(transition.ordinal) }
        }
        let stored = needed.subtracting(created).subtracting(committer.scrubbedAway).sorted()
        let loaded = try committer.load(stored)
        for ordinal in stored {
            guard let customer = loaded[ordinal] else {
                throw .corrupt("the change log speaks of customer \(ordinal), whom the tables do not hold")
            }
            var record = customer.record
            // It has taken in the bulk changes up to here. Taken in twice, one that was followed by another would end what
            // the later one began.
            record.sequence = max(record.sequence, committer.bulks.last?.sequence ?? 0)
            customers[ordinal] = Customer(record: record)
            closedByFold += customer.closed
        }
    }

    private var closedByFold: [ClosedInterval] = []

    mutating func apply(
        _ entry: LogEntry,
        _ bulks: [AppliedBulk],
        _ changes: inout PendingChanges
    ) throws(StoreError) {
        var touched = Set(entry.transitions.map(\.ordinal))
        switch entry.change {
        case .customerPut(let put):
            touched.insert(put.ordinal)
            if let id = put.newID {
                customers[put.ordinal] = Customer(
                    record: CustomerRecord(createdSequence: entry.sequence, createdAt: entry.time),
                    newID: id
                )
                nextOrdinal = max(nextOrdinal, put.ordinal + 1)
            }
            // Before the attributes, as when it was committed.
            fold([put.ordinal], before: entry, bulks, &changes)
            for attribute in put.attributes { customers[put.ordinal]?.record.set(attribute) }
        case .customerErased(let ordinal):
            touched.insert(ordinal)
            fold([ordinal], before: entry, bulks, &changes)
            customers[ordinal]?.erased = true
            changes.erasures.append(Erasure(ordinal: ordinal, sequence: entry.sequence, time: entry.time))
        case .customerPutScrubbed(let ordinal, _):
            touched.insert(ordinal)
            fold([ordinal], before: entry, bulks, &changes)
        default:
            fold(touched, before: entry, bulks, &changes)
        }
        for transition in entry.transitions {
            if let closed = customers[transition.ordinal]?.record.move(
                transition,
                sequence: entry.sequence,
                time: entry.time
            ) {
                changes.closed.append(closed)
            }
        }
        for ordinal in touched { customers[ordinal]?.record.sequence = entry.sequence }
    }

    private mutating func fold(
        _ ordinals: Set<Ordinal>,
        before entry: LogEntry,
        _ bulks: [AppliedBulk],
        _ changes: inout PendingChanges
    ) {
        let own = bulks.reversed().prefix { $0.sequence >= entry.sequence }.count
        let earlier = own == 0 ? bulks : Array(bulks.dropLast(own))
        for ordinal in ordinals {
            if let closed = customers[ordinal]?.record.fold(earlier, ordinal: ordinal) { changes.closed += closed }
        }
    }

    func finish(_ changes: inout PendingChanges) {
        changes.closed += closedByFold
        for (ordinal, customer) in customers {
            if customer.erased {
                changes.customers.append((ordinal, .delete))
            } else if let id = customer.newID {
                changes.customers.append((ordinal, .insert(id: id, record: customer.record.encoded())))
            } else {
                changes.customers.append((ordinal, .update(record: customer.record.encoded())))
            }
        }
    }
}

extension LogRow {
    /// The entry in this row.
    package func decoded() throws(CodecError) -> LogEntry {
        let result = payload.withUnsafeBytes { bytes in
            Result { () throws(CodecError) in try LogEntry(sequence: sequence, time: time, payload: bytes) }
        }
        return try result.get()
    }
}
