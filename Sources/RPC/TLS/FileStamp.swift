import Foundation

/// What tells that a file was changed or replaced.
struct FileStamp: Equatable {
    let modified: Date?
    let size: Int?
    let inode: Int?

    /// Nil where the file cannot be looked at.
    init?(_ path: String) {
        guard let attributes = try? FileManager.default.attributesOfItem(atPath: path) else { return nil }
        modified = attributes[.modificationDate] as? Date
        size = (attributes[.size] as? NSNumber)?.intValue
        inode = (attributes[.systemFileNumber] as? NSNumber)?.intValue
    }
}
