import Foundation
import Synchronization

/// Memory for blocks that live as long as the index, in large regions that the kernel is asked to back with huge pages.
///
/// A look-up of a random id touches four to six places in memory. With pages of 4 KiB each of them misses the
/// processor's address translation as well as its cache, and with ten million customers the translation costs more.
///
/// Thread-safe. Everything is given back when the allocator goes.
final class SlabAllocator: Sendable {
    private struct State {
        /// Addresses and sizes, as integers: a lock does not hand out pointers.
        var regions: [(address: UInt, bytes: Int)] = []
        var next: UInt = 0
        var left = 0
        /// Blocks given back, by size.
        var free: [Int: [UInt]] = [:]
    }

    private static let alignment = 64
    private static let hugePage = 2 << 20
    private static let largestRegion = 16 << 20

    private let state = Mutex(State())

    deinit {
        for region in state.withLock({ $0.regions }) {
            munmap(UnsafeMutableRawPointer(bitPattern: region.address), region.bytes)
        }
    }

    /// A block of `bytes` (1 or more), aligned to 64 bytes; what it holds is undefined.
    func allocate(_ bytes: Int) -> UnsafeMutableRawPointer {
        let size = Self.rounded(bytes)
        let address = state.withLock { state in
            if let free = state.free[size]?.popLast() { return free }
            if state.left < size { Self.addRegion(&state, atLeast: size) }
            defer {
                state.next += UInt(size)
                state.left -= size
            }
            return state.next
        }
        guard let pointer = UnsafeMutableRawPointer(bitPattern: address) else { preconditionFailure("no memory left") }
        return pointer
    }

    /// Takes back a block of `bytes` for the next one of that size.
    func deallocate(_ block: UnsafeMutableRawPointer, _ bytes: Int) {
        let address = UInt(bitPattern: block)
        state.withLock { $0.free[Self.rounded(bytes), default: []].append(address) }
    }

    /// Bytes of all regions; the system counts those that were touched.
    var reservedBytes: Int { state.withLock { $0.regions.reduce(0) { $0 + $1.bytes } } }

    private static func rounded(_ bytes: Int) -> Int { (bytes + alignment - 1) & ~(alignment - 1) }

    /// What is left of the region before goes unused, which is less than a block.
    private static func addRegion(_ state: inout State, atLeast size: Int) {
        // Small stores take little: the regions double up to the largest.
        let wanted = max(state.regions.last.map { min($0.bytes * 2, largestRegion) } ?? 256 << 10, size)
        let isHuge = wanted >= hugePage
        let bytes = isHuge ? (wanted + hugePage - 1) & ~(hugePage - 1) : wanted
        // A huge page begins at a multiple of its size, so one more is mapped and the ends are given back.
        let slack = isHuge ? hugePage : 0
        let mapped = mmap(nil, bytes + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        guard let mapped, mapped != MAP_FAILED else { preconditionFailure("no memory left") }
        let start = UInt(bitPattern: mapped)
        var address = start
        if isHuge {
            address = (start + UInt(hugePage) - 1) & ~UInt(hugePage - 1)
            if address > start { munmap(mapped, Int(address - start)) }
            let end = address + UInt(bytes)
            if start + UInt(bytes + slack) > end {
                munmap(UnsafeMutableRawPointer(bitPattern: end), Int(start) + bytes + slack - Int(end))
            }
            // Only a wish: without huge pages it is slower, not wrong.
            madvise(UnsafeMutableRawPointer(bitPattern: address), bytes, Int32(MADV_HUGEPAGE))
        }
        state.regions.append((address, bytes))
        state.next = address
        state.left = bytes
    }
}
