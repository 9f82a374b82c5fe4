/// Takes what log and history still hold of erased customers out of them, some time after the erasures, many at once.
///
/// The backlog is a table of the store: a pass that a stop interrupts begins again, and doing a part twice changes nothing.
struct ErasureScrub {
    private enum Phase {
        case idle
        /// From this erasure on.
        case intervals(next: Int)
        case log(next: UInt64)
        /// From this slice on.
        case customers([ClosedRange<Ordinal>], next: Int)
        case oldestEntries
        case drop
        case finish(next: Int)
    }

    /// Erasures of one pass.
    static let passErasures = 1_000_000
    /// Erasures and log entries of one step.
    private static let erasures = 500
    private static let entries = 500
    /// Ordinals around an erased customer whose rows may have shared pages with it.
    static let neighbours: Ordinal = 1_024
    /// Ordinals of one step. They overlap by more rows than a page holds, so that each page lies within one.
    private static let slice: Ordinal = 1_024
    private static let overlap: Ordinal = 192
    private static let oldestEntries = 1_024

    private var phase = Phase.idle
    private var erasures: [Erasure] = []
    private var ordinals: Set<Ordinal> = []
    private var last: UInt64 = 0
    private var rewritten = 0

    /// - Returns: whether there is more to do at once.
    mutating func step(_ shared: EngineShared, _ now: Timestamp) throws(StoreError) -> Bool {
        let upkeep = shared.store.upkeep
        do throws(StoreError) {
            switch phase {
            case .idle: return try begin(shared, upkeep, now)
            case .intervals(let next):
                let end = min(next + Self.erasures, erasures.count)
                try upkeep.deleteIntervals(of: erasures[next..<end].map(\.ordinal))
                phase = end < erasures.count ? .intervals(next: end) : .log(next: 0)
            case .log(let next):
                phase = try scrubLog(shared, upkeep, from: next)
            case .customers(let ranges, let next):
                try upkeep.restoreCustomers(in: ranges[next])
                phase = next + 1 < ranges.count ? .customers(ranges, next: next + 1) : .oldestEntries
            case .oldestEntries:
                // Retention moves entries between pages.
                try upkeep.restoreOldestEntries(limit: Self.oldestEntries)
                phase = .drop
            case .drop:
                // Somebody is reading: at the next look.
                guard try upkeep.dropDeleted() else { return false }
                phase = .finish(next: 0)
            case .finish(let next):
                let end = min(next + Self.erasures, erasures.count)
                try upkeep.finishErasures(Array(erasures[next..<end]))
                phase = .finish(next: end)
                if end == erasures.count { finish(shared, now) }
            }
            return true
        } catch {
            phase = .idle
            throw error
        }
    }

    private mutating func begin(
        _ shared: EngineShared,
        _ upkeep: any StoreUpkeep,
        _ now: Timestamp
    ) throws(StoreError) -> Bool {
        let oldest = try refresh(shared, upkeep)
        guard let oldest, now >= oldest.advanced(bySeconds: shared.configuration.scrubDelay) else { return false }
        let secured = try upkeep.secureTables()
        erasures = try upkeep.erasures(limit: Self.passErasures).filter { $0.sequence <= secured }
        guard let last = erasures.last?.sequence else { return false }
        self.last = last
        ordinals = Set(erasures.map(\.ordinal))
        rewritten = 0
        phase = .intervals(next: 0)
        return true
    }

    /// Shows the backlog in the status, and returns its oldest time.
    @discardableResult
    private func refresh(_ shared: EngineShared, _ upkeep: any StoreUpkeep) throws(StoreError) -> Timestamp? {
        let backlog = try upkeep.erasureBacklog()
        shared.updateUpkeep {
            $0.scrub.pending = backlog.count
            $0.scrub.oldest = backlog.oldest
        }
        return backlog.oldest
    }

    /// Nothing after the last erasure is of these customers: ordinals are never used again.
    private mutating func scrubLog(
        _ shared: EngineShared,
        _ upkeep: any StoreUpkeep,
        from next: UInt64
    ) throws(StoreError) -> Phase {
        let rows = try shared.store.readLog(from: next, limit: Self.entries)
        var changed: [LogRow] = []
        for row in rows where row.sequence <= last {
            let entry: LogEntry
            do throws(CodecError) {
                entry = try row.decoded()
            } catch {
                throw .corrupt("entry \(row.sequence) of the change log cannot be read: \(error.message)")
            }
            guard let scrubbed = entry.scrubbed(of: ordinals) else { continue }
            changed.append(LogRow(sequence: row.sequence, time: row.time, payload: scrubbed.encoded()))
        }
        if !changed.isEmpty {
            try upkeep.rewriteEntries(changed)
            rewritten += changed.count
            let count = UInt64(changed.count)
            shared.updateUpkeep { $0.scrub.entriesRewritten += count }
        }
        guard let end = rows.last?.sequence, end < last else { return .customers(Self.slices(ordinals), next: 0) }
        return .log(next: end + 1)
    }

    private mutating func finish(_ shared: EngineShared, _ now: Timestamp) {
        shared.updateUpkeep { $0.scrub.completedAt = now }
        shared.log(
            .info,
            "erased customers scrubbed from log and history",
            [("customers", "\(erasures.count)"), ("entries", "\(rewritten)")]
        )
        phase = .idle
        erasures = []
        ordinals = []
    }

    /// The neighbourhoods of all ordinals, cut into slices.
    static func slices(_ ordinals: Set<Ordinal>) -> [ClosedRange<Ordinal>] {
        var ranges: [ClosedRange<Ordinal>] = []
        for ordinal in ordinals.sorted() {
            let low = ordinal - min(ordinal, neighbours)
            let high = ordinal + min(.max - ordinal, neighbours)
            if let last = ranges.last, last.upperBound >= low {
                ranges[ranges.count - 1] = last.lowerBound...high
            } else {
                ranges.append(low...high)
            }
        }
        return ranges.flatMap { range in
            stride(from: UInt64(range.lowerBound), through: UInt64(range.upperBound), by: Int(slice)).map { start in
                let end = min(start + UInt64(slice + overlap), UInt64(range.upperBound))
                return Ordinal(start)...Ordinal(end)
            }
        }
    }
}
