/// Ids by ordinal, without an object for each: the bytes of 4,096 consecutive ordinals lie in one block.
///
/// A handle without reference counting: the owner guards it, and destroys it once. Ordinals are added in ascending order
/// within a block; gaps stay empty. As long as all ids of a block are of one length, where they lie is computed; a table
/// of ends is made with the first that is not.
struct IdentifierArena {
    static let blockBits = 12
    static let blockSize = 1 << blockBits

    private struct Block {
        var bytes: UnsafeMutablePointer<UInt8>
        /// Where the id of each ordinal ends; it begins where the one before it ends. `nil` while all are of one length.
        var ends: UnsafeMutablePointer<UInt32>?
        /// The one length, while `ends` is nil.
        var length: UInt32
        var capacity: UInt32
        /// Ordinals of the block that have been passed, with an id or without.
        var filled: UInt32

        var isFull: Bool { filled == UInt32(blockSize) }

        /// Where the bytes that are used end.
        var used: UInt32 {
            guard filled > 0 else { return 0 }
            return ends.map { $0[Int(filled) - 1] } ?? filled * length
        }
    }

    private struct Header {
        var blocks: UnsafeMutablePointer<Block?>
        var capacity: Int
        /// Where the bytes of full blocks lie. Held by the owner as well, who outlives the arena.
        let slab: Unmanaged<SlabAllocator>
    }

    private let header: UnsafeMutablePointer<Header>

    /// - Parameter slab: must live as long as the arena.
    init(_ slab: SlabAllocator) {
        header = .allocate(capacity: 1)
        let blocks = UnsafeMutablePointer<Block?>.allocate(capacity: 16)
        blocks.initialize(repeating: nil, count: 16)
        header.initialize(to: Header(blocks: blocks, capacity: 16, slab: .passUnretained(slab)))
    }

    /// Gives all memory back. The handle and its copies must not be used afterwards.
    func destroy() {
        for i in 0..<header.pointee.capacity {
            guard let block = header.pointee.blocks[i] else { continue }
            block.ends?.deallocate()
            // The bytes of a full block go with the slab.
            if !block.isFull { block.bytes.deallocate() }
        }
        header.pointee.blocks.deallocate()
        header.deallocate()
    }

    /// Makes room in the table of blocks, so that ordinals below the limit never move it.
    func reserve(ordinals: Int) {
        let needed = (ordinals + Self.blockSize - 1) >> Self.blockBits
        guard needed > header.pointee.capacity else { return }
        let capacity = max(needed, header.pointee.capacity * 2)
        let grown = UnsafeMutablePointer<Block?>.allocate(capacity: capacity)
        grown.initialize(repeating: nil, count: capacity)
        grown.update(from: header.pointee.blocks, count: header.pointee.capacity)
        header.pointee.blocks.deallocate()
        header.pointee.blocks = grown
        header.pointee.capacity = capacity
    }

    /// Adds the id of an ordinal above all others of its block. Several threads may fill different blocks at once
    /// after `reserve`, while the index is loaded.
    func append(_ id: UnsafeRawBufferPointer, at ordinal: Ordinal) {
        let index = Int(ordinal) >> Self.blockBits
        let position = ordinal & UInt32(Self.blockSize - 1)
        if index >= header.pointee.capacity { reserve(ordinals: (index + 1) << Self.blockBits) }
        var block = header.pointee.blocks[index] ?? Self.makeBlock(length: UInt32(id.count))
        precondition(position >= block.filled, "ordinals are added in ascending order")
        if block.ends == nil, position != block.filled || UInt32(id.count) != block.length {
            Self.spellOutEnds(&block)
        }
        let start = block.used
        let end = start + UInt32(id.count)
        if end > block.capacity { Self.grow(&block, to: end) }
        if let source = id.baseAddress {
            UnsafeMutableRawPointer(block.bytes + Int(start)).copyMemory(from: source, byteCount: id.count)
        }
        if let ends = block.ends {
            for gap in block.filled..<position { ends[Int(gap)] = start }
            ends[Int(position)] = end
        }
        block.filled = position + 1
        if block.isFull { settle(&block) }
        header.pointee.blocks[index] = block
    }

    /// The id's bytes, valid until the next change; empty for an ordinal without one.
    @inline(__always)
    func id(_ ordinal: Ordinal) -> UnsafeRawBufferPointer {
        let index = Int(ordinal) >> Self.blockBits
        let position = Int(ordinal) & (Self.blockSize - 1)
        guard index < header.pointee.capacity, let block = header.pointee.blocks[index], position < Int(block.filled)
        else { return UnsafeRawBufferPointer(start: nil, count: 0) }
        guard let ends = block.ends else {
            let length = Int(block.length)
            return UnsafeRawBufferPointer(start: block.bytes + position * length, count: length)
        }
        let start = position == 0 ? 0 : ends[position - 1]
        return UnsafeRawBufferPointer(start: block.bytes + Int(start), count: Int(ends[position] - start))
    }

    /// Overwrites an id with zeros: the bytes of an erased customer do not stay in memory.
    func wipe(_ ordinal: Ordinal) {
        let id = id(ordinal)
        guard let start = id.baseAddress else { return }
        UnsafeMutableRawPointer(mutating: start).initializeMemory(as: UInt8.self, repeating: 0, count: id.count)
    }

    /// Bytes held.
    var bytes: Int {
        var sum = header.pointee.capacity * MemoryLayout<Block?>.stride
        for i in 0..<header.pointee.capacity {
            guard let block = header.pointee.blocks[i] else { continue }
            sum += Int(block.capacity) + (block.ends == nil ? 0 : Self.blockSize * 4)
        }
        return sum
    }

    /// Moves a block that grows no more to the slab.
    private func settle(_ block: inout Block) {
        let size = max(block.used, 1)
        let settled = header.pointee.slab._withUnsafeGuaranteedRef { $0.allocate(Int(size)) }
            .bindMemory(to: UInt8.self, capacity: Int(size))
        settled.update(from: block.bytes, count: Int(block.used))
        block.bytes.deallocate()
        (block.bytes, block.capacity) = (settled, size)
    }

    private static func makeBlock(length: UInt32) -> Block {
        let capacity: UInt32 = 4_096
        return Block(
            bytes: .allocate(capacity: Int(capacity)),
            ends: nil,
            length: length,
            capacity: capacity,
            filled: 0
        )
    }

    private static func spellOutEnds(_ block: inout Block) {
        let ends = UnsafeMutablePointer<UInt32>.allocate(capacity: blockSize)
        for i in 0..<block.filled { ends[Int(i)] = (i + 1) * block.length }
        block.ends = ends
    }

    private static func grow(_ block: inout Block, to needed: UInt32) {
        // Ids of one store are much alike in length: aim at a whole block of the average so far, once that is known.
        let average = block.filled == 0 ? needed : block.used / block.filled + 1
        let whole = block.filled < 512 ? block.capacity * 2 : average * UInt32(blockSize) + 256
        resize(&block, capacity: max(needed, whole, block.capacity + block.capacity / 4))
    }

    private static func resize(_ block: inout Block, capacity: UInt32) {
        guard capacity != block.capacity else { return }
        let moved = UnsafeMutablePointer<UInt8>.allocate(capacity: Int(capacity))
        moved.update(from: block.bytes, count: Int(min(block.used, capacity)))
        block.bytes.deallocate()
        (block.bytes, block.capacity) = (moved, capacity)
    }
}
