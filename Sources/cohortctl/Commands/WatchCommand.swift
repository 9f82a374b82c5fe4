import ArgumentParser
import CohortAPI
import Foundation
import RPC
import SwiftProtobuf

struct WatchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "watch",
        abstract: "Who enters and leaves cohorts, as it happens? One change a line, until it is stopped.",
        discussion: """
            With --cursor-file nothing is missed between two runs: the place is noted after the changes have been printed, \
            so that after a crash some may be printed again. With --output json each line is an event; a snapshot is \
            between lines with snapshot_begins and snapshot_ends. When the server goes away, the watch goes on as soon \
            as it is back.
            """
    )

    @Argument(help: "Only these cohorts. All when none is given.") var cohorts: [String] = []
    @Flag(
        help: """
            First print who is IN or UNKNOWN now; also later, where the server's change log does not reach back to the \
            cursor any more.
            """
    )
    var snapshot = false
    @Option(help: ArgumentHelp("Keep the place in this file, and go on from it.", valueName: "file"))
    var cursorFile: String?
    @ParentCommand var root: Cohortctl

    func run() async throws {
        var file = try cursorFile.map { try CursorFile(path: $0, cohorts: cohorts) }
        let text = EventText(
            format: root.session.output,
            style: Style()
        )
        try await root.session.withClient { client in
            try await watch(CohortClient(client).history, text, &file)
        }
    }

    /// Watches for ever, by one call after the other.
    private func watch(_ history: HistoryServiceClient, _ text: EventText, _ file: inout CursorFile?) async throws {
        var cursor = file?.cursor ?? Data()
        var failures = 0
        var wasConnected = false
        var lag = LagNote()
        while true {
            let request = WatchMembershipsRequest.with {
                $0.cohortIds = cohorts
                $0.cursor = cursor
                $0.snapshot = snapshot
            }
            var failure = RPCError(.unavailable, "the server ended the watch")
            do {
                // It goes on until it is stopped: no deadline.
                for try await page in try await history.watchMemberships(request) {
                    (failures, wasConnected) = (0, true)
                    // Not buffered: what the cursor stands behind has been handed over.
                    try FileHandle.standardOutput.write(contentsOf: Data(try text.lines(page).utf8))
                    lag.note(page)
                    guard !page.cursor.isEmpty else { continue }
                    cursor = page.cursor
                    try file?.save(cursor, sequence: page.sequence)
                }
            } catch let error as RPCError {
                failure = error
            }
            failures += 1
            switch failure.code {
            case .unavailable where wasConnected, .resourceExhausted where wasConnected: break
            case .outOfRange where snapshot && !cursor.isEmpty, .failedPrecondition where snapshot && !cursor.isEmpty:
                cursor = Data()
            default: throw failure
            }
            let backoff = Backoff().delay(afterFailures: failures, random: Double.random(in: 0..<1))
            let wait = max(backoff, failure.retryDelay ?? .zero)
            writeError("note: \(failure.message) (\(failure.code)); going on in \(Self.seconds(wait)) s")
            try await Task.sleep(for: wait)
        }
    }

    private static func seconds(_ wait: Duration) -> String { String(format: "%.1f", wait / .seconds(1)) }
}

/// Tells once when the watch is far behind, and once when it is not any more.
private struct LagNote {
    private static let seconds = 10.0
    private var isBehind = false

    mutating func note(_ page: WatchMembershipsResponse) {
        if !page.hasBehindSince {
            if isBehind { writeError("note: up to date again, at sequence \(page.sequence)") }
            isBehind = false
        } else if !isBehind, Date.now.timeIntervalSince(page.behindSince.date) > Self.seconds {
            isBehind = true
            let sequences = page.latestSequence - min(page.sequence, page.latestSequence)
            writeError("note: behind by \(sequences) sequences, since \(page.behindSince.text)")
        }
    }
}
