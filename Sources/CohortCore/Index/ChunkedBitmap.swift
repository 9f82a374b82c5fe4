import CPrefetch

/// A set of ordinals: 8 KiB bit chunks of 65,536 ordinals each, allocated where there is a member.
///
/// Not thread-safe: an owner guards it. The memory is managed by hand, so that a read touches no reference count that
/// another core is writing.
package final class ChunkedBitmap {
    static let chunkBits = 65_536
    static let chunkWords = chunkBits / 64
    static let chunkBytes = chunkBits / 8

    typealias Chunk = UnsafeMutablePointer<UInt64>

    fileprivate struct Header {
        var chunks: UnsafeMutablePointer<UnsafeMutablePointer<UInt64>?>
        /// Members of each chunk.
        var populations: UnsafeMutablePointer<UInt32>
        /// Chunks that the tables have room for.
        var chunkCapacity: Int
        var allocatedChunks = 0
        var count: UInt64 = 0

        init(chunkCapacity: Int) {
            self.chunkCapacity = chunkCapacity
            chunks = .allocate(capacity: chunkCapacity)
            chunks.initialize(repeating: nil, count: chunkCapacity)
            populations = .allocate(capacity: chunkCapacity)
            populations.initialize(repeating: 0, count: chunkCapacity)
        }

        @inline(__always)
        func contains(_ ordinal: Ordinal) -> Bool {
            let chunk = Int(ordinal >> 16)
            guard chunk < chunkCapacity, let words = chunks[chunk] else { return false }
            return words[Int(ordinal & 0xffff) >> 6] & (1 << UInt64(ordinal & 63)) != 0
        }

        @inline(__always)
        func prefetch(_ ordinal: Ordinal) {
            let chunk = Int(ordinal >> 16)
            guard chunk < chunkCapacity, let words = chunks[chunk] else { return }
            cohort_prefetch(words + (Int(ordinal & 0xffff) >> 6))
        }
    }

    /// Looks into a bitmap without a reference to it: valid as long as the bitmap lives.
    struct Reader {
        fileprivate let header: UnsafeMutablePointer<Header>

        @inline(__always)
        func contains(_ ordinal: Ordinal) -> Bool { header.pointee.contains(ordinal) }
        /// Begins to bring near what `contains` will read.
        @inline(__always)
        func prefetch(_ ordinal: Ordinal) { header.pointee.prefetch(ordinal) }
        var count: UInt64 { header.pointee.count }
    }

    private let header: UnsafeMutablePointer<Header>

    package init() {
        header = .allocate(capacity: 1)
        header.initialize(to: Header(chunkCapacity: 4))
    }

    deinit {
        for i in 0..<chunkCapacity { chunks[i]?.deallocate() }
        chunks.deallocate()
        populations.deallocate()
        header.deallocate()
    }

    var reader: Reader { Reader(header: header) }

    /// How many members there are.
    package internal(set) var count: UInt64 {
        get { header.pointee.count }
        set { header.pointee.count = newValue }
    }
    var chunks: UnsafeMutablePointer<Chunk?> { header.pointee.chunks }
    var populations: UnsafeMutablePointer<UInt32> { header.pointee.populations }
    private(set) var chunkCapacity: Int {
        get { header.pointee.chunkCapacity }
        set { header.pointee.chunkCapacity = newValue }
    }
    private var allocatedChunks: Int {
        get { header.pointee.allocatedChunks }
        set { header.pointee.allocatedChunks = newValue }
    }

    package var isEmpty: Bool { count == 0 }

    /// Bytes held.
    package var bytes: Int { allocatedChunks * Self.chunkBytes + chunkCapacity * 12 }

    package func contains(_ ordinal: Ordinal) -> Bool { header.pointee.contains(ordinal) }

    /// - Returns: whether it was not there.
    @discardableResult
    package func insert(_ ordinal: Ordinal) -> Bool {
        let index = Int(ordinal >> 16)
        let words = chunk(index)
        let word = Int(ordinal & 0xffff) >> 6
        let bit: UInt64 = 1 << UInt64(ordinal & 63)
        guard words[word] & bit == 0 else { return false }
        words[word] |= bit
        populations[index] += 1
        count += 1
        return true
    }

    /// - Returns: whether it was there.
    @discardableResult
    package func remove(_ ordinal: Ordinal) -> Bool {
        let index = Int(ordinal >> 16)
        guard index < chunkCapacity, let words = chunks[index] else { return false }
        let word = Int(ordinal & 0xffff) >> 6
        let bit: UInt64 = 1 << UInt64(ordinal & 63)
        guard words[word] & bit != 0 else { return false }
        words[word] &= ~bit
        populations[index] -= 1
        count -= 1
        if populations[index] == 0 {
            words.deallocate()
            chunks[index] = nil
            allocatedChunks -= 1
        }
        return true
    }

    func hasMembers(inChunk chunk: Int) -> Bool { chunk < chunkCapacity && chunks[chunk] != nil }

    package func copy() -> ChunkedBitmap {
        let result = ChunkedBitmap()
        result.reserve(ordinals: chunkCapacity * Self.chunkBits)
        for i in 0..<chunkCapacity {
            guard let words = chunks[i] else { continue }
            result.chunk(i).update(from: words, count: Self.chunkWords)
            result.populations[i] = populations[i]
        }
        result.count = count
        return result
    }

    /// Makes room in the tables, so that ordinals below the limit never move them.
    package func reserve(ordinals: Int) {
        let needed = (ordinals + Self.chunkBits - 1) / Self.chunkBits
        guard needed > chunkCapacity else { return }
        let capacity = max(needed, chunkCapacity * 2)
        let newChunks = UnsafeMutablePointer<Chunk?>.allocate(capacity: capacity)
        newChunks.initialize(repeating: nil, count: capacity)
        newChunks.update(from: chunks, count: chunkCapacity)
        let newPopulations = UnsafeMutablePointer<UInt32>.allocate(capacity: capacity)
        newPopulations.initialize(repeating: 0, count: capacity)
        newPopulations.update(from: populations, count: chunkCapacity)
        chunks.deallocate()
        populations.deallocate()
        header.pointee.chunks = newChunks
        header.pointee.populations = newPopulations
        chunkCapacity = capacity
    }

    /// Calls `body` with every member from `start` on, in order, until it returns `false`.
    package func forEach(from start: Ordinal = 0, _ body: (Ordinal) throws -> Bool) rethrows {
        var index = Int(start >> 16)
        var word = Int(start & 0xffff) >> 6
        var mask = UInt64.max << UInt64(start & 63)
        while index < chunkCapacity {
            if let words = chunks[index] {
                while word < Self.chunkWords {
                    var bits = words[word] & mask
                    mask = .max
                    while bits != 0 {
                        let bit = bits.trailingZeroBitCount
                        bits &= bits - 1
                        if try !body(Ordinal(index << 16 | word << 6 | bit)) { return }
                    }
                    word += 1
                }
            }
            mask = .max
            word = 0
            index += 1
        }
    }

    /// Members in order; for small sets and tests.
    package var members: [Ordinal] {
        var result: [Ordinal] = []
        forEach {
            result.append($0)
            return true
        }
        return result
    }

    /// Takes in all members of `other`.
    package func formUnion(_ other: ChunkedBitmap) {
        combine(other) { $0 | $1 }
    }

    /// Drops all members of `other`.
    package func subtract(_ other: ChunkedBitmap) {
        combine(other, where: { self.hasMembers(inChunk: $0) }) { $0 & ~$1 }
    }

    /// Drops all that are not members of `other`.
    package func formIntersection(_ other: ChunkedBitmap) {
        for i in 0..<chunkCapacity where chunks[i] != nil {
            if !other.hasMembers(inChunk: i) { clear(chunk: i) }
        }
        combine(other, where: { self.hasMembers(inChunk: $0) }) { $0 & $1 }
    }

    private func clear(chunk index: Int) {
        chunks[index]?.deallocate()
        chunks[index] = nil
        allocatedChunks -= 1
        count -= UInt64(populations[index])
        populations[index] = 0
    }

    /// Members of both.
    package func intersection(_ other: ChunkedBitmap) -> ChunkedBitmap {
        let result = ChunkedBitmap()
        result.reserve(ordinals: min(chunkCapacity, other.chunkCapacity) * Self.chunkBits)
        for i in 0..<min(chunkCapacity, other.chunkCapacity) {
            guard let a = chunks[i], let b = other.chunks[i] else { continue }
            var population: UInt32 = 0
            for w in 0..<Self.chunkWords { population += UInt32((a[w] & b[w]).nonzeroBitCount) }
            guard population > 0 else { continue }
            let words = result.chunk(i)
            for w in 0..<Self.chunkWords { words[w] = a[w] & b[w] }
            result.populations[i] = population
            result.count += UInt64(population)
        }
        return result
    }

    /// - Parameter concerns: which chunks of `other` matter; for all others the operation must leave things as they are.
    @inline(__always)
    private func combine(
        _ other: ChunkedBitmap,
        where concerns: (Int) -> Bool = { _ in true },
        _ operation: (UInt64, UInt64) -> UInt64
    ) {
        reserve(ordinals: other.chunkCapacity * Self.chunkBits)
        for i in 0..<other.chunkCapacity {
            guard let theirs = other.chunks[i], concerns(i) else { continue }
            let ours = chunk(i)
            var population: UInt32 = 0
            for w in 0..<Self.chunkWords {
                ours[w] = operation(ours[w], theirs[w])
                population += UInt32(ours[w].nonzeroBitCount)
            }
            count = count - UInt64(populations[i]) + UInt64(population)
            populations[i] = population
            if population == 0 {
                ours.deallocate()
                chunks[i] = nil
                allocatedChunks -= 1
            }
        }
    }

    /// The chunk at `index`, made if absent.
    func chunk(_ index: Int) -> Chunk {
        if index >= chunkCapacity { reserve(ordinals: (index + 1) * Self.chunkBits) }
        if let words = chunks[index] { return words }
        let words = Chunk.allocate(capacity: Self.chunkWords)
        words.initialize(repeating: 0, count: Self.chunkWords)
        chunks[index] = words
        allocatedChunks += 1
        return words
    }
}
