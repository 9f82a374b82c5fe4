import Crypto
import Foundation
import ServiceSettings
import SwiftASN1
import X509

/// Certificates for `--dev`: an authority, a server and a client, in PEM files of one directory.
///
/// They are made once and used until a week before they expire. The authority's key is thrown away, so that nobody can
/// issue more of them.
struct DevelopmentCertificates: Sendable {
    let directory: String

    var authority: String { directory + "/ca.pem" }
    var serverCertificate: String { directory + "/server.pem" }
    var serverKey: String { directory + "/server.key" }
    var clientCertificate: String { directory + "/client.pem" }
    var clientKey: String { directory + "/client.key" }

    private static let lifetime: TimeInterval = 90 * 86_400
    private static let renewal: TimeInterval = 7 * 86_400

    /// Makes what is missing or about to expire.
    ///
    /// - Returns: Whether new certificates were made.
    /// - Throws: What the file system says.
    func ensure(now: Date = Date()) throws -> Bool {
        let files = [authority, serverCertificate, serverKey, clientCertificate, clientKey]
        let isComplete = files.allSatisfy { FileManager.default.fileExists(atPath: $0) }
        if isComplete, try expiry() > now.addingTimeInterval(Self.renewal) { return false }
        try FileManager.default.createDirectory(
            atPath: directory,
            withIntermediateDirectories: true,
            attributes: [.posixPermissions: 0o700]
        )

        let authorityKey = Certificate.PrivateKey(P256.Signing.PrivateKey())
        let authorityName = try DistinguishedName { CommonName("Cohort development authority") }
        let root = try Certificate(
            version: .v3,
            serialNumber: Certificate.SerialNumber(),
            publicKey: authorityKey.publicKey,
            notValidBefore: now.addingTimeInterval(-3_600),
            notValidAfter: now.addingTimeInterval(Self.lifetime),
            issuer: authorityName,
            subject: authorityName,
            signatureAlgorithm: .ecdsaWithSHA256,
            extensions: try Certificate.Extensions {
                Critical(BasicConstraints.isCertificateAuthority(maxPathLength: 0))
                Critical(KeyUsage(keyCertSign: true, cRLSign: true))
            },
            issuerPrivateKey: authorityKey
        )
        try write(root.serializeAsPEM().pemString, to: authority, mode: 0o644)

        let loopback = SubjectAlternativeNames([
            .dnsName("localhost"),
            .ipAddress(ASN1OctetString(contentBytes: [127, 0, 0, 1])),
            .ipAddress(ASN1OctetString(contentBytes: [UInt8](repeating: 0, count: 15) + [1])),
        ])
        try issue(
            "localhost",
            loopback,
            .serverAuth,
            from: (authorityName, authorityKey),
            now,
            to: (serverCertificate, serverKey)
        )
        try issue(
            "developer",
            SubjectAlternativeNames([.uniformResourceIdentifier("cohort://development/developer")]),
            .clientAuth,
            from: (authorityName, authorityKey),
            now,
            to: (clientCertificate, clientKey)
        )
        return true
    }

    private func issue(
        _ name: String,
        _ alternatives: SubjectAlternativeNames,
        _ usage: ExtendedKeyUsage.Usage,
        from issuer: (name: DistinguishedName, key: Certificate.PrivateKey),
        _ now: Date,
        to files: (certificate: String, key: String)
    ) throws {
        let key = Certificate.PrivateKey(P256.Signing.PrivateKey())
        let certificate = try Certificate(
            version: .v3,
            serialNumber: Certificate.SerialNumber(),
            publicKey: key.publicKey,
            notValidBefore: now.addingTimeInterval(-3_600),
            notValidAfter: now.addingTimeInterval(Self.lifetime),
            issuer: issuer.name,
            subject: try DistinguishedName { CommonName(name) },
            signatureAlgorithm: .ecdsaWithSHA256,
            extensions: try Certificate.Extensions {
                Critical(BasicConstraints.notCertificateAuthority)
                Critical(KeyUsage(digitalSignature: true))
                try ExtendedKeyUsage([usage])
                alternatives
            },
            issuerPrivateKey: issuer.key
        )
        // The key first: a certificate that is there means that its key is.
        try write(key.serializeAsPEM().pemString, to: files.key, mode: 0o600)
        try write(certificate.serializeAsPEM().pemString, to: files.certificate, mode: 0o644)
    }

    private func write(_ text: String, to path: String, mode: Int) throws {
        try? FileManager.default.removeItem(atPath: path)
        // Created with its mode: a key is readable by others at no moment.
        guard
            FileManager.default.createFile(
                atPath: path,
                contents: Data((text + "\n").utf8),
                attributes: [.posixPermissions: mode]
            )
        else {
            throw SettingsError("cannot write '\(path)'; make the directory writable")
        }
    }

    private func expiry() throws -> Date {
        let text = try String(contentsOfFile: serverCertificate, encoding: .utf8)
        return try Certificate(pemEncoded: text).notValidAfter
    }
}
