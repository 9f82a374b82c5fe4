import Dispatch
import Synchronization

/// Fills the index from the store's tables, on several threads.
struct IndexLoader {
    let store: any Store
    let index: MembershipIndex
    let threads: Int

    private struct Part {
        let known = ChunkedBitmap()
        let cohorts: [MembershipIndex.CohortBitmaps]
    }

    /// What one thread found; merged under a lock, as the bitmaps' counts are shared.
    private final class Parts: @unchecked Sendable {
        // Unchecked: guarded by `lock`.
        private let lock = Mutex(())
        private let index: MembershipIndex
        private var failure: StoreError?

        init(_ index: MembershipIndex) { self.index = index }

        func merge(_ part: Part) {
            lock.withLock { _ in
                index.known.formUnion(part.known)
                for (own, found) in zip(index.bitmaps, part.cohorts) {
                    own.members.formUnion(found.members)
                    own.unknown.formUnion(found.unknown)
                }
            }
        }

        func fail(_ error: StoreError) { lock.withLock { _ in failure = failure ?? error } }

        func check() throws(StoreError) { if let failure { throw failure } }
    }

    /// - Parameter bulks: bulk changes that some record may not have taken in, in order of sequence.
    func load(customers: UInt64, nextOrdinal: Ordinal, bulks: [AppliedBulk]) throws(StoreError) {
        guard nextOrdinal > 0 else { return }
        index.customers.reserve(customers: Int(customers), highestOrdinal: Int(nextOrdinal))
        let parts = Parts(index)
        let ranges = OrdinalRanges.split(nextOrdinal, parts: threads * 4)
        DispatchQueue.concurrentPerform(iterations: ranges.count) { i in
            do throws(StoreError) {
                parts.merge(try scan(ranges[i], bulks))
            } catch {
                parts.fail(error)
            }
        }
        try parts.check()
        // The largest power of two that does not exceed the threads.
        let shares = min(1 << (Int.bitWidth - 1 - max(threads, 1).leadingZeroBitCount), index.customers.loadParts)
        let linked = Atomic<UInt64>(0)
        DispatchQueue.concurrentPerform(iterations: shares) { i in
            if let count = index.customers.linkLoaded(0..<nextOrdinal, part: i, of: shares) {
                linked.wrappingAdd(count, ordering: .relaxed)
            } else {
                parts.fail(.corrupt("the table of customers is larger than its count says"))
            }
        }
        try parts.check()
        index.customers.finishLoading(linked: linked.load(ordering: .relaxed))
    }

    private func scan(
        _ range: ClosedRange<Ordinal>,
        _ bulks: [AppliedBulk]
    ) throws(StoreError) -> Part {
        let found = Part(cohorts: index.bitmaps.map { _ in MembershipIndex.CohortBitmaps() })
        let part = found.cohorts
        let lastBulk = bulks.last?.sequence ?? 0
        try store.scanCustomers(range) { (ordinal, id, record) throws(StoreError) in
            index.customers.arena.append(id, at: ordinal)
            found.known.insert(ordinal)
            do throws(CodecError) {
                var outOfRange = false
                let sequence = try CustomerRecord.scanMemberships(of: record) { cohort, membership in
                    guard Int(cohort) < part.count else { return outOfRange = true }
                    part[Int(cohort)].set(ordinal, membership)
                }
                if outOfRange { throw CodecError("a membership is of no known cohort") }
                guard sequence < lastBulk else { return }
                for bulk in bulks where bulk.sequence > sequence {
                    if let membership = bulk.change.membership(of: ordinal) {
                        part[Int(bulk.change.cohort)].set(ordinal, membership)
                    }
                }
            } catch {
                throw .corrupt("the record of customer \(ordinal) cannot be read: \(error.message)")
            }
        }
        return found
    }
}
