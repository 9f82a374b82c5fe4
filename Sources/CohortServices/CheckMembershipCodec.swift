package import CohortCore
package import NIOCore
import RPC

/// Reads and writes the messages of `CheckMembership` by hand: the one method whose cost is the service's.
///
/// It knows the common form only; whatever else a request may be is left to SwiftProtobuf. A property test holds both
/// to the same bytes.
package enum CheckMembershipCodec {
    /// Where the fields of a request lie in it.
    package struct Request: Equatable {
        package var customer: Range<Int>
        package var cohort: Range<Int>
        package var minSequence: UInt64 = 0
    }

    /// The fields of a request that has each of `customer_id`, `cohort_id` and `min_sequence` at most once and nothing
    /// else; nil for any other, malformed ones included. The texts may not be UTF-8.
    package static func parse(_ bytes: UnsafeRawBufferPointer) -> Request? {
        var request = Request(customer: 0..<0, cohort: 0..<0)
        var reader = WireReader(bytes)
        var seen: UInt8 = 0
        do throws(WireReader.Failure) {
            while !reader.isAtEnd {
                let (field, wire) = try reader.tag()
                guard field <= 3, seen & 1 << field == 0 else { return nil }
                seen |= 1 << field
                switch (field, wire) {
                case (1, 2): request.customer = try reader.lengthDelimited()
                case (2, 2): request.cohort = try reader.lengthDelimited()
                case (3, 0): request.minSequence = try reader.varint()
                default: return nil
                }
            }
        } catch {
            return nil
        }
        return request
    }

    /// Appends an answer, in the order and form in which SwiftProtobuf writes it.
    package static func write(_ answer: MembershipAnswer, to buffer: inout ByteBuffer) {
        buffer.append(atMost: largestAnswer) { writer in
            writer.byte(1 << 3)
            writer.byte(membership(answer.membership))
            if let member = answer.member {
                writer.byte(2 << 3)
                writer.byte(member ? 1 : 0)
            }
            writer.byte(3 << 3)
            writer.byte(reason(answer.reason))
            if answer.sequence != 0 {
                writer.byte(4 << 3)
                writer.varint(answer.sequence)
            }
            if answer.cohortVersion != 0 {
                writer.byte(5 << 3)
                writer.varint(UInt64(answer.cohortVersion))
            }
        }
    }

    /// Bytes of the longest answer: three fields of one byte, a varint of ten and one of five, a tag before each.
    private static let largestAnswer = 3 * 2 + 1 + 10 + 1 + 5

    static func membership(_ membership: Membership) -> UInt8 {
        switch membership {
        case .in: 1
        case .out: 2
        case .unknown: 3
        }
    }

    static func reason(_ reason: Reason) -> UInt8 {
        switch reason {
        case .ruleMatch: 1
        case .ruleNoMatch: 2
        case .ruleError: 3
        case .overrideInclude: 4
        case .overrideExclude: 5
        case .listed: 6
        case .notListed: 7
        case .customerNotFound: 8
        case .building: 9
        }
    }
}
