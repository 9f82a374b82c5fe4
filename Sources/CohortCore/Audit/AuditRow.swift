/// A row of the audit chain as it is stored.
package struct AuditRow: Sendable, Hashable {
    /// From 1, without gaps.
    package var position: UInt64
    /// When it was written; never before the row ahead of it.
    package var time: Timestamp
    /// One of `AuditRowKind`; others are of a later version.
    package var kind: UInt8
    package var payload: [UInt8]
    /// The key that `mac` was made with.
    package var keyID: UInt64
    /// 32 bytes over the row and the `mac` of the row ahead.
    package var mac: [UInt8]

    package init(position: UInt64, time: Timestamp, kind: UInt8, payload: [UInt8], keyID: UInt64, mac: [UInt8]) {
        self.position = position
        self.time = time
        self.kind = kind
        self.payload = payload
        self.keyID = keyID
        self.mac = mac
    }

    package var head: AuditHead { AuditHead(position: position, mac: mac) }

    /// The group that a `commit` row tells of; `nil` for other rows, and for one that cannot be read.
    package var commit: AuditCommit? {
        kind == AuditRowKind.commit.rawValue ? try? AuditCommit(decoding: payload) : nil
    }

    /// Of the first row: the last log entry that was there before the chain.
    var unchained: UInt64? {
        guard kind == AuditRowKind.start.rawValue else { return nil }
        let sequence = try? payload.decoded { (reader) throws(CodecError) in try reader.varint() }
        return sequence.map { min($0, UInt64(Int64.max)) }
    }

    /// Whether the row goes by its own age. Others go with the log, and the first stays: it says where the chain began.
    package var isRemovedByAge: Bool {
        kind != AuditRowKind.commit.rawValue && kind != AuditRowKind.start.rawValue
    }

    /// HMAC-SHA256 over the row and what it follows.
    func mac(after previous: [UInt8], _ key: AuditKey) -> [UInt8] {
        var writer = ByteWriter(reserving: payload.count + 80)
        writer.fixed64(position)
        writer.blob(previous)
        writer.fixed64(UInt64(bitPattern: time.seconds))
        writer.fixed64(UInt64(time.nanoseconds))
        writer.byte(kind)
        writer.blob(payload)
        return AuditKey.mac(writer.finish(), key.rows)
    }
}

package enum AuditRowKind: UInt8, Sendable, CaseIterable {
    /// The first row: the chain begins.
    case start = 1
    /// The rows from this one on are made with another key.
    case keyChanged
    /// A group of log entries.
    case commit
    /// Rows that had no room in memory while the store did not answer.
    case rowsLost
    /// Something for the server's log to name, once an hour.
    case head
    /// A call of an administrative method.
    case administration = 16
    /// A call that was refused for who made it.
    case denial
    /// A reading of the audit.
    case auditRead
}

/// The end of the chain at some time: who knows it can tell whether everything up to there is still in the chain.
package struct AuditHead: Sendable, Hashable, CustomStringConvertible {
    package var position: UInt64
    package var mac: [UInt8]

    package init(position: UInt64, mac: [UInt8]) {
        self.position = position
        self.mac = mac
    }

    /// Reads `POSITION:MAC`, the MAC as 64 hexadecimal digits.
    package init?(text: String) {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2, let position = UInt64(parts[0]), position > 0, let mac = [UInt8](hex: parts[1]),
            mac.count == AuditChain.macBytes
        else { return nil }
        self.init(position: position, mac: mac)
    }

    package var description: String { "\(position):\(mac.hex)" }
}

extension [UInt8] {
    /// Lower-case hexadecimal digits.
    package var hex: String { map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined() }

    package init?(hex: some StringProtocol) {
        let digits = Array<UInt8>(hex.utf8)
        guard digits.count.isMultiple(of: 2), digits.allSatisfy({ Character(UnicodeScalar($0)).isHexDigit }) else {
            return nil
        }
        self = stride(from: 0, to: digits.count, by: 2).compactMap { i in
            UInt8(String(decoding: digits[i..<i + 2], as: UTF8.self), radix: 16)
        }
    }
}

extension UInt64 {
    /// 16 hexadecimal digits.
    package var hex: String {
        let digits = String(self, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}
