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

    private struct Segment {
        var ordinals: UnsafeMutablePointer<UInt32>
        var tags: UnsafeMutablePointer<UInt16>
        var count: Int
        /// How many leading bits of the hash its members share.
        var depth: UInt64
    }

    let arena = IdentifierArena()
    private let hash = IdentifierHash()
    private var table: UnsafeMutablePointer<UnsafeMutablePointer<Segment>>
    private var depth: UInt64 = 0
    /// Segments that were beyond the limit after an insertion.
    private var full: [UInt64] = []
    private(set) var count: UInt64 = 0
    private var segments = 1

    init() {
        table = .allocate(capacity: 1)
        table.initialize(to: Self.makeSegment(depth: 0))
    }

    deinit {
        var i = 0
        while i < 1 << Int(depth) {
            let segment = table[i]
            i += 1 << Int(depth - segment.pointee.depth)
            Self.free(segment)
        }
        table.deallocate()
    }

    /// Bytes held.
    var bytes: Int { arena.bytes + segments * (Self.segmentSlots * 6 + 64) + (8 << Int(depth)) }

    @inline(__always)
    func ordinal(of id: UnsafeRawBufferPointer) -> Ordinal? {
        let h = hash(id)
        let segment = table[slot(h)]
        let tag = Self.tag(h)
        var i = Int(truncatingIfNeeded: h) & (Self.segmentSlots - 1)
        while segment.pointee.tags[i] != 0 {
            if segment.pointee.tags[i] == tag {
                let ordinal = segment.pointee.ordinals[i]
                if Self.equal(arena.id(ordinal), id) { return ordinal }
            }
            i = (i + 1) & (Self.segmentSlots - 1)
        }
        return nil
    }

    /// Adds an id that is not there. Readers must be out.
    func insert(_ id: UnsafeRawBufferPointer, ordinal: Ordinal) {
        arena.append(id, at: ordinal)
        link(ordinal, hash: hash(id))
    }

    /// Takes an ordinal out and wipes the id. Readers must be out.
    func remove(_ ordinal: Ordinal) {
        let id = arena.id(ordinal)
        guard !id.isEmpty else { return }
        let h = hash(id)
        let segment = table[slot(h)]
        var i = Int(truncatingIfNeeded: h) & (Self.segmentSlots - 1)
        while segment.pointee.tags[i] != 0, segment.pointee.ordinals[i] != ordinal {
            i = (i + 1) & (Self.segmentSlots - 1)
        }
        guard segment.pointee.tags[i] != 0 else { return }
        closeGap(in: segment, at: i)
        segment.pointee.count -= 1
        count -= 1
        arena.wipe(ordinal)
    }

    /// Splits the segments that have filled. `swap` is called with what needs readers out.
    func splitFullSegments(swap: (() -> Void) -> Void) {
        if full.isEmpty { return }
        while let h = full.popLast() {
            let old = table[slot(h)]
            guard old.pointee.count > Self.segmentLimit else { continue }
            precondition(old.pointee.depth < 40, "the id hash is degenerate")
            let zero = Self.makeSegment(depth: old.pointee.depth + 1)
            let one = Self.makeSegment(depth: old.pointee.depth + 1)
            for i in 0..<Self.segmentSlots where old.pointee.tags[i] != 0 {
                let ordinal = old.pointee.ordinals[i]
                let member = hash(arena.id(ordinal))
                let side = member >> (63 - old.pointee.depth) & 1
                Self.place(ordinal, hash: member, in: side == 0 ? zero : one)
            }
            let newDepth = max(depth, old.pointee.depth + 1)
            var newTable = table
            if newDepth > depth {
                newTable = .allocate(capacity: 1 << Int(newDepth))
                for i in 0..<(1 << Int(newDepth)) { (newTable + i).initialize(to: table[i >> 1]) }
            }
            // The old segment's share of the table, one half for each side.
            let span = 1 << Int(newDepth - old.pointee.depth)
            let first = Int(truncatingIfNeeded: Self.leading(h, old.pointee.depth)) * span
            let oldTable = table
            swap {
                for i in 0..<span { newTable[first + i] = i < span / 2 ? zero : one }
                table = newTable
                depth = newDepth
            }
            if oldTable != newTable { oldTable.deallocate() }
            Self.free(old)
            segments += 1
            if zero.pointee.count > Self.segmentLimit || one.pointee.count > Self.segmentLimit { full.append(h) }
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
        Self.free(table[0])
        table.deallocate()
        table = .allocate(capacity: 1 << Int(needed))
        for i in 0..<(1 << Int(needed)) { (table + i).initialize(to: Self.makeSegment(depth: needed)) }
        depth = needed
        segments = 1 << Int(needed)
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
            let segment = table[slot(h)]
            guard segment.pointee.count < Self.segmentSlots - 256 else { return nil }
            Self.place(ordinal, hash: h, in: segment)
            linked += 1
        }
        return linked
    }

    /// How many parts `linkLoaded` can be shared out in.
    var loadParts: Int { 1 << Int(min(depth, 6)) }

    func finishLoading(linked: UInt64) {
        count = linked
        for i in 0..<(1 << Int(depth)) where table[i].pointee.count > Self.segmentLimit {
            full.append(UInt64(i) << (64 - max(depth, 1)))
        }
        splitFullSegments { $0() }
    }

    // MARK: Slots

    private func link(_ ordinal: Ordinal, hash h: UInt64) {
        let segment = table[slot(h)]
        Self.place(ordinal, hash: h, in: segment)
        count += 1
        if segment.pointee.count > Self.segmentLimit { full.append(h) }
    }

    @inline(__always)
    private func slot(_ h: UInt64) -> Int { Int(truncatingIfNeeded: Self.leading(h, depth)) }

    @inline(__always)
    private static func leading(_ h: UInt64, _ bits: UInt64) -> UInt64 { bits == 0 ? 0 : h >> (64 - bits) }

    /// 16 bits between those of the table and those of the slot; never 0, which marks an empty slot.
    @inline(__always)
    private static func tag(_ h: UInt64) -> UInt16 { UInt16(truncatingIfNeeded: h >> segmentBits) | 1 }

    private static func place(_ ordinal: Ordinal, hash h: UInt64, in segment: UnsafeMutablePointer<Segment>) {
        precondition(segment.pointee.count < segmentSlots - 1, "a segment overflows")
        var i = Int(truncatingIfNeeded: h) & (segmentSlots - 1)
        while segment.pointee.tags[i] != 0 { i = (i + 1) & (segmentSlots - 1) }
        segment.pointee.tags[i] = tag(h)
        segment.pointee.ordinals[i] = ordinal
        segment.pointee.count += 1
    }

    /// Deletion by moving later members of the probe sequence back (Knuth, TAOCP vol. 3, 6.4, algorithm R).
    private func closeGap(in segment: UnsafeMutablePointer<Segment>, at start: Int) {
        let mask = Self.segmentSlots - 1
        var gap = start
        var i = start
        while true {
            segment.pointee.tags[gap] = 0
            var home = 0
            repeat {
                i = (i + 1) & mask
                if segment.pointee.tags[i] == 0 { return }
                home = Int(truncatingIfNeeded: hash(arena.id(segment.pointee.ordinals[i]))) & mask
            } while gap <= i ? (gap < home && home <= i) : (gap < home || home <= i)
            segment.pointee.tags[gap] = segment.pointee.tags[i]
            segment.pointee.ordinals[gap] = segment.pointee.ordinals[i]
            gap = i
        }
    }

    @inline(__always)
    private static func equal(_ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer) -> Bool {
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

    private static func makeSegment(depth: UInt64) -> UnsafeMutablePointer<Segment> {
        let tags = UnsafeMutablePointer<UInt16>.allocate(capacity: segmentSlots)
        tags.initialize(repeating: 0, count: segmentSlots)
        let segment = UnsafeMutablePointer<Segment>.allocate(capacity: 1)
        segment.initialize(
            to: Segment(ordinals: .allocate(capacity: segmentSlots), tags: tags, count: 0, depth: depth)
        )
        return segment
    }

    private static func free(_ segment: UnsafeMutablePointer<Segment>) {
        segment.pointee.tags.deallocate()
        segment.pointee.ordinals.deallocate()
        segment.deallocate()
    }
}
