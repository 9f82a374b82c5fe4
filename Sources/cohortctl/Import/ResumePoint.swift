import Foundation

/// How far an import got, kept beside the file (`FILE.cohort-import`) until the import is complete.
struct ResumePoint: Codable, Equatable {
    /// Size of the input in bytes, to notice another file of the same name.
    var fileBytes: Int
    var receipt: ImportReceipt

    static func path(for file: String) -> String { file + ".cohort-import" }

    /// The point saved for `file`, or nil when there is none.
    ///
    /// - Throws: ``CommandFailure`` when it is not of this file, or unreadable.
    static func load(for file: String, fileBytes: Int) throws -> ResumePoint? {
        let path = path(for: file)
        guard let data = FileManager.default.contents(atPath: path) else { return nil }
        guard let point = try? JSONDecoder().decode(ResumePoint.self, from: data) else {
            throw CommandFailure.failed("'\(path)' is not readable; delete it and import without --resume")
        }
        guard point.fileBytes == fileBytes else {
            throw CommandFailure.failed(
                "'\(file)' has changed since the import that '\(path)' is about; delete that and import without --resume"
            )
        }
        return point
    }

    /// Saves it, in one step.
    func save(for file: String) throws {
        try JSONEncoder().encode(self).write(to: URL(fileURLWithPath: Self.path(for: file)), options: .atomic)
    }

    static func remove(for file: String) {
        try? FileManager.default.removeItem(atPath: path(for: file))
    }
}
