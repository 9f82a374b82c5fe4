import CohortAPI
import SwiftProtobuf
import Testing

@testable import cohortctl

@Suite("Points of the past, and colours")
struct AsOfTests {
    @Test("Digits are a sequence, all else is a time")
    func points() {
        #expect(AsOf(argument: "0") == .sequence(0))
        #expect(AsOf(argument: "18446744073709551615") == .sequence(.max))
        #expect(AsOf(argument: "2026-03-01") == .time(.init(seconds: 1_772_323_200)))
        #expect(AsOf(argument: "2026-03-01T02:00:00+02:00") == .time(.init(seconds: 1_772_323_200)))
        #expect(AsOf(argument: "2026-03-01T00:00:00.5Z") == .time(.init(seconds: 1_772_323_200, nanos: 500_000_000)))
        for text in ["", "18446744073709551616", "-1", "yesterday", "2026-13-01", "12a", "٣"] {
            #expect(AsOf(argument: text) == nil, "\(text)")
        }
    }

    @Test("Colour is for terminals, and not where it is unwanted")
    func colours() {
        #expect(Style(environment: [:], isTerminal: true).isColoured)
        #expect(Style(environment: ["NO_COLOR": ""], isTerminal: true).isColoured, "an empty value does not count")
        #expect(!Style(environment: ["NO_COLOR": "1"], isTerminal: true).isColoured)
        #expect(!Style(environment: ["TERM": "dumb"], isTerminal: true).isColoured)
        #expect(!Style(environment: [:], isTerminal: false).isColoured)
        #expect(Style(environment: [:], isTerminal: true).paint(Membership.in) == "\u{1B}[32mIN\u{1B}[0m")
        #expect(Style(environment: [:], isTerminal: false).paint(Membership.in) == "IN")
    }

    @Test("What goes on is coloured by its state, what is over is not, and columns stay aligned")
    func history() {
        let answer = GetMembershipHistoryResponse.with {
            $0.intervals = [
                .with {
                    $0.cohortID = "BIG"
                    $0.membership = .in
                    $0.entered.sequence = 7
                },
                .with {
                    $0.cohortID = "A"
                    $0.membership = .unknown
                    $0.entered.sequence = 4
                    $0.left.sequence = 7
                },
            ]
        }
        let lines = HistoryCommand.text(answer, Style(environment: [:], isTerminal: true)).split(separator: "\n")
        #expect(lines.count == 3 && lines[1].hasPrefix("\u{1B}[32mBIG") && lines[2].hasPrefix("A       UNKNOWN"))
        #expect(lines[1].hasSuffix("7…\u{1B}[0m") && lines[2].hasSuffix("4…7"))
    }
}
