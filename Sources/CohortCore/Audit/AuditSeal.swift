import Crypto
import Foundation

/// What a log entry was before the server itself rewrote it, so that the digest of its group still holds.
package struct AuditSeal: Sendable, Hashable {
    package var sequence: UInt64
    /// The hash of the entry as it was committed, hidden: a bare hash would let anyone try what was erased.
    package var masked: [UInt8]
    package var keyID: UInt64
    /// Over the above and the entry as it is now.
    package var mac: [UInt8]

    package init(sequence: UInt64, masked: [UInt8], keyID: UInt64, mac: [UInt8]) {
        self.sequence = sequence
        self.masked = masked
        self.keyID = keyID
        self.mac = mac
    }

    /// The seal of an entry that is rewritten.
    ///
    /// - Parameters:
    ///   - old: the entry as it was, and the seal that it had.
    ///   - row: the entry as it is from now on.
    /// - Returns: the old seal if that did not fit the old entry, so that rewriting hides nothing.
    package static func sealing(_ row: LogRow, over old: (row: LogRow, seal: AuditSeal?), _ keys: AuditKeys)
        -> AuditSeal
    {
        guard let seal = old.seal else { return AuditSeal(original: old.row.auditHash, row: row, keys.current) }
        guard let original = seal.original(of: old.row, keys) else { return seal }
        return AuditSeal(original: original, row: row, keys.current)
    }

    private init(original: [UInt8], row: LogRow, _ key: AuditKey) {
        self.init(sequence: row.sequence, masked: original, keyID: key.id, mac: [])
        masked = mask(original, key)
        mac = mac(row, key)
    }

    /// The hash of the entry as it was committed; `nil` if the entry is not the one that was sealed.
    func original(of row: LogRow, _ keys: AuditKeys) -> [UInt8]? {
        guard let key = keys[keyID], mac == mac(row, key), masked.count == AuditChain.macBytes else { return nil }
        return mask(masked, key)
    }

    private func mask(_ hash: [UInt8], _ key: AuditKey) -> [UInt8] {
        var writer = ByteWriter(reserving: 8)
        writer.fixed64(sequence)
        return zip(hash, AuditKey.mac(writer.finish(), key.masks)).map { $0 ^ $1 }
    }

    private func mac(_ row: LogRow, _ key: AuditKey) -> [UInt8] {
        var writer = ByteWriter(reserving: 96)
        writer.fixed64(sequence)
        writer.blob(masked)
        writer.blob(row.auditHash)
        return AuditKey.mac(writer.finish(), key.seals)
    }
}

extension LogRow {
    /// SHA-256 of sequence, time and payload.
    package var auditHash: [UInt8] { auditDigest.withUnsafeBytes { Array($0) } }

    var auditDigest: SHA256.Digest {
        var hash = SHA256()
        let head = (sequence.littleEndian, time.seconds.littleEndian, Int64(time.nanoseconds).littleEndian)
        withUnsafeBytes(of: head) { hash.update(bufferPointer: $0) }
        payload.withUnsafeBytes { hash.update(bufferPointer: $0) }
        return hash.finalize()
    }
}
