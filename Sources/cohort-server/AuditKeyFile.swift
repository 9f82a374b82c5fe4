import CohortCore
import Foundation
import Logging
import RPC
import ServiceSettings

/// Where the keys of the audit chain come from.
enum AuditKeySource: Sendable {
    /// The value of COHORT_AUDIT_KEY.
    case environment(String)
    case file(AuditKeyFile)

    /// - Throws: ``SettingsError`` that names the setting.
    func load() throws -> AuditKeys {
        switch self {
        case .environment(let text):
            do { return try AuditKeys(text: text) } catch {
                throw SettingsError("COHORT_AUDIT_KEY: \(error)")
            }
        case .file(let file): return try file.load()
        }
    }
}

/// A file with the keys of the audit chain: one a line, the last is the current one.
struct AuditKeyFile: Sendable {
    private let file: SettingsFile
    /// Made if it is not there, and not checked for who may read it.
    let isDevelopment: Bool

    init(path: String, isDevelopment: Bool) {
        file = SettingsFile(path: path, secrecy: isDevelopment ? .unchecked : .secret)
        self.isDevelopment = isDevelopment
    }

    var path: String { file.path }
    /// Whether it differs from what was last loaded.
    var isStale: Bool { file.isStale }

    func load() throws -> AuditKeys {
        if isDevelopment, !FileManager.default.fileExists(atPath: path) { try make() }
        do {
            return try AuditKeys(text: String(decoding: file.read(), as: UTF8.self))
        } catch let error as SettingsFile.Refused {
            throw SettingsError(
                "--audit-key-file: \(error); `cohortctl audit key > FILE` makes one, `chmod 600 FILE` keeps it"
            )
        } catch {
            throw SettingsError("--audit-key-file: '\(path)': \(error)")
        }
    }

    private func make() throws {
        let directory = (path as NSString).deletingLastPathComponent
        try FileManager.default.createDirectory(
            atPath: directory,
            withIntermediateDirectories: true,
            attributes: [.posixPermissions: 0o700]
        )
        let line = Data(AuditKey.randomSecret()).base64EncodedString() + "\n"
        guard
            FileManager.default.createFile(
                atPath: path,
                contents: Data(line.utf8),
                attributes: [.posixPermissions: 0o600]
            )
        else { throw SettingsError("cannot write '\(path)'; make the directory writable") }
    }
}

/// Takes over the audit keys when they are others.
struct AuditKeyReader: FileReader {
    let file: AuditKeyFile
    let keyring: AuditKeyring
    let engine: Engine
    let logger: Logger

    func reload(all: Bool) {
        guard all || file.isStale else { return }
        do {
            let keys = try file.load()
            let isOther = keys.ids != keyring.keys.ids || keys.current.id != keyring.keys.current.id
            guard isOther else { return }
            keyring.replace(keys)
            engine.auditKeysChanged()
            logger.info(
                "audit keys reloaded",
                metadata: ["key": "\(keys.current.id.hex)", "keys": "\(keys.ids.count)"]
            )
        } catch {
            logger.error("the audit keys cannot be reloaded", metadata: ["error": "\(error)"])
        }
    }
}
