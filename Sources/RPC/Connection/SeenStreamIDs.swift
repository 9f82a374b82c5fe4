/// Which stream ids a connection has used, in little memory.
///
/// Clients mostly count up, so the ids seen are a few ranges. A client that leaves many gaps has the oldest of them
/// closed: an id from there then counts as used.
package struct SeenStreamIDs: Sendable {
    /// Ranges of odd ids, disjoint, not adjacent, ascending.
    private var ranges: [ClosedRange<UInt32>] = []
    private let maxRanges: Int

    package init(maxRanges: Int = 256) { self.maxRanges = maxRanges }

    /// The highest id seen, 0 before the first.
    package var highest: UInt32 { ranges.last?.upperBound ?? 0 }

    /// Takes note of an odd id. False if it was seen before.
    @inline(__always)
    package mutating func insert(_ id: UInt32) -> Bool {
        if let last = ranges.last, id > 2, last.upperBound == id - 2 {
            ranges[ranges.count - 1] = last.lowerBound...id
            return true
        }
        return insertSlowly(id)
    }

    private mutating func insertSlowly(_ id: UInt32) -> Bool {
        // The first range that ends at the id or after.
        var low = 0
        var high = ranges.count
        while low < high {
            let middle = (low + high) / 2
            if ranges[middle].upperBound < id { low = middle + 1 } else { high = middle }
        }
        if low < ranges.count, ranges[low].contains(id) { return false }
        let joinsBefore = low > 0 && id > 2 && ranges[low - 1].upperBound == id - 2
        let joinsAfter = low < ranges.count && id <= .max - 2 && ranges[low].lowerBound == id + 2
        switch (joinsBefore, joinsAfter) {
        case (true, true):
            ranges[low - 1] = ranges[low - 1].lowerBound...ranges[low].upperBound
            ranges.remove(at: low)
        case (true, false): ranges[low - 1] = ranges[low - 1].lowerBound...id
        case (false, true): ranges[low] = id...ranges[low].upperBound
        case (false, false): ranges.insert(id...id, at: low)
        }
        if ranges.count > maxRanges {
            ranges[1] = ranges[0].lowerBound...ranges[1].upperBound
            ranges.remove(at: 0)
        }
        return true
    }

    /// Whether an odd id counts as used.
    package func contains(_ id: UInt32) -> Bool {
        ranges.contains { $0.contains(id) }
    }
}
