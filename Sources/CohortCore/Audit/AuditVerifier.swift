/// What is wrong with the chain at one place.
package struct AuditFinding: Sendable, Hashable {
    package enum Kind: UInt8, Sendable, Hashable, CaseIterable {
        /// A row is not as it was written.
        case changed = 1
        /// Rows are missing that retention did not remove.
        case removed
        /// Rows are there that the chain does not know.
        case added
        /// The chain ends before a head that is known.
        case truncated
        /// The chain does not have the head that is known.
        case headDiffers
        /// What tells of rows or entries that retention has removed is not as it was written.
        case retentionChanged
        /// Rows did not verify when retention removed them.
        case unsoundRemoved
        /// A log entry is not as it was committed.
        case entryChanged
        /// A log entry is missing that retention did not delete.
        case entryRemoved
        /// No row tells of log entries: it is gone, or the server did not commit them.
        case entryUnaccounted
        /// The key of rows is not at hand.
        case keyUnknown
    }

    package var kind: Kind
    /// The first row concerned; 0 for none.
    package var position: UInt64
    /// The first log entry concerned; 0 for none.
    package var sequence: UInt64
    /// What and where, for people.
    package var text: String
}

/// What a verification came to, and how far it is.
package struct AuditVerdict: Sendable, Hashable {
    package var rowsChecked: UInt64 = 0
    package var entriesChecked: UInt64 = 0
    /// Log entries up to this one are from before the chain; 0 for none.
    package var unchained: UInt64 = 0
    /// The last row checked.
    package var head: AuditHead?
    /// The first of them.
    package var findings: [AuditFinding] = []
    /// All of them.
    package var findingCount: UInt64 = 0
    /// Whether a head to look for lay in what retention has removed, and could not be compared.
    package var headIsRemoved = false

    package init() {}
}

/// Verifies the chain from its first row on, a piece at a time: that each row carries the MAC that it must, that rows are
/// missing only where retention says so, that the log holds the entries of each group and no others, and that the chain
/// contains the heads that are known.
///
/// Pieces may be of different moments: what retention and scrubbing do in between changes no result.
package struct AuditVerifier: Sendable {
    package static let findingsKept = 100

    private let keys: AuditKeys
    /// The end of the chain as the server knows it: rows behind it are not looked at.
    private let end: AuditHead
    /// Heads that the chain has to contain, those still to come, in order of position.
    private var heads: [AuditHead]
    package private(set) var verdict = AuditVerdict()
    /// The position of the next row.
    package private(set) var next: UInt64 = 1
    /// What the next row may follow: the MAC of the row ahead as it is stored, then as it should be; empty if not known.
    private var previous: [[UInt8]] = [AuditChain.origin]
    /// The first sequence of the next group.
    private var sequence: UInt64 = 1
    /// The key whose absence was told last.
    private var missingKey: UInt64?
    private var floorIsJudged = false
    package private(set) var isDone = false

    /// - Parameters:
    ///   - end: the head in the server's memory.
    ///   - known: a head noted elsewhere.
    package init(keys: AuditKeys, end: AuditHead, known: AuditHead? = nil) {
        self.keys = keys
        self.end = end
        heads = [known, end].compactMap { $0 }.sorted { $0.position < $1.position }
    }

    /// Takes the piece from `next` on.
    package mutating func take(_ piece: AuditPiece) {
        let floor = judge(piece.floor)
        var gaps = piece.gaps[...]
        for row in piece.rows {
            guard row.position <= end.position else { break }
            advance(to: row.position, &gaps)
            guard row.position == next else {
                find(.added, row.position, "row \(row.position) lies in a run that retention has removed")
                continue
            }
            check(row)
            checkContent(row, piece.entries[row.position] ?? [], floor, piece.log)
            verdict.rowsChecked += 1
            next += 1
            meet(row.head)
        }
        let reaches = piece.rows.last?.position ?? next
        if piece.isLast || reaches >= end.position { finish(piece, floor, &gaps) }
    }

    // MARK: Rows

    /// Goes over what is missing ahead of `position`: runs that retention has removed, and others.
    private mutating func advance(to position: UInt64, _ gaps: inout ArraySlice<AuditGap>) {
        while next < position {
            while let gap = gaps.first, gap.last < next { gaps.removeFirst() }
            guard let gap = gaps.first, gap.first < position else { return missing(through: position - 1) }
            if gap.first > next { missing(through: gap.first - 1) }
            gaps.removeFirst()
            cross(gap)
        }
    }

    private mutating func cross(_ gap: AuditGap) {
        if !gap.isValid(keys) {
            if keys[gap.keyID] == nil {
                tellMissing(gap.keyID, gap.first)
            } else {
                find(
                    .retentionChanged,
                    gap.first,
                    "the record that rows \(gap.first) to \(gap.last) were removed by retention is not the server's"
                )
            }
            // The rows may have been taken out by anyone, and so what the next one follows may be anyone's.
        } else if gap.unsound > 0 {
            find(
                .unsoundRemoved,
                gap.first,
                "of the rows \(gap.first) to \(gap.last), which retention has removed, \(gap.unsound) did not verify by then"
            )
        } else if gap.first == next, !previous.isEmpty, !previous.contains(gap.before) {
            find(
                .changed,
                gap.first - 1,
                "row \(gap.first - 1) is not the one that the removed row \(gap.first) followed"
            )
        }
        while let head = heads.first, head.position <= gap.last {
            heads.removeFirst()
            if head.position < gap.last {
                if head.position >= next { verdict.headIsRemoved = verdict.headIsRemoved || head != end }
            } else if head.mac != gap.after {
                tellDifferent(head)
            }
        }
        next = gap.last + 1
        previous = [gap.after]
    }

    private mutating func missing(through last: UInt64) {
        let which = next == last ? "row \(next) is" : "rows \(next) to \(last) are"
        find(.removed, next, "\(which) missing; row \(last + 1) cannot be checked, as what it followed is gone")
        heads.removeAll { $0.position <= last }
        next = last + 1
        previous = []
    }

    private mutating func check(_ row: AuditRow) {
        guard let key = keys[row.keyID] else {
            tellMissing(row.keyID, row.position)
            previous = [row.mac]
            return
        }
        missingKey = nil
        guard !previous.isEmpty else {
            // What it followed is gone: it cannot be checked itself, but what follows it can.
            previous = [row.mac]
            return
        }
        let expected = previous.map { row.mac(after: $0, key) }
        if expected.contains(row.mac) {
            previous = [row.mac]
        } else {
            find(
                .changed,
                row.position,
                "row \(row.position) (\(AuditRowKind(rawValue: row.kind).map { "\($0)" } ?? "kind \(row.kind)"), "
                    + "\(row.time)) is not as it was written"
            )
            previous = [row.mac] + expected
        }
    }

    private mutating func tellMissing(_ keyID: UInt64, _ position: UInt64) {
        guard missingKey != keyID else { return }
        missingKey = keyID
        find(
            .keyUnknown,
            position,
            "rows from \(position) on were made with the key \(keyID.hex), which is not among the audit keys: they cannot "
                + "be verified"
        )
    }

    private mutating func meet(_ found: AuditHead) {
        while let head = heads.first, head.position <= found.position {
            heads.removeFirst()
            if head != found { tellDifferent(head) }
        }
    }

    private mutating func tellDifferent(_ head: AuditHead) {
        find(
            .headDiffers,
            head.position,
            "row \(head.position) is not the one that was noted as head \(head): the chain was cut off there or before, "
                + "and has gone on since, or was put back from a copy"
        )
    }

    // MARK: Log entries

    private mutating func checkContent(
        _ row: AuditRow,
        _ entries: [AuditPiece.Entry],
        _ floor: UInt64,
        _ log: ClosedRange<UInt64>?
    ) {
        switch AuditRowKind(rawValue: row.kind) {
        case .start:
            verdict.unchained = row.unchained ?? 0
            sequence = max(sequence, verdict.unchained + 1)
        case .commit:
            // One that cannot be read is a changed row, which has been told.
            guard let commit = row.commit else { return }
            check(commit, row, entries, floor, log)
        default: break
        }
    }

    private mutating func check(
        _ commit: AuditCommit,
        _ row: AuditRow,
        _ entries: [AuditPiece.Entry],
        _ floor: UInt64,
        _ log: ClosedRange<UInt64>?
    ) {
        sequence = max(sequence, floor + 1)
        if commit.first > sequence {
            let last = commit.first - 1
            let areThere = log.map { $0.lowerBound <= last } ?? false
            find(
                areThere ? .entryUnaccounted : .entryRemoved,
                row.position,
                sequence: sequence,
                areThere
                    ? "no row tells of \(Self.entries(sequence, last))"
                    : "missing from the change log, with the rows of their groups: \(Self.entries(sequence, last))"
            )
        } else if commit.first < sequence {
            find(
                .entryUnaccounted,
                row.position,
                sequence: commit.first,
                "row \(row.position) tells of entry \(commit.first), which is not its turn: \(sequence) is"
            )
        }
        sequence = commit.last + 1
        verdict.entriesChecked += UInt64(entries.count)
        if UInt64(entries.count) < commit.last - commit.first + 1 {
            let found = Set(entries.map(\.sequence))
            let missing = (commit.first...commit.last).first { !found.contains($0) } ?? commit.first
            find(
                .entryRemoved,
                row.position,
                sequence: missing,
                "entry \(missing) of the change log is missing: of \(commit.first) to \(commit.last), \(found.count) "
                    + "are left"
            )
        } else if let key = keys[row.keyID], AuditCommit.digest(entries.lazy.map(\.hash), key) != commit.digest {
            find(
                .entryChanged,
                row.position,
                sequence: commit.first,
                commit.first == commit.last
                    ? "entry \(commit.first) of the change log is not as it was committed"
                    : "of the entries \(commit.first) to \(commit.last) of the change log, one or more are not as they "
                        + "were committed"
            )
        }
    }

    /// How far retention has deleted entries.
    private mutating func judge(_ floor: AuditFloor?) -> UInt64 {
        guard let floor else { return 0 }
        if floor.isValid(keys) { return floor.sequence }
        if !floorIsJudged {
            floorIsJudged = true
            if keys[floor.keyID] == nil {
                tellMissing(floor.keyID, floor.position)
            } else {
                find(
                    .retentionChanged,
                    0,
                    sequence: floor.sequence,
                    "the record that entries up to \(floor.sequence) were deleted by retention is not the server's"
                )
            }
        }
        return 0
    }

    // MARK: End

    private mutating func finish(_ piece: AuditPiece, _ floor: UInt64, _ gaps: inout ArraySlice<AuditGap>) {
        // Rows up to the end may have been removed by retention while others followed.
        while next <= end.position, let gap = gaps.first(where: { $0.last >= next && $0.first <= end.position }) {
            advance(to: min(gap.last, end.position) + 1, &gaps)
        }
        if next <= end.position {
            find(
                .truncated,
                next,
                "the chain ends with row \(next - 1), and the server has written up to row \(end.position)"
            )
        }
        for head in heads where head.position > end.position {
            find(
                .truncated,
                end.position + 1,
                "the chain ends with row \(end.position), before the head \(head.position) that was noted"
            )
        }
        heads = []
        if floor > 0, let log = piece.log, log.lowerBound <= floor {
            find(
                .entryUnaccounted,
                0,
                sequence: log.lowerBound,
                "entry \(log.lowerBound) is in the change log, and retention has deleted those up to \(floor)"
            )
        }
        if next > end.position { verdict.head = end }
        isDone = true
    }

    /// Takes the entries at the end of the log that are in no group.
    package mutating func take(unaccounted: ClosedRange<UInt64>?) {
        guard let range = unaccounted else { return }
        find(
            .entryUnaccounted,
            0,
            sequence: range.lowerBound,
            "no row tells of \(Self.entries(range.lowerBound, range.upperBound)), the last of the change log"
        )
    }

    private static func entries(_ first: UInt64, _ last: UInt64) -> String {
        first == last ? "entry \(first)" : "the entries \(first) to \(last)"
    }

    private mutating func find(
        _ kind: AuditFinding.Kind,
        _ position: UInt64,
        sequence: UInt64 = 0,
        _ text: String
    ) {
        verdict.findingCount += 1
        guard verdict.findings.count < Self.findingsKept else { return }
        verdict.findings.append(AuditFinding(kind: kind, position: position, sequence: sequence, text: text))
    }
}
