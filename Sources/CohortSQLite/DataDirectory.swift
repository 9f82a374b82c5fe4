import CohortCore
import Foundation

/// The directory of a store: that it is there, and that the names in it survive a loss of power.
enum DataDirectory {
    /// Makes `path`, readable by its owner alone, with the directories above it. Those that are new are synced into the
    /// ones that hold them: else the whole store could be gone after a loss of power, whatever its files were synced for.
    static func make(_ path: String) throws(StoreError) {
        var missing: [String] = []
        var directory = URL(fileURLWithPath: path).standardizedFileURL
        while directory.path != "/", !FileManager.default.fileExists(atPath: directory.path) {
            missing.append(directory.path)
            directory.deleteLastPathComponent()
        }
        do {
            try FileManager.default.createDirectory(
                atPath: path,
                withIntermediateDirectories: true,
                attributes: [.posixPermissions: 0o700]
            )
        } catch {
            throw .failed("\(path) cannot be made: \(error.localizedDescription). \(StoreError.permission)")
        }
        for new in missing { try sync(URL(fileURLWithPath: new).deletingLastPathComponent().path) }
    }

    /// Makes the names in `path` durable.
    static func sync(_ path: String) throws(StoreError) {
        let descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .failed("\(path) cannot be opened: \(String(cString: strerror(errno)))") }
        defer { close(descriptor) }
        // Some file systems cannot sync a directory and say EINVAL; there is nothing more to do on those.
        guard fsync(descriptor) == 0 || errno == EINVAL else {
            throw .failed("\(path) cannot be synced: \(String(cString: strerror(errno)))")
        }
    }
}
