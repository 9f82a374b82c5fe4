/// The stored form of `CustomerRecord`.
///
/// Memberships come first, so that loading the index reads no further. Times and sequences repeat within a record
/// (attributes put together, cohorts entered together) and are written once.
extension CustomerRecord {
    private static let format: UInt8 = 1
    private static let sameAsPrevious: UInt8 = 0x80

    package func encode(to writer: inout ByteWriter) {
        writer.byte(Self.format)
        writer.varint(sequence)
        writer.count(intervals.count)
        var previous: OpenInterval?
        for interval in intervals {
            let same = previous.map { $0.sequence == interval.sequence && $0.time == interval.time } ?? false
            writer.varint(interval.cohort)
            writer.byte(
                interval.membership.rawValue | interval.cause.rawValue << 2 | (same ? Self.sameAsPrevious : 0)
            )
            writer.varint(interval.version)
            if !same {
                writer.varint(interval.sequence)
                writer.timestamp(interval.time)
            }
            previous = interval
        }
        writer.varint(createdSequence)
        writer.timestamp(createdAt)
        StoredAttribute.encode(attributes, to: &writer)
    }

    package func encoded() -> [UInt8] {
        var writer = ByteWriter()
        encode(to: &writer)
        return writer.finish()
    }

    package init(decoding bytes: UnsafeRawBufferPointer) throws(CodecError) {
        var reader = ByteReader(bytes)
        let sequence = try Self.readHead(&reader)
        var intervals: [OpenInterval] = []
        let count = try reader.count()
        intervals.reserveCapacity(min(count, 64))
        for _ in 0..<count {
            let interval = try Self.readInterval(&reader, after: intervals.last)
            if let last = intervals.last, last.cohort >= interval.cohort {
                throw CodecError("memberships are out of order")
            }
            intervals.append(interval)
        }
        let createdSequence = try reader.varint()
        self.init(createdSequence: createdSequence, createdAt: try reader.timestamp())
        self.sequence = sequence
        self.intervals = intervals
        attributes = try StoredAttribute.decodeList(&reader)
        for (a, b) in zip(attributes, attributes.dropFirst()) where a.slot >= b.slot {
            throw CodecError("attributes are out of order")
        }
        try reader.expectEnd()
    }

    /// Reads the memberships alone, as asking for the past needs them: without attributes, creation or anything behind.
    package init(membershipsOf bytes: UnsafeRawBufferPointer) throws(CodecError) {
        var reader = ByteReader(bytes)
        self.init(createdSequence: 0, createdAt: .epoch)
        sequence = try Self.readHead(&reader)
        for _ in 0..<(try reader.count()) { intervals.append(try Self.readInterval(&reader, after: intervals.last)) }
    }

    /// Reads no more than loading the index needs.
    ///
    /// - Parameter each: called for every open membership.
    /// - Returns: the record's sequence.
    package static func scanMemberships(
        of bytes: UnsafeRawBufferPointer,
        each: (CohortNumber, Membership) -> Void
    ) throws(CodecError) -> UInt64 {
        var reader = ByteReader(bytes)
        let sequence = try readHead(&reader)
        for i in 0..<(try reader.count()) {
            let cohort = try reader.varint32()
            let flags = try reader.byte()
            guard let membership = Membership(rawValue: flags & 3), membership != .out else {
                throw CodecError("a membership is neither IN nor UNKNOWN")
            }
            _ = try reader.varint()
            if flags & sameAsPrevious == 0 {
                _ = try reader.varint()
                _ = try reader.varint()
                _ = try reader.varint()
            } else if i == 0 {
                throw CodecError("the first membership has no time")
            }
            each(cohort, membership)
        }
        return sequence
    }

    /// Reads the attributes alone, as building a cohort needs them.
    package static func attributes(of bytes: UnsafeRawBufferPointer) throws(CodecError) -> [StoredAttribute] {
        var reader = ByteReader(bytes)
        _ = try readHead(&reader)
        for _ in 0..<(try reader.count()) {
            _ = try reader.varint()
            let flags = try reader.byte()
            for _ in 0..<(flags & sameAsPrevious == 0 ? 4 : 1) { _ = try reader.varint() }
        }
        _ = try reader.varint()
        _ = try reader.timestamp()
        return try StoredAttribute.decodeList(&reader)
    }

    private static func readHead(_ reader: inout ByteReader) throws(CodecError) -> UInt64 {
        let version = try reader.byte()
        guard version == format else { throw CodecError("record format \(version) is not known") }
        return try reader.varint()
    }

    private static func readInterval(
        _ reader: inout ByteReader,
        after previous: OpenInterval?
    ) throws(CodecError) -> OpenInterval {
        let cohort = try reader.varint32()
        let flags = try reader.byte()
        guard let membership = Membership(rawValue: flags & 3), membership != .out,
            let cause = TransitionCause(rawValue: flags >> 2 & 0x1f)
        else { throw CodecError("a membership is neither IN nor UNKNOWN, or its cause is not known") }
        let version = try reader.varint32()
        if flags & sameAsPrevious != 0 {
            guard let previous else { throw CodecError("the first membership has no time") }
            return OpenInterval(
                cohort: cohort,
                membership: membership,
                sequence: previous.sequence,
                time: previous.time,
                version: version,
                cause: cause
            )
        }
        let sequence = try reader.varint()
        return OpenInterval(
            cohort: cohort,
            membership: membership,
            sequence: sequence,
            time: try reader.timestamp(),
            version: version,
            cause: cause
        )
    }
}

extension StoredAttribute {
    private static let deleted: UInt8 = 0
    private static let sameTime: UInt8 = 0x80

    static func encode(_ attributes: [StoredAttribute], to writer: inout ByteWriter) {
        writer.count(attributes.count)
        var previous: Timestamp?
        for attribute in attributes {
            let same = previous == attribute.eventTime
            writer.count(attribute.slot)
            writer.byte((attribute.value?.type.rawValue ?? deleted) | (same ? sameTime : 0))
            if let value = attribute.value { value.encode(to: &writer) }
            if !same { writer.timestamp(attribute.eventTime) }
            previous = attribute.eventTime
        }
    }

    static func decodeList(_ reader: inout ByteReader) throws(CodecError) -> [StoredAttribute] {
        let count = try reader.count()
        var result: [StoredAttribute] = []
        result.reserveCapacity(min(count, 256))
        for _ in 0..<count {
            let slot = Int(try reader.varint32())
            let flags = try reader.byte()
            let value = try AttributeValue(decoding: flags & ~sameTime, &reader)
            let time: Timestamp
            if flags & sameTime == 0 {
                time = try reader.timestamp()
            } else if let last = result.last {
                time = last.eventTime
            } else {
                throw CodecError("the first attribute has no time")
            }
            result.append(StoredAttribute(slot: slot, value: value, eventTime: time))
        }
        return result
    }
}

extension AttributeValue {
    func encode(to writer: inout ByteWriter) {
        switch self {
        case .bool(let value): writer.byte(value ? 1 : 0)
        case .int64(let value): writer.signed(value)
        case .double(let value): writer.fixed64(value.bitPattern)
        case .string(let value): writer.string(value)
        case .timestamp(let value): writer.timestamp(value)
        case .stringList(let values):
            writer.count(values.count)
            for value in values { writer.string(value) }
        }
    }

    /// The value of the type with raw value `type`; `nil` for 0, a deletion.
    fileprivate init?(decoding type: UInt8, _ reader: inout ByteReader) throws(CodecError) {
        guard type != 0 else { return nil }
        switch AttributeType(rawValue: type) {
        case .bool: self = .bool(try reader.byte() != 0)
        case .int64: self = .int64(try reader.signed())
        case .double: self = .double(Double(bitPattern: try reader.fixed64()))
        case .string: self = .string(try reader.string())
        case .timestamp: self = .timestamp(try reader.timestamp())
        case .stringList:
            let count = try reader.count()
            var values: [String] = []
            values.reserveCapacity(min(count, 256))
            for _ in 0..<count { values.append(try reader.string()) }
            self = .stringList(values)
        case nil: throw CodecError("attribute type \(type) is not known")
        }
    }
}
