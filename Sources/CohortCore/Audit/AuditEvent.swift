/// A call that has a row of its own. Holds no customer id, no value of an attribute, and no message of an error, which
/// could name either.
package struct AuditEvent: Sendable, Hashable {
    package enum Kind: Sendable, Hashable { case administration, denial, read }

    package var kind: Kind
    /// When the call ended; of several, the first.
    package var time: Timestamp
    /// The authenticated caller; at most 256 bytes are kept.
    package var principal: String
    /// The full method name; at most 256 bytes are kept.
    package var method: String
    /// The canonical status code, 0 for OK.
    package var outcome: UInt8
    /// The reason of a failure, a stable UPPER_SNAKE_CASE word; may be empty.
    package var reason: String
    /// Where the call came from, without the port.
    package var peer: String
    /// 16 bytes as of `AuditKey.customerHash`; empty where the call names no customer.
    package var customer: [UInt8]
    /// The cohort that the call names; may be empty.
    package var cohort: String
    /// The log entry that the call made; 0 for none.
    package var sequence: UInt64
    /// How many such calls there were.
    package var count: UInt64

    package init(
        kind: Kind,
        time: Timestamp,
        principal: String,
        method: String,
        outcome: UInt8 = 0,
        reason: String = "",
        peer: String = "",
        customer: [UInt8] = [],
        cohort: String = "",
        sequence: UInt64 = 0,
        count: UInt64 = 1
    ) {
        self.kind = kind
        self.time = time
        self.principal = principal.cut(bytes: Self.textBytes)
        self.method = method.cut(bytes: Self.textBytes)
        self.outcome = outcome
        self.reason = reason.cut(bytes: Self.textBytes)
        self.peer = peer.cut(bytes: Self.textBytes)
        self.customer = customer
        self.cohort = cohort
        self.sequence = sequence
        self.count = count
    }

    private static let textBytes = 256
    private static let format: UInt8 = 1

    var rowKind: AuditRowKind {
        switch kind {
        case .administration: .administration
        case .denial: .denial
        case .read: .auditRead
        }
    }

    package var record: AuditRecord {
        var writer = ByteWriter(reserving: 160)
        writer.byte(Self.format)
        writer.timestamp(time)
        writer.string(principal)
        writer.string(method)
        writer.byte(outcome)
        writer.string(reason)
        writer.string(peer)
        writer.blob(customer)
        writer.string(cohort)
        writer.varint(sequence)
        writer.varint(count)
        return AuditRecord(rowKind, writer.finish())
    }

    /// - Returns: `nil` for a row of another kind.
    package init?(_ row: AuditRow) throws(CodecError) {
        let kind: Kind
        switch AuditRowKind(rawValue: row.kind) {
        case .administration: kind = .administration
        case .denial: kind = .denial
        case .auditRead: kind = .read
        default: return nil
        }
        self = try row.payload.decoded { (reader) throws(CodecError) in
            let format = try reader.byte()
            guard format == Self.format else { throw CodecError("audit format \(format) is not known") }
            return AuditEvent(
                kind: kind,
                time: try reader.timestamp(),
                principal: try reader.string(),
                method: try reader.string(),
                outcome: try reader.byte(),
                reason: try reader.string(),
                peer: try reader.string(),
                customer: try reader.blob(),
                cohort: try reader.string(),
                sequence: try reader.varint(),
                count: try reader.varint()
            )
        }
    }

    /// Whether the other is the same again, but for its time.
    func repeats(_ other: AuditEvent) -> Bool {
        var same = other
        (same.time, same.count) = (time, count)
        return self == same
    }
}

/// The payload of a `rowsLost` row.
package struct AuditLoss: Sendable, Hashable {
    package var count: UInt64
    /// When the first of them was lost.
    package var since: Timestamp

    package init(count: UInt64, since: Timestamp) {
        self.count = count
        self.since = since
    }

    package init(decoding payload: [UInt8]) throws(CodecError) {
        self = try payload.decoded { (reader) throws(CodecError) in
            AuditLoss(count: try reader.varint(), since: try reader.timestamp())
        }
    }

    var record: AuditRecord {
        var writer = ByteWriter(reserving: 24)
        writer.varint(count)
        writer.timestamp(since)
        return AuditRecord(.rowsLost, writer.finish())
    }
}
