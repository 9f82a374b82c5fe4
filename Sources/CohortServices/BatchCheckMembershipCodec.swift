package import CohortCore
package import NIOCore
import RPC

/// Reads and writes the messages of `BatchCheckMembership` by hand where it asks for many customers and one cohort: a
/// message object would take an allocation for each id.
///
/// As for `CheckMembershipCodec`, whatever else a request may be is left to SwiftProtobuf, and a property test holds both
/// to the same bytes.
package enum BatchCheckMembershipCodec {
    /// What a request asks besides its customers.
    package struct Request: Equatable {
        package var cohort: Range<Int>
        package var minSequence: UInt64 = 0
        package var customers = 0
    }

    /// The request, if it has one `cohort_id`, customers within the limit, `min_sequence` at most once and nothing else;
    /// nil for any other, malformed ones included. The texts may not be UTF-8.
    package static func parse(_ bytes: UnsafeRawBufferPointer) -> Request? {
        var cohort: Range<Int>?
        var minSequence: UInt64?
        var customers = 0
        var reader = WireReader(bytes)
        do throws(WireReader.Failure) {
            while !reader.isAtEnd {
                switch try reader.tag() {
                case (1, 2):
                    _ = try reader.lengthDelimited()
                    customers += 1
                case (2, 2) where cohort == nil: cohort = try reader.lengthDelimited()
                case (3, 0) where minSequence == nil: minSequence = try reader.varint()
                default: return nil
                }
            }
        } catch {
            return nil
        }
        guard let cohort, (1...Engine.maximumBatchCustomers).contains(customers) else { return nil }
        return Request(cohort: cohort, minSequence: minSequence ?? 0, customers: customers)
    }

    /// Hands out the customers of a request that was parsed, in order.
    package struct Customers {
        private var reader: WireReader
        private let bytes: UnsafeRawBufferPointer

        package init(_ bytes: UnsafeRawBufferPointer) {
            self.bytes = bytes
            reader = WireReader(bytes)
        }

        /// Fills the buffer from its start and returns how many there were; 0 at the end.
        package mutating func next(_ group: UnsafeMutableBufferPointer<UnsafeRawBufferPointer>) -> Int {
            var count = 0
            do throws(WireReader.Failure) {
                while count < group.count, !reader.isAtEnd {
                    switch try reader.tag() {
                    case (1, _):
                        group[count] = UnsafeRawBufferPointer(rebasing: bytes[try reader.lengthDelimited()])
                        count += 1
                    case (2, _): _ = try reader.lengthDelimited()
                    default: _ = try reader.varint()
                    }
                }
            } catch {
                // It was parsed before: it does not fail now.
                return count
            }
            return count
        }
    }

    /// Appends the answer, in the order and form in which SwiftProtobuf writes it.
    ///
    /// - Parameters:
    ///   - memberships: the numbers of the states on the wire, one byte each.
    ///   - reasons: likewise.
    package static func write(
        _ answer: BatchAnswer,
        memberships: UnsafeRawBufferPointer,
        reasons: UnsafeRawBufferPointer,
        to buffer: inout ByteBuffer
    ) {
        for (field, values) in [(UInt8(1), memberships), (2, reasons)] where !values.isEmpty {
            buffer.append(atMost: 11) { writer in
                writer.byte(field << 3 | 2)
                writer.varint(UInt64(values.count))
            }
            buffer.writeBytes(values)
        }
        guard let cohort = answer.cohorts.first else { return }
        buffer.append(atMost: 32) { writer in
            if answer.sequence != 0 {
                writer.byte(3 << 3)
                writer.varint(answer.sequence)
            }
            var size: UInt8 = 1
            while UInt64(cohort.version) >> (7 * UInt64(size)) > 0 { size += 1 }
            writer.byte(4 << 3 | 2)
            writer.byte(size)
            writer.varint(UInt64(cohort.version))
            writer.byte(5 << 3 | 2)
            writer.byte(1)
            writer.byte(failPolicy(cohort.failPolicy))
        }
    }

    private static func failPolicy(_ policy: FailPolicy) -> UInt8 {
        switch policy {
        case .unknown: 1
        case .memberIn: 2
        case .memberOut: 3
        }
    }
}
