import Crypto
import Foundation
import Synchronization

/// A secret of the audit chain, as the keys that are derived from it by HKDF-SHA256 (RFC 5869), one for each use.
package struct AuditKey: Sendable {
    package static let minimumBytes = 32
    /// Bytes of what `random` makes.
    private static let secretBytes = 32

    /// Tells which key a row was made with: the first 8 bytes of the secret's SHA-256.
    package let id: UInt64
    /// Authenticates the rows of the chain.
    let rows: SymmetricKey
    /// Authenticates what retention has removed.
    let gaps: SymmetricKey
    /// Makes the digests of commit groups.
    let digests: SymmetricKey
    /// Authenticates log entries that were rewritten.
    let seals: SymmetricKey
    /// Hides the hashes of what log entries were.
    let masks: SymmetricKey
    /// Hashes customer ids.
    let customers: SymmetricKey

    /// - Returns: `nil` for less than 32 bytes.
    package init?(secret: [UInt8]) {
        guard secret.count >= Self.minimumBytes else { return nil }
        id = SHA256.hash(data: secret).prefix(8).reduce(0) { $0 << 8 | UInt64($1) }
        let secret = SymmetricKey(data: secret)
        func derive(_ use: String) -> SymmetricKey {
            HKDF<SHA256>.deriveKey(
                inputKeyMaterial: secret,
                info: Array("cohort audit \(use)".utf8),
                outputByteCount: 32
            )
        }
        rows = derive("rows")
        gaps = derive("gaps")
        digests = derive("digests")
        seals = derive("seals")
        masks = derive("masks")
        customers = derive("customers")
    }

    /// A new secret, 32 bytes.
    package static func randomSecret() -> [UInt8] {
        var random = SystemRandomNumberGenerator()
        return (0..<secretBytes).map { _ in UInt8.random(in: .min ... .max, using: &random) }
    }

    /// Stands for a customer in audit rows: 16 bytes that nobody without the key can tell a customer by.
    package func customerHash(_ id: String) -> [UInt8] {
        Array(HMAC<SHA256>.authenticationCode(for: Array(id.utf8), using: customers).prefix(16))
    }

    static func mac(_ message: [UInt8], _ key: SymmetricKey) -> [UInt8] {
        HMAC<SHA256>.authenticationCode(for: message, using: key).withUnsafeBytes { Array($0) }
    }
}

/// Why a text holds no audit keys. Says nothing of the text itself.
package struct AuditKeyError: Error, Sendable, Hashable, CustomStringConvertible {
    package let description: String
}

/// The keys of the audit chain: the current one, and earlier ones, with which old rows are verified. At least one.
package struct AuditKeys: Sendable {
    package let current: AuditKey
    private let byID: [UInt64: AuditKey]

    package init(earlier: [AuditKey] = [], current: AuditKey) {
        self.current = current
        byID = Dictionary((earlier + [current]).map { ($0.id, $0) }, uniquingKeysWith: { _, last in last })
    }

    /// Reads keys from a text: one a line, in base64, the last is the current one. Empty lines and such that begin with
    /// `#` are passed over; a comma separates as a line's end does.
    package init(text: String) throws(AuditKeyError) {
        var keys: [AuditKey] = []
        for (number, line) in text.split(
            omittingEmptySubsequences: false,
            whereSeparator: { $0.isNewline || $0 == "," }
        )
        .enumerated() {
            let line = line.trimmingCharacters(in: .whitespaces)
            if line.isEmpty || line.hasPrefix("#") { continue }
            guard let secret = Data(base64Encoded: line), let key = AuditKey(secret: Array(secret)) else {
                throw AuditKeyError(
                    description: "line \(number + 1) is no key: a key is at least \(AuditKey.minimumBytes) bytes in "
                        + "base64, as `cohortctl audit key` makes it"
                )
            }
            keys.append(key)
        }
        guard let current = keys.popLast() else {
            throw AuditKeyError(description: "holds no key; `cohortctl audit key` makes one")
        }
        self.init(earlier: keys, current: current)
    }

    package subscript(id: UInt64) -> AuditKey? { byID[id] }

    package var ids: Set<UInt64> { Set(byID.keys) }

    /// What may stand for a customer in rows, under each of the keys.
    package func customerHashes(_ id: String) -> Set<[UInt8]> { Set(byID.values.map { $0.customerHash(id) }) }
}

/// The keys in use, which may be replaced while the chain goes on.
package final class AuditKeyring: Sendable {
    private let state: Mutex<AuditKeys>

    package init(_ keys: AuditKeys) { state = Mutex(keys) }

    /// A keyring of one new key, for stores that are thrown away.
    package convenience init() {
        guard let key = AuditKey(secret: AuditKey.randomSecret()) else { preconditionFailure("a secret has 32 bytes") }
        self.init(AuditKeys(current: key))
    }

    package var keys: AuditKeys { state.withLock { $0 } }

    package func replace(_ keys: AuditKeys) { state.withLock { $0 = keys } }
}
