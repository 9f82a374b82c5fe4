import Synchronization

/// Which rows of the audit are asked for. What is not set does not limit.
package struct AuditQuery: Sendable {
    package var since: Timestamp?
    /// Before this.
    package var until: Timestamp?
    package var principal: String?
    /// The full name, or the part behind the slash.
    package var method: String?
    package var outcome: UInt8?
    /// Empty for all.
    package var kinds: Set<AuditItem.Kind> = []
    package var customerID: String?
    /// 16 bytes. Finds rows only, no log entries but those of erased customers.
    package var customerHash: [UInt8]?
    package var limit: Int
    package var isOldestFirst = false

    package init(limit: Int) { self.limit = limit }

    var isOfCustomer: Bool { customerID != nil || customerHash != nil }

    func admits(_ item: AuditItem) -> Bool {
        if let since, item.time < since { return false }
        if let until, item.time >= until { return false }
        if let principal, item.principal != principal { return false }
        if let method, item.method != method, !item.method.hasSuffix("/" + method) { return false }
        if let outcome, item.outcome != outcome { return false }
        return kinds.isEmpty || kinds.contains(item.kind)
    }
}

/// A row of the audit, or a log entry, as it is listed.
package struct AuditItem: Sendable, Hashable {
    package enum Kind: Sendable, Hashable, CaseIterable {
        case administration, denial, read, dataChange
        // The chain's own.
        case start, keyChanged, rowsLost, head
    }

    /// The row; of a log entry, that of its group, 0 for one from before the chain.
    package var position: UInt64
    package var kind: Kind
    package var time: Timestamp
    package var principal = ""
    package var method = ""
    package var outcome: UInt8 = 0
    package var reason = ""
    package var peer = ""
    package var customer: [UInt8] = []
    package var cohort = ""
    package var sequence: UInt64 = 0
    package var count: UInt64 = 1
    /// What a log entry changed.
    package var change = ""
}

/// A listing that goes on as long as somebody asks for the next page.
package final class AuditListing: Sendable {
    private struct State {
        /// The next row; `nil` at the end.
        var position: UInt64?
        var left: Int
        /// Who the customer is, or was, in log entries; `nil` until it has been looked for.
        var ordinals: Set<Ordinal>?
    }

    private static let rows = 500
    private static let entries = 500
    /// The longest that is looked for one page, give or take a piece.
    private static let stepDuration = Duration.milliseconds(250)

    private let engine: Engine
    private let query: AuditQuery
    private let hashes: Set<[UInt8]>
    private let state: Mutex<State>

    fileprivate init(_ engine: Engine, _ query: AuditQuery) {
        self.engine = engine
        self.query = query
        let audit = engine.shared.store.audit
        var hashes = query.customerID.map { audit.keys.customerHashes($0) } ?? []
        if let hash = query.customerHash { hashes.insert(hash) }
        self.hashes = hashes
        state = Mutex(
            State(
                position: query.isOldestFirst ? 1 : audit.head?.position,
                left: query.limit,
                ordinals: query.isOfCustomer ? nil : []
            )
        )
    }

    /// The next items; may be none while there are more to come. `nil` at the end.
    package func next() async throws(DomainError) -> [AuditItem]? {
        guard state.withLock({ $0.position != nil && $0.left > 0 }) else { return nil }
        let shared = engine.shared
        return try await engine.onAuditThread { [self] in
            shared.reading(
                orLog: "reading the audit failed",
                damage: "The audit cannot be read."
            ) { () throws(StoreError) in try page(shared) }
        }
    }

    private func page(_ shared: EngineShared) throws(StoreError) -> [AuditItem] {
        var state = state.withLock { $0 }
        defer { self.state.withLock { $0 = state } }
        if state.ordinals == nil { state.ordinals = try findOrdinals(shared) }
        if query.isOldestFirst, state.position == 1, let since = query.since {
            state.position = try firstRow(since: since, shared)
        }
        let begin = ContinuousClock.now
        var items: [AuditItem] = []
        while let position = state.position, state.left > 0, items.count < Self.rows,
            ContinuousClock.now - begin < Self.stepDuration
        {
            let rows = try shared.store.audit.rows(
                from: position,
                descending: !query.isOldestFirst,
                limit: Self.rows
            )
            state.position = nil
            for row in rows {
                // No row is older than what lies ahead of it.
                if !query.isOldestFirst, let since = query.since, row.time < since { break }
                let found = try found(in: row, state.ordinals ?? [], shared).prefix(state.left)
                items += found
                state.left -= found.count
                guard state.left > 0 else { break }
                state.position = query.isOldestFirst ? row.position + 1 : row.position - 1
            }
            if rows.count < Self.rows || state.position == 0 { state.position = nil }
        }
        return items
    }

    // MARK: One row

    private func found(
        in row: AuditRow,
        _ ordinals: Set<Ordinal>,
        _ shared: EngineShared
    ) throws(StoreError) -> [AuditItem] {
        if let commit = row.commit {
            return try entries(commit.first...commit.last, row.position, ordinals, shared)
        }
        var items: [AuditItem] = []
        if let item = AuditItem(row), query.admits(item), !query.isOfCustomer || hashes.contains(item.customer) {
            items.append(item)
        }
        let unchained = row.unchained ?? 0
        guard unchained > 0 else { return items }
        let before = try entries(1...unchained, 0, ordinals, shared)
        return query.isOldestFirst ? before + items : items + before
    }

    private func entries(
        _ range: ClosedRange<UInt64>,
        _ position: UInt64,
        _ ordinals: Set<Ordinal>,
        _ shared: EngineShared
    ) throws(StoreError) -> [AuditItem] {
        guard query.kinds.isEmpty || query.kinds.contains(.dataChange), query.outcome ?? 0 == 0 else { return [] }
        if query.isOfCustomer, ordinals.isEmpty { return [] }
        var items: [AuditItem] = []
        var next = range.lowerBound
        while next <= range.upperBound {
            let rows = try shared.store.readLog(from: next, limit: Self.entries)
            for row in rows where row.sequence <= range.upperBound {
                // One that cannot be read is for verification to tell of.
                guard let entry = try? row.decoded() else { continue }
                if query.isOfCustomer, !entry.concerns(ordinals) { continue }
                let item = AuditItem(entry, position: position)
                if query.admits(item) { items.append(item) }
            }
            guard let last = rows.last?.sequence, last < range.upperBound else { break }
            next = last + 1
        }
        return query.isOldestFirst ? items : items.reversed()
    }

    // MARK: Where and who

    /// The first row that is not older than `since`.
    private func firstRow(since: Timestamp, _ shared: EngineShared) throws(StoreError) -> UInt64? {
        let audit = shared.store.audit
        var (low, high) = (UInt64(1), (audit.head?.position ?? 0) + 1)
        while low < high {
            let middle = low + (high - low) / 2
            let row = try audit.rows(from: middle, descending: false, limit: 1).first
            if let row, row.time < since { low = row.position + 1 } else { high = middle }
        }
        return low
    }

    /// The ordinal that the customer has, and those that it had before it was erased: the row of an erasure names the log
    /// entry, and that the ordinal.
    private func findOrdinals(_ shared: EngineShared) throws(StoreError) -> Set<Ordinal> {
        var ordinals: Set<Ordinal> = []
        if let id = query.customerID {
            let ordinal = shared.index.lock.withReadLock {
                Array(id.utf8).withUnsafeBytes { shared.index.customers.ordinal(of: $0) }
            }
            if let ordinal { ordinals.insert(ordinal) }
        }
        var next: UInt64? = 1
        while let position = next {
            let rows = try shared.store.audit.rows(from: position, descending: false, limit: Self.rows)
            for row in rows {
                guard let item = AuditItem(row), item.sequence > 0, hashes.contains(item.customer),
                    let entry = try shared.store.readLog(from: item.sequence, limit: 1).first,
                    entry.sequence == item.sequence, case .customerErased(let ordinal)? = try? entry.decoded().change
                else { continue }
                ordinals.insert(ordinal)
            }
            next = rows.count == Self.rows ? rows.last.map { $0.position + 1 } : nil
        }
        return ordinals
    }
}

extension Engine {
    /// Begins a listing. Note the reading first.
    ///
    /// - Throws: `.invalidArgument` for a limit that is none.
    package func listAudit(_ query: AuditQuery) throws(DomainError) -> AuditListing {
        try shared.requireReadable()
        let most = configuration.maximumAuditList
        guard (1...most).contains(query.limit) else {
            throw .invalid("limit", "is \(query.limit); it takes 1 to \(most)")
        }
        return AuditListing(self, query)
    }
}

extension AuditItem {
    /// - Returns: `nil` for the row of a group, and for one that cannot be read.
    init?(_ row: AuditRow) {
        let event = try? AuditEvent(row)
        switch AuditRowKind(rawValue: row.kind) {
        case .start: self.init(position: row.position, kind: .start, time: row.time, sequence: row.unchained ?? 0)
        case .keyChanged: self.init(position: row.position, kind: .keyChanged, time: row.time)
        case .head: self.init(position: row.position, kind: .head, time: row.time)
        case .rowsLost:
            guard let loss = try? AuditLoss(decoding: row.payload) else { return nil }
            self.init(position: row.position, kind: .rowsLost, time: loss.since, count: loss.count)
        case .administration, .denial, .auditRead:
            guard let event else { return nil }
            let kind: Kind =
                switch event.kind {
                case .administration: .administration
                case .denial: .denial
                case .read: .read
                }
            self.init(
                position: row.position,
                kind: kind,
                time: event.time,
                principal: event.principal,
                method: event.method,
                outcome: event.outcome,
                reason: event.reason,
                peer: event.peer,
                customer: event.customer,
                cohort: event.cohort,
                sequence: event.sequence,
                count: event.count
            )
        case .commit, nil: return nil
        }
    }

    init(_ entry: LogEntry, position: UInt64) {
        self.init(
            position: position,
            kind: .dataChange,
            time: entry.time,
            principal: entry.principal,
            method: entry.method,
            sequence: entry.sequence,
            change: entry.change.name
        )
    }
}

extension LogEntry {
    /// Whether the entry is about one of these customers, or moves one by itself. Sets that were staged are not looked into.
    func concerns(_ ordinals: Set<Ordinal>) -> Bool {
        let isOfChange =
            switch change {
            case .customerPut(let put): ordinals.contains(put.ordinal)
            case .customerErased(let ordinal), .customerPutScrubbed(let ordinal, _): ordinals.contains(ordinal)
            case .assignmentsChanged(let assignments): assignments.contains { ordinals.contains($0.ordinal) }
            default: false
            }
        return isOfChange || transitions.contains { ordinals.contains($0.ordinal) }
    }
}

extension LogEntry.Change {
    /// A stable word.
    var name: String {
        switch self {
        case .attributeDeclared: "attribute_declared"
        case .customerPut: "customer_put"
        case .customerErased: "customer_erased"
        case .customerPutScrubbed: "customer_put_scrubbed"
        case .cohortCreated: "cohort_created"
        case .ruleUpdated: "rule_updated"
        case .versionDrafted: "version_drafted"
        case .versionDiscarded: "version_discarded"
        case .versionPublished: "version_published"
        case .cohortArchived: "cohort_archived"
        case .assignmentsChanged: "assignments_changed"
        case .assignmentsStaged: "assignments_staged"
        case .approvalRequired: "approval_required"
        case .changeRequest: "change_request"
        }
    }
}
