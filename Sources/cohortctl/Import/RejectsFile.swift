import Foundation

/// The refused rows as CSV: `line,reason,row`, the row as it stands in the input.
final class RejectsFile {
    private let file: FileHandle

    /// - Parameter appending: Whether an import goes on, so that earlier rows stay.
    /// - Throws: ``CommandFailure`` when it cannot be written.
    init(path: String, appending: Bool) throws {
        let isNew = !appending || !FileManager.default.fileExists(atPath: path)
        if isNew { _ = FileManager.default.createFile(atPath: path, contents: nil) }
        guard let file = FileHandle(forWritingAtPath: path) else {
            throw CommandFailure.usage("--rejects: cannot write the file '\(path)'")
        }
        self.file = file
        try file.seekToEnd()
        if isNew { try file.write(contentsOf: Data("line,reason,row\n".utf8)) }
    }

    func add(line: Int, reason: String, row: String) throws {
        try file.write(contentsOf: Data("\(line),\(Self.quoted(reason)),\(Self.quoted(row))\n".utf8))
    }

    private static func quoted(_ field: String) -> String {
        "\"" + field.replacing("\"", with: "\"\"") + "\""
    }
}
