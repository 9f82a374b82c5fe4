import CohortAPI
import Foundation
import SwiftProtobuf

/// Events as lines: for people, or as JSON for scripts.
struct EventText {
    let format: OutputFormat
    let style: Style

    /// Everything of a message, each line ended; empty if there is nothing to print.
    func lines(_ page: WatchMembershipsResponse) throws -> String {
        var lines: [String] = []
        if page.snapshotBegins { lines.append(mark("snapshot_begins", "who is IN or UNKNOWN", page)) }
        for event in page.events {
            lines.append(format == .json ? try jsonText(event) : text(event))
        }
        if page.snapshotEnds { lines.append(mark("snapshot_ends", "changes after this", page)) }
        return lines.map { $0 + "\n" }.joined()
    }

    private func mark(_ name: String, _ text: String, _ page: WatchMembershipsResponse) -> String {
        format == .json
            ? "{\"\(name)\":true,\"sequence\":\(page.sequence)}" : "-- \(text), at sequence \(page.sequence)"
    }

    /// As `2026-01-31T08:15:00Z  42  IN       PREMIUM  C00042  an attribute, version 3`.
    private func text(_ event: MembershipEvent) -> String {
        let state = event.membership.text.padding(toLength: 7, withPad: " ", startingAt: 0)
        var parts = [
            event.change.hasTime ? event.change.time.text : "-", String(event.change.sequence),
            style.paint(state, Style.colour(of: event.membership)),
            event.cohortID.isEmpty ? "(every cohort)" : event.cohortID,
            // The id of who was erased is not known any more.
            event.customerID.isEmpty ? "#\(event.customerNumber)" : event.customerID,
        ]
        if event.change.cause != .unspecified {
            let version = event.change.cohortVersion > 0 ? ", version \(event.change.cohortVersion)" : ""
            parts.append(event.change.cause.text + version)
        }
        return parts.joined(separator: "  ")
    }
}
