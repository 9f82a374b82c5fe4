package import NIOSSL

extension ServerTLS {
    /// Reads the files and makes a context.
    package func makeContext() throws(TLSSettingsError) -> NIOSSLContext {
        var tls = TLSConfiguration.makeServerConfiguration(
            certificateChain: try PEM.certificates(certificateChainPath, setting: "certificateChainPath")
                .map { .certificate($0) },
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
            tls.trustRoots = .certificates(try PEM.certificates(trustRootsPath, setting: "trustRootsPath"))
        }
        return try PEM.context(tls, setting: "privateKeyPath")
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
