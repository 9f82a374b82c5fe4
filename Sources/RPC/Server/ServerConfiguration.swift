/// What a server is told.
public struct ServerConfiguration: Sendable {
    /// Where to listen.
    public var listen: Endpoint
    /// Certificates.
    public var tls: ServerTLS
    /// What peers are allowed.
    public var limits: ServerLimits
    /// How often the certificate files are looked at for a change; nil never does. 30 s.
    public var certificateReloadInterval: Duration?

    /// Makes a configuration.
    public init(
        listen: Endpoint,
        tls: ServerTLS,
        limits: ServerLimits = ServerLimits(),
        certificateReloadInterval: Duration? = .seconds(30)
    ) {
        self.listen = listen
        self.tls = tls
        self.limits = limits
        self.certificateReloadInterval = certificateReloadInterval
    }
}
