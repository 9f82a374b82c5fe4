/// What one peer may make a server hold or wait for. Every limit is checked before the work it bounds.
public struct ServerLimits: Sendable, Hashable {
    /// Largest frame, in bytes after its header; 4 MiB, the most that ttRPC allows. A larger one is skipped and answered
    /// RESOURCE_EXHAUSTED.
    public var maxFrameBytes = 4 << 20
    /// Most bytes of request metadata; 16 KiB. Each entry counts its encoded key and value and 32 bytes more, as in HTTP/2,
    /// so that empty ones are bounded too. More is answered RESOURCE_EXHAUSTED.
    public var maxMetadataBytes = 16 << 10
    /// Most calls of one connection that run in a task at once; 1,024. More are answered RESOURCE_EXHAUSTED.
    public var maxStreamsPerConnection = 1024
    /// Most bytes of requests that one connection's running calls hold; 8 MiB. The connection is not read while there
    /// are more.
    public var maxRequestBytesInFlight = 8 << 20
    /// Most bytes that wait to be sent to one connection before its stream handlers suspend; 256 KiB.
    public var maxResponseBytesPending = 256 << 10
    /// Receive window of each request stream, in bytes, with a peer that knows `ttrpc-x1`; 256 KiB.
    public var streamWindowBytes = 256 << 10
    /// Most connections at once; 10,000. More are closed as they come.
    public var maxConnections = 10_000
    /// Longest time from accepting a connection to the end of its TLS handshake; 10 s.
    public var handshakeTimeout: Duration = .seconds(10)
    /// Longest time from the first byte of a frame to its last; 30 s.
    public var partialFrameTimeout: Duration = .seconds(30)
    /// Longest time without a call running or a frame coming; 15 min.
    public var idleTimeout: Duration = .seconds(900)
    /// Longest time a peer may read nothing while something waits to be sent to it; 30 s.
    public var unwritableTimeout: Duration = .seconds(30)

    /// The defaults.
    public init() {}
}
