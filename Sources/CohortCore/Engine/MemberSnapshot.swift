import Synchronization

/// The members of a cohort, or of a combination of cohorts, at one sequence, handed out in pages in order of ordinal.
package final class MemberSnapshot: @unchecked Sendable {
    // Unchecked: the bitmap is a copy that nobody changes; what changes is behind a lock.

    /// The sequence at which the pages hold.
    package let sequence: UInt64
    /// The version that the cohort had at that sequence; 0 for a combination.
    package let cohortVersion: UInt32
    /// How many there are in the snapshot, those before the cursor included. Customers erased since are left out of the
    /// pages.
    package let total: UInt64

    private let shared: EngineShared
    private let bitmap: ChunkedBitmap
    private let subject: MemberCursor.Subject
    /// The ordinal that the next page starts at; beyond all ordinals at the end.
    private let next: Mutex<UInt64>

    init(
        shared: EngineShared,
        bitmap: ChunkedBitmap,
        sequence: UInt64,
        version: UInt32,
        subject: MemberCursor.Subject,
        start: UInt64
    ) {
        self.shared = shared
        self.bitmap = bitmap
        self.sequence = sequence
        cohortVersion = version
        self.subject = subject
        total = bitmap.count
        next = Mutex(start)
    }

    /// The next ids, at most `limit` and the configured page size; empty only at the end.
    package func nextPage(limit: Int) -> [String] {
        let limit = max(1, min(limit, shared.configuration.maximumPageSize))
        return next.withLock { next in
            var page: [String] = []
            while page.count < limit, next <= UInt64(Ordinal.max) {
                // A few at a time: the writer waits as long as ids are being read.
                var ordinals: [Ordinal] = []
                let wanted = min(128, limit - page.count)
                bitmap.forEach(from: Ordinal(next)) {
                    ordinals.append($0)
                    return ordinals.count < wanted
                }
                next = ordinals.count < wanted ? .max : UInt64(ordinals[wanted - 1]) + 1
                shared.index.appendIDs(of: ordinals, to: &page)
            }
            return page
        }
    }

    /// Where the last page ended, for a later snapshot to go on behind it; opaque, at most 48 bytes.
    package var cursor: [UInt8] {
        MemberCursor(subject: subject, next: next.withLock { $0 }, sequence: sequence).encoded
    }
}

/// A place in the members of a cohort or of a combination.
struct MemberCursor {
    /// What is listed. Raw values of `Form` are in cursors that callers keep.
    enum Subject: Sendable, Hashable {
        case cohort(CohortNumber, Membership)
        /// The same at a point of the past.
        case past(CohortNumber, Membership, PastPoint)
        /// By a digest of the expression.
        case combination(UInt32)
    }

    private enum Form: UInt8 {
        case cohort = 1
        case combination = 2
        case pastSequence = 3
        case pastTime = 4
    }

    var subject: Subject
    var next: UInt64
    var sequence: UInt64

    init(subject: Subject, next: UInt64, sequence: UInt64) {
        self.subject = subject
        self.next = next
        self.sequence = sequence
    }

    init(_ bytes: [UInt8]) throws(DomainError) {
        let decoded = bytes.withUnsafeBytes { bytes in
            Result { () throws(CodecError) in
                var reader = ByteReader(bytes)
                let subject: Subject
                switch Form(rawValue: try reader.byte()) {
                case .cohort:
                    let (cohort, state) = try Self.cohort(&reader)
                    subject = .cohort(cohort, state)
                case .combination: subject = .combination(try reader.varint32())
                case .pastSequence:
                    let (cohort, state) = try Self.cohort(&reader)
                    subject = .past(cohort, state, .sequence(try reader.varint()))
                case .pastTime:
                    let (cohort, state) = try Self.cohort(&reader)
                    subject = .past(cohort, state, .time(try reader.timestamp()))
                case nil: throw CodecError("unknown format")
                }
                let cursor = MemberCursor(subject: subject, next: try reader.varint(), sequence: try reader.varint())
                try reader.expectEnd()
                return cursor
            }
        }
        guard case .success(let cursor) = decoded else {
            throw .invalid("cursor", "is not one that this server gave; start again without")
        }
        self = cursor
    }

    private static func cohort(_ reader: inout ByteReader) throws(CodecError) -> (CohortNumber, Membership) {
        let cohort = try reader.varint32()
        guard let state = Membership(rawValue: try reader.byte()) else { throw CodecError("unknown state") }
        return (cohort, state)
    }

    var encoded: [UInt8] {
        var writer = ByteWriter(reserving: 48)
        switch subject {
        case .past(let cohort, let state, let point):
            switch point {
            case .sequence(let sequence):
                writer.byte(Form.pastSequence.rawValue)
                writer.varint(cohort)
                writer.byte(state.rawValue)
                writer.varint(sequence)
            case .time(let time):
                writer.byte(Form.pastTime.rawValue)
                writer.varint(cohort)
                writer.byte(state.rawValue)
                writer.timestamp(time)
            }
        case .cohort(let cohort, let state):
            writer.byte(Form.cohort.rawValue)
            writer.varint(cohort)
            writer.byte(state.rawValue)
        case .combination(let digest):
            writer.byte(Form.combination.rawValue)
            writer.varint(digest)
        }
        writer.varint(next)
        writer.varint(sequence)
        return writer.finish()
    }

    /// The ordinal to go on at, if the cursor belongs to these members.
    func start(of subject: Subject, in current: UInt64) throws(DomainError) -> UInt64 {
        guard subject == self.subject else {
            throw .invalid("cursor", "is of another cohort, state, expression or point of time; start again without")
        }
        guard sequence <= current else {
            throw .invalid("cursor", "is of a later sequence than this server holds; start again without")
        }
        return next
    }
}
