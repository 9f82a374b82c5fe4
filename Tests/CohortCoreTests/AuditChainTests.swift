import Testing

@testable import CohortCore

private func key(_ byte: UInt8) -> AuditKey { AuditKey(secret: [UInt8](repeating: byte, count: 32))! }
private let keys = AuditKeys(current: key(1))

private func time(_ seconds: Int64) -> Timestamp { Timestamp(seconds: 1_700_000_000 + seconds)! }

private func event(_ method: String, _ seconds: Int64 = 0, kind: AuditEvent.Kind = .administration) -> AuditEvent {
    AuditEvent(kind: kind, time: time(seconds), principal: "p", method: method)
}

/// A chain over a log, as a store would hold it.
private struct TestChain {
    var chain = AuditChain()
    var rows: [AuditRow] = []
    var gaps: [AuditGap] = []
    var floor: AuditFloor?
    var log: [LogRow] = []
    var seals: [UInt64: AuditSeal] = [:]

    mutating func commit(_ count: Int, _ keys: AuditKeys = keys) {
        let next = (log.last?.sequence ?? 0) + 1
        let group = (0..<UInt64(count)).map {
            LogRow(sequence: next + $0, time: time(Int64(next + $0)), payload: [7, UInt8(next + $0)])
        }
        log += group
        rows += chain.append(group, keys)
    }

    mutating func note(_ method: String, _ keys: AuditKeys = keys) {
        rows += chain.append([event(method).record], at: time(0), keys)
    }

    /// 1 start, 2 commit of 1…3, 3 own, 4 commit of 4, 5 own, 6 commit of 5…6.
    static var sample: TestChain {
        var sample = TestChain()
        sample.commit(3)
        sample.note("A")
        sample.commit(1)
        sample.note("B")
        sample.commit(2)
        return sample
    }

    func piece(from position: UInt64, limit: Int, _ keys: AuditKeys) -> AuditPiece {
        var piece = AuditPiece()
        let rest = rows.filter { $0.position >= position }.sorted { $0.position < $1.position }
        piece.rows = Array(rest.prefix(limit))
        piece.isLast = rest.count <= limit
        for row in piece.rows {
            guard let commit = row.commit else { continue }
            piece.entries[row.position] = log.filter { $0.sequence >= commit.first && $0.sequence <= commit.last }.map {
                AuditPiece.Entry($0, seal: seals[$0.sequence], keys)
            }
        }
        let end = piece.isLast ? UInt64.max : piece.rows.last?.position ?? position
        piece.gaps = gaps.filter { $0.last >= position && $0.first <= end }
        piece.floor = floor
        if let first = log.first, let last = log.last { piece.log = first.sequence...last.sequence }
        return piece
    }

    /// What verification finds, the same whatever the size of the pieces.
    func findings(_ keys: AuditKeys = keys, known: AuditHead? = nil) -> [AuditFinding.Kind] {
        let results = [1, 2, 100].map { limit in
            var verifier = AuditVerifier(keys: keys, end: chain.head!, known: known)
            while !verifier.isDone { verifier.take(piece(from: verifier.next, limit: limit, keys)) }
            return verifier.verdict.findings
        }
        #expect(results[0] == results[1] && results[1] == results[2], "\(results)")
        return results[0].map(\.kind)
    }

    mutating func remove(_ positions: ClosedRange<UInt64>, _ keys: AuditKeys = keys) {
        let removals = rows.filter { positions.contains($0.position) }.map { row in
            let before = rows.first { $0.position == row.position - 1 }?.mac
            let entries = row.commit.map { commit in
                log.filter { $0.sequence >= commit.first && $0.sequence <= commit.last }.map {
                    AuditPiece.Entry($0, seal: seals[$0.sequence], keys)
                }
            }
            return AuditRemoval(
                row,
                after: before ?? gaps.first { $0.last == row.position - 1 }?.after ?? [],
                entries: entries ?? [],
                keys
            )
        }
        rows.removeAll { positions.contains($0.position) }
        for gap in AuditRemoval.gaps(removals) {
            let (joined, absorbed) = gap.joined(with: gaps, keys)
            gaps.removeAll { absorbed.contains($0) }
            gaps.append(joined)
            gaps.sort { $0.first < $1.first }
        }
    }
}

@Suite("The audit chain")
struct AuditChainTests {
    @Test("A chain as it was written verifies, in pieces of any size")
    func sound() {
        let sample = TestChain.sample
        #expect(sample.rows.map(\.position) == Array(1...6))
        #expect(sample.findings() == [])
        for row in sample.rows { #expect(sample.findings(known: row.head) == []) }
        var verifier = AuditVerifier(keys: keys, end: sample.chain.head!)
        verifier.take(sample.piece(from: 1, limit: 100, keys))
        #expect(verifier.verdict.rowsChecked == 6 && verifier.verdict.entriesChecked == 6)
        #expect(verifier.verdict.head == sample.chain.head)
    }

    @Test("A changed row is found, whichever part of it was changed", arguments: 0..<6)
    func changed(index: Int) {
        let changes: [(inout AuditRow) -> Void] = [
            { $0.time = time(-50) }, { $0.payload.append(0) }, { $0.kind = AuditRowKind.head.rawValue },
            { $0.mac[5] ^= 1 },
        ]
        for change in changes {
            var sample = TestChain.sample
            change(&sample.rows[index])
            // The row itself, and not those that follow it; what a commit says then no longer fits the log.
            let found = sample.findings()
            #expect(found.first == .changed || found.first == .headDiffers, "\(found)")
            #expect(found.count { $0 == .changed } == 1, "\(found)")
        }
    }

    @Test("A removed row is found, and two that were swapped")
    func removedAndSwapped() {
        for index in 0..<5 {
            var sample = TestChain.sample
            sample.rows.remove(at: index)
            #expect(sample.findings().contains(.removed), "\(index)")
        }
        var sample = TestChain.sample
        (sample.rows[2].payload, sample.rows[4].payload) = (sample.rows[4].payload, sample.rows[2].payload)
        #expect(sample.findings() == [.changed, .changed])
        sample = TestChain.sample
        (sample.rows[2].position, sample.rows[4].position) = (5, 3)
        #expect(sample.findings().contains(.changed))
    }

    @Test("A row of another history of the same chain does not fit in")
    func spliced() {
        // Put back from a copy, the server has gone on differently.
        var (one, other) = (TestChain(), TestChain())
        one.commit(1)
        other.commit(1)
        one.note("A")
        other.note("B")
        for _ in 0..<2 {
            one.note("C")
            other.note("C")
        }
        #expect(one.findings() == [] && other.findings() == [])
        var spliced = one
        spliced.rows[3] = other.rows[3]
        #expect(spliced.rows[3].payload == one.rows[3].payload && spliced.findings() == [.changed])
    }

    @Test("Rows cut off at the end are found by the head in memory, and later by one that was noted")
    func truncated() {
        let whole = TestChain.sample
        var sample = whole
        sample.rows.removeLast(2)
        #expect(sample.findings() == [.truncated])
        // The server was started again meanwhile and knows no better.
        sample.chain = AuditChain(last: sample.rows.last)
        sample.log.removeLast(2)
        #expect(sample.findings() == [])
        #expect(sample.findings(known: whole.chain.head) == [.truncated])
        sample.note("C")
        sample.commit(2)
        #expect(sample.findings() == [])
        #expect(sample.findings(known: whole.chain.head) == [.headDiffers])
        #expect(sample.findings(known: whole.rows[3].head) == [])
    }

    @Test("A changed, a removed and an added log entry are found")
    func entries() {
        var sample = TestChain.sample
        sample.log[1].payload[0] ^= 1
        #expect(sample.findings() == [.entryChanged])
        sample = TestChain.sample
        sample.log[3].time = time(100)
        #expect(sample.findings() == [.entryChanged])
        sample = TestChain.sample
        sample.log.remove(at: 3)
        #expect(sample.findings() == [.entryRemoved])
        sample = TestChain.sample
        // Row 4 and its entry, as if they had never been, and the numbers of what follows closed up.
        sample.rows.remove(at: 3)
        sample.log.remove(at: 3)
        #expect(sample.findings() == [.removed, .entryUnaccounted])
        var verifier = AuditVerifier(keys: keys, end: sample.chain.head!)
        verifier.take(unaccounted: 7...9)
        #expect(verifier.verdict.findings.map(\.kind) == [.entryUnaccounted])
    }

    @Test("Runs removed by retention are jumped over; a run that somebody else removed is not")
    func gaps() {
        var sample = TestChain.sample
        sample.remove(3...3)
        sample.remove(5...5)
        #expect(sample.gaps.count == 2 && sample.findings() == [])
        sample.remove(2...2)
        sample.remove(4...4)
        sample.floor = AuditFloor(sequence: 4, position: 4, keys.current)
        sample.log.removeFirst(4)
        // Those that touch are one.
        #expect(sample.gaps.map(\.first) == [2] && sample.gaps.map(\.last) == [5] && sample.findings() == [])
        let sound = sample

        // The record stretched over one more row.
        sample.rows.removeLast()
        sample.note("C")
        sample.gaps[0].last = 6
        #expect(sample.findings().contains(.retentionChanged))
        // A record made without the key.
        sample = TestChain.sample
        sample.rows.remove(at: 2)
        sample.gaps = [
            AuditGap(first: 3, last: 3, before: sample.rows[1].mac, after: TestChain.sample.rows[2].mac, unsound: 0)
                .signed(key(9))
        ]
        sample.gaps[0].keyID = keys.current.id
        #expect(sample.findings() == [.retentionChanged])
        // No record of how far the log was deleted, and one that was made up.
        sample = sound
        sample.floor = nil
        #expect(sample.findings() == [.entryRemoved])
        sample = sound
        sample.floor?.sequence = 5
        #expect(sample.findings().contains(.retentionChanged))
        // What comes after is still watched over.
        sample = sound
        sample.log[1].payload = [1]
        #expect(sample.findings() == [.entryChanged])
        #expect(sound.findings(known: TestChain.sample.rows[2].head) == [])
        #expect(sound.findings(known: TestChain.sample.rows[4].head) == [])
    }

    @Test("Retention does not hide a row that was changed before it went")
    func unsound() {
        var sample = TestChain.sample
        sample.rows[2].payload.append(1)
        sample.remove(3...3)
        #expect(sample.findings() == [.unsoundRemoved])
        sample.remove(5...5)
        sample.remove(2...2)
        sample.log[3].payload.append(1)
        sample.remove(4...4)
        sample.floor = AuditFloor(sequence: 4, position: 4, keys.current)
        sample.log.removeFirst(4)
        // The row, and the group whose entry was changed.
        #expect(sample.gaps.map(\.unsound) == [2])
        #expect(sample.findings() == [.unsoundRemoved])
    }

    @Test("A row with another key is told of in the chain; without the earlier key its rows cannot be verified")
    func keyChange() {
        let both = AuditKeys(earlier: [key(1)], current: key(2))
        var sample = TestChain.sample
        sample.note("C", both)
        sample.commit(2, both)
        #expect(sample.rows.map(\.kind).contains(AuditRowKind.keyChanged.rawValue))
        #expect(sample.findings(both) == [])
        #expect(sample.findings(AuditKeys(current: key(2))) == [.keyUnknown])
        #expect(sample.findings(AuditKeys(current: key(3))).first == .keyUnknown)
        // Under the earlier key nobody can write what follows.
        #expect(sample.findings(AuditKeys(earlier: [key(2)], current: key(1))) == [])
        sample.rows[sample.rows.count - 2].payload[0] ^= 1
        #expect(sample.findings(both).contains(.changed))
    }

    @Test("A wrong key verifies nothing")
    func wrongKey() {
        var sample = TestChain.sample
        let wrong = key(9)
        for index in sample.rows.indices { sample.rows[index].keyID = wrong.id }
        #expect(sample.findings(AuditKeys(current: wrong)).count >= 6)
    }

    @Test("An entry that the server rewrites is sealed; one that somebody else rewrites is not")
    func seals() {
        var sample = TestChain.sample
        let old = sample.log[1]
        sample.log[1].payload = [0]
        sample.seals[2] = AuditSeal.sealing(sample.log[1], over: (old, nil), keys)
        #expect(sample.findings() == [])
        // Rewritten again, with another key.
        let both = AuditKeys(earlier: [key(1)], current: key(2))
        let once = sample.log[1]
        sample.log[1].payload = [0, 0]
        sample.seals[2] = AuditSeal.sealing(sample.log[1], over: (once, sample.seals[2]), both)
        #expect(sample.findings(both) == [])
        // What is stored is not the hash of what was erased.
        #expect(sample.seals[2]?.masked != old.auditHash)

        var tampered = sample
        tampered.log[1].payload = [0, 1]
        #expect(tampered.findings(both) == [.entryChanged])
        tampered = sample
        tampered.seals[2]?.masked[0] ^= 1
        #expect(tampered.findings(both) == [.entryChanged])
        // Rewriting an entry that was changed does not hide that.
        tampered = TestChain.sample
        tampered.log[1].payload = [66]
        let changed = tampered.log[1]
        tampered.log[1].payload = [0]
        tampered.seals[2] = AuditSeal.sealing(tampered.log[1], over: (changed, nil), keys)
        #expect(tampered.findings() == [.entryChanged])
        tampered = sample
        tampered.log[1].payload = [66]
        let resealed = tampered.log[1]
        tampered.log[1].payload = [0]
        tampered.seals[2] = AuditSeal.sealing(tampered.log[1], over: (resealed, tampered.seals[2]), both)
        #expect(tampered.findings(both) == [.entryChanged])
    }

    @Test("A chain that begins beside a log says from where on")
    func unchained() {
        var sample = TestChain()
        sample.log = (1...3).map { LogRow(sequence: $0, time: time(0), payload: [1]) }
        sample.chain = AuditChain(unchained: 3)
        sample.commit(2)
        #expect(sample.findings() == [])
        sample.log[4].payload = [2]
        #expect(sample.findings() == [.entryChanged])
    }

    @Test("Garbage in every column is found and breaks nothing")
    func garbage() {
        var random = SystemRandomNumberGenerator()
        for _ in 0..<300 {
            var sample = TestChain.sample
            let index = Int.random(in: 0..<6, using: &random)
            sample.rows[index].payload = (0..<Int.random(in: 0...60, using: &random)).map { _ in
                UInt8.random(in: .min ... .max, using: &random)
            }
            if Bool.random(using: &random) { sample.rows[index].kind = UInt8.random(in: 0...20, using: &random) }
            #expect(sample.findings().contains(.changed))
        }
    }

    @Test("Heads and keys are read from text, and what is none is refused")
    func text() throws {
        let head = try #require(TestChain.sample.chain.head)
        #expect(AuditHead(text: "\(head)") == head)
        for text in ["", "5", "0:\(head.mac.hex)", "5:\(head.mac.hex)0", "5:xy", "5:" + head.mac.hex.dropLast() + "g"] {
            #expect(AuditHead(text: text) == nil, "\(text)")
        }
        let (a, b) = (AuditKey.randomSecret(), AuditKey.randomSecret())
        let lines = [a, b].map { base64($0) }
        let keys = try AuditKeys(text: "# comment\n\n\(lines[0])\r\n \(lines[1]) \n")
        #expect(keys.current.id == AuditKey(secret: b)?.id && keys[AuditKey(secret: a)!.id] != nil)
        #expect(try AuditKeys(text: lines.joined(separator: ",")).ids == keys.ids)
        for text in ["", "# nothing", "c2hvcnQ=", lines[0] + "\n???"] {
            let error = #expect(throws: AuditKeyError.self) { try AuditKeys(text: text) }
            #expect(error?.description.contains("cohortctl audit key") == true)
        }
    }

    @Test("A customer's hash is keyed, and two keys hash differently")
    func customerHash() {
        let hash = key(1).customerHash("anna")
        #expect(hash.count == 16 && hash == key(1).customerHash("anna"))
        #expect(hash != key(2).customerHash("anna") && hash != key(1).customerHash("bert"))
        #expect(AuditKeys(earlier: [key(2)], current: key(1)).customerHashes("anna").count == 2)
    }
}

private func base64(_ bytes: [UInt8]) -> String {
    let digits = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
    var text = ""
    for start in stride(from: 0, to: bytes.count, by: 3) {
        let group = Array(bytes[start..<min(start + 3, bytes.count)])
        let bits = group.reduce(0) { $0 << 8 | Int($1) } << (8 * (3 - group.count))
        for i in 0..<4 { text.append(i <= group.count ? digits[bits >> (18 - 6 * i) & 63] : "=") }
    }
    return text
}

@Suite("Rows on their way to the audit")
struct AuditBufferTests {
    @Test("The same denial within a second is one row with a count, and denials that differ are not merged")
    func merging() throws {
        var buffer = AuditBuffer(capacity: 100)
        for i in 0..<5 { #expect(buffer.add(event("A", Int64(i) / 5, kind: .denial)) == 1) }
        var other = event("A", kind: .denial)
        other.peer = "10.0.0.1"
        _ = buffer.add(other)
        _ = buffer.add(event("A"))
        _ = buffer.add(event("A"))
        #expect(buffer.count == 4)
        // Denials wait for more of their kind; other rows do not.
        #expect(buffer.take(time(0), all: false, limit: 10)?.records.count == 2)
        let batchTaken = buffer.take(time(1), all: false, limit: 10)
        let batch = try #require(batchTaken)
        let denials = try batch.records.map { try AuditEvent(row($0)) }
        #expect(denials.map { $0?.count } == [5, 1] && denials[0]?.time == time(0))
        #expect(buffer.isEmpty)
        _ = buffer.add(event("A", 10, kind: .denial))
        _ = buffer.add(event("A", 11, kind: .denial))
        #expect(buffer.take(time(11), all: true, limit: 10)?.records.count == 2)
    }

    @Test("What does not fit is counted, and the chain is told of it")
    func lost() throws {
        var buffer = AuditBuffer(capacity: 3)
        for i in 0..<5 { _ = buffer.add(event("A", Int64(i))) }
        #expect(buffer.lost == 2 && buffer.count == 3)
        let batchTaken = buffer.take(time(5), all: true, limit: 2)
        let batch = try #require(batchTaken)
        #expect(batch.records.map(\.kind) == [.rowsLost, .administration, .administration])
        #expect(try AuditLoss(decoding: batch.records[0].payload) == AuditLoss(count: 2, since: time(3)))
        // The store did not answer: nothing is lost by that, and more losses are counted with the first.
        buffer.restore(batch)
        _ = buffer.add(event("B", 6))
        let againTaken = buffer.take(time(7), all: true, limit: 10)
        let again = try #require(againTaken)
        #expect(try AuditLoss(decoding: again.records[0].payload) == AuditLoss(count: 3, since: time(3)))
        #expect(again.records.count == 4 && again.through == 3 && buffer.isEmpty)
    }

    private func row(_ record: AuditRecord) -> AuditRow {
        AuditRow(position: 1, time: time(0), kind: record.kind.rawValue, payload: record.payload, keyID: 0, mac: [])
    }
}
