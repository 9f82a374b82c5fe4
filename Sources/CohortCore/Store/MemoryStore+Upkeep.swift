import Synchronization

extension MemoryStore: StoreUpkeep {
    package var upkeep: any StoreUpkeep { self }

    package var sizes: StoreSizes {
        state.withLock { state in
            var sizes = StoreSizes()
            sizes.logUsedBytes = UInt64(state.log.reduce(0) { $0 + $1.payload.count })
            sizes.logBytes = sizes.logUsedBytes
            return sizes
        }
    }

    package func secureTables() throws(StoreError) -> UInt64 {
        state.withLock { state in
            state.secured = state.applied
            return state.applied
        }
    }

    package func oldestEntries(limit: Int) throws(StoreError) -> [LogEntrySize] {
        state.withLock { state in
            state.log.prefix(limit).map {
                LogEntrySize(sequence: $0.sequence, time: $0.time, bytes: $0.payload.count)
            }
        }
    }

    package func deleteEntries(through sequence: UInt64) throws(StoreError) -> Int {
        state.withLock { state in
            let end = state.removeGroups(through: sequence, keyring.keys)
            let count = state.log.prefix { $0.sequence <= end }.count
            state.log.removeFirst(count)
            return count
        }
    }

    package func deleteBulkChanges(through sequence: UInt64, limit: Int) throws(StoreError) -> Int {
        state.withLock { state in
            let unfolded = Set(state.bulks.map(\.change.stage))
            // A change is staged under the sequence of its entry.
            let old = state.staged.keys.sorted().filter { $0 <= sequence && !unfolded.contains($0) }.prefix(limit)
            for stage in old { state.staged[stage] = nil }
            return old.count
        }
    }

    package func deleteIntervals(
        of range: ClosedRange<Ordinal>,
        endedBefore time: Timestamp
    ) throws(StoreError) -> Int {
        state.withLock { state in
            let before = state.closed.count
            var last: UInt64 = 0
            state.closed.removeAll {
                guard range.contains($0.ordinal), $0.endTime < time else { return false }
                last = max(last, $0.endSequence)
                return true
            }
            guard state.closed.count < before else { return 0 }
            var horizon = HistoryHorizon(sequence: last, time: time)
            if let earlier = state.horizon { horizon.formUnion(earlier) }
            state.horizon = horizon
            return before - state.closed.count
        }
    }

    package func shrinkLog(bytes: Int, slack: UInt64) throws(StoreError) -> Bool { false }

    package func erasureBacklog() throws(StoreError) -> (count: Int, oldest: Timestamp?) {
        state.withLock { ($0.erasures.count, $0.erasures.values.min { $0.sequence < $1.sequence }?.time) }
    }

    package func erasures(limit: Int) throws(StoreError) -> [Erasure] {
        state.withLock { Array($0.erasures.values.sorted { $0.sequence < $1.sequence }.prefix(limit)) }
    }

    package func deleteIntervals(of ordinals: [Ordinal]) throws(StoreError) {
        let gone = Set(ordinals)
        state.withLock { $0.closed.removeAll { gone.contains($0.ordinal) } }
    }

    package func rewriteEntries(_ rows: [LogRow]) throws(StoreError) {
        state.withLock { state in
            guard let first = state.log.first?.sequence else { return }
            for row in rows where row.sequence >= first && row.sequence <= state.secured {
                let old = state.log[Int(row.sequence - first)]
                let seal = AuditSeal.sealing(row, over: (old, state.auditSeals[row.sequence]), keyring.keys)
                state.auditSeals[row.sequence] = seal
                state.log[Int(row.sequence - first)] = row
            }
        }
    }

    // Memory that is let go of holds nothing.
    package func restoreCustomers(in range: ClosedRange<Ordinal>) throws(StoreError) {}
    package func restoreOldestEntries(limit: Int) throws(StoreError) {}
    package func dropDeleted() throws(StoreError) -> Bool { true }

    package func finishErasures(_ erasures: [Erasure]) throws(StoreError) {
        state.withLock { state in
            for erasure in erasures { state.erasures[erasure.sequence] = nil }
        }
    }
}
