/// What to do about the client's certificate.
public enum ClientCertificateMode: String, Sendable, Hashable, CaseIterable {
    /// It is not asked for.
    case off
    /// It is asked for; one that is shown must verify.
    case request
    /// A connection without one that verifies is refused.
    case require
}

/// TLS of a server. TLS 1.3 unless told otherwise.
public struct ServerTLS: Sendable, Hashable {
    /// PEM file: the server's certificate, then the intermediates.
    public var certificateChainPath: String
    /// PEM file: the private key of the first certificate.
    public var privateKeyPath: String
    /// PEM file of the authorities that client certificates are verified against. Needed unless ``clientCertificates``
    /// is off.
    public var trustRootsPath: String?
    /// What to do about the client's certificate.
    public var clientCertificates: ClientCertificateMode
    /// Accept TLS 1.2 as well, for stock clients that lack 1.3.
    public var allowTLS12: Bool

    /// Makes settings.
    public init(
        certificateChainPath: String,
        privateKeyPath: String,
        trustRootsPath: String? = nil,
        clientCertificates: ClientCertificateMode = .off,
        allowTLS12: Bool = false
    ) {
        self.certificateChainPath = certificateChainPath
        self.privateKeyPath = privateKeyPath
        self.trustRootsPath = trustRootsPath
        self.clientCertificates = clientCertificates
        self.allowTLS12 = allowTLS12
    }
}

/// TLS of a client. TLS 1.3; the server's certificate is always verified.
public struct ClientTLS: Sendable, Hashable {
    /// PEM file of the authorities that the server's certificate is verified against; nil takes the system's.
    public var trustRootsPath: String?
    /// PEM file: the client's certificate, then the intermediates.
    public var certificateChainPath: String?
    /// PEM file: the private key of the first certificate.
    public var privateKeyPath: String?
    /// The name the server's certificate must bear; nil takes the endpoint's host.
    public var serverName: String?

    /// Makes settings.
    public init(
        trustRootsPath: String? = nil,
        certificateChainPath: String? = nil,
        privateKeyPath: String? = nil,
        serverName: String? = nil
    ) {
        self.trustRootsPath = trustRootsPath
        self.certificateChainPath = certificateChainPath
        self.privateKeyPath = privateKeyPath
        self.serverName = serverName
    }
}

/// TLS settings that cannot be used, naming the setting and the file.
public struct TLSSettingsError: Error, CustomStringConvertible {
    /// The setting, for example `certificateChainPath`.
    public let setting: String
    /// What is wrong and what to do.
    public let message: String
    /// What TLS said.
    public let cause: (any Error)?

    /// The setting and what is wrong with it.
    public var description: String {
        if let cause { return "\(setting): \(message) (\(cause))" }
        return "\(setting): \(message)"
    }
}
