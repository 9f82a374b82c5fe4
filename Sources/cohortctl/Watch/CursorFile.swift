import Foundation

/// The place of a watch, kept in a file between runs.
struct CursorFile {
    private struct Content: Codable {
        /// In base64.
        var cursor: Data
        /// Everything up to here has been printed.
        var sequence: UInt64
        /// What the watch was about, in order; empty for all.
        var cohorts: [String]
    }

    private let path: String
    private let cohorts: [String]
    /// The last place; `nil` before the first.
    private(set) var cursor: Data?

    /// Reads the file, if there is one.
    ///
    /// - Throws: ``CommandFailure`` when it is not readable, or of a watch of other cohorts: what those changed meanwhile would
    ///   be missed.
    init(path: String, cohorts: [String]) throws {
        self.path = path
        self.cohorts = cohorts.sorted()
        guard FileManager.default.fileExists(atPath: path) else { return }
        guard let data = FileManager.default.contents(atPath: path),
            let content = try? JSONDecoder().decode(Content.self, from: data)
        else {
            throw CommandFailure.failed(
                "--cursor-file: '\(path)' is not readable, or no cursor file; delete it to start anew"
            )
        }
        guard content.cohorts == self.cohorts else {
            let names = content.cohorts.isEmpty ? "all cohorts" : content.cohorts.joined(separator: ", ")
            throw CommandFailure.usage(
                "--cursor-file: '\(path)' is of a watch of \(names); give another file, or delete it"
            )
        }
        cursor = content.cursor
    }

    /// Notes the place, in one step: whoever reads the file sees the old one or the new one.
    mutating func save(_ cursor: Data, sequence: UInt64) throws {
        guard cursor != self.cursor else { return }
        do {
            try JSONEncoder().encode(Content(cursor: cursor, sequence: sequence, cohorts: cohorts))
                .write(to: URL(fileURLWithPath: path), options: .atomic)
        } catch {
            throw CommandFailure.failed("--cursor-file: cannot write '\(path)': \(error.localizedDescription)")
        }
        self.cursor = cursor
    }
}
