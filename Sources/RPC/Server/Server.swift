public import Logging
public import NIOCore
import NIOPosix
import NIOSSL
import Synchronization

/// A ttRPC server over TLS.
///
/// ``start()`` listens, ``run()`` waits for the end, ``shutdown(grace:)`` brings it about. A server is used once.
public final class Server: Sendable {
    /// A connection, as the server reaches it from other threads.
    private struct Connection: Sendable {
        let loop: any EventLoop
        let handler: NIOLoopBound<ServerConnectionHandler>
    }

    private enum Phase {
        case idle
        case running(any Channel)
        case stopping
        case stopped
    }

    private struct State {
        var phase = Phase.idle
        var connections: [ObjectIdentifier: Connection] = [:]
        var waiters: [CheckedContinuation<Void, Never>] = []
        var reloader: RepeatedTask?
        /// By event loop.
        var loads: [ObjectIdentifier: (load: LoopLoad, task: RepeatedTask)] = [:]
        /// Ends the waits of calls in the overload's queues.
        var expiry: RepeatedTask?
    }

    private let configuration: ServerConfiguration
    private let group: any EventLoopGroup
    private let logger: Logger
    private let shared: ServerConnectionContext
    private let tls = Mutex<TLSContextStore?>(nil)
    private let state = Mutex(State())

    /// Makes a server that does not listen yet.
    ///
    /// - Parameters:
    ///   - services: What it answers. ``HealthService`` is one of them only if it is listed.
    ///   - interceptors: Around every call, in this order.
    ///   - eventLoopGroup: Connections are spread over its loops. The caller shuts it down, after the server.
    ///   - logger: Connections that are closed for a reason are logged at `notice`.
    public init(
        configuration: ServerConfiguration,
        services: [any RegistrableService],
        interceptors: [any ServerInterceptor] = [],
        eventLoopGroup: any EventLoopGroup,
        logger: Logger
    ) {
        self.configuration = configuration
        self.group = eventLoopGroup
        self.logger = logger
        self.shared = ServerConnectionContext(
            limits: configuration.limits,
            methods: MethodTable(Router(services: services), interceptors: interceptors),
            statistics: ServerStatistics(configuration.metrics),
            logger: logger
        )
    }

    /// The counters, for a metrics backend.
    public var statistics: ServerStatisticsSnapshot { shared.statistics.snapshot() }

    /// Bytes that wait to be sent, over all connections: in their outboxes and in their channels.
    public func bytesPending() async throws -> Int {
        var total = 0
        for connection in openConnections {
            total += try await connection.loop.submit { connection.handler.value.bytesPending }.get()
        }
        return total
    }

    /// Listens and returns the address, with the port the system chose where the configuration said 0.
    ///
    /// - Throws: ``TLSSettingsError`` for certificates that cannot be used, and what the system says about the address.
    @discardableResult
    public func start() async throws -> Endpoint {
        let store = try TLSContextStore(configuration.tls)
        tls.withLock { $0 = store }
        shared.statistics.connectionsLimit(configuration.limits.maxConnections)
        shared.statistics.certificates(expire: store.notAfter)
        let listen = configuration.listen
        watchLoops()
        let channel = try await ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 1024)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelOption(.maxMessagesPerRead, value: 1)
            .childChannelOption(
                .writeBufferWaterMark,
                value: .init(low: 64 << 10, high: 256 << 10)
            )
            .childChannelInitializer { [self] channel in self.initialize(channel, store) }
            .bind(host: listen.host, port: listen.port)
            .get()
        guard case .idle = state.withLock({ $0.phase }), let port = channel.localAddress?.port else {
            try await channel.close()
            throw RPCError(.failedPrecondition, "a server is started once")
        }
        let reloader = configuration.certificateReloadInterval.map { interval in
            group.next().scheduleRepeatedTask(
                initialDelay: TimeAmount(clamping: interval),
                delay: TimeAmount(clamping: interval)
            ) { [weak self] _ in
                guard let self, store.isStale else { return }
                self.reloadCertificates()
            }
        }
        state.withLock {
            $0.phase = .running(channel)
            $0.reloader = reloader
        }
        let bound = Endpoint(host: listen.host, port: port)
        logger.info("listening", metadata: ["address": "\(bound)"])
        return bound
    }

    private func watchLoops() {
        guard let overload = configuration.overload, overload.configuration.mode != .off else { return }
        let statistics = overload.statistics
        let interval = TimeAmount.milliseconds(100)
        let expiry = group.next().scheduleRepeatedTask(initialDelay: interval, delay: interval) { _ in
            overload.expire(at: .now())
        }
        state.withLock { $0.expiry = expiry }
        for loop in group.makeIterator() {
            let key = ObjectIdentifier(loop)
            let watch = LoopLoad.watch(loop, overload.configuration.shedding) {
                statistics.sheds(key, thousandths: Int($0 * 1_000))
            }
            state.withLock { $0.loads[key] = watch }
        }
    }

    private func initialize(_ channel: any Channel, _ store: TLSContextStore) -> EventLoopFuture<Void> {
        let statistics = shared.statistics
        statistics.accepted.increment()
        let open = statistics.open.add(1)
        guard open <= configuration.limits.maxConnections else {
            statistics.open.add(-1)
            statistics.connectionClosed(.tooManyConnections)
            logger.notice(
                "connection closed",
                metadata: [
                    "reason": "\(CloseReason.tooManyConnections.rawValue)",
                    "peer": "\(channel.remoteAddress?.endpointDescription ?? "unknown")",
                ]
            )
            return channel.close()
        }
        channel.closeFuture.whenComplete { _ in statistics.open.add(-1) }
        return channel.eventLoop.makeCompletedFuture {
            let load = state.withLock { $0.loads[ObjectIdentifier(channel.eventLoop)]?.load }
            let handler = ServerConnectionHandler(shared: shared, now: .now(), load: load)
            let key = ObjectIdentifier(handler)
            let connection = Connection(
                loop: channel.eventLoop,
                handler: NIOLoopBound(handler, eventLoop: channel.eventLoop)
            )
            channel.closeFuture.whenComplete { [weak self] _ in
                self?.state.withLock { _ = $0.connections.removeValue(forKey: key) }
            }
            let isStopping = state.withLock { state in
                state.connections[key] = connection
                if case .running = state.phase { return false }
                if case .idle = state.phase { return false }
                return true
            }
            try channel.pipeline.syncOperations.addHandler(NIOSSLServerHandler(context: store.current))
            try channel.pipeline.syncOperations.addHandler(handler)
            if isStopping { handler.drain() }
        }
    }

    /// Reads certificate and key from their files again, for the connections to come. Called when the files change, and
    /// to be called on SIGHUP. On an error the certificate before stays in use and the error is logged.
    public func reloadCertificates() {
        guard let store = tls.withLock({ $0 }) else { return }
        do {
            try store.reload()
            shared.statistics.certificates(expire: store.notAfter)
            shared.statistics.reloads.increment()
            logger.info("certificates reloaded", metadata: ["file": "\(configuration.tls.certificateChainPath)"])
        } catch {
            shared.statistics.reloadFailures.increment()
            logger.error("certificates not reloaded, those before stay in use", metadata: ["error": "\(error)"])
        }
    }

    /// Waits until ``shutdown(grace:)`` has finished.
    public func run() async throws {
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            let stopped = state.withLock { state in
                if case .stopped = state.phase { return true }
                state.waiters.append(continuation)
                return false
            }
            if stopped { continuation.resume() }
        }
    }

    /// Stops accepting, lets what runs finish within the grace period, then closes every connection.
    ///
    /// A peer that speaks `ttrpc-x1` is told by GOAWAY; others see their connection closed when their last call has ended, and
    /// UNAVAILABLE for calls they begin meanwhile. Calls that still run after the grace period are cancelled.
    public func shutdown(grace: Duration) async {
        let (channel, reloader) = state.withLock { state -> ((any Channel)?, RepeatedTask?) in
            switch state.phase {
            case .running(let channel):
                state.phase = .stopping
                return (channel, state.reloader)
            case .idle:
                state.phase = .stopping
                return (nil, nil)
            case .stopping, .stopped: return (nil, nil)
            }
        }
        reloader?.cancel()
        let (watches, expiry) = state.withLock { ($0.loads.values.map(\.task), $0.expiry) }
        for task in watches { task.cancel() }
        expiry?.cancel()
        try? await channel?.close()
        for connection in openConnections { connection.loop.execute { connection.handler.value.drain() } }
        await waitForConnections(until: .now() + TimeAmount(clamping: grace))
        for connection in openConnections { connection.loop.execute { connection.handler.value.shutdown() } }
        await waitForConnections(until: .now() + .seconds(1))
        let waiters = state.withLock { state in
            state.phase = .stopped
            defer { state.waiters = [] }
            return state.waiters
        }
        for waiter in waiters { waiter.resume() }
    }

    private var openConnections: [Connection] { state.withLock { Array($0.connections.values) } }

    private func waitForConnections(until deadline: NIODeadline) async {
        while !openConnections.isEmpty, .now() < deadline {
            do { try await Task.sleep(for: .milliseconds(5)) } catch { return }
        }
    }
}
