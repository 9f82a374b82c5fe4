package import NIOSSL

/// Whose certificates they are, as the metric of their expiry names them.
enum CertificateOwner: String {
    /// The server's own, with the intermediates.
    case server
    /// Those of the authorities that client certificates are verified against.
    case clientAuthorities = "client_authorities"
}

extension ServerTLS {
    /// A context, and what was read for it.
    struct Loaded: Sendable {
        var context: NIOSSLContext
        /// When the first certificate of each owner expires, in seconds since 1970.
        var notAfter: [CertificateOwner: Int]
    }

    /// Reads the files and makes a context.
    func load() throws(TLSSettingsError) -> Loaded {
        let chain = try PEM.certificates(certificateChainPath, setting: "certificateChainPath")
        var notAfter = [CertificateOwner.server: PEM.expiry(chain)]
        var tls = TLSConfiguration.makeServerConfiguration(
            certificateChain: chain.map { .certificate($0) },
            privateKey: .privateKey(try PEM.privateKey(privateKeyPath, setting: "privateKeyPath"))
        )
        tls.minimumTLSVersion = allowTLS12 ? .tlsv12 : .tlsv13
        tls.applicationProtocols = ALPN.offered
        switch clientCertificates {
        case .off: tls.certificateVerification = .none
        case .request: tls.certificateVerification = .optionalVerification
        case .require: tls.certificateVerification = .noHostnameVerification
        }
        if clientCertificates != .off {
            guard let trustRootsPath else {
                throw TLSSettingsError(
                    setting: "trustRootsPath",
                    message: "client certificates are asked for, so name the authorities that sign them",
                    cause: nil
                )
            }
            let authorities = try PEM.certificates(trustRootsPath, setting: "trustRootsPath")
            notAfter[.clientAuthorities] = PEM.expiry(authorities)
            tls.trustRoots = .certificates(authorities)
        }
        return Loaded(context: try PEM.context(tls, setting: "privateKeyPath"), notAfter: notAfter)
    }
}

extension ClientTLS {
    /// Reads the files and makes a context that offers the given protocols.
    package func makeContext(offering protocols: [String] = ALPN.offered) throws(TLSSettingsError) -> NIOSSLContext {
        var tls = TLSConfiguration.makeClientConfiguration()
        tls.minimumTLSVersion = .tlsv13
        tls.applicationProtocols = protocols
        if let trustRootsPath {
            tls.trustRoots = .certificates(try PEM.certificates(trustRootsPath, setting: "trustRootsPath"))
        }
        switch (certificateChainPath, privateKeyPath) {
        case (let chain?, let key?):
            tls.certificateChain = try PEM.certificates(chain, setting: "certificateChainPath").map { .certificate($0) }
            tls.privateKey = .privateKey(try PEM.privateKey(key, setting: "privateKeyPath"))
        case (nil, nil):
            break
        default:
            throw TLSSettingsError(
                setting: certificateChainPath == nil ? "certificateChainPath" : "privateKeyPath",
                message: "a client certificate needs both its chain and its key",
                cause: nil
            )
        }
        return try PEM.context(tls, setting: "privateKeyPath")
    }
}

/// PEM files, with errors that name the setting.
private enum PEM {
    static func certificates(_ path: String, setting: String) throws(TLSSettingsError) -> [NIOSSLCertificate] {
        let certificates: [NIOSSLCertificate]
        do {
            certificates = try NIOSSLCertificate.fromPEMFile(path)
        } catch {
            throw TLSSettingsError(
                setting: setting,
                message: "cannot read certificates from \(path); a PEM file is needed",
                cause: error
            )
        }
        guard !certificates.isEmpty else {
            throw TLSSettingsError(setting: setting, message: "\(path) holds no certificate", cause: nil)
        }
        return certificates
    }

    /// When the first of them expires, in seconds since 1970.
    static func expiry(_ certificates: [NIOSSLCertificate]) -> Int {
        certificates.map { Int($0.notValidAfter) }.min() ?? 0
    }

    static func privateKey(_ path: String, setting: String) throws(TLSSettingsError) -> NIOSSLPrivateKey {
        do {
            return try NIOSSLPrivateKey(file: path, format: .pem)
        } catch {
            throw TLSSettingsError(
                setting: setting,
                message: "cannot read a private key from \(path); an unencrypted PEM file is needed",
                cause: error
            )
        }
    }

    static func context(_ tls: TLSConfiguration, setting: String) throws(TLSSettingsError) -> NIOSSLContext {
        do {
            return try NIOSSLContext(configuration: tls)
        } catch {
            throw TLSSettingsError(
                setting: setting,
                message: "certificate and key cannot be used; does the key belong to the certificate?",
                cause: error
            )
        }
    }
}
