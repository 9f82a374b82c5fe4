extension ChunkedBitmap {
    /// Members of either, as a new set.
    func union(_ other: ChunkedBitmap) -> ChunkedBitmap {
        let result = copy()
        result.formUnion(other)
        return result
    }

    /// Members that `other` has not, as a new set.
    func subtracting(_ other: ChunkedBitmap) -> ChunkedBitmap {
        let result = copy()
        result.subtract(other)
        return result
    }

    /// The members whose ordinals are in one chunk, as a new set.
    package func part(inChunk index: Int) -> ChunkedBitmap {
        let result = ChunkedBitmap()
        guard index < chunkCapacity, let words = chunks[index] else { return result }
        result.chunk(index).update(from: words, count: Self.chunkWords)
        result.populations[index] = populations[index]
        result.count = UInt64(populations[index])
        return result
    }

    /// The chunks with members, in order.
    package var filledChunks: [Int] { (0..<chunkCapacity).filter { chunks[$0] != nil } }
}
