import Testing

@testable import CohortCore

@Suite("Batches of checks")
struct BatchTests {
    /// One group of ids, at most as many as it may have.
    private func lookUp(_ ids: [[UInt8]], in directory: IdentifierDirectory) -> [Ordinal?] {
        ids.flatMap { $0 }.withUnsafeBytes { bytes in
            var start = 0
            let pointers = ids.map { id in
                defer { start += id.count }
                return UnsafeRawBufferPointer(rebasing: bytes[start..<(start + id.count)])
            }
            var found = [Ordinal?](repeating: 77, count: IdentifierDirectory.Reader.groupSize)
            pointers.withUnsafeBufferPointer { pointers in
                found.withUnsafeMutableBufferPointer { found in
                    guard let base = found.baseAddress else { return }
                    directory.reader.ordinals(of: pointers, into: base)
                }
            }
            return Array(found.prefix(ids.count))
        }
    }

    @Test("Ids looked up in groups are found as one by one", arguments: [1, 3_000, 40_000])
    func groups(count: Int) {
        var random = SeededGenerator(state: UInt64(count))
        let directory = IdentifierDirectory()
        let all = (0..<count).map { String(repeating: "x", count: Int.random(in: 0...80, using: &random)) + "\($0)" }
        for (ordinal, id) in all.enumerated() {
            Array(id.utf8).withUnsafeBytes { directory.insert($0, ordinal: Ordinal(ordinal)) }
            directory.splitFullSegments { $0() }
        }
        for ordinal in 0..<count where ordinal % 5 == 0 { directory.remove(Ordinal(ordinal)) }
        let size = IdentifierDirectory.Reader.groupSize
        for _ in 0..<300 {
            // Known ones, erased ones, and others.
            let ids = (0..<Int.random(in: 0...size, using: &random)).map { _ -> [UInt8] in
                let id = all.randomElement(using: &random) ?? ""
                return Array((Int.random(in: 0..<4, using: &random) == 0 ? id + "?" : id).utf8)
            }
            let expected = ids.map { id in id.withUnsafeBytes { directory.ordinal(of: $0) } }
            #expect(lookUp(ids, in: directory) == expected)
        }
    }

    @Test("An id whose slot and tag are those of another is found behind it")
    func sameTag() throws {
        let hash = IdentifierHash(k0: 1, k1: 2, k2: 3)
        // What the directory looks at before it compares: the slot, and 15 bits above it.
        var seen: [UInt64: String] = [:]
        var pair: (String, String)?
        for n in 0..<100_000 where pair == nil {
            let id = "customer-\(n)"
            let h = Array(id.utf8).withUnsafeBytes { hash($0) }
            pair = seen.updateValue(id, forKey: (h | 1 << 12) & 0xFFF_FFFF).map { ($0, id) }
        }
        let ids = try #require(pair.map { [Array($0.0.utf8), Array($0.1.utf8)] })
        let directory = IdentifierDirectory(hash: hash)
        for (ordinal, id) in ids.enumerated() { id.withUnsafeBytes { directory.insert($0, ordinal: Ordinal(ordinal)) } }
        #expect(lookUp(ids, in: directory) == [0, 1])
    }

    @Test("A slab gives blocks that do not overlap, and takes them back")
    func slab() {
        let slab = SlabAllocator()
        var blocks: [(UnsafeMutableRawPointer, Int)] = []
        for i in 0..<400 {
            let size = [1, 64, 24_640, 147_456][i % 4]
            let block = slab.allocate(size)
            #expect(UInt(bitPattern: block) % 64 == 0)
            block.initializeMemory(as: UInt8.self, repeating: UInt8(truncatingIfNeeded: i), count: size)
            blocks.append((block, size))
        }
        for (i, (block, size)) in blocks.enumerated() {
            #expect(UnsafeRawBufferPointer(start: block, count: size).allSatisfy { $0 == UInt8(truncatingIfNeeded: i) })
        }
        let before = slab.reservedBytes
        for (block, size) in blocks { slab.deallocate(block, size) }
        for (_, size) in blocks { _ = slab.allocate(size) }
        #expect(slab.reservedBytes == before)
    }

    private func batch(_ engine: Engine, _ customers: [String], _ cohorts: [String]) throws -> [BatchedMembership] {
        guard case .answer(let found) = try engine.checkMemberships(customers: customers, cohorts: cohorts) else {
            Issue.record("answered from memory")
            return []
        }
        #expect(found.answer.cohorts.count == cohorts.count)
        return found.memberships
    }

    @Test("Both forms of a batch say what single checks say")
    func answers() async throws {
        try await withEngine { engine, _ in
            try await engine.create("BIG", "customer.daily_spend > 100.0")
            try await engine.create("PAYING", "customer.user_type == 'PAID'", .memberIn)
            for i in 0..<100 {
                var attributes: [String: AttributeValue] = [:]
                if i % 3 != 0 { attributes["daily_spend"] = .double(Double(i * 5)) }
                if i % 7 != 0 { attributes["user_type"] = .string(i % 2 == 0 ? "PAID" : "FREE") }
                if attributes.isEmpty { attributes["user_type"] = .string("FREE") }
                _ = try await engine.put("c\(i)", attributes)
            }
            let customers = (0..<120).map { "c\($0)" } + ["c1", "c1"]
            for cohort in ["BIG", "PAYING"] {
                let found = try batch(engine, customers, [cohort])
                for (customer, membership) in zip(customers, found) {
                    let single = try await engine.check(customer, cohort)
                    #expect(membership == BatchedMembership(membership: single.membership, reason: single.reason))
                }
            }
            for customer in customers {
                let found = try batch(engine, [customer], ["PAYING", "BIG", "PAYING"])
                let paying = try await engine.check(customer, "PAYING")
                let big = try await engine.check(customer, "BIG")
                #expect(found.map(\.membership) == [paying.membership, big.membership, paying.membership])
            }
        }
    }

    @Test("What is wrong with a batch is said by field")
    func refusals() async throws {
        try await withEngine { engine, _ in
            try await engine.create("BIG", "true")
            func fields(_ customers: [String], _ cohorts: [String]) async -> [String] {
                let error = await domainError { try engine.checkMemberships(customers: customers, cohorts: cohorts) }
                guard case .invalidArgument(let violations)? = error else { return [] }
                return violations.map(\.field)
            }
            #expect(await fields([], ["BIG"]) == ["customer_ids"])
            #expect(await fields(["a"], []) == ["cohort_ids"])
            #expect(await fields(["a", "b"], ["BIG", "BIG"]) == ["cohort_ids"])
            #expect(await fields(Array(repeating: "a", count: 10_001), ["BIG"]) == ["customer_ids"])
            #expect(await fields(["a"], Array(repeating: "BIG", count: 1_001)) == ["cohort_ids"])
            #expect(await fields(["a", "", "b\n"], ["BIG"]) == ["customer_ids[1]", "customer_ids[2]"])
            #expect(await fields(["a"], ["big"]) == ["cohort_ids[0]"])
            #expect(
                await domainError { try engine.checkMemberships(customers: ["a"], cohorts: ["BIG", "BIGG"]) }
                    == .notFound(resourceType: "cohort", name: "BIGG", suggestion: "BIG")
            )
        }
    }
}
