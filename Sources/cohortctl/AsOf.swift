import ArgumentParser
import CohortAPI
import SwiftProtobuf

/// A point of the past as it is written on the command line: a sequence, or a time.
enum AsOf: ExpressibleByArgument, Equatable {
    case sequence(UInt64)
    case time(Google_Protobuf_Timestamp)

    static let help = ArgumentHelp(
        "As of an earlier point: a sequence, or a time as 2026-03-01 or 2026-03-01T12:00:00Z.",
        valueName: "point"
    )

    init?(argument: String) {
        if !argument.isEmpty, argument.utf8.allSatisfy({ UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0 }) {
            guard let sequence = UInt64(argument) else { return nil }
            self = .sequence(sequence)
        } else {
            guard case .success(let time) = AttributeText.parseTime(argument) else { return nil }
            self = .time(time)
        }
    }
}

/// A time as it is written on the command line.
struct TimeArgument: ExpressibleByArgument {
    let time: Google_Protobuf_Timestamp

    init?(argument: String) {
        guard case .success(let time) = AttributeText.parseTime(argument) else { return nil }
        self.time = time
    }
}

/// A request that can be asked as of a point of the past.
protocol AsOfRequest {
    var asOfSequence: UInt64 { get set }
    var asOfTime: Google_Protobuf_Timestamp { get set }
}

extension CheckMembershipRequest: AsOfRequest {}
extension ListMembersRequest: AsOfRequest {}
extension CountMembersRequest: AsOfRequest {}

extension AsOfRequest {
    mutating func set(_ point: AsOf?) {
        switch point {
        case .sequence(let sequence): asOfSequence = sequence
        case .time(let time): asOfTime = time
        case nil: break
        }
    }
}
