import CPrefetch

/// From id to ordinal and back, at about 50 bytes a customer with 36-byte ids.
///
/// Extendible hashing (Fagin, Nievergelt, Pippenger, Strong 1979): a table of segments of 4,096 slots, probed linearly;
/// a segment that fills is split in two by one more bit of the hash. A slot holds an ordinal and 16 bits of the hash;
/// the id itself is compared in the arena.
///
/// One writer, many readers, guarded by the owner. A split copies: `splitFullSegments` runs while readers go on, and only
/// the swap needs them out.
final class IdentifierDirectory {
    static let segmentBits: UInt64 = 12
    static let segmentSlots = 1 << 12
    /// A segment beyond this is split; the slots above it are room for what is inserted before that happens.
    static let segmentLimit = 3_400

    /// One allocation: depth and count, then the tags, then the ordinals.
    fileprivate struct Segment: Equatable {
        static let tagsOffset = 16
        static let ordinalsOffset = tagsOffset + segmentSlots * 2
        static let size = ordinalsOffset + segmentSlots * 4

        let base: UnsafeMutableRawPointer

        @inline(__always)
        var tags: UnsafeMutablePointer<UInt16> {
            (base + Self.tagsOffset).assumingMemoryBound(to: UInt16.self)
        }
        @inline(__always)
        var ordinals: UnsafeMutablePointer<UInt32> {
            (base + Self.ordinalsOffset).assumingMemoryBound(to: UInt32.self)
        }
        /// How many leading bits of the hash its members share.
        var depth: UInt64 { base.load(as: UInt64.self) }
        var count: Int {
            get { base.load(fromByteOffset: 8, as: Int.self) }
            nonmutating set { base.storeBytes(of: newValue, toByteOffset: 8, as: Int.self) }
        }

        init(depth: UInt64, in slab: SlabAllocator) {
            base = slab.allocate(Self.size)
            base.initializeMemory(as: UInt8.self, repeating: 0, count: Self.ordinalsOffset)
            base.storeBytes(of: depth, as: UInt64.self)
        }
    }

    fileprivate struct Header {
        var table: UnsafeMutablePointer<Segment>
        var depth: UInt64
        var count: UInt64
    }

    /// Looks ids up without a reference to the directory: valid as long as that lives.
    struct Reader {
        fileprivate let header: UnsafeMutablePointer<Header>
        fileprivate let arena: IdentifierArena
        fileprivate let hash: IdentifierHash

        @inline(__always)
        func ordinal(of id: UnsafeRawBufferPointer) -> Ordinal? {
            let h = hash(id)
            let segment = header.pointee.table[IdentifierDirectory.place(h, header.pointee.depth)]
            let tags = segment.tags
            let tag = IdentifierDirectory.tag(h)
            var i = Int(truncatingIfNeeded: h) & (segmentSlots - 1)
            while tags[i] != 0 {
                if tags[i] == tag {
                    let ordinal = segment.ordinals[i]
                    if IdentifierDirectory.equal(arena.id(ordinal), id) { return ordinal }
                }
                i = (i + 1) & (segmentSlots - 1)
            }
            return nil
        }

        @inline(__always)
        func id(_ ordinal: Ordinal) -> UnsafeRawBufferPointer { arena.id(ordinal) }

        /// Ids that `ordinals(of:into:)` looks up side by side.
        static let groupSize = 32

        /// Looks up to `groupSize` ids up at once: each step is made for all of them before the next, and asks for the
        /// memory that the next will read, so that they wait for memory together and not one after the other (group
        /// prefetching: Chen, Ailamaki, Gibbons, Mowry, ACM TODS 32(3), 2007).
        func ordinals(of ids: UnsafeBufferPointer<UnsafeRawBufferPointer>, into result: UnsafeMutablePointer<Ordinal?>)
        {
            precondition(ids.count <= Self.groupSize)
            withUnsafeTemporaryAllocation(of: Probe.self, capacity: Self.groupSize) { probes in
                for i in 0..<ids.count {
                    let h = hash(ids[i])
                    let segment = header.pointee.table[IdentifierDirectory.place(h, header.pointee.depth)]
                    let slot = Int(truncatingIfNeeded: h) & (segmentSlots - 1)
                    probes[i] = Probe(segment: segment, slot: slot, tag: IdentifierDirectory.tag(h))
                    cohort_prefetch(segment.tags + slot)
                }
                for i in 0..<ids.count {
                    let tags = probes[i].segment.tags
                    var slot = probes[i].slot
                    while tags[slot] != 0, tags[slot] != probes[i].tag { slot = (slot + 1) & (segmentSlots - 1) }
                    probes[i].slot = tags[slot] == 0 ? -1 : slot
                    if tags[slot] != 0 { cohort_prefetch(probes[i].segment.ordinals + slot) }
                }
                for i in 0..<ids.count where probes[i].slot >= 0 {
                    probes[i].stored = arena.id(probes[i].segment.ordinals[probes[i].slot])
                    guard let start = probes[i].stored.baseAddress else { continue }
                    cohort_prefetch(start)
                    cohort_prefetch(start + max(probes[i].stored.count - 1, 0))
                }
                for i in 0..<ids.count {
                    if probes[i].slot < 0 {
                        result[i] = nil
                    } else if IdentifierDirectory.equal(probes[i].stored, ids[i]) {
                        result[i] = probes[i].segment.ordinals[probes[i].slot]
                    } else {
                        // Another id with the same tag stands before it: one in some thousands.
                        result[i] = ordinal(of: ids[i])
                    }
                }
            }
        }

        private struct Probe {
            var segment: Segment
            /// -1 where no id with the tag was met.
            var slot: Int
            var tag: UInt16
            var stored = UnsafeRawBufferPointer(start: nil, count: 0)
        }
    }

    let arena: IdentifierArena
    private let slab = SlabAllocator()
    private let hash: IdentifierHash
    private let header: UnsafeMutablePointer<Header>
    /// Hashes in segments that were beyond the limit after an insertion.
    private var full: [UInt64] = []
    private var segments = 1

    init(hash: IdentifierHash = IdentifierHash()) {
        self.hash = hash
        let table = UnsafeMutablePointer<Segment>.allocate(capacity: 1)
        table.initialize(to: Segment(depth: 0, in: slab))
        arena = IdentifierArena(slab)
        header = .allocate(capacity: 1)
        header.initialize(to: Header(table: table, depth: 0, count: 0))
    }

    deinit {
        // The segments go with the slab.
        table.deallocate()
        header.deallocate()
        arena.destroy()
    }

    private var table: UnsafeMutablePointer<Segment> { header.pointee.table }
    private var depth: UInt64 { header.pointee.depth }

    var reader: Reader { Reader(header: header, arena: arena, hash: hash) }

    private(set) var count: UInt64 {
        get { header.pointee.count }
        set { header.pointee.count = newValue }
    }

    /// Bytes held.
    var bytes: Int { arena.bytes + segments * Segment.size + (8 << Int(depth)) }

    func ordinal(of id: UnsafeRawBufferPointer) -> Ordinal? { reader.ordinal(of: id) }

    /// Adds an id that is not there. Readers must be out.
    func insert(_ id: UnsafeRawBufferPointer, ordinal: Ordinal) {
        arena.append(id, at: ordinal)
        let h = hash(id)
        let segment = table[Self.place(h, depth)]
        Self.place(ordinal, hash: h, in: segment)
        count += 1
        if segment.count > Self.segmentLimit { full.append(h) }
    }

    /// Takes an ordinal out and wipes the id. Readers must be out.
    func remove(_ ordinal: Ordinal) {
        let id = arena.id(ordinal)
        guard !id.isEmpty else { return }
        let h = hash(id)
        let segment = table[Self.place(h, depth)]
        var i = Int(truncatingIfNeeded: h) & (Self.segmentSlots - 1)
        while segment.tags[i] != 0, segment.ordinals[i] != ordinal {
            i = (i + 1) & (Self.segmentSlots - 1)
        }
        guard segment.tags[i] != 0 else { return }
        closeGap(in: segment, at: i)
        segment.count -= 1
        count -= 1
        arena.wipe(ordinal)
    }

    /// Splits the segments that have filled. `swap` is called with what needs readers out.
    func splitFullSegments(swap: (() -> Void) -> Void) {
        if full.isEmpty { return }
        while let h = full.popLast() {
            let old = table[Self.place(h, depth)]
            guard old.count > Self.segmentLimit else { continue }
            precondition(old.depth < 40, "the id hash is degenerate")
            let zero = Segment(depth: old.depth + 1, in: slab)
            let one = Segment(depth: old.depth + 1, in: slab)
            for i in 0..<Self.segmentSlots where old.tags[i] != 0 {
                let ordinal = old.ordinals[i]
                let member = hash(arena.id(ordinal))
                let side = member >> (63 - old.depth) & 1
                Self.place(ordinal, hash: member, in: side == 0 ? zero : one)
            }
            let newDepth = max(depth, old.depth + 1)
            var newTable = table
            if newDepth > depth {
                newTable = .allocate(capacity: 1 << Int(newDepth))
                for i in 0..<(1 << Int(newDepth)) { (newTable + i).initialize(to: table[i >> 1]) }
            }
            // The old segment's share of the table, one half for each side.
            let span = 1 << Int(newDepth - old.depth)
            let first = Int(truncatingIfNeeded: Self.leading(h, old.depth)) * span
            let oldTable = table
            swap {
                for i in 0..<span { newTable[first + i] = i < span / 2 ? zero : one }
                header.pointee.table = newTable
                header.pointee.depth = newDepth
            }
            if oldTable != newTable { oldTable.deallocate() }
            slab.deallocate(old.base, Segment.size)
            segments += 1
            if zero.count > Self.segmentLimit || one.count > Self.segmentLimit { full.append(h) }
        }
    }

    // MARK: Loading

    /// Grows the table for `customers` at once. Only while empty.
    func reserve(customers: Int, highestOrdinal: Int) {
        arena.reserve(ordinals: highestOrdinal + 1)
        guard count == 0, depth == 0 else { return }
        // Hashed members spread: the fullest of n segments holds a little more than the average.
        var needed: UInt64 = 0
        while customers >> Int(needed) > Self.segmentLimit * 9 / 10 { needed += 1 }
        guard needed > 0 else { return }
        slab.deallocate(table[0].base, Segment.size)
        table.deallocate()
        let size = 1 << Int(needed)
        header.pointee.table = .allocate(capacity: size)
        for i in 0..<size { (table + i).initialize(to: Segment(depth: needed, in: slab)) }
        header.pointee.depth = needed
        segments = size
    }

    /// Links the ids that the arena holds for `ordinals` whose hash falls to `part` of `parts` (a power of two, at most
    /// the table's size), so that several threads can share the work.
    ///
    /// - Returns: how many were linked; `finishLoading` takes the sum. `nil` if a segment overflows, which a table
    ///   reserved for as many does not.
    func linkLoaded(_ ordinals: Range<Ordinal>, part: Int, of parts: Int) -> UInt64? {
        let bits = UInt64(parts.trailingZeroBitCount)
        var linked: UInt64 = 0
        for ordinal in ordinals {
            let id = arena.id(ordinal)
            guard !id.isEmpty else { continue }
            let h = hash(id)
            guard Self.leading(h, bits) == UInt64(part) else { continue }
            let segment = table[Self.place(h, depth)]
            guard segment.count < Self.segmentSlots - 256 else { return nil }
            Self.place(ordinal, hash: h, in: segment)
            linked += 1
        }
        return linked
    }

    /// How many parts `linkLoaded` can be shared out in.
    var loadParts: Int { 1 << Int(min(depth, 6)) }

    func finishLoading(linked: UInt64) {
        count = linked
        for i in 0..<(1 << Int(depth)) where table[i].count > Self.segmentLimit {
            full.append(UInt64(i) << (64 - max(depth, 1)))
        }
        splitFullSegments { $0() }
    }

    // MARK: Slots

    /// The table's entry for a hash.
    @inline(__always)
    fileprivate static func place(_ h: UInt64, _ depth: UInt64) -> Int { Int(truncatingIfNeeded: leading(h, depth)) }

    @inline(__always)
    private static func leading(_ h: UInt64, _ bits: UInt64) -> UInt64 { bits == 0 ? 0 : h >> (64 - bits) }

    /// 16 bits between those of the table and those of the slot; never 0, which marks an empty slot.
    @inline(__always)
    fileprivate static func tag(_ h: UInt64) -> UInt16 { UInt16(truncatingIfNeeded: h >> segmentBits) | 1 }

    private static func place(_ ordinal: Ordinal, hash h: UInt64, in segment: Segment) {
        precondition(segment.count < segmentSlots - 1, "a segment overflows")
        let tags = segment.tags
        var i = Int(truncatingIfNeeded: h) & (segmentSlots - 1)
        while tags[i] != 0 { i = (i + 1) & (segmentSlots - 1) }
        tags[i] = tag(h)
        segment.ordinals[i] = ordinal
        segment.count += 1
    }

    /// Deletion by moving later members of the probe sequence back (Knuth, TAOCP vol. 3, 6.4, algorithm R).
    private func closeGap(in segment: Segment, at start: Int) {
        let mask = Self.segmentSlots - 1
        var gap = start
        var i = start
        while true {
            segment.tags[gap] = 0
            var home = 0
            repeat {
                i = (i + 1) & mask
                if segment.tags[i] == 0 { return }
                home = Int(truncatingIfNeeded: hash(arena.id(segment.ordinals[i]))) & mask
            } while gap <= i ? (gap < home && home <= i) : (gap < home || home <= i)
            segment.tags[gap] = segment.tags[i]
            segment.ordinals[gap] = segment.ordinals[i]
            gap = i
        }
    }

    @inline(__always)
    fileprivate static func equal(_ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer) -> Bool {
        guard a.count == b.count else { return false }
        var i = 0
        while i + 8 <= a.count {
            if a.loadUnaligned(fromByteOffset: i, as: UInt64.self)
                != b.loadUnaligned(fromByteOffset: i, as: UInt64.self)
            {
                return false
            }
            i += 8
        }
        while i < a.count {
            if a[i] != b[i] { return false }
            i += 1
        }
        return true
    }
}
