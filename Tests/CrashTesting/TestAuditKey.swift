package import CohortCore

extension AuditKeyring {
    /// The same in every process of a test.
    package static func forTests(_ byte: UInt8 = 1) -> AuditKeyring {
        guard let key = AuditKey(secret: [UInt8](repeating: byte, count: 32)) else { preconditionFailure("32 bytes") }
        return AuditKeyring(AuditKeys(current: key))
    }
}
