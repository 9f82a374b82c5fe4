import CohortCore
import Foundation
import ServiceSettings
import Testing

@testable import cohort_server

@Suite("Audit keys")
struct AuditKeyTests {
    private let directory = NSTemporaryDirectory() + "audit-\(UUID().uuidString)"

    private func key() -> String { Data(AuditKey.randomSecret()).base64EncodedString() }

    private func write(_ text: String, mode: Int = 0o600) throws -> AuditKeyFile {
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        let path = directory + "/audit.key"
        try text.write(toFile: path, atomically: true, encoding: .utf8)
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path)
        return AuditKeyFile(path: path, isDevelopment: false)
    }

    private func refusal(_ file: AuditKeyFile) -> String {
        let error = #expect(throws: SettingsError.self) { try file.load() }
        return error?.description ?? ""
    }

    @Test("The last key of the file is the current one; what is no key is named by its line")
    func file() throws {
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let (old, new) = (key(), key())
        let keys = try write("\(old)\n\(new)\n").load()
        #expect(keys.ids.count == 2)
        #expect(try write(new).load().current.id == keys.current.id)
        #expect(refusal(try write("\(old)\nshort\n")).contains("line 2"))
        #expect(refusal(try write("")).contains("cohortctl audit key"))
        #expect(refusal(AuditKeyFile(path: directory + "/none", isDevelopment: false)).contains("--audit-key-file"))
    }

    @Test("A file that others may read is refused, but in development", arguments: [0o602, 0o604, 0o620])
    func permissions(mode: Int) throws {
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let file = try write(key(), mode: mode)
        #expect(refusal(file).contains("chmod 600"))
        _ = try AuditKeyFile(path: file.path, isDevelopment: true).load()
        // Orchestrators hand secrets to a process by its group.
        _ = try write(key(), mode: 0o640).load()
    }

    @Test("In development a key is made once, for its owner alone")
    func development() throws {
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let file = AuditKeyFile(path: directory + "/keys/audit.key", isDevelopment: true)
        let first = try file.load()
        #expect(try file.load().current.id == first.current.id)
        let mode = try FileManager.default.attributesOfItem(atPath: file.path)[.posixPermissions] as? Int
        #expect(mode == 0o600)
    }

    @Test("A file that was replaced is stale until it is loaded")
    func staleness() throws {
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let file = try write(key())
        _ = try file.load()
        #expect(!file.isStale)
        _ = try write(key() + "\n" + key())
        #expect(file.isStale)
        #expect(try file.load().ids.count == 2 && !file.isStale)
    }
}
