import CohortCore
import Foundation
import Logging
import ServiceLifecycle
import UnixSignals

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
    let path: String
    /// Made if it is not there, and not checked for who may read it.
    let isDevelopment: Bool

    func load() throws -> AuditKeys {
        if isDevelopment, !FileManager.default.fileExists(atPath: path) { try make() }
        guard let text = try? String(contentsOfFile: path, encoding: .utf8) else {
            throw SettingsError(
                "--audit-key-file: cannot read '\(path)'; make it with `cohortctl audit key > FILE` and `chmod 600 FILE`"
            )
        }
        var status = stat()
        guard isDevelopment || stat(path, &status) == 0 && status.st_mode & 0o077 == 0 else {
            throw SettingsError(
                "--audit-key-file: '\(path)' may be read or written by others than its owner; `chmod 600` it"
            )
        }
        do { return try AuditKeys(text: text) } catch {
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

    /// Differs once the file is another or has been written.
    struct Version: Sendable, Equatable {
        let file: UInt64
        let bytes: Int64
        let seconds: Int64
        let nanoseconds: Int64
    }

    /// `nil` while there is no file.
    var version: Version? {
        var status = stat()
        guard stat(path, &status) == 0 else { return nil }
        return Version(
            file: UInt64(status.st_ino),
            bytes: Int64(status.st_size),
            seconds: Int64(status.st_mtim.tv_sec),
            nanoseconds: Int64(status.st_mtim.tv_nsec)
        )
    }
}

/// Takes over the audit keys when their file changes, and at SIGHUP.
struct AuditKeyReload: Service {
    private static let period = Duration.seconds(5)

    let file: AuditKeyFile
    let keyring: AuditKeyring
    let engine: Engine
    let logger: Logger

    func run() async throws {
        let signals = await UnixSignalsSequence(trapping: .sighup)
        await cancelWhenGracefulShutdown {
            await withTaskGroup(of: Void.self) { group in
                group.addTask { for await _ in signals { reload() } }
                group.addTask {
                    var version = file.version
                    while !Task.isCancelled {
                        try? await Task.sleep(for: Self.period)
                        let current = file.version
                        if current != version { reload() }
                        version = current
                    }
                }
            }
        }
    }

    /// The keys that are in use stay where the file cannot be used.
    private func reload() {
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
