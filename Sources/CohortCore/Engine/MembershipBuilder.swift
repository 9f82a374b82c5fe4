import Synchronization

/// Runs one rule over every customer: those of the tables, and those that the tables do not hold yet.
struct MembershipBuilder {
    let store: any Store
    /// Taken before the tables are read: what is here is newer than what is there.
    let pending: [Ordinal: PendingRecords.Lookup]
    let nextOrdinal: Ordinal
    /// How many attributes are declared.
    let slots: Int
    let threads: Int
    /// The customers that the rule is run over; everyone without.
    var only: FixedBitmap?

    /// What the rule says, without overrides.
    struct Result {
        var members = ChunkedBitmap()
        var unknown = ChunkedBitmap()

        func add(_ ordinal: Ordinal, _ membership: Membership) {
            switch membership {
            case .in: members.insert(ordinal)
            case .unknown: unknown.insert(ordinal)
            case .out: break
            }
        }
    }

    private final class Shared: @unchecked Sendable {
        // Unchecked: guarded by `lock`.
        private let lock = Mutex(())
        private let result = Result()
        private var failure: StoreError?

        func merge(_ part: Result) {
            lock.withLock { _ in
                result.members.formUnion(part.members)
                result.unknown.formUnion(part.unknown)
            }
        }

        func fail(_ error: StoreError) { lock.withLock { _ in failure = failure ?? error } }

        func take() throws(StoreError) -> Result {
            if let failure { throw failure }
            return result
        }
    }

    func build(_ rule: CompiledRule) throws(StoreError) -> Result {
        let shared = Shared()
        let waiting = Result()
        let classifier = Classifier()
        for (ordinal, lookup) in pending {
            guard case .record(let bytes) = lookup, concerns(ordinal) else { continue }
            try bytes.withUnsafeRecord { (bytes) throws(StoreError) in
                waiting.add(ordinal, try Self.classify(bytes, ordinal, rule, classifier, slots))
            }
        }
        shared.merge(waiting)
        let ranges = OrdinalRanges.split(nextOrdinal, parts: threads * 4)
        guard !ranges.isEmpty else { return try shared.take() }
        Worker.perform(iterations: ranges.count, threads: threads) { i in
            do throws(StoreError) {
                shared.merge(try scan(ranges[i], rule))
            } catch {
                shared.fail(error)
            }
        }
        return try shared.take()
    }

    private func concerns(_ ordinal: Ordinal) -> Bool { only?.bitmap.contains(ordinal) ?? true }

    private func scan(_ range: ClosedRange<Ordinal>, _ rule: CompiledRule) throws(StoreError) -> Result {
        let part = Result()
        let classifier = Classifier()
        if let only {
            var hasMember = false
            only.bitmap.forEach(from: range.lowerBound) {
                hasMember = $0 <= range.upperBound
                return false
            }
            guard hasMember else { return part }
        }
        try store.scanCustomers(range) { (ordinal, _, record) throws(StoreError) in
            guard concerns(ordinal), pending[ordinal] == nil else { return }
            part.add(ordinal, try Self.classify(record, ordinal, rule, classifier, slots))
        }
        return part
    }

    private static func classify(
        _ record: UnsafeRawBufferPointer,
        _ ordinal: Ordinal,
        _ rule: CompiledRule,
        _ classifier: Classifier,
        _ slots: Int
    ) throws(StoreError) -> Membership {
        do throws(CodecError) {
            classifier.load(try CustomerRecord.attributes(of: record), slots: slots)
            return classifier.evaluate(rule)
        } catch {
            throw .corrupt("the record of customer \(ordinal) cannot be read: \(error.message)")
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
