import CohortServices
import Foundation
import Logging
import RPC
import ServiceSettings
import Synchronization

/// The authenticator with its files: reads policy and keys at the start, and again whenever they change.
final class AccessControl: FileReader {
    let authenticator: Authenticator
    private let policy: SettingsFile?
    private let keys: SettingsFile?
    private let logger: Logger
    private let origin: Mutex<PolicyOrigin>
    private let keyIDs: Mutex<[String]>

    /// - Throws: ``SettingsError`` for a file that cannot be used.
    init(_ settings: AccessSettings, logger: Logger) async throws {
        policy = settings.policyPath.map { SettingsFile(path: $0, secrecy: settings.secrecy(.open)) }
        keys = settings.keysPath.map { SettingsFile(path: $0, secrecy: settings.secrecy(.open)) }
        self.logger = logger
        let loadedPolicy: AccessPolicy
        do { loadedPolicy = try policy.map { try PolicyFile.parse($0.read()) } ?? AccessPolicy() } catch {
            throw SettingsError("--auth-policy: \(error)")
        }
        let loadedKeys: TokenKeys?
        do {
            if let keys { loadedKeys = try await TokenKeys(jwks: keys.read()) } else { loadedKeys = nil }
        } catch {
            throw SettingsError("--auth-jwt-keys: \(error)")
        }
        authenticator = Authenticator(settings.authenticator, policy: loadedPolicy, keys: loadedKeys)
        let now = Date().timeIntervalSince1970
        origin = Mutex(PolicyOrigin(file: settings.policyPath ?? "", loadedAt: now))
        keyIDs = Mutex(loadedKeys?.identifiers ?? [])
    }

    /// For requests from this server's callers.
    var service: AccessService {
        AccessService(
            authenticator: authenticator,
            origin: { self.origin.withLock { $0 } },
            keys: { self.keyIDs.withLock { $0 } }
        )
    }

    func reload(all: Bool) async {
        if let policy, all || policy.isStale { reload(policy) }
        if let keys, all || keys.isStale { await reload(keys: keys) }
    }

    private func reload(_ file: SettingsFile) {
        do {
            let policy = try PolicyFile.parse(file.read())
            if policy != authenticator.policy {
                authenticator.use(policy)
                logger.notice(
                    "access policy loaded",
                    metadata: ["file": "\(file.path)", "grants": "\(policy.rules.count)"]
                )
            }
            let now = Date().timeIntervalSince1970
            origin.withLock { $0 = PolicyOrigin(file: file.path, loadedAt: now) }
        } catch {
            origin.withLock { $0.problem = "\(error)" }
            logger.error("access policy not loaded, the one before stays in use", metadata: ["error": "\(error)"])
        }
    }

    private func reload(keys file: SettingsFile) async {
        do {
            let keys = try await TokenKeys(jwks: file.read())
            authenticator.use(keys)
            keyIDs.withLock { $0 = keys.identifiers }
            logger.notice(
                "token keys loaded",
                metadata: ["file": "\(file.path)", "keys": "\(keys.identifiers.joined(separator: ","))"]
            )
        } catch {
            logger.error("token keys not loaded, those before stay in use", metadata: ["error": "\(error)"])
        }
    }
}
