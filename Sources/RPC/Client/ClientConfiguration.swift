public import Metrics

/// What a client is told.
public struct ClientConfiguration: Sendable {
    /// Servers that are equivalent to each other. At least one.
    public var endpoints: [Endpoint]
    /// Certificates.
    public var tls: ClientTLS
    /// The token that every call carries; nil sends none.
    public var token: BearerToken?
    /// Timeout of calls whose options name none; nil waits for ever.
    public var defaultTimeout: Duration?
    /// Connections to each endpoint; 1.
    public var connectionsPerEndpoint = 1
    /// Longest time to connect, TLS handshake included; 5 s.
    public var connectTimeout: Duration = .seconds(5)
    /// Largest frame in either direction, in bytes after its header; 4 MiB.
    public var maxFrameBytes = 4 << 20
    /// Most bytes that wait to be sent on one connection before writers of streams suspend; 256 KiB.
    public var maxRequestBytesPending = 256 << 10
    /// Receive window of each response stream, in bytes, with a server that knows `ttrpc-x1`; 256 KiB. With a stock server
    /// a connection is not read while one of its streams holds more.
    public var streamWindowBytes = 256 << 10
    /// Time between reconnects to an endpoint that fails.
    public var backoff = Backoff()
    /// When an endpoint that fails is left out for a while. Where all are, one call a second (``CircuitBreaker/Policy/probeInterval``)
    /// is tried at each, and the others fail at once as UNAVAILABLE with reason `CIRCUIT_OPEN` and RetryInfo.
    public var breaker = CircuitBreaker.Policy()
    /// How failed calls of idempotent methods are made again; nil never does.
    public var retry: RetryPolicy? = RetryPolicy()
    /// Where the client's counters go (``Client``); what the process has set up where it is nil.
    public var metrics: (any MetricsFactory)?
    /// Silence after which a server that knows `ttrpc-x1` is sent a PING; nil never does. 30 s.
    public var keepaliveInterval: Duration? = .seconds(30)
    /// Longest wait for the PONG before the connection is given up; 10 s.
    public var keepaliveTimeout: Duration = .seconds(10)
    /// Calls on one connection before it is replaced, since stream ids run out after 2^30; 2^29.
    public var maxCallsPerConnection = 1 << 29
    /// Protocols offered by ALPN. An empty list makes this a stock client.
    public var applicationProtocols = ["ttrpc-x1", "ttrpc"]

    /// Makes a configuration.
    public init(endpoints: [Endpoint], tls: ClientTLS, defaultTimeout: Duration? = nil) {
        self.endpoints = endpoints
        self.tls = tls
        self.defaultTimeout = defaultTimeout
    }
}
