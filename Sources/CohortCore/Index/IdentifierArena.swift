/// Ids by ordinal, without an object for each: the bytes of 4,096 consecutive ordinals lie in one block.
///
/// Not thread-safe: an owner guards it. Ordinals are added in ascending order within a block; gaps stay empty.
final class IdentifierArena {
    static let blockBits = 12
    static let blockSize = 1 << blockBits

    private struct Block {
        /// Where the id of each ordinal ends; it begins where the one before it ends.
        var ends: UnsafeMutablePointer<UInt32>
        var bytes: UnsafeMutablePointer<UInt8>
        var capacity: UInt32
        /// Ordinals of the block that have been passed, with an id or without.
        var filled: UInt32
    }

    private var blocks: UnsafeMutablePointer<Block?>
    private var blockCapacity: Int

    init() {
        blockCapacity = 16
        blocks = .allocate(capacity: blockCapacity)
        blocks.initialize(repeating: nil, count: blockCapacity)
    }

    deinit {
        for i in 0..<blockCapacity {
            blocks[i]?.ends.deallocate()
            blocks[i]?.bytes.deallocate()
        }
        blocks.deallocate()
    }

    /// Makes room in the table of blocks, so that ordinals below the limit never move it.
    func reserve(ordinals: Int) {
        let needed = (ordinals + Self.blockSize - 1) >> Self.blockBits
        guard needed > blockCapacity else { return }
        let capacity = max(needed, blockCapacity * 2)
        let grown = UnsafeMutablePointer<Block?>.allocate(capacity: capacity)
        grown.initialize(repeating: nil, count: capacity)
        grown.update(from: blocks, count: blockCapacity)
        blocks.deallocate()
        (blocks, blockCapacity) = (grown, capacity)
    }

    /// Adds the id of an ordinal above all others of its block. Several threads may fill different blocks at once
    /// after `reserve`, while the index is loaded.
    func append(_ id: UnsafeRawBufferPointer, at ordinal: Ordinal) {
        let index = Int(ordinal) >> Self.blockBits
        let position = ordinal & UInt32(Self.blockSize - 1)
        if index >= blockCapacity { reserve(ordinals: (index + 1) << Self.blockBits) }
        var block = blocks[index] ?? makeBlock()
        precondition(position >= block.filled, "ordinals are added in ascending order")
        let start = block.filled == 0 ? 0 : block.ends[Int(block.filled) - 1]
        for gap in block.filled..<position { block.ends[Int(gap)] = start }
        let end = start + UInt32(id.count)
        if end > block.capacity { grow(&block, used: start, to: end, filled: position) }
        if let source = id.baseAddress {
            UnsafeMutableRawPointer(block.bytes + Int(start)).copyMemory(from: source, byteCount: id.count)
        }
        block.ends[Int(position)] = end
        block.filled = position + 1
        if position == UInt32(Self.blockSize - 1) { trim(&block, used: end) }
        blocks[index] = block
    }

    /// The id's bytes, valid until the next change; empty for an ordinal without one.
    @inline(__always)
    func id(_ ordinal: Ordinal) -> UnsafeRawBufferPointer {
        let index = Int(ordinal) >> Self.blockBits
        let position = Int(ordinal) & (Self.blockSize - 1)
        guard index < blockCapacity, let block = blocks[index], position < Int(block.filled) else {
            return UnsafeRawBufferPointer(start: nil, count: 0)
        }
        let start = position == 0 ? 0 : block.ends[position - 1]
        return UnsafeRawBufferPointer(start: block.bytes + Int(start), count: Int(block.ends[position] - start))
    }

    /// Overwrites an id with zeros: the bytes of one erased do not stay in memory.
    func wipe(_ ordinal: Ordinal) {
        let id = id(ordinal)
        guard let start = id.baseAddress else { return }
        UnsafeMutableRawPointer(mutating: start).initializeMemory(as: UInt8.self, repeating: 0, count: id.count)
    }

    /// Bytes held.
    var bytes: Int {
        var sum = blockCapacity * MemoryLayout<Block?>.stride
        for i in 0..<blockCapacity {
            if let block = blocks[i] { sum += Int(block.capacity) + Self.blockSize * 4 }
        }
        return sum
    }

    private func makeBlock() -> Block {
        let capacity: UInt32 = 4_096
        return Block(
            ends: .allocate(capacity: Self.blockSize),
            bytes: .allocate(capacity: Int(capacity)),
            capacity: capacity,
            filled: 0
        )
    }

    private func grow(_ block: inout Block, used: UInt32, to needed: UInt32, filled: UInt32) {
        // Ids of one store are much alike in length: aim at a whole block of the average so far, once that is known.
        let average = filled == 0 ? needed : used / filled + 1
        let whole = filled < 512 ? block.capacity * 2 : average * UInt32(Self.blockSize) + 256
        resize(&block, used: used, capacity: max(needed, whole, block.capacity + block.capacity / 4))
    }

    private func trim(_ block: inout Block, used: UInt32) {
        if used < block.capacity { resize(&block, used: used, capacity: max(used, 1)) }
    }

    private func resize(_ block: inout Block, used: UInt32, capacity: UInt32) {
        let moved = UnsafeMutablePointer<UInt8>.allocate(capacity: Int(capacity))
        moved.update(from: block.bytes, count: Int(used))
        block.bytes.deallocate()
        (block.bytes, block.capacity) = (moved, capacity)
    }
}
