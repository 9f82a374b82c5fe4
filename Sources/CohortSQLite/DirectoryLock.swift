import CohortCore
import Foundation

/// Keeps a second process out of a data directory, by an advisory lock on a file in it (flock(2)). The lock goes with the
/// process, however it ends; the file stays.
final class DirectoryLock: Sendable {
    private let descriptor: Int32

    init(directory: String) throws(StoreError) {
        let path = directory + "/lock"
        descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            throw .failed("\(path) cannot be opened: \(Self.reason()). \(StoreError.permission)")
        }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            let code = errno
            var holder = [UInt8](repeating: 0, count: 32)
            let size = read(descriptor, &holder, holder.count)
            close(descriptor)
            guard code == EWOULDBLOCK else { throw .failed("\(path) cannot be locked: \(Self.reason(code))") }
            let process = String(decoding: holder.prefix(max(size, 0)), as: UTF8.self)
                .trimmingCharacters(in: .whitespacesAndNewlines)
            throw .refused(
                "another process\(process.isEmpty ? "" : " (\(process))") is using \(directory). Stop it first, or give "
                    + "this one a data directory of its own"
            )
        }
        let text = Array("\(getpid())\n".utf8)
        // Only a help for who meets the lock.
        _ = ftruncate(descriptor, 0)
        _ = text.withUnsafeBytes { pwrite(descriptor, $0.baseAddress, $0.count, 0) }
    }

    func release() {
        _ = flock(descriptor, LOCK_UN)
        close(descriptor)
    }

    private static func reason(_ code: Int32 = errno) -> String { String(cString: strerror(code)) }
}
