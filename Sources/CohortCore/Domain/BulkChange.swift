/// Memberships of one cohort that change together: customers by what they become. The three sets are disjoint, and hold
/// only customers that were something else before.
///
/// Never changed once made, which is what makes sharing it between threads safe.
package final class BulkChange: @unchecked Sendable {
    package let stage: UInt64
    package let cohort: CohortNumber
    package let version: UInt32
    package let cause: TransitionCause
    package let toIn: ChunkedBitmap
    package let toOut: ChunkedBitmap
    package let toUnknown: ChunkedBitmap

    package init(
        stage: UInt64,
        cohort: CohortNumber,
        version: UInt32,
        cause: TransitionCause,
        toIn: ChunkedBitmap,
        toOut: ChunkedBitmap,
        toUnknown: ChunkedBitmap
    ) {
        self.stage = stage
        self.cohort = cohort
        self.version = version
        self.cause = cause
        self.toIn = toIn
        self.toOut = toOut
        self.toUnknown = toUnknown
    }

    /// The number under which a change is staged: one for each part of each entry. That of the first part is the entry's
    /// sequence.
    ///
    /// - Parameters:
    ///   - sequence: below 2^44, the sequence that the entry is to get.
    ///   - part: below 2^19.
    package static func stage(sequence: UInt64, part: Int) -> UInt64 { UInt64(part) << stageSequenceBits | sequence }

    /// The low bits of a stage are the sequence.
    package static let stageSequenceBits: UInt64 = 44

    package var count: UInt64 { toIn.count + toOut.count + toUnknown.count }
    package var bytes: Int { toIn.bytes + toOut.bytes + toUnknown.bytes }

    /// Chunks of ordinals up to the last that may hold a member.
    var chunks: Int { max(toIn.chunkCapacity, toOut.chunkCapacity, toUnknown.chunkCapacity) }

    func hasMembers(inChunk chunk: Int) -> Bool {
        toIn.hasMembers(inChunk: chunk) || toOut.hasMembers(inChunk: chunk) || toUnknown.hasMembers(inChunk: chunk)
    }

    package var reference: BulkReference {
        BulkReference(
            stage: stage,
            cohort: cohort,
            version: version,
            cause: cause,
            toIn: toIn.count,
            toOut: toOut.count,
            toUnknown: toUnknown.count
        )
    }

    /// What the customer becomes by it; `nil` if it does not concern the customer.
    package func membership(of ordinal: Ordinal) -> Membership? {
        if toIn.contains(ordinal) { return .in }
        if toOut.contains(ordinal) { return .out }
        if toUnknown.contains(ordinal) { return .unknown }
        return nil
    }
}

/// A bulk change that took effect.
package struct AppliedBulk: Sendable {
    package var sequence: UInt64
    package var time: Timestamp
    package var change: BulkChange

    package init(sequence: UInt64, time: Timestamp, change: BulkChange) {
        self.sequence = sequence
        self.time = time
        self.change = change
    }
}

extension CustomerRecord {
    /// Brings a record up to date with the bulk changes made since it was written.
    ///
    /// - Parameter changes: in order of sequence.
    /// - Returns: the intervals that ended by it.
    package mutating func fold(_ changes: [AppliedBulk], ordinal: Ordinal) -> [ClosedInterval] {
        var closed: [ClosedInterval] = []
        guard let last = changes.last, last.sequence > sequence else { return closed }
        for bulk in changes where bulk.sequence > sequence {
            guard let membership = bulk.change.membership(of: ordinal) else { continue }
            if let interval = move(
                ordinal: ordinal,
                cohort: bulk.change.cohort,
                to: membership,
                version: bulk.change.version,
                cause: bulk.change.cause,
                sequence: bulk.sequence,
                time: bulk.time
            ) {
                closed.append(interval)
            }
        }
        return closed
    }
}
