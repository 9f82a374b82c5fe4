import NIOCore
package import NIOSSL

extension Peer.Identity {
    /// Reads the names of a certificate that TLS has verified.
    package init(_ certificate: NIOSSLCertificate) {
        var names: [Peer.SubjectName] = []
        for name in certificate._subjectAlternativeNames() {
            switch name.nameType {
            case .dnsName: names.append(.dns(String(decoding: name.contents, as: UTF8.self)))
            case .uri: names.append(.uri(String(decoding: name.contents, as: UTF8.self)))
            case .email: names.append(.email(String(decoding: name.contents, as: UTF8.self)))
            case .ipAddress:
                let packed = ByteBuffer(bytes: name.contents)
                if let address = try? SocketAddress(packedIPAddress: packed, port: 0), let text = address.ipAddress {
                    names.append(.ip(text))
                }
            default: break
            }
        }
        self.init(
            subjectNames: names,
            certificate: (try? certificate.toDERBytes()) ?? [],
            notValidAfter: Double(certificate.notValidAfter)
        )
    }
}

extension Peer.Identity {
    /// Whether the certificate bears a DNS name: exactly, or by a wildcard for the whole first label (RFC 6125 §6.4.3).
    ///
    /// NIOSSL is content with the address of the peer where the certificate names that; a server that is asked for by name must
    /// bear it.
    package func bears(dnsName name: String) -> Bool {
        let wanted = name.lowercased()
        let parent = wanted.split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false).dropFirst().first
        return dnsNames.contains { candidate in
            let candidate = candidate.lowercased()
            if candidate == wanted { return true }
            guard candidate.hasPrefix("*."), let parent, parent.contains(".") else { return false }
            return candidate.dropFirst(2) == parent
        }
    }
}
