/// The stored form of a request, in the log and in the tables: a format, and its fields in order.
extension ChangeRequest {
    private static let format: UInt8 = 1

    private enum Kind: UInt8 {
        case publish = 1
        case archive, eraseMembers, waiveApproval
    }

    package func encode(to writer: inout ByteWriter) {
        writer.byte(Self.format)
        writer.varint(number)
        writer.varint(cohort)
        switch action {
        case .publish(let version, let over):
            writer.byte(Kind.publish.rawValue)
            writer.varint(version)
            writer.varint(over)
        case .archive: writer.byte(Kind.archive.rawValue)
        case .eraseMembers(let members):
            writer.byte(Kind.eraseMembers.rawValue)
            writer.varint(members.expected)
            writer.varint(members.limit)
        case .waiveApproval: writer.byte(Kind.waiveApproval.rawValue)
        }
        writer.string(author)
        writer.timestamp(createdAt)
        writer.byte(expiresAt == nil ? 0 : 1)
        if let expiresAt { writer.timestamp(expiresAt) }
        writer.byte(state.rawValue)
        writer.byte(decision == nil ? 0 : 1)
        decision?.encode(to: &writer)
    }

    package func encoded() -> [UInt8] {
        var writer = ByteWriter()
        encode(to: &writer)
        return writer.finish()
    }

    package init(decoding reader: inout ByteReader) throws(CodecError) {
        let format = try reader.byte()
        guard format == Self.format else { throw CodecError("format \(format) of a change request is not known") }
        let number = try reader.varint()
        let cohort = try reader.varint32()
        let action: Action
        switch Kind(rawValue: try reader.byte()) {
        case .publish: action = .publish(version: try reader.varint32(), over: try reader.varint32())
        case .archive: action = .archive
        case .eraseMembers:
            action = .eraseMembers(MemberSelection(expected: try reader.varint(), limit: try reader.varint()))
        case .waiveApproval: action = .waiveApproval
        case nil: throw CodecError("what a change request does is not known")
        }
        let author = try reader.string()
        let createdAt = try reader.timestamp()
        let expiresAt = try reader.flag() ? try reader.timestamp() : nil
        guard let state = State(rawValue: try reader.byte()) else {
            throw CodecError("the state of a change request is not known")
        }
        self.init(
            number: number,
            cohort: cohort,
            action: action,
            author: author,
            createdAt: createdAt,
            expiresAt: expiresAt,
            state: state,
            decision: try reader.flag() ? try Decision(decoding: &reader) : nil
        )
    }

    /// - Throws: also where something follows.
    package init(decoding bytes: UnsafeRawBufferPointer) throws(CodecError) {
        var reader = ByteReader(bytes)
        try self.init(decoding: &reader)
        try reader.expectEnd()
    }
}

extension ChangeRequest.Decision {
    fileprivate func encode(to writer: inout ByteWriter) {
        writer.timestamp(time)
        writer.string(principal)
        writer.string(note)
        writer.string(detail)
        writer.varint(effect)
        writer.byte(erasure == nil ? 0 : 1)
        guard let erasure else { return }
        writer.varint(erasure.total)
        writer.varint(erasure.erased)
        writer.varint(erasure.alreadyGone)
        writer.byte(erasure.isDone ? 1 : 0)
    }

    fileprivate init(decoding reader: inout ByteReader) throws(CodecError) {
        time = try reader.timestamp()
        principal = try reader.string()
        note = try reader.string()
        detail = try reader.string()
        effect = try reader.varint()
        guard try reader.flag() else { return }
        erasure = MemberErasure(
            total: try reader.varint(),
            erased: try reader.varint(),
            alreadyGone: try reader.varint(),
            isDone: try reader.flag()
        )
    }
}

extension ByteReader {
    fileprivate mutating func flag() throws(CodecError) -> Bool {
        let value = try byte()
        guard value < 2 else { throw CodecError("a flag is neither 0 nor 1") }
        return value == 1
    }
}
