public import Foundation
import Synchronization

/// A file that holds a key, a token or rules, and is read again when it changes.
///
/// Who may read or write it is checked with each reading: others than its owner and group may never write it, nor read it
/// where it is secret. (Group access is left to the operator: orchestrators hand secrets to a process by its group.)
public final class SettingsFile: Sendable {
    /// What others may do with the file.
    public enum Secrecy: Sendable, Hashable {
        /// Others may read it: public keys, rules.
        case open
        /// Others may not read it: private keys, tokens.
        case secret
        /// Not checked, for development.
        case unchecked
    }

    /// Why a file cannot be used.
    public struct Refused: Error, CustomStringConvertible {
        /// The file, what is wrong with it and what to do. Never what it holds.
        public let description: String

        /// Says what is wrong.
        public init(_ description: String) { self.description = description }
    }

    /// Largest file that is read, in bytes.
    public static let maximumBytes = 1 << 20

    /// Where it is.
    public let path: String
    private let secrecy: Secrecy
    private let stamp = Mutex<FileStamp?>(nil)

    /// Names a file; nothing is read yet.
    public init(path: String, secrecy: Secrecy) {
        self.path = path
        self.secrecy = secrecy
    }

    /// Whether the file differs from what was last read.
    public var isStale: Bool {
        let now = FileStamp(path)
        return stamp.withLock { $0 != now }
    }

    /// What it holds now. What cannot be read is not tried again before it changes once more, as far as ``isStale`` says.
    ///
    /// - Throws: ``Refused`` for a file that is not there, that others may change or read, or that is too large.
    public func read() throws(Refused) -> Data {
        let now = FileStamp(path)
        stamp.withLock { $0 = now }
        try Self.check(path, secrecy)
        guard let size = now?.size, size <= Self.maximumBytes else {
            throw Refused("'\(path)' is larger than \(Self.maximumBytes) bytes")
        }
        guard let data = FileManager.default.contents(atPath: path) else { throw Refused("'\(path)' cannot be read") }
        return data
    }

    /// Checks who may read and write a file; one that a library reads by itself is checked here beforehand.
    ///
    /// - Throws: ``Refused``, with the command that helps.
    public static func check(_ path: String, _ secrecy: Secrecy) throws(Refused) {
        guard let attributes = try? FileManager.default.attributesOfItem(atPath: resolved(path)) else {
            throw Refused("'\(path)' is not there or cannot be looked at")
        }
        guard secrecy != .unchecked, let mode = (attributes[.posixPermissions] as? NSNumber)?.intValue else { return }
        if mode & 0o022 != 0 {
            throw Refused("'\(path)' may be changed by others (mode \(text(mode))); run: chmod go-w '\(path)'")
        }
        if secrecy == .secret, mode & 0o007 != 0 {
            throw Refused(
                "'\(path)' is secret and may be read by others (mode \(text(mode))); run: chmod o-rwx '\(path)'"
            )
        }
    }

    private static func text(_ mode: Int) -> String { "0" + String(mode & 0o7777, radix: 8) }

    /// A link's own mode says nothing about the file.
    private static func resolved(_ path: String) -> String { URL(fileURLWithPath: path).resolvingSymlinksInPath().path }
}
