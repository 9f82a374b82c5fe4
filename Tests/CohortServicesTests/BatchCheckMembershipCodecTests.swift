import CohortAPI
import NIOCore
import SwiftProtobuf
import Testing

@testable import CohortCore
@testable import CohortServices

@Suite("The codec of BatchCheckMembership, against SwiftProtobuf")
struct BatchCheckMembershipCodecTests {
    private static let texts = ["", "a", "C00042", String(repeating: "x", count: 200), "zoë", "\u{1F600}"]

    private func customers(_ bytes: [UInt8], groupSize: Int) -> [[UInt8]] {
        bytes.withUnsafeBytes { bytes in
            var customers = BatchCheckMembershipCodec.Customers(bytes)
            var result: [[UInt8]] = []
            withUnsafeTemporaryAllocation(of: UnsafeRawBufferPointer.self, capacity: groupSize) { group in
                while case let count = customers.next(group), count > 0 {
                    result += group[..<count].map { Array($0) }
                }
            }
            return result
        }
    }

    @Test("Requests are read as SwiftProtobuf reads them", arguments: 0..<50)
    func requests(seed: Int) throws {
        var random = SystemRandomNumberGenerator()
        let message = BatchCheckMembershipRequest.with {
            $0.customerIds = (0...(seed * 3)).map { _ in Self.texts.randomElement(using: &random) ?? "" }
            $0.cohortIds = [Self.texts.randomElement(using: &random) ?? ""]
            $0.minSequence = [0, 1, 300, .max].randomElement(using: &random) ?? 0
        }
        let bytes: [UInt8] = try message.serializedBytes()
        let parsed = try #require(bytes.withUnsafeBytes { BatchCheckMembershipCodec.parse($0) })
        #expect(parsed.customers == message.customerIds.count)
        #expect(Array(bytes[parsed.cohort]) == Array(message.cohortIds[0].utf8))
        #expect(parsed.minSequence == message.minSequence)
        #expect(customers(bytes, groupSize: 32) == message.customerIds.map { Array($0.utf8) })
        #expect(customers(bytes, groupSize: 1) == message.customerIds.map { Array($0.utf8) })
    }

    @Test("What it reads of mutated bytes SwiftProtobuf reads too, or refuses for its texts alone")
    func mutations() throws {
        var random = SystemRandomNumberGenerator()
        let message = BatchCheckMembershipRequest.with {
            $0.customerIds = ["C00042", "C00043", "x"]
            $0.cohortIds = ["PREMIUM"]
            $0.minSequence = 300
        }
        let original: [UInt8] = try message.serializedBytes()
        var read = 0
        for _ in 0..<20_000 {
            var bytes = original
            for _ in 0..<Int.random(in: 0...3, using: &random) {
                let index = Int.random(in: 0..<bytes.count, using: &random)
                switch Int.random(in: 0..<3, using: &random) {
                case 0: bytes[index] = UInt8.random(in: 0...255, using: &random)
                case 1: bytes.remove(at: index)
                default: bytes.insert(bytes[index], at: index)
                }
            }
            guard let parsed = bytes.withUnsafeBytes({ BatchCheckMembershipCodec.parse($0) }) else { continue }
            let ids = customers(bytes, groupSize: 2)
            guard (ids + [Array(bytes[parsed.cohort])]).allSatisfy({ String(validating: $0, as: UTF8.self) != nil })
            else { continue }
            read += 1
            let message = try #require(try? BatchCheckMembershipRequest(serializedBytes: bytes), "\(bytes)")
            #expect(message.customerIds.map { Array($0.utf8) } == ids, "\(bytes)")
            #expect(message.cohortIds.map { Array($0.utf8) } == [Array(bytes[parsed.cohort])], "\(bytes)")
            #expect(message.minSequence == parsed.minSequence, "\(bytes)")
        }
        #expect(read > 1_000)
    }

    @Test("Requests of another form are left to SwiftProtobuf")
    func others() throws {
        let requests = [
            BatchCheckMembershipRequest.with { $0.customerIds = ["a"] },
            .with { $0.cohortIds = ["A"] },
            .with {
                $0.customerIds = ["a"]
                $0.cohortIds = ["A", "B"]
            },
            .with {
                $0.customerIds = Array(repeating: "a", count: 10_001)
                $0.cohortIds = ["A"]
            },
        ]
        for request in requests {
            let bytes: [UInt8] = try request.serializedBytes()
            #expect(bytes.withUnsafeBytes { BatchCheckMembershipCodec.parse($0) } == nil)
        }
    }

    @Test("Answers are the bytes that SwiftProtobuf writes", arguments: [1, 2, 127, 128, 10_000])
    func answers(count: Int) throws {
        let memberships: [CohortCore.Membership] = [.in, .out, .unknown]
        let reasons: [CohortCore.Reason] = [
            .ruleMatch, .ruleNoMatch, .ruleError, .overrideInclude, .overrideExclude, .listed, .notListed,
            .customerNotFound, .building,
        ]
        for (sequence, version, policy) in [
            (0, 1, .unknown), (300, 127, .memberIn), (.max, 128, .memberOut), (1, .max, .unknown),
        ] as [(UInt64, UInt32, CohortCore.FailPolicy)] {
            let answer = BatchAnswer(sequence: sequence, cohorts: [.init(version: version, failPolicy: policy)])
            let found = (0..<count).map {
                BatchedMembership(membership: memberships[$0 % 3], reason: reasons[$0 % reasons.count])
            }
            var buffer = ByteBuffer(string: "before")
            let bytes = found.map { CheckMembershipCodec.membership($0.membership) }
            let causes = found.map { CheckMembershipCodec.reason($0.reason) }
            bytes.withUnsafeBytes { bytes in
                causes.withUnsafeBytes { causes in
                    BatchCheckMembershipCodec.write(answer, memberships: bytes, reasons: causes, to: &buffer)
                }
            }
            let expected: [UInt8] = try BatchCheckMembershipResponse(answer, found).serializedBytes()
            #expect(Array(buffer.readableBytesView.dropFirst(6)) == expected)
        }
    }
}
