public import Metrics

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
    /// Limits against overload, whose interceptors are given to the server as well; here so that its event loops are watched.
    public var overload: OverloadControl?
    /// Where the server's counters go (``LimitReached`` and others); what the process has set up where it is nil.
    public var metrics: (any MetricsFactory)?

    /// Makes a configuration.
    public init(
        listen: Endpoint,
        tls: ServerTLS,
        limits: ServerLimits = ServerLimits(),
        certificateReloadInterval: Duration? = .seconds(30),
        metrics: (any MetricsFactory)? = nil
    ) {
        self.listen = listen
        self.tls = tls
        self.limits = limits
        self.certificateReloadInterval = certificateReloadInterval
        self.metrics = metrics
    }
}
