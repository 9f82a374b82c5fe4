extension ChunkedBitmap {
    private enum Form: UInt8 { case gaps = 1, bits, runs }

    /// Chunks with members, each as the gaps between members, as bits, or as runs, whichever is shortest.
    package func encode(to writer: inout ByteWriter) {
        let filled = (0..<chunkCapacity).filter { chunks[$0] != nil }
        writer.count(filled.count)
        for i in filled {
            guard let words = chunks[i] else { continue }
            writer.count(i)
            var runs = 0
            var carry: UInt64 = 0
            for w in 0..<Self.chunkWords {
                runs += (words[w] & ~(words[w] << 1 | carry)).nonzeroBitCount
                carry = words[w] >> 63
            }
            let population = Int(populations[i])
            if runs * 4 < min(population, Self.chunkBytes) {
                writer.byte(Form.runs.rawValue)
                encodeRuns(of: words, count: runs, to: &writer)
            } else if population < Self.chunkBytes / 2 {
                writer.byte(Form.gaps.rawValue)
                writer.count(population)
                var next = 0
                Self.forEachBit(of: words) {
                    writer.count($0 - next)
                    next = $0 + 1
                }
            } else {
                writer.byte(Form.bits.rawValue)
                for w in 0..<Self.chunkWords { writer.fixed64(words[w]) }
            }
        }
    }

    package convenience init(decoding reader: inout ByteReader) throws(CodecError) {
        self.init()
        var previous = -1
        for _ in 0..<(try reader.count()) {
            let index = Int(try reader.varint32())
            guard index > previous, index < 65_536 else { throw CodecError("bitmap chunks are out of order") }
            previous = index
            let base = Ordinal(index) << 16
            switch Form(rawValue: try reader.byte()) {
            case .gaps:
                var next: UInt64 = 0
                for _ in 0..<(try reader.count()) {
                    let (position, overflow) = next.addingReportingOverflow(try reader.varint())
                    guard !overflow, position < UInt64(Self.chunkBits) else {
                        throw CodecError("a bitmap member is out of range")
                    }
                    insert(base | Ordinal(position))
                    next = position + 1
                }
            case .bits:
                let bytes = try reader.take(Self.chunkBytes)
                let words = chunk(index)
                var population: UInt32 = 0
                for w in 0..<Self.chunkWords {
                    words[w] = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: w * 8, as: UInt64.self))
                    population += UInt32(words[w].nonzeroBitCount)
                }
                guard population > 0 else { throw CodecError("a bitmap chunk is empty") }
                populations[index] = population
                count += UInt64(population)
            case .runs:
                var next: UInt64 = 0
                for _ in 0..<(try reader.count()) {
                    let gap = try reader.varint()
                    let length = try reader.varint()
                    guard gap <= UInt64(Self.chunkBits), length > 0, length <= UInt64(Self.chunkBits),
                        next + gap + length <= UInt64(Self.chunkBits)
                    else { throw CodecError("a bitmap run is out of range") }
                    for position in (next + gap)..<(next + gap + length) { insert(base | Ordinal(position)) }
                    next += gap + length
                }
            case nil:
                throw CodecError("a bitmap chunk's form is not known")
            }
        }
    }

    private func encodeRuns(of words: UnsafeMutablePointer<UInt64>, count: Int, to writer: inout ByteWriter) {
        writer.count(count)
        var end = 0
        var start = -1
        var last = -1
        Self.forEachBit(of: words) { position in
            if start >= 0, position == last + 1 {
                last = position
                return
            }
            if start >= 0 {
                writer.count(start - end)
                writer.count(last - start + 1)
                end = last + 1
            }
            (start, last) = (position, position)
        }
        if start >= 0 {
            writer.count(start - end)
            writer.count(last - start + 1)
        }
    }

    private static func forEachBit(of words: UnsafeMutablePointer<UInt64>, _ body: (Int) -> Void) {
        for w in 0..<chunkWords {
            var bits = words[w]
            while bits != 0 {
                body(w << 6 | bits.trailingZeroBitCount)
                bits &= bits - 1
            }
        }
    }
}
