import Crypto
import Foundation

/// Something that becomes a row of the chain.
package struct AuditRecord: Sendable, Hashable {
    package var kind: AuditRowKind
    package var payload: [UInt8]

    package init(_ kind: AuditRowKind, _ payload: [UInt8] = []) {
        self.kind = kind
        self.payload = payload
    }
}

/// Makes the rows of the audit chain: each carries a MAC over itself and the MAC of the row ahead, so that no row can be
/// changed, removed or put in without the key. The last can be cut off: what tells of that is a head that was noted
/// elsewhere.
///
/// A value: a store makes rows with a copy, and keeps that once they are durable.
package struct AuditChain: Sendable {
    package static let macBytes = 32
    /// What the first row follows.
    package static let origin = [UInt8](repeating: 0, count: macBytes)

    /// The last row; `nil` before the first.
    package private(set) var head: AuditHead?
    private var time: Timestamp
    private var keyID: UInt64
    /// Log entries up to this one were there before the chain began.
    private let unchained: UInt64

    /// - Parameters:
    ///   - last: the row that the chain ends with.
    ///   - unchained: the last log entry of a store that had no chain yet.
    package init(last: AuditRow? = nil, unchained: UInt64 = 0) {
        head = last?.head
        time = last?.time ?? .minimum
        keyID = last?.keyID ?? 0
        self.unchained = unchained
    }

    /// Whether the chain has something to say by itself: that it begins, or that the key is another.
    package func isBehind(_ keys: AuditKeys) -> Bool { head == nil || keyID != keys.current.id }

    /// The rows that follow now, with one ahead of them where the chain begins or the key is another.
    package mutating func append(_ records: [AuditRecord], at now: Timestamp, _ keys: AuditKeys) -> [AuditRow] {
        let key = keys.current
        var rows: [AuditRow] = []
        if head == nil {
            var writer = ByteWriter(reserving: 10)
            writer.varint(unchained)
            rows.append(next(AuditRecord(.start, writer.finish()), now, key))
        } else if keyID != key.id {
            var writer = ByteWriter(reserving: 8)
            writer.fixed64(keyID)
            rows.append(next(AuditRecord(.keyChanged, writer.finish()), now, key))
        }
        for record in records { rows.append(next(record, now, key)) }
        return rows
    }

    /// The rows that follow now for a group of log entries, none of them empty.
    package mutating func append(_ group: [LogRow], _ keys: AuditKeys) -> [AuditRow] {
        guard let first = group.first, let last = group.last else { return [] }
        let commit = AuditCommit(
            first: first.sequence,
            last: last.sequence,
            digest: AuditCommit.digest(group.lazy.map(\.auditDigest), keys.current)
        )
        return append([AuditRecord(.commit, commit.encoded())], at: last.time, keys)
    }

    private mutating func next(_ record: AuditRecord, _ now: Timestamp, _ key: AuditKey) -> AuditRow {
        time = max(time, now)
        var row = AuditRow(
            position: (head?.position ?? 0) + 1,
            time: time,
            kind: record.kind.rawValue,
            payload: record.payload,
            keyID: key.id,
            mac: []
        )
        row.mac = row.mac(after: head?.mac ?? Self.origin, key)
        head = row.head
        keyID = key.id
        return row
    }
}

/// The payload of a `commit` row.
package struct AuditCommit: Sendable, Hashable {
    /// The sequences of the group.
    package var first: UInt64
    package var last: UInt64
    /// HMAC over the hashes of the entries. Keyed, or anyone could try what an erased customer's values were.
    package var digest: [UInt8]

    init(first: UInt64, last: UInt64, digest: [UInt8]) {
        self.first = first
        self.last = last
        self.digest = digest
    }

    package init(decoding payload: [UInt8]) throws(CodecError) {
        self = try payload.decoded { (reader) throws(CodecError) in
            let first = try reader.varint()
            let last = try reader.varint()
            let digest = Array(try reader.take(AuditChain.macBytes))
            guard first > 0, first <= last, last <= UInt64(Int64.max) else {
                throw CodecError("a group has no valid sequences")
            }
            return AuditCommit(first: first, last: last, digest: digest)
        }
    }

    func encoded() -> [UInt8] {
        var writer = ByteWriter(reserving: 52)
        writer.varint(first)
        writer.varint(last)
        digest.withUnsafeBytes { writer.raw($0) }
        return writer.finish()
    }

    static func digest(_ hashes: some Sequence<some ContiguousBytes>, _ key: AuditKey) -> [UInt8] {
        // One call of HMAC over all of them: each costs more than hashing 32 bytes.
        var message: [UInt8] = []
        message.reserveCapacity(hashes.underestimatedCount * AuditChain.macBytes)
        for hash in hashes { hash.withUnsafeBytes { message.append(contentsOf: $0) } }
        return AuditKey.mac(message, key.digests)
    }
}

extension [UInt8] {
    /// Reads all of the bytes.
    func decoded<R>(_ body: (inout ByteReader) throws(CodecError) -> R) throws(CodecError) -> R {
        let result = withUnsafeBytes { bytes in
            Result { () throws(CodecError) in
                var reader = ByteReader(bytes)
                let value = try body(&reader)
                try reader.expectEnd()
                return value
            }
        }
        return try result.get()
    }
}
