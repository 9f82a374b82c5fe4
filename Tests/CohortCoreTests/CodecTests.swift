import Testing

@testable import CohortCore

@Suite("Stored forms")
struct CodecTests {
    @Test("A record reads back as it was written", arguments: 0..<4)
    func records(seed: Int) throws {
        var random = SeededGenerator(state: UInt64(seed))
        for _ in 0..<2_000 {
            let record = random.record()
            let bytes = record.encoded()
            try bytes.withUnsafeBytes { bytes in
                #expect(try CustomerRecord(decoding: bytes) == record)
                #expect(try CustomerRecord.attributes(of: bytes) == record.attributes)
                var found: [OpenInterval] = []
                let sequence = try CustomerRecord.scanMemberships(of: bytes) { cohort, membership in
                    if let open = record.intervals.first(where: { $0.cohort == cohort && $0.membership == membership })
                    {
                        found.append(open)
                    }
                }
                #expect(sequence == record.sequence && found == record.intervals)
            }
        }
    }

    @Test("A log entry reads back as it was written", arguments: 0..<4)
    func entries(seed: Int) throws {
        var random = SeededGenerator(state: UInt64(seed))
        for _ in 0..<2_000 {
            let entry = random.entry()
            let row = LogRow(sequence: entry.sequence, time: entry.time, payload: entry.encoded())
            #expect(try row.decoded() == entry)
        }
    }

    @Test("A log entry as the first format wrote it is read, and one that fits is still written so")
    func firstFormat() throws {
        let payload: [UInt8] = [
            1, 1, 112, 1, 109, 5, 2, 3, 4, 116, 114, 117, 101, 0, 1, 5, 2, 3, 2, 10, 0, 1, 0, 1, 82, 6,
        ]
        let time = try #require(Timestamp(seconds: 1_700_000_000, nanoseconds: 7))
        var entry = try LogRow(sequence: 5, time: time, payload: payload).decoded()
        #expect(entry.principal == "p" && entry.method == "m")
        #expect(entry.change == .ruleUpdated(RuleUpdate(cohort: 2, version: 3, rule: "true")))
        let bulk = BulkReference(stage: 5, cohort: 2, version: 3, cause: .rule, toIn: 10, toOut: 0, toUnknown: 1)
        #expect(entry.bulks == [bulk] && entry.transitions.isEmpty)
        #expect(entry.encoded() == payload)
        entry.bulks.append(bulk)
        #expect(entry.encoded().first == 2)
        #expect(try LogRow(sequence: 5, time: time, payload: entry.encoded()).decoded() == entry)
    }

    @Test("A log entry damaged or moved is refused", arguments: 0..<4)
    func damagedEntries(seed: Int) {
        var random = SeededGenerator(state: UInt64(seed))
        for _ in 0..<2_000 {
            let entry = random.entry()
            var row = LogRow(sequence: entry.sequence, time: entry.time, payload: entry.encoded())
            switch Int.random(in: 0..<3, using: &random) {
            case 0: row.payload[Int.random(in: row.payload.indices, using: &random)] ^= 1 << UInt8.random(in: 0...7)
            case 1: row.sequence &+= 1
            default: row.payload.removeLast(Int.random(in: 1...row.payload.count, using: &random))
            }
            #expect(throws: CodecError.self) { try row.decoded() }
        }
    }

    @Test("Garbage is refused and does not crash", arguments: 0..<4)
    func garbage(seed: Int) {
        var random = SeededGenerator(state: UInt64(seed))
        var accepted = 0
        for _ in 0..<20_000 {
            var bytes =
                Bool.random(using: &random)
                ? random.record().encoded()
                : [1]
                    + (0..<Int.random(in: 0...60, using: &random)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
            for _ in 0..<Int.random(in: 1...4, using: &random) where !bytes.isEmpty {
                bytes[Int.random(in: bytes.indices, using: &random)] = UInt8(truncatingIfNeeded: random.next())
            }
            bytes.withUnsafeBytes { bytes in
                if (try? CustomerRecord(decoding: bytes)) != nil { accepted += 1 }
                _ = try? CustomerRecord.scanMemberships(of: bytes) { _, _ in }
                _ = try? CustomerRecord.attributes(of: bytes)
                var reader = ByteReader(bytes)
                _ = try? ChunkedBitmap(decoding: &reader)
                _ = try? BulkChange(stage: 0, cohort: 0, version: 0, cause: .rule, decodingSets: bytes)
            }
        }
        #expect(accepted < 20_000)
    }

    @Test("CRC-32C gives the published check value")
    func checksum() {
        Array("123456789".utf8).withUnsafeBytes { #expect(Checksum.crc32c($0) == 0xE306_9283) }
        [UInt8](repeating: 0, count: 32).withUnsafeBytes { #expect(Checksum.crc32c($0) == 0x8A91_36AA) }
    }

    @Test("Numbers at their borders", arguments: [0, 1, 127, 128, 16_383, 16_384, UInt64.max - 1, .max])
    func numbers(value: UInt64) throws {
        var writer = ByteWriter()
        writer.varint(value)
        writer.signed(Int64(bitPattern: value))
        writer.fixed64(value)
        try writer.finish().withUnsafeBytes { bytes in
            var reader = ByteReader(bytes)
            #expect(try reader.varint() == value)
            #expect(try reader.signed() == Int64(bitPattern: value))
            #expect(try reader.fixed64() == value)
            try reader.expectEnd()
        }
    }

    @Test("A number of more than 64 bits is refused")
    func tooLong() {
        for bytes in [[UInt8](repeating: 0xff, count: 9) + [2], [UInt8](repeating: 0x80, count: 10) + [0]] {
            #expect(throws: CodecError.self) {
                try bytes.withUnsafeBytes { bytes in
                    var reader = ByteReader(bytes)
                    _ = try reader.varint()
                }
            }
        }
    }
}
