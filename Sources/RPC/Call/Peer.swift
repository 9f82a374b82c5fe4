/// Who is at the other end of a connection.
public final class Peer: Sendable {
    /// A subject alternative name of the peer's verified certificate.
    public enum SubjectName: Sendable, Hashable {
        /// A DNS name.
        case dns(String)
        /// A URI, for example a SPIFFE id.
        case uri(String)
        /// A mail address.
        case email(String)
        /// An IP address in text form.
        case ip(String)
    }

    /// What TLS established about the peer.
    public struct Identity: Sendable, Hashable {
        /// Every subject alternative name of the certificate that this runtime can read, in order.
        public let subjectNames: [SubjectName]
        /// The leaf certificate, DER.
        public let certificate: [UInt8]
        /// When the certificate expires, in seconds since 1970; nil where it is not known.
        public let notValidAfter: Double?

        /// Makes an identity; for tests of interceptors.
        public init(subjectNames: [SubjectName], certificate: [UInt8] = [], notValidAfter: Double? = nil) {
            self.subjectNames = subjectNames
            self.certificate = certificate
            self.notValidAfter = notValidAfter
        }

        /// The URI names.
        public var uris: [String] { subjectNames.compactMap { if case .uri(let name) = $0 { name } else { nil } } }
        /// The DNS names.
        public var dnsNames: [String] { subjectNames.compactMap { if case .dns(let name) = $0 { name } else { nil } } }
    }

    /// `host:port`, or `in-process`.
    public let address: String
    /// The host part of the address, to count by.
    public let host: String
    /// From the peer's certificate; nil where it showed none.
    public let identity: Identity?
    /// The protocol chosen by ALPN, nil where the peer offered none.
    public let applicationProtocol: String?
    /// Whom the connection's calls were last found to be from.
    let authentication = AuthenticationSlot()
    /// How late the connection's event loop is; nil where nobody looks.
    let load: LoopLoad?

    /// Describes a peer; for tests of interceptors.
    public convenience init(
        address: String,
        host: String? = nil,
        identity: Identity? = nil,
        applicationProtocol: String? = nil
    ) {
        self.init(address: address, host: host, identity: identity, applicationProtocol: applicationProtocol, load: nil)
    }

    package init(
        address: String,
        host: String? = nil,
        identity: Identity? = nil,
        applicationProtocol: String? = nil,
        load: LoopLoad?
    ) {
        self.address = address
        self.host = host ?? address
        self.identity = identity
        self.applicationProtocol = applicationProtocol
        self.load = load
    }
}
