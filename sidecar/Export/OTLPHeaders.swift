import Foundation
import RPC
import Synchronization

/// The headers that a collector wants, in a file that others may not read: most often a secret is among them.
final class OTLPHeaders: Sendable {
    private let file: SettingsFile
    private let headers: Mutex<[(String, String)]>

    /// - Throws: ``SettingsFile/Refused``.
    init(_ path: String) throws(SettingsFile.Refused) {
        file = SettingsFile(path: path, secrecy: .secret)
        headers = Mutex(try Self.parse(try file.read(), path))
    }

    /// What to send now. A file that cannot be used any more leaves them as they were.
    var current: [(String, String)] {
        if file.isStale, let data = try? file.read(), let fresh = try? Self.parse(data, file.path) {
            headers.withLock { $0 = fresh }
        }
        return headers.withLock { $0 }
    }

    /// Those that are set by what is sent.
    private static let own: Set<String> = [
        "content-type", "content-encoding", "content-length", "transfer-encoding", "host",
    ]

    static func parse(_ data: Data, _ path: String) throws(SettingsFile.Refused) -> [(String, String)] {
        var headers: [(String, String)] = []
        // With CR and LF as one character, so not split by "\n".
        let lines = String(decoding: data, as: UTF8.self).split(
            omittingEmptySubsequences: false,
            whereSeparator: \.isNewline
        )
        for (number, line) in lines.enumerated() {
            let line = line.trimmingCharacters(in: .whitespacesAndNewlines)
            if line.isEmpty || line.hasPrefix("#") { continue }
            guard let colon = line.firstIndex(of: ":") else {
                throw .init("line \(number + 1) of '\(path)' is no header: it takes Name: value")
            }
            let name = line[..<colon]
            let value = line[line.index(after: colon)...].trimmingCharacters(in: .whitespaces)
            guard !name.isEmpty, name.utf8.allSatisfy(isToken), value.utf8.allSatisfy({ (0x20...0x7E).contains($0) })
            else {
                throw .init("line \(number + 1) of '\(path)' is no header: it takes Name: value in printable ASCII")
            }
            guard !own.contains(name.lowercased()) else {
                throw .init("line \(number + 1) of '\(path)': \(name) is set by the sidecar; remove it")
            }
            headers.append((String(name), value))
        }
        return headers
    }

    private static func isToken(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"):
            true
        default: "!#$%&'*+-.^_`|~".utf8.contains(byte)
        }
    }
}
