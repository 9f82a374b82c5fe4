import Synchronization

extension MemoryStore: AuditStore {
    package var audit: any AuditStore { self }

    package var head: AuditHead? { state.withLock { $0.chain.head } }

    package var keys: AuditKeys { keyring.keys }

    package func append(_ records: [AuditRecord], at now: Timestamp) throws(StoreError) {
        state.withLock { $0.audit += $0.chain.append(records, at: now, keyring.keys) }
    }

    package func rows(from position: UInt64, descending: Bool, limit: Int) throws(StoreError) -> [AuditRow] {
        state.withLock { state in
            descending
                ? Array(state.audit.filter { $0.position <= position }.suffix(limit).reversed())
                : Array(state.audit.filter { $0.position >= position }.prefix(limit))
        }
    }

    package func piece(from position: UInt64, limit: Int, entries: Int) throws(StoreError) -> AuditPiece {
        let keys = keyring.keys
        return state.withLock { state in
            var piece = AuditPiece()
            let rows = state.audit.filter { $0.position >= position }
            var count = 0
            for row in rows.prefix(limit) where count < entries {
                piece.rows.append(row)
                guard let commit = row.commit else { continue }
                let group = state.entries(of: commit, keys)
                piece.entries[row.position] = group
                count += group.count
            }
            piece.isLast = piece.rows.count == rows.count
            let end = piece.isLast ? .max : piece.rows.last?.position ?? position
            piece.gaps = state.auditGaps.filter { $0.last >= position && $0.first <= end }
            piece.floor = state.auditFloor
            if let first = state.log.first, let last = state.log.last { piece.log = first.sequence...last.sequence }
            return piece
        }
    }

    package func deleteRows(
        from position: UInt64,
        before time: Timestamp,
        limit: Int
    ) throws(StoreError) -> (deleted: Int, next: UInt64) {
        let keys = keyring.keys
        return state.withLock { state in
            var next = position
            var gone: [UInt64] = []
            for row in state.audit.filter({ $0.position >= position }).prefix(limit) {
                guard row.time < time, row.position != state.chain.head?.position else { break }
                next = row.position + 1
                if row.isRemovedByAge { gone.append(row.position) }
            }
            state.remove(gone, keys)
            return (gone.count, next)
        }
    }

    package func figures() throws(StoreError) -> AuditStoreFigures {
        state.withLock { state in
            var figures = AuditStoreFigures()
            figures.rows = UInt64(state.audit.count)
            figures.oldest = state.audit.first { $0.position > 1 }?.time
            var accounted: UInt64 = 0
            if let group = state.audit.last(where: { $0.kind == AuditRowKind.commit.rawValue }) {
                guard let commit = group.commit else { return figures }
                accounted = commit.last
            }
            if let last = state.log.last?.sequence, last > accounted { figures.unaccounted = accounted + 1...last }
            return figures
        }
    }
}

extension MemoryStore.State {
    fileprivate func entries(of commit: AuditCommit, _ keys: AuditKeys) -> [AuditPiece.Entry] {
        log.filter { $0.sequence >= commit.first && $0.sequence <= commit.last }.map {
            AuditPiece.Entry($0, seal: auditSeals[$0.sequence], keys)
        }
    }

    /// Removes the rows of groups that may go with their entries: those that end at `sequence` or before, or the first one
    /// if none does, but never the last.
    ///
    /// - Returns: the last entry of the groups.
    mutating func removeGroups(through sequence: UInt64, _ keys: AuditKeys) -> UInt64 {
        let newest = log.last?.sequence ?? 0
        var gone: [UInt64] = []
        var through: UInt64 = 0
        for row in audit {
            guard let commit = row.commit else { continue }
            let isDue = commit.last <= sequence || gone.isEmpty && commit.first <= sequence
            guard isDue, commit.last <= secured, commit.last < newest else { break }
            gone.append(row.position)
            through = commit.last
        }
        guard let position = gone.last else { return 0 }
        remove(gone, keys)
        auditSeals = auditSeals.filter { $0.key > through }
        auditFloor = AuditFloor(sequence: through, position: position, keys.current)
        return through
    }

    fileprivate mutating func remove(_ positions: [UInt64], _ keys: AuditKeys) {
        let gone = Set(positions)
        let removals = audit.filter { gone.contains($0.position) }.map { row in
            AuditRemoval(
                row,
                after: macs(before: row.position),
                entries: row.commit.map { entries(of: $0, keys) } ?? [],
                keys
            )
        }
        audit.removeAll { gone.contains($0.position) }
        for gap in AuditRemoval.gaps(removals) {
            let neighbours = auditGaps.filter { $0.last + 1 == gap.first || gap.last + 1 == $0.first }
            let (joined, absorbed) = gap.joined(with: neighbours, keys)
            auditGaps.removeAll { absorbed.contains($0) }
            auditGaps.append(joined)
            auditGaps.sort { $0.first < $1.first }
        }
    }

    /// The MAC that the row at `position` follows; empty if that is not known.
    private func macs(before position: UInt64) -> [UInt8] {
        if position == 1 { return AuditChain.origin }
        return audit.first { $0.position == position - 1 }?.mac
            ?? auditGaps.first { $0.last == position - 1 }?.after ?? []
    }
}
