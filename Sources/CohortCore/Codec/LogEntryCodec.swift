/// The payload of a log entry: format, body, and a CRC-32C over sequence, time and body, so that neither a flipped bit
/// nor a row in the wrong place is taken for an entry. Sequence and time are the row's own columns.
extension LogEntry {
    /// Format 2 has any number of bulk changes, format 1 at most one. Entries that fit are written in format 1, which
    /// earlier versions read too.
    private static let formats: ClosedRange<UInt8> = 1...2

    private enum Kind: UInt8 {
        case attributeDeclared = 1
        case customerPut, customerErased, cohortCreated, ruleUpdated, cohortArchived, assignmentsChanged,
            assignmentsStaged
        case customerPutScrubbed = 32
        /// As `cohortCreated`, but serving only once its first version is published.
        case cohortAnnounced = 40
        /// As `ruleUpdated`, with note and origin.
        case ruleUpdatedWithNote, versionDrafted, versionDiscarded, versionPublished
        /// As `cohortCreated` or `cohortAnnounced`, of a cohort whose changes need approval.
        case cohortCreatedForApproval = 50
        case approvalRequired, changeRequest
    }

    package func encode(to writer: inout ByteWriter) {
        let start = writer.bytes.count
        writer.byte(bulks.count > 1 ? 2 : 1)
        writer.string(principal)
        writer.string(method)
        encodeChange(to: &writer)
        encodeTransitions(to: &writer)
        writer.count(bulks.count)
        for bulk in bulks { bulk.encode(to: &writer) }
        let sum = writer.bytes.withUnsafeBytes {
            Self.checksum(sequence, time, UnsafeRawBufferPointer(rebasing: $0[start...]))
        }
        for shift in stride(from: 0, to: 32, by: 8) { writer.byte(UInt8(truncatingIfNeeded: sum >> shift)) }
    }

    package func encoded() -> [UInt8] {
        var writer = ByteWriter()
        encode(to: &writer)
        return writer.finish()
    }

    package init(sequence: UInt64, time: Timestamp, payload: UnsafeRawBufferPointer) throws(CodecError) {
        guard payload.count >= 5 else { throw CodecError("ends too early") }
        let body = UnsafeRawBufferPointer(rebasing: payload[..<(payload.count - 4)])
        let stored = UInt32(littleEndian: payload.loadUnaligned(fromByteOffset: payload.count - 4, as: UInt32.self))
        guard stored == Self.checksum(sequence, time, body) else { throw CodecError("the checksum does not match") }
        var reader = ByteReader(body)
        let version = try reader.byte()
        guard Self.formats.contains(version) else { throw CodecError("log format \(version) is not known") }
        let principal = try reader.string()
        let method = try reader.string()
        let change = try Self.decodeChange(&reader)
        let transitions = try Self.decodeTransitions(&reader)
        let count = try reader.count()
        guard version > 1 || count <= 1 else { throw CodecError("more bulk changes than format 1 has") }
        var bulks: [BulkReference] = []
        for _ in 0..<count { bulks.append(try BulkReference(decoding: &reader)) }
        try reader.expectEnd()
        self.init(
            sequence: sequence,
            time: time,
            principal: principal,
            method: method,
            change: change,
            transitions: transitions,
            bulks: bulks
        )
    }

    private static func checksum(_ sequence: UInt64, _ time: Timestamp, _ body: UnsafeRawBufferPointer) -> UInt32 {
        let head = (sequence.littleEndian, time.seconds.littleEndian, Int64(time.nanoseconds).littleEndian)
        return Checksum.crc32c(body, seed: withUnsafeBytes(of: head) { Checksum.crc32c($0) })
    }

    private func encodeChange(to writer: inout ByteWriter) {
        switch change {
        case .attributeDeclared(let declaration):
            writer.byte(Kind.attributeDeclared.rawValue)
            writer.string(declaration.name)
            writer.byte(declaration.type.rawValue)
            writer.count(declaration.slot)
        case .customerPut(let put):
            writer.byte(Kind.customerPut.rawValue)
            writer.varint(put.ordinal)
            writer.blob(put.newID ?? [])
            StoredAttribute.encode(put.attributes, to: &writer)
        case .customerErased(let ordinal):
            writer.byte(Kind.customerErased.rawValue)
            writer.varint(ordinal)
        case .customerPutScrubbed(let ordinal, let isNew):
            writer.byte(Kind.customerPutScrubbed.rawValue)
            writer.varint(ordinal)
            writer.byte(isNew ? 1 : 0)
        case .cohortCreated(let cohort):
            if cohort.approvalRequired {
                writer.byte(Kind.cohortCreatedForApproval.rawValue)
                writer.byte(cohort.state == .building ? 1 : 0)
            } else {
                writer.byte((cohort.state == .building ? Kind.cohortAnnounced : Kind.cohortCreated).rawValue)
            }
            writer.varint(cohort.number)
            writer.string(cohort.id)
            writer.byte(cohort.kind.rawValue)
            writer.byte(cohort.failPolicy.rawValue)
            writer.string(cohort.description)
            writer.string(cohort.rule ?? "")
        case .ruleUpdated(let update):
            let isPlain = update.note.isEmpty && update.revertsTo == 0
            writer.byte((isPlain ? Kind.ruleUpdated : Kind.ruleUpdatedWithNote).rawValue)
            update.encode(to: &writer, plain: isPlain)
        case .versionDrafted(let update):
            writer.byte(Kind.versionDrafted.rawValue)
            update.encode(to: &writer, plain: false)
        case .versionDiscarded(let cohort, let version):
            writer.byte(Kind.versionDiscarded.rawValue)
            writer.varint(cohort)
            writer.varint(version)
        case .versionPublished(let cohort, let version):
            writer.byte(Kind.versionPublished.rawValue)
            writer.varint(cohort)
            writer.varint(version)
        case .cohortArchived(let cohort):
            writer.byte(Kind.cohortArchived.rawValue)
            writer.varint(cohort)
        case .approvalRequired(let cohort, let isRequired):
            writer.byte(Kind.approvalRequired.rawValue)
            writer.varint(cohort)
            writer.byte(isRequired ? 1 : 0)
        case .changeRequest(let request):
            writer.byte(Kind.changeRequest.rawValue)
            request.encode(to: &writer)
        case .assignmentsChanged(let assignments):
            writer.byte(Kind.assignmentsChanged.rawValue)
            writer.count(assignments.count)
            for assignment in assignments {
                writer.varint(assignment.cohort)
                writer.byte(assignment.kind.rawValue | (assignment.present ? 0x80 : 0))
                writer.varint(assignment.ordinal)
            }
        case .assignmentsStaged(let reference):
            writer.byte(Kind.assignmentsStaged.rawValue)
            reference.encode(to: &writer)
        }
    }

    private static func decodeChange(_ reader: inout ByteReader) throws(CodecError) -> Change {
        let kind = try reader.byte()
        switch Kind(rawValue: kind) {
        case .attributeDeclared:
            let name = try reader.string()
            guard let type = AttributeType(rawValue: try reader.byte()) else {
                throw CodecError("an attribute's type is not known")
            }
            // The sequence of the declaration is that of the entry: filled in by who applies it.
            return .attributeDeclared(
                AttributeDeclaration(name: name, type: type, slot: Int(try reader.varint32()), declaredAt: 0)
            )
        case .customerPut:
            let ordinal = try reader.varint32()
            let id = try reader.blob()
            return .customerPut(
                CustomerChange(
                    ordinal: ordinal,
                    newID: id.isEmpty ? nil : id,
                    attributes: try StoredAttribute.decodeList(&reader)
                )
            )
        case .customerErased:
            return .customerErased(try reader.varint32())
        case .customerPutScrubbed:
            return .customerPutScrubbed(ordinal: try reader.varint32(), isNew: try reader.byte() == 1)
        case .cohortCreated:
            return .cohortCreated(try decodeCohort(&reader, .active))
        case .cohortAnnounced:
            return .cohortCreated(try decodeCohort(&reader, .building))
        case .cohortCreatedForApproval:
            let isBuilding = try reader.byte() == 1
            var cohort = try decodeCohort(&reader, isBuilding ? .building : .active)
            cohort.approvalRequired = true
            return .cohortCreated(cohort)
        case .ruleUpdated:
            return .ruleUpdated(try RuleUpdate(decoding: &reader, plain: true))
        case .ruleUpdatedWithNote:
            return .ruleUpdated(try RuleUpdate(decoding: &reader, plain: false))
        case .versionDrafted:
            return .versionDrafted(try RuleUpdate(decoding: &reader, plain: false))
        case .versionDiscarded:
            return .versionDiscarded(cohort: try reader.varint32(), version: try reader.varint32())
        case .versionPublished:
            return .versionPublished(cohort: try reader.varint32(), version: try reader.varint32())
        case .cohortArchived:
            return .cohortArchived(try reader.varint32())
        case .approvalRequired:
            return .approvalRequired(cohort: try reader.varint32(), try reader.byte() == 1)
        case .changeRequest:
            return .changeRequest(try ChangeRequest(decoding: &reader))
        case .assignmentsChanged:
            return .assignmentsChanged(try decodeAssignments(&reader))
        case .assignmentsStaged:
            return .assignmentsStaged(try AssignmentReference(decoding: &reader))
        case nil:
            throw CodecError("change kind \(kind) is not known")
        }
    }

    /// Times and versions are those of the entry: filled in by who applies it.
    private static func decodeCohort(
        _ reader: inout ByteReader,
        _ state: CohortLifecycle
    ) throws(CodecError) -> CohortRecord {
        let number = try reader.varint32()
        let id = try reader.string()
        guard let kind = CohortKind(rawValue: try reader.byte()), let policy = FailPolicy(rawValue: try reader.byte())
        else { throw CodecError("a cohort's kind or fail policy is not known") }
        let description = try reader.string()
        let rule = try reader.string()
        return CohortRecord(
            number: number,
            id: id,
            kind: kind,
            failPolicy: policy,
            description: description,
            state: state,
            createdAt: .epoch,
            updatedAt: .epoch,
            versions: [
                CohortVersion(
                    number: 1,
                    rule: kind == .rule ? rule : nil,
                    created: CohortVersion.Change(sequence: 0, time: .epoch, principal: "")
                )
            ]
        )
    }

    private static func decodeAssignments(_ reader: inout ByteReader) throws(CodecError) -> [Assignment] {
        let count = try reader.count()
        var result: [Assignment] = []
        result.reserveCapacity(min(count, 4_096))
        for _ in 0..<count {
            let cohort = try reader.varint32()
            let flags = try reader.byte()
            guard let kind = AssignmentKind(rawValue: flags & 0x7f) else {
                throw CodecError("an assignment's kind is not known")
            }
            result.append(
                Assignment(cohort: cohort, kind: kind, ordinal: try reader.varint32(), present: flags & 0x80 != 0)
            )
        }
        return result
    }

    private func encodeTransitions(to writer: inout ByteWriter) {
        writer.count(transitions.count)
        var previous: Ordinal = 0
        for transition in transitions {
            writer.signed(Int64(transition.ordinal) - Int64(previous))
            writer.varint(transition.cohort)
            writer.byte(
                transition.from.rawValue | transition.to.rawValue << 2 | transition.cause.rawValue << 4
            )
            writer.varint(transition.version)
            previous = transition.ordinal
        }
    }

    private static func decodeTransitions(_ reader: inout ByteReader) throws(CodecError) -> [Transition] {
        let count = try reader.count()
        var result: [Transition] = []
        result.reserveCapacity(min(count, 4_096))
        var previous: Int64 = 0
        for _ in 0..<count {
            let (sum, overflow) = previous.addingReportingOverflow(try reader.signed())
            guard !overflow, let ordinal = Ordinal(exactly: sum) else { throw CodecError("an ordinal is out of range") }
            previous = sum
            let cohort = try reader.varint32()
            let flags = try reader.byte()
            guard let from = Membership(rawValue: flags & 3), let to = Membership(rawValue: flags >> 2 & 3),
                let cause = TransitionCause(rawValue: flags >> 4)
            else { throw CodecError("a membership or its cause is not known") }
            result.append(
                Transition(
                    ordinal: ordinal,
                    cohort: cohort,
                    from: from,
                    to: to,
                    version: try reader.varint32(),
                    cause: cause
                )
            )
        }
        return result
    }
}

extension RuleUpdate {
    fileprivate func encode(to writer: inout ByteWriter, plain: Bool) {
        writer.varint(cohort)
        writer.varint(version)
        writer.string(rule)
        if plain { return }
        writer.string(note)
        writer.varint(revertsTo)
    }

    fileprivate init(decoding reader: inout ByteReader, plain: Bool) throws(CodecError) {
        cohort = try reader.varint32()
        version = try reader.varint32()
        rule = try reader.string()
        note = plain ? "" : try reader.string()
        revertsTo = plain ? 0 : try reader.varint32()
    }
}

extension BulkReference {
    fileprivate func encode(to writer: inout ByteWriter) {
        writer.varint(stage)
        writer.varint(cohort)
        writer.varint(version)
        writer.byte(cause.rawValue)
        writer.varint(toIn)
        writer.varint(toOut)
        writer.varint(toUnknown)
    }

    fileprivate init(decoding reader: inout ByteReader) throws(CodecError) {
        stage = try reader.varint()
        cohort = try reader.varint32()
        version = try reader.varint32()
        guard let cause = TransitionCause(rawValue: try reader.byte()) else { throw CodecError("a cause is not known") }
        self.cause = cause
        toIn = try reader.varint()
        toOut = try reader.varint()
        toUnknown = try reader.varint()
    }
}
