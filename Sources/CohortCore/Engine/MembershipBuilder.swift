import Synchronization

/// Carries a derivation out over every customer it can concern: those of the tables, and those that the tables do not hold
/// yet.
struct MembershipBuilder: Sendable {
    let store: any Store
    /// Taken before the tables are read: what is here is newer than what is there.
    let pending: [Ordinal: PendingRecords.Lookup]
    let nextOrdinal: Ordinal
    /// How many attributes are declared.
    let slots: Int
    let threads: Int
    /// Told how far it is, and asked whether to go on.
    var progress: BuildProgress?

    /// Customers between two looks at the progress.
    private static let progressStep = 4_096

    private final class Shared: @unchecked Sendable {
        // Unchecked: guarded by `lock`.
        private let lock = Mutex(())
        private let result: [Moves]
        private let failures: RuleFailures?
        private var failure: StoreError?

        init(steps: Int, _ failures: RuleFailures?) {
            result = (0..<steps).map { _ in Moves() }
            self.failures = failures
        }

        func merge(_ part: Deriver) {
            lock.withLock { _ in
                for (own, found) in zip(result, part.moves) { own.formUnion(found) }
                if let found = part.failures { failures?.formUnion(found) }
            }
        }

        func fail(_ error: StoreError) { lock.withLock { _ in failure = failure ?? error } }

        func take() throws(StoreError) -> [Moves] {
            if let failure { throw failure }
            return result
        }
    }

    /// - Parameter failures: takes in why a new rule cannot be decided.
    /// - Returns: by step of the derivation, who becomes what.
    /// - Throws: `BuildProgress.ended` when it was told to end.
    func build(_ derivation: Derivation, failures: RuleFailures? = nil) throws(StoreError) -> [Moves] {
        let shared = Shared(steps: derivation.steps.count, failures)
        let isExplaining = failures != nil
        let waiting = deriver(derivation, isExplaining)
        for (ordinal, lookup) in pending {
            guard case .record(let bytes) = lookup else { continue }
            try bytes.withUnsafeRecord { (bytes) throws(StoreError) in
                try Self.derive(bytes, ordinal, derivation, waiting)
            }
        }
        shared.merge(waiting)
        let ranges = OrdinalRanges.split(nextOrdinal, parts: threads * 4)
        guard !ranges.isEmpty else { return try shared.take() }
        Worker.perform(iterations: ranges.count, threads: threads) { i in
            do throws(StoreError) {
                shared.merge(try scan(ranges[i], derivation, isExplaining))
            } catch {
                shared.fail(error)
            }
        }
        return try shared.take()
    }

    private func deriver(_ derivation: Derivation, _ isExplaining: Bool) -> Deriver {
        Deriver(derivation, slots: slots, failures: isExplaining ? RuleFailures() : nil)
    }

    private func scan(
        _ range: ClosedRange<Ordinal>,
        _ derivation: Derivation,
        _ isExplaining: Bool
    ) throws(StoreError) -> Deriver {
        let deriver = deriver(derivation, isExplaining)
        var count = 0
        try store.scanCustomers(range) { (ordinal, _, record) throws(StoreError) in
            count += 1
            if count == Self.progressStep {
                try progress?.advance(by: count)
                count = 0
            }
            guard pending[ordinal] == nil else { return }
            try Self.derive(record, ordinal, derivation, deriver)
        }
        try progress?.advance(by: count)
        return deriver
    }

    private static func derive(
        _ record: UnsafeRawBufferPointer,
        _ ordinal: Ordinal,
        _ derivation: Derivation,
        _ deriver: Deriver
    ) throws(StoreError) {
        if let concerned = derivation.concerned, !concerned.contains(ordinal) { return }
        try deriver.derive(ordinal) { () throws(StoreError) in
            do throws(CodecError) {
                return try CustomerRecord.attributes(of: record)
            } catch {
                throw .corrupt("the record of customer \(ordinal) cannot be read: \(error.message)")
            }
        }
    }
}

/// The ordinals shared out for threads that work side by side.
enum OrdinalRanges {
    /// Up to `parts` ranges that cover 0..<`end`, none sharing a bitmap chunk or an arena block with another.
    static func split(_ end: Ordinal, parts: Int) -> [ClosedRange<Ordinal>] {
        guard end > 0 else { return [] }
        let chunks = (Int(end) + ChunkedBitmap.chunkBits - 1) / ChunkedBitmap.chunkBits
        let each = max(1, (chunks + parts - 1) / max(parts, 1))
        return stride(from: 0, to: chunks, by: each).map { first in
            let start = Ordinal(first * ChunkedBitmap.chunkBits)
            let last = min((first + each) * ChunkedBitmap.chunkBits, Int(end)) - 1
            return start...Ordinal(last)
        }
    }
}
