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
        self.init(subjectNames: names, certificate: (try? certificate.toDERBytes()) ?? [])
    }
}
