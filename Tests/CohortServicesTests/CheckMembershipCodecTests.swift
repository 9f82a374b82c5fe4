import CohortAPI
import NIOCore
import RPC
import SwiftProtobuf
import Testing

@testable import CohortCore
@testable import CohortServices

@Suite("The codec of CheckMembership, against SwiftProtobuf")
struct CheckMembershipCodecTests {
    private static let texts = ["", "a", "C00042", String(repeating: "x", count: 200), "zoë", "\u{1F600}"]
    private static let numbers: [UInt64] = [0, 1, 127, 128, 300, UInt64(UInt32.max), .max]

    @Test("Every request of the common form is read as SwiftProtobuf reads it")
    func requests() throws {
        for customer in Self.texts {
            for cohort in Self.texts {
                for sequence in Self.numbers {
                    let message = CheckMembershipRequest.with {
                        $0.customerID = customer
                        $0.cohortID = cohort
                        $0.minSequence = sequence
                    }
                    let bytes: [UInt8] = try message.serializedBytes()
                    let parsed = try #require(bytes.withUnsafeBytes { CheckMembershipCodec.parse($0) })
                    #expect(Array(bytes[parsed.customer]) == Array(customer.utf8))
                    #expect(Array(bytes[parsed.cohort]) == Array(cohort.utf8))
                    #expect(parsed.minSequence == sequence)
                }
            }
        }
    }

    @Test("Whatever it reads of mutated bytes, SwiftProtobuf reads the same or refuses for its texts alone")
    func mutations() throws {
        var generator = SystemRandomNumberGenerator()
        let message = CheckMembershipRequest.with {
            $0.customerID = "C00042"
            $0.cohortID = "PREMIUM"
            $0.minSequence = 300
        }
        let original: [UInt8] = try message.serializedBytes()
        var read = 0
        for _ in 0..<20_000 {
            var bytes = original
            for _ in 0..<Int.random(in: 0...3, using: &generator) {
                let index = Int.random(in: 0..<bytes.count, using: &generator)
                switch Int.random(in: 0..<3, using: &generator) {
                case 0: bytes[index] = UInt8.random(in: 0...255, using: &generator)
                case 1: bytes.remove(at: index)
                default: bytes.insert(bytes[index], at: index)
                }
            }
            guard let parsed = bytes.withUnsafeBytes({ CheckMembershipCodec.parse($0) }) else { continue }
            let texts = [bytes[parsed.customer], bytes[parsed.cohort]]
            guard texts.allSatisfy({ String(validating: $0, as: UTF8.self) != nil }) else { continue }
            read += 1
            let message = try #require(try? CheckMembershipRequest(serializedBytes: bytes), "\(bytes)")
            #expect(Array(message.customerID.utf8) == Array(texts[0]), "\(bytes)")
            #expect(Array(message.cohortID.utf8) == Array(texts[1]), "\(bytes)")
            #expect(
                message.minSequence == parsed.minSequence && !message.includeSince && message.asOf == nil,
                "\(bytes)"
            )
        }
        #expect(read > 100)
    }

    @Test("A request that is not of the common form is left to SwiftProtobuf")
    func otherForms() throws {
        let since: [UInt8] = try CheckMembershipRequest.with { $0.includeSince = true }.serializedBytes()
        let twice: [UInt8] = [10, 1, 97, 10, 1, 98]
        let truncated: [UInt8] = [10, 5, 97]
        let past: [UInt8] = try CheckMembershipRequest.with {
            $0.customerID = "a"
            $0.cohortID = "A"
            $0.asOfSequence = 0
        }.serializedBytes()
        let pastTime: [UInt8] = try CheckMembershipRequest.with { $0.asOfTime = .init() }.serializedBytes()
        for bytes in [since, past, pastTime, twice, truncated, [0xFF], [40, 1]] {
            #expect(bytes.withUnsafeBytes { CheckMembershipCodec.parse($0) } == nil)
        }
    }

    @Test("Every answer is written as SwiftProtobuf writes it")
    func answers() throws {
        let reasons: [CohortCore.Reason] = [
            .ruleMatch, .ruleNoMatch, .ruleError, .overrideInclude, .overrideExclude, .listed, .notListed,
            .customerNotFound, .building,
        ]
        for membership in [CohortCore.Membership.in, .out, .unknown] {
            for member in [nil, false, true] as [Bool?] {
                for reason in reasons {
                    for sequence in Self.numbers {
                        let answer = MembershipAnswer(
                            membership: membership,
                            member: member,
                            reason: reason,
                            sequence: sequence,
                            cohortVersion: UInt32(truncatingIfNeeded: sequence),
                            since: nil,
                            detail: ""
                        )
                        var buffer = ByteBuffer()
                        CheckMembershipCodec.write(answer, to: &buffer)
                        let expected: [UInt8] = try CheckMembershipResponse(answer).serializedBytes()
                        #expect(Array(buffer.readableBytesView) == expected)
                    }
                }
            }
        }
    }
}
