import CohortAPI
import Foundation
import SwiftProtobuf
import Testing

@testable import cohortctl

@Suite("Output of watch")
struct WatchOutputTests {
    private static let page = WatchMembershipsResponse.with {
        $0.phase = .changes
        $0.sequence = 43
        $0.events = [
            .with {
                $0.customerID = "C1"
                $0.customerNumber = 7
                $0.cohortID = "PREMIUM"
                $0.membership = .in
                $0.change = .with {
                    $0.sequence = 42
                    $0.time = .init(seconds: 1_750_000_000)
                    $0.cohortVersion = 3
                    $0.cause = .attribute
                }
            },
            .with {
                $0.customerNumber = 9
                $0.membership = .out
                $0.change = .with {
                    $0.sequence = 43
                    $0.time = .init(seconds: 1_750_000_001)
                    $0.cause = .erase
                }
            },
        ]
    }

    @Test("A person reads a line for each change, with colours only where they were asked for")
    func table() throws {
        let plain = try EventText(format: .table, style: Style(isTerminal: false)).lines(Self.page)
        #expect(
            plain == """
                2025-06-15T15:06:40Z  42  IN       PREMIUM  C1  an attribute, version 3
                2025-06-15T15:06:41Z  43  OUT      (every cohort)  #9  the erasure

                """
        )
        let colored = try EventText(format: .table, style: Style(environment: [:], isTerminal: true)).lines(Self.page)
        #expect(colored.contains("\u{1B}[32mIN     \u{1B}[0m") && colored.contains("\u{1B}[31mOUT    \u{1B}[0m"))
        #expect(colored.replacing(#/\u{1B}\[\d+m/#, with: "") == plain)
    }

    @Test("A script gets one JSON object for each event, and the borders of a snapshot")
    func json() throws {
        let text = EventText(format: .json, style: Style(isTerminal: false))
        let lines = try text.lines(Self.page).split(separator: "\n").map { try MembershipEvent(jsonString: String($0)) }
        #expect(lines == Self.page.events)
        var snapshot = Self.page
        snapshot.snapshotBegins = true
        snapshot.snapshotEnds = true
        let marked = try text.lines(snapshot).split(separator: "\n")
        #expect(marked.count == 4 && marked[0] == "{\"snapshot_begins\":true,\"sequence\":43}")
        #expect(marked[3] == "{\"snapshot_ends\":true,\"sequence\":43}")
        #expect(try text.lines(.init()).isEmpty)
    }

    @Test("The cursor file keeps the place, and is refused for other cohorts and when it is no cursor file")
    func cursorFile() throws {
        let path = NSTemporaryDirectory() + "cohort-cursor-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: path) }
        var file = try CursorFile(path: path, cohorts: ["B", "A"])
        #expect(file.cursor == nil && !FileManager.default.fileExists(atPath: path))
        try file.save(Data([1, 2, 3]), sequence: 5)
        #expect(try CursorFile(path: path, cohorts: ["A", "B"]).cursor == Data([1, 2, 3]))
        for cohorts in [[], ["A"], ["A", "B", "C"]] {
            let failure = #expect(throws: CommandFailure.self) { try CursorFile(path: path, cohorts: cohorts) }
            #expect(failure?.isUsage == true && failure?.message.contains("A, B") == true)
        }
        try "no".write(toFile: path, atomically: true, encoding: .utf8)
        let failure = #expect(throws: CommandFailure.self) { try CursorFile(path: path, cohorts: []) }
        #expect(failure?.isUsage == false && failure?.message.contains(path) == true)
        var elsewhere = try CursorFile(path: path + "/no/such/directory", cohorts: [])
        #expect(throws: CommandFailure.self) { try elsewhere.save(Data([1]), sequence: 1) }
    }
}
