public import Logging
public import NIOCore

/// A ttRPC server over TLS.
public final class Server: Sendable {
    private let configuration: ServerConfiguration

    /// Makes a server that does not listen yet.
    public init(
        configuration: ServerConfiguration,
        services: [any RegistrableService],
        interceptors: [any ServerInterceptor] = [],
        eventLoopGroup: any EventLoopGroup,
        logger: Logger
    ) {
        self.configuration = configuration
    }

    /// Listens and returns the address, with the port the system chose where the configuration said 0.
    @discardableResult
    public func start() async throws -> Endpoint {
        throw RPCError(.unimplemented, "not yet")
    }

    /// Waits until ``shutdown(grace:)`` has finished.
    public func run() async throws {}

    /// Stops accepting, lets what runs finish within the grace period, then closes every connection.
    public func shutdown(grace: Duration) async {}
}
