import Testing

@testable import CohortCore

/// Lists and overrides changed by uploads, which take effect in one step or not at all.
@Suite("Uploads")
struct AssignmentUploadTests {
    private func list(_ engine: Engine, _ id: String) async throws {
        _ = try await engine.createCohort(CohortDefinition(id: id, kind: .list, rule: nil), context: tester)
    }

    private func upload(
        _ engine: Engine,
        _ cohort: String,
        _ mode: UploadMode,
        _ parts: [String]...
    ) async throws -> UploadReceipt {
        let upload = try engine.upload(cohort: cohort, mode: mode)
        for part in parts { try upload.add(part) }
        return try await upload.commit(context: tester)
    }

    private func ids(_ range: Range<Int>) -> [String] { range.map { "c\($0)" } }

    @Test("A receipt counts every id once: added, present, unknown, invalid, with the places of those at fault")
    func receipts() async throws {
        try await withEngine { engine, _ in
            for id in ids(0..<20) { try await engine.put(id, [:]) }
            try await list(engine, "LIST")
            let start = engine.status.sequence
            let first = try await upload(engine, "LIST", .listAdd, ids(0..<10) + ["ghost", "c0"], ["", "c1", "ghost"])
            #expect(first.sequence == start + 1 && first.received == 15)
            #expect(first.added == 10 && first.alreadyPresent == 2 && first.removed == 0 && first.notPresent == 0)
            #expect(
                first.unknown.samples == [UploadedID(position: 10, id: "ghost"), UploadedID(position: 14, id: "ghost")]
            )
            #expect(first.unknown.count == 2 && first.invalid.samples == [UploadedID(position: 12, id: "")])
            #expect(first.entered == 10 && first.left == 0 && first.cohort.members == 10)
            #expect(try await engine.memberIDs("LIST") == ids(0..<10))

            let again = try await upload(engine, "LIST", .listAdd, ids(0..<10))
            #expect(again.sequence == start + 1 && again.added == 0 && again.alreadyPresent == 10)

            let less = try await upload(engine, "LIST", .listRemove, ["c3", "c3", "c15", "ghost"])
            #expect(less.sequence == start + 2 && less.removed == 1 && less.notPresent == 2 && less.left == 1)
            #expect(less.added == 0 && less.alreadyPresent == 0 && less.unknown.count == 1)

            let other = try await upload(engine, "LIST", .listReplace, ids(5..<16), ["c5"])
            #expect(other.sequence == start + 3 && other.added == 6 && other.alreadyPresent == 6 && other.removed == 4)
            #expect(other.entered == 6 && other.left == 4)
            #expect(try await engine.memberIDs("LIST") == ids(5..<16))
            let none = try await upload(engine, "LIST", .listReplace)
            #expect(none.removed == 11 && none.received == 0)
            #expect(try await engine.memberIDs("LIST").isEmpty)
            #expect(try await engine.audit().differences == 0)
        }
    }

    @Test("A receipt names the first 1,000 unknown and invalid ids, and counts all")
    func samples() async throws {
        try await withEngine { engine, _ in
            try await list(engine, "LIST")
            let bad = (0..<1_200).flatMap { ["g\($0)", "\u{7}\($0)" + String(repeating: "x", count: 300)] }
            let receipt = try await upload(engine, "LIST", .listAdd, bad)
            #expect(receipt.unknown.count == 1_200 && receipt.invalid.count == 1_200)
            #expect(receipt.unknown.samples.map(\.id) == (0..<1_000).map { "g\($0)" })
            #expect(receipt.invalid.samples.map(\.position) == (0..<1_000).map { UInt64($0) * 2 + 1 })
            #expect(receipt.invalid.samples.allSatisfy { $0.id.utf8.count == 256 })
        }
    }

    @Test("Overrides stay disjoint, and what is cleared is what the rule says", arguments: [2, 400])
    func overrides(others: Int) async throws {
        // With many others the records are read one by one, with few there is a scan.
        try await withEngine { engine, _ in
            for i in 0..<40 { try await engine.put("c\(i)", i % 4 == 3 ? [:] : ["daily_spend": .double(Double(i))]) }
            for i in 0..<others { try await engine.put("o\(i)", ["daily_spend": .double(0)]) }
            // Some in the tables, some pending.
            try await blocking { engine.materialize() }
            for i in 30..<40 { try await engine.put("c\(i)", ["user_type": .string("X")]) }
            try await engine.create("BIG", "customer.daily_spend > 19.0")
            func members(_ state: Membership) async throws -> Set<String> {
                Set(try await engine.memberIDs("BIG", state))
            }
            let (byRule, unknown) = (try await members(.in), try await members(.unknown))
            #expect(byRule.count == 15 && unknown.count == 10)

            let included = try await upload(engine, "BIG", .include, ids(0..<30) + ["ghost"])
            #expect(included.added == 30 && included.entered == UInt64(Set(ids(0..<30)).subtracting(byRule).count))
            #expect(
                included.cohort.includeCount == 30 && included.cohort.excludeCount == 0 && included.unknown.count == 1
            )
            #expect(try await members(.in) == byRule.union(ids(0..<30)))

            let excluded = try await upload(engine, "BIG", .exclude, ids(20..<40))
            #expect(excluded.added == 20 && excluded.removed == 10)
            #expect(excluded.cohort.includeCount == 20 && excluded.cohort.excludeCount == 20)
            #expect(try await members(.in) == Set(ids(0..<20)))
            #expect(try await engine.check("c25", "BIG").reason == .overrideExclude)

            let cleared = try await upload(engine, "BIG", .clear, ids(0..<40) + ["o0", "c1"])
            #expect(cleared.removed == 40 && cleared.notPresent == 2)
            #expect(cleared.cohort.includeCount == 0 && cleared.cohort.excludeCount == 0)
            #expect(try await members(.in) == byRule)
            #expect(try await members(.unknown) == unknown)
            #expect(try await engine.audit().differences == 0)
        }
    }

    @Test("An upload that is given up changes nothing, and gives back its place")
    func givenUp() async throws {
        var configuration = EngineConfiguration.small
        configuration.maximumUploads = 2
        try await withEngine(configuration: configuration) { engine, _ in
            try await engine.put("ann", [:])
            try await list(engine, "LIST")
            let start = engine.status.sequence
            for _ in 0..<5 {
                let given = try engine.upload(cohort: "LIST", mode: .listReplace)
                try given.add(["ann"])
            }
            #expect(engine.status.sequence == start)
            #expect(try await engine.memberIDs("LIST").isEmpty)
            let one = try engine.upload(cohort: "LIST", mode: .listAdd)
            let two = try engine.upload(cohort: "LIST", mode: .listAdd)
            let refused = await domainError { try engine.upload(cohort: "LIST", mode: .listAdd) }
            guard case .resourceExhausted("uploads", _, .some) = refused else {
                Issue.record("\(String(describing: refused))")
                return
            }
            try one.add(["ann"])
            try two.add(["ann"])
            #expect(try await one.commit(context: tester).added == 1)
            #expect(try await two.commit(context: tester).added == 0)
            let twice = await domainError { try await two.commit(context: tester) }
            #expect(twice == .internal(message: "the upload is over"))
        }
    }

    @Test("Each limit is refused with its name and the fix")
    func limits() async throws {
        var configuration = EngineConfiguration.small
        configuration.maximumIDsPerChange = 3
        configuration.maximumUploadIDs = 7
        try await withEngine(configuration: configuration) { engine, _ in
            for id in ids(0..<10) { try await engine.put(id, [:]) }
            try await list(engine, "LIST")
            let upload = try engine.upload(cohort: "LIST", mode: .listAdd)
            let tooMany = await domainError { try upload.add(ids(0..<4)) }
            #expect(tooMany == .invalid("customer_ids", "are 4; send at most 3 in a message"))
            try upload.add(ids(0..<3))
            try upload.add(ids(3..<6))
            let inAll = await domainError { try upload.add(ids(6..<8)) }
            guard case .invalidArgument(let violations) = inAll else {
                Issue.record("taken")
                return
            }
            #expect(
                violations[0].field == "customer_ids" && violations[0].description.contains("more than 7"),
                "\(violations)"
            )
            let unary = await domainError {
                try await engine.changeList(cohort: "LIST", add: ids(0..<4), remove: [], context: tester)
            }
            #expect(
                unary == .invalid("customer ids", "are 4; send at most 3 in a request, or upload them")
            )
        }
    }

    @Test("A cohort that is of the other kind, unknown or archived is refused, also when archived meanwhile")
    func cohorts() async throws {
        try await withEngine { engine, _ in
            try await engine.put("ann", [:])
            try await engine.create("RULE", "true")
            try await list(engine, "LIST")
            for mode in [UploadMode.listAdd, .listRemove, .listReplace] {
                guard
                    case .failedPrecondition("NOT_A_LIST", _) = await domainError({
                        try engine.upload(cohort: "RULE", mode: mode)
                    })
                else {
                    Issue.record("\(mode) was taken")
                    return
                }
            }
            guard case .notFound = await domainError({ try engine.upload(cohort: "LISTS", mode: .include) }) else {
                Issue.record("taken")
                return
            }
            let upload = try engine.upload(cohort: "LIST", mode: .listAdd)
            try upload.add(["ann"])
            _ = try await engine.archive(cohort: "LIST", context: tester)
            guard case .notFound = await domainError({ try await upload.commit(context: tester) }) else {
                Issue.record("taken")
                return
            }
        }
    }

    @Test("Who is erased while an upload runs does not get in, nor does a new customer of the same id")
    func erasedMeanwhile() async throws {
        try await withEngine { engine, _ in
            for id in ids(0..<10) { try await engine.put(id, [:]) }
            try await list(engine, "LIST")
            let upload = try engine.upload(cohort: "LIST", mode: .listAdd)
            try upload.add(ids(0..<10))
            for id in ["c1", "c2"] { _ = try await engine.erase(customer: id, context: tester) }
            try await engine.put("c1", [:])
            let receipt = try await upload.commit(context: tester)
            #expect(receipt.added == 8 && receipt.erased == 2 && receipt.alreadyPresent == 0)
            #expect(try await engine.memberIDs("LIST") == ["c0"] + ids(3..<10))
            #expect(try await engine.check("c1", "LIST").reason == .notListed)
            #expect(engine.shared.index.bitmaps[0].listed.count == 8)
            #expect(try await engine.audit().differences == 0)
        }
    }

    @Test("No reader sees half of an upload")
    func atomicity() async throws {
        var configuration = EngineConfiguration.small
        configuration.maximumIDsPerChange = 1_000
        try await withEngine(configuration: configuration) { engine, _ in
            let all = ids(0..<600)
            for id in all { try await engine.put(id, [:]) }
            try await list(engine, "LIST")
            let (even, odd) = (all.indices.filter { $0 % 2 == 0 }.map { all[$0] }, Array(all[0..<450]))
            _ = try await upload(engine, "LIST", .listReplace, even)
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask {
                    while !Task.isCancelled {
                        let snapshot = try await engine.members(cohort: "LIST", deadline: .far)
                        let total = snapshot.total
                        #expect(total == 300 || total == 450)
                        var seen = 0
                        while case let page = snapshot.nextPage(limit: 1_000), !page.isEmpty { seen += page.count }
                        #expect(UInt64(seen) == total)
                    }
                }
                for i in 0..<40 {
                    let receipt = try await upload(engine, "LIST", .listReplace, i % 2 == 0 ? odd : even)
                    let count = try await engine.countMembersWaiting(cohort: "LIST", deadline: .far)
                    #expect(count.members == (i % 2 == 0 ? 450 : 300) && count.sequence == receipt.sequence)
                }
                group.cancelAll()
                try await group.waitForAll()
            }
        }
    }
}

@Suite("Assignments in stored form")
struct AssignmentCodecTests {
    private func bitmap(_ random: inout SeededGenerator) -> ChunkedBitmap {
        let bitmap = ChunkedBitmap()
        for _ in 0..<Int.random(in: 0...300, using: &random) {
            bitmap.insert(Ordinal.random(in: 0..<300_000, using: &random))
        }
        return bitmap
    }

    private func change(_ random: inout SeededGenerator) -> AssignmentChange {
        let kinds = AssignmentKind.allCases.filter { _ in Bool.random(using: &random) }
        return AssignmentChange(
            stage: random.number(),
            cohort: random.ordinal(),
            parts: kinds.map { .init(kind: $0, added: bitmap(&random), removed: bitmap(&random)) }
        )
    }

    @Test("Staged assignments read back as they were written; damaged they are refused", arguments: 0..<4)
    func sets(seed: Int) throws {
        var random = SeededGenerator(state: UInt64(seed))
        for _ in 0..<100 {
            let change = change(&random)
            var bytes = change.encodedSets()
            let back = try bytes.withUnsafeBytes {
                try AssignmentChange(stage: change.stage, cohort: change.cohort, decodingSets: $0)
            }
            #expect(back.assignments == change.assignments && back.reference == change.reference)
            if Bool.random(using: &random) {
                bytes[Int.random(in: bytes.indices, using: &random)] ^= 1 << UInt8.random(in: 0...7, using: &random)
            } else {
                bytes.removeLast(Int.random(in: 1...bytes.count, using: &random))
            }
            #expect(throws: CodecError.self) {
                try bytes.withUnsafeBytes { try AssignmentChange(stage: 0, cohort: 0, decodingSets: $0) }
            }
        }
    }

    @Test("An entry written before assignments were staged still reads")
    func earlierEntry() throws {
        let payload: [UInt8] = [
            0x01, 0x01, 0x70, 0x01, 0x6d, 0x07, 0x02, 0x03, 0x83, 0x05, 0x03, 0x01, 0x90, 0x01, 0x00, 0x00, 0x26, 0xea,
            0xd1, 0xcd,
        ]
        let time = try #require(Timestamp(seconds: 1_700_000_000, nanoseconds: 5))
        let entry = try LogRow(sequence: 9, time: time, payload: payload).decoded()
        #expect(entry.principal == "p" && entry.method == "m")
        #expect(
            entry.change
                == .assignmentsChanged([
                    Assignment(cohort: 3, kind: .listed, ordinal: 5, present: true),
                    Assignment(cohort: 3, kind: .include, ordinal: 144, present: false),
                ])
        )
    }

    @Test("Deltas are what the changes come to, whatever they are made of", arguments: 0..<8)
    func deltas(seed: Int) throws {
        var random = SeededGenerator(state: UInt64(seed))
        var own = AssignmentDeltas()
        var expected: [AssignmentKind: (added: Set<Ordinal>, removed: Set<Ordinal>)] = [:]
        func note(_ kind: AssignmentKind, _ ordinal: Ordinal, _ present: Bool) {
            if present {
                expected[kind, default: ([], [])].added.insert(ordinal)
                expected[kind, default: ([], [])].removed.remove(ordinal)
            } else {
                expected[kind, default: ([], [])].removed.insert(ordinal)
                expected[kind, default: ([], [])].added.remove(ordinal)
            }
        }
        for _ in 0..<30 {
            var step = AssignmentDeltas()
            let kind = AssignmentKind.allCases.randomElement(using: &random)!
            let ordinals = Set((0..<20).map { _ in Ordinal.random(in: 65_500..<65_560, using: &random) })
            let present = Bool.random(using: &random)
            if Bool.random(using: &random) {
                step.add(ordinals.map { Assignment(cohort: 1, kind: kind, ordinal: $0, present: present) })
            } else {
                let (set, none) = (ChunkedBitmap(), ChunkedBitmap())
                for ordinal in ordinals { set.insert(ordinal) }
                let part = AssignmentChange.Part(
                    kind: kind,
                    added: present ? set : none,
                    removed: present ? none : set
                )
                step.add(AssignmentChange(stage: 1, cohort: 1, parts: [part]))
            }
            for ordinal in ordinals { note(kind, ordinal, present) }
            own.add(step)
        }
        let erased: [Ordinal] = [65_530, 65_540]
        for delta in own.list(archived: { _ in false }, erased: erased) {
            let wanted = expected[delta.kind] ?? ([], [])
            #expect(delta.added.members == wanted.added.subtracting(erased).sorted())
            #expect(delta.removed.members == wanted.removed.sorted())
        }
        #expect(own.list(archived: { $0 == 1 }, erased: []).isEmpty)
    }
}
