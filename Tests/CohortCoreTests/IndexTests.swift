import Testing

@testable import CohortCore

@Suite("Index")
struct IndexTests {
    /// Sparse, dense and full stretches, over several chunks.
    private func randomOrdinals(_ random: inout SeededGenerator) -> Set<Ordinal> {
        var result: Set<Ordinal> = []
        for _ in 0..<Int.random(in: 0...4, using: &random) {
            let base = Ordinal.random(in: 0..<6, using: &random) << 16
            switch Int.random(in: 0..<4, using: &random) {
            case 0: for _ in 0..<30 { result.insert(base + Ordinal.random(in: 0..<65_536, using: &random)) }
            case 1: for _ in 0..<9_000 { result.insert(base + Ordinal.random(in: 0..<65_536, using: &random)) }
            case 2: for i in 0..<65_536 { result.insert(base + Ordinal(i)) }
            default:
                let start = Ordinal.random(in: 0..<60_000, using: &random)
                for i in 0..<5_000 { result.insert(base + start + Ordinal(i)) }
            }
        }
        return result
    }

    private func bitmap(_ set: Set<Ordinal>) -> ChunkedBitmap {
        let bitmap = ChunkedBitmap()
        for ordinal in set { bitmap.insert(ordinal) }
        return bitmap
    }

    @Test("A bitmap is a set", arguments: 0..<8)
    func bitmapOperations(seed: Int) throws {
        var random = SeededGenerator(state: UInt64(seed))
        let (a, b) = (randomOrdinals(&random), randomOrdinals(&random))
        let (x, y) = (bitmap(a), bitmap(b))
        #expect(x.count == UInt64(a.count) && x.members == a.sorted())
        #expect(x.intersection(y).members == a.intersection(b).sorted())
        let union = x.copy()
        union.formUnion(y)
        #expect(union.members == a.union(b).sorted() && union.count == UInt64(a.union(b).count))
        let difference = x.copy()
        difference.subtract(y)
        #expect(difference.members == a.subtracting(b).sorted())
        let intersection = x.copy()
        intersection.formIntersection(y)
        #expect(intersection.members == a.intersection(b).sorted())
        #expect(intersection.count == UInt64(a.intersection(b).count))
        let empty = x.copy()
        empty.subtract(x)
        for part in [union, difference, intersection, empty] {
            part.formIntersection(ChunkedBitmap())
            #expect(part.isEmpty && part.members.isEmpty)
        }
        #expect(x.members == a.sorted())
        for ordinal in a.prefix(200) { #expect(x.remove(ordinal) && !x.remove(ordinal) && !x.contains(ordinal)) }
        #expect(x.count == UInt64(a.count - min(200, a.count)))
        for start in [0, 65_535, 65_536, 70_001] as [Ordinal] {
            var from: [Ordinal] = []
            y.forEach(from: start) {
                from.append($0)
                return from.count < 10
            }
            #expect(from == Array(b.sorted().drop { $0 < start }.prefix(10)))
        }
    }

    @Test("A bitmap reads back as it was written, in little space", arguments: 0..<8)
    func bitmapCodec(seed: Int) throws {
        var random = SeededGenerator(state: UInt64(seed))
        let set = randomOrdinals(&random)
        var writer = ByteWriter()
        bitmap(set).encode(to: &writer)
        let bytes = writer.finish()
        #expect(bytes.count <= 6 * 8_208 + 8)
        try bytes.withUnsafeBytes { bytes in
            var reader = ByteReader(bytes)
            #expect(try ChunkedBitmap(decoding: &reader).members == set.sorted())
            try reader.expectEnd()
        }
    }

    @Test("A full chunk takes a few bytes")
    func fullChunk() {
        var writer = ByteWriter()
        bitmap(Set(0..<65_536)).encode(to: &writer)
        #expect(writer.bytes.count < 16)
    }

    @Test("The directory finds every id through growth, removal and gaps", arguments: 0..<3)
    func directory(seed: Int) {
        var random = SeededGenerator(state: UInt64(seed))
        let directory = IdentifierDirectory()
        var model: [String: Ordinal] = [:]
        var next: Ordinal = 0
        for step in 0..<60_000 {
            if step % 7 == 6, let (id, ordinal) = model.first {
                model[id] = nil
                directory.remove(ordinal)
            } else {
                let id = String(repeating: "x", count: Int.random(in: 0...40, using: &random)) + "\(step)"
                Array(id.utf8).withUnsafeBytes { directory.insert($0, ordinal: next) }
                model[id] = next
                next += Ordinal.random(in: 1...3, using: &random)
                directory.splitFullSegments { $0() }
            }
        }
        #expect(directory.count == UInt64(model.count))
        for (id, ordinal) in model {
            Array(id.utf8).withUnsafeBytes { bytes in
                #expect(directory.ordinal(of: bytes) == ordinal)
                #expect(directory.arena.id(ordinal).elementsEqual(bytes))
            }
        }
        for i in 0..<1_000 { Array("none\(i)".utf8).withUnsafeBytes { #expect(directory.ordinal(of: $0) == nil) } }
    }

    @Test("Loading in parts gives the same directory", arguments: [10, 5_000, 100_000])
    func loadedDirectory(count: Int) {
        let directory = IdentifierDirectory()
        directory.reserve(customers: count, highestOrdinal: count)
        for i in 0..<count {
            Array("customer-\(i)".utf8).withUnsafeBytes { directory.arena.append($0, at: Ordinal(i)) }
        }
        let parts = min(2, directory.loadParts)
        let linked = (0..<parts).map { directory.linkLoaded(0..<Ordinal(count), part: $0, of: parts) ?? 0 }
        directory.finishLoading(linked: linked.reduce(0, +))
        #expect(directory.count == UInt64(count))
        for i in 0..<count {
            Array("customer-\(i)".utf8).withUnsafeBytes { #expect(directory.ordinal(of: $0) == Ordinal(i)) }
        }
        for i in count..<(count + 20_000) {
            Array("customer-\(i)".utf8).withUnsafeBytes { directory.insert($0, ordinal: Ordinal(i)) }
            directory.splitFullSegments { $0() }
        }
        Array("customer-\(count + 19_999)".utf8).withUnsafeBytes {
            #expect(directory.ordinal(of: $0) == Ordinal(count + 19_999))
        }
    }

    @Test("The ids of a hundred thousand customers take at most 64 bytes each")
    func directorySize() {
        let directory = IdentifierDirectory()
        for i in 0..<100_000 {
            let id = String(repeating: "0", count: 36 - "\(i)".count) + "\(i)"
            Array(id.utf8).withUnsafeBytes { directory.insert($0, ordinal: Ordinal(i)) }
            directory.splitFullSegments { $0() }
        }
        #expect(directory.bytes < 100_000 * 64)
    }
}
