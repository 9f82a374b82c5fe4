/// A run of rows that retention has removed. Only who has the key can make one.
package struct AuditGap: Sendable, Hashable {
    package var first: UInt64
    package var last: UInt64
    /// The MAC of the row ahead of the run; empty if that was missing.
    package var before: [UInt8]
    /// The MAC of the run's last row, which the next row follows.
    package var after: [UInt8]
    /// Rows of the run that did not verify when they were removed, so that retention hides nothing.
    package var unsound: UInt64
    package var keyID: UInt64
    package var mac: [UInt8]

    package init(
        first: UInt64,
        last: UInt64,
        before: [UInt8],
        after: [UInt8],
        unsound: UInt64,
        keyID: UInt64 = 0,
        mac: [UInt8] = []
    ) {
        self.first = first
        self.last = last
        self.before = before
        self.after = after
        self.unsound = unsound
        self.keyID = keyID
        self.mac = mac
    }

    func signed(_ key: AuditKey) -> AuditGap {
        var gap = self
        gap.keyID = key.id
        gap.mac = mac(key)
        return gap
    }

    func isValid(_ keys: AuditKeys) -> Bool { keys[keyID].map { mac == mac($0) } ?? false }

    private func mac(_ key: AuditKey) -> [UInt8] {
        var writer = ByteWriter(reserving: 96)
        writer.string("gap")
        writer.fixed64(first)
        writer.fixed64(last)
        writer.blob(before)
        writer.blob(after)
        writer.fixed64(unsound)
        return AuditKey.mac(writer.finish(), key.gaps)
    }

    /// The gap with those that it touches taken in, and which those are. One that does not verify stays by itself, for
    /// verification to find.
    package func joined(with neighbours: [AuditGap], _ keys: AuditKeys) -> (gap: AuditGap, absorbed: [AuditGap]) {
        var result = self
        var absorbed: [AuditGap] = []
        for other in neighbours where other.isValid(keys) {
            if other.last + 1 == result.first {
                (result.first, result.before) = (other.first, other.before)
            } else if result.last + 1 == other.first {
                (result.last, result.after) = (other.last, other.after)
            } else {
                continue
            }
            result.unsound += other.unsound
            absorbed.append(other)
        }
        return (result.signed(keys.current), absorbed)
    }
}

/// A row that retention is about to remove.
package struct AuditRemoval: Sendable {
    private let row: AuditRow
    private let previous: [UInt8]
    private let isSound: Bool

    /// - Parameters:
    ///   - previous: the MAC of the row ahead; empty if that is missing.
    ///   - entries: those of a group that go with it.
    package init(_ row: AuditRow, after previous: [UInt8], entries: [AuditPiece.Entry] = [], _ keys: AuditKeys) {
        self.row = row
        self.previous = previous
        guard let key = keys[row.keyID], row.mac == row.mac(after: previous, key) else {
            isSound = false
            return
        }
        isSound = row.commit.map { $0.digest == AuditCommit.digest(entries.lazy.map(\.hash), key) } ?? true
    }

    /// The runs that these rows, in order of position, make.
    package static func gaps(_ removals: [AuditRemoval]) -> [AuditGap] {
        var gaps: [AuditGap] = []
        for removal in removals {
            let row = removal.row
            let unsound: UInt64 = removal.isSound ? 0 : 1
            if let last = gaps.last, last.last + 1 == row.position {
                gaps[gaps.count - 1].last = row.position
                gaps[gaps.count - 1].after = row.mac
                gaps[gaps.count - 1].unsound += unsound
            } else {
                gaps.append(
                    AuditGap(
                        first: row.position,
                        last: row.position,
                        before: removal.previous,
                        after: row.mac,
                        unsound: unsound
                    )
                )
            }
        }
        return gaps
    }
}

/// How far retention has deleted log entries, with the rows of their groups.
package struct AuditFloor: Sendable, Hashable {
    /// The last entry that was deleted.
    package var sequence: UInt64
    /// The row of the last group that was deleted; 0 where none was.
    package var position: UInt64
    package var keyID: UInt64
    package var mac: [UInt8]

    package init(sequence: UInt64, position: UInt64, keyID: UInt64, mac: [UInt8]) {
        self.sequence = sequence
        self.position = position
        self.keyID = keyID
        self.mac = mac
    }

    package init(sequence: UInt64, position: UInt64, _ key: AuditKey) {
        self.init(sequence: sequence, position: position, keyID: key.id, mac: [])
        mac = mac(key)
    }

    package func isValid(_ keys: AuditKeys) -> Bool { keys[keyID].map { mac == mac($0) } ?? false }

    private func mac(_ key: AuditKey) -> [UInt8] {
        var writer = ByteWriter(reserving: 32)
        writer.string("floor")
        writer.fixed64(sequence)
        writer.fixed64(position)
        return AuditKey.mac(writer.finish(), key.gaps)
    }
}
