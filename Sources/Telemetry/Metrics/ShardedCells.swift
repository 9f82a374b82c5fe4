import CProcessor
import NIOCore
import Synchronization

/// Sums that any number of threads add to without waiting: a row of cells for each processor, added up when they are read.
final class ShardedCells: @unchecked Sendable {
    // Unchecked: the pointer never changes, and what it points to are atomics.
    typealias Cell = Atomic<Int64>

    /// A power of two.
    private static let shards: Int = {
        var shards = 1
        while shards < min(System.coreCount, 16) { shards *= 2 }
        return shards
    }()
    /// Two lines of a cache: processors fetch them in pairs.
    private static let alignment = 128

    private let cells: UnsafeMutablePointer<Cell>
    private let stride: Int
    private let mask = ShardedCells.shards - 1
    let width: Int

    init(width: Int) {
        self.width = width
        let perLine = Self.alignment / MemoryLayout<Cell>.stride
        stride = (width + perLine - 1) / perLine * perLine
        let count = stride * Self.shards
        cells = UnsafeMutableRawPointer.allocate(
            byteCount: count * MemoryLayout<Cell>.stride,
            alignment: Self.alignment
        ).bindMemory(to: Cell.self, capacity: count)
        for index in 0..<count { (cells + index).initialize(to: Cell(0)) }
    }

    deinit {
        cells.deinitialize(count: stride * Self.shards)
        cells.deallocate()
    }

    /// The cells of the processor that runs this. Another one may take over meanwhile: that costs time, and counts right.
    @inline(__always)
    var here: UnsafeMutablePointer<Cell> {
        cells + (Int(current_processor()) & mask) * stride
    }

    func sum(_ index: Int) -> Int64 {
        var total: Int64 = 0
        for shard in 0..<Self.shards { total &+= (cells + shard * stride + index).pointee.load(ordering: .relaxed) }
        return total
    }

    func reset() {
        for index in 0..<stride * Self.shards { (cells + index).pointee.store(0, ordering: .relaxed) }
    }
}
