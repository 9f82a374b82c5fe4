import CohortAPI

/// What became of the rows so far; also what is written to disk to resume from.
struct ImportReceipt: Codable, Equatable {
    /// A row that was not taken.
    struct Rejection: Codable, Equatable {
        /// The line of the file, from 1.
        var line: Int
        var reason: String
    }

    /// Rows of the file that are done, refused ones included.
    var rows = 0
    var created = 0
    var updated = 0
    var unchanged = 0
    var stale = 0
    var rejected = 0
    /// The sequence that includes all of them.
    var sequence: UInt64 = 0
    /// The first of the refused rows, at most ``maximumRejections``.
    var rejections: [Rejection] = []

    /// The rejects file has all of them; a receipt of a million lines helps nobody.
    static let maximumRejections = 100

    mutating func reject(line: Int, reason: String) {
        rejected += 1
        if rejections.count < Self.maximumRejections { rejections.append(Rejection(line: line, reason: reason)) }
    }

    /// Adds what the server counted since an earlier acknowledgement of the same call.
    mutating func add(_ counts: ImportCounts, since earlier: ImportCounts) {
        created += Int(counts.created - earlier.created)
        updated += Int(counts.updated - earlier.updated)
        unchanged += Int(counts.unchanged - earlier.unchanged)
        stale += Int(counts.stale - earlier.stale)
    }

    /// For people.
    var text: String {
        var lines = [
            "accepted   \(created + updated) (\(created) created, \(updated) updated)",
            "unchanged  \(unchanged)",
            "stale      \(stale)",
            "rejected   \(rejected)",
        ]
        lines += rejections.map { "  line \($0.line): \($0.reason)" }
        if rejected > rejections.count {
            lines.append("  … and \(rejected - rejections.count) more; --rejects FILE writes all of them")
        }
        lines.append("sequence   \(sequence)")
        return lines.joined(separator: "\n")
    }
}
