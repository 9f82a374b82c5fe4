import Logging
import Metrics
import NIOCore
import NIOSSL
import Synchronization

/// The connections of a client. `ConnectionPoolStateMachine` decides; this connects and keeps who waits.
final class ConnectionPool: Sendable {
    /// A connection to make one call on.
    struct Lease: Sendable {
        let connection: ClientConnection
        let endpoint: Int
        fileprivate let permit: CircuitBreaker.Permit
        fileprivate let takenAt: NIODeadline
    }

    private struct Waiter {
        let ticket: UInt64
        let continuation: CheckedContinuation<Void, Never>
    }

    private struct State: ~Copyable {
        var machine: ConnectionPoolStateMachine
        var connections: [Int: ClientConnection] = [:]
        var dedicated: [ObjectIdentifier: ClientConnection] = [:]
        var waiters: [Waiter] = []
        var nextTicket: UInt64 = 0
        var lastError: RPCError?
        var isShutDown = false
        /// Counts changes, so that none is missed between an attempt and the wait after it.
        var generation = 0
    }

    private let configuration: ClientConfiguration
    private let context: NIOSSLContext
    private let group: any EventLoopGroup
    private let logger: Logger
    private let statistics: ClientStatistics
    private let state: Mutex<State>

    init(
        _ configuration: ClientConfiguration,
        context: NIOSSLContext,
        group: any EventLoopGroup,
        logger: Logger,
        statistics: ClientStatistics
    ) {
        self.configuration = configuration
        self.context = context
        self.group = group
        self.logger = logger
        self.statistics = statistics
        state = Mutex(
            State(
                machine: ConnectionPoolStateMachine(
                    endpoints: configuration.endpoints.count,
                    connectionsPerEndpoint: configuration.connectionsPerEndpoint,
                    backoff: configuration.backoff,
                    breaker: configuration.breaker
                )
            )
        )
    }

    // MARK: Leasing

    private enum Attempt {
        case lease(Lease)
        case wait
        /// The connection went unusable between two looks at it.
        case again
        case fail(RPCError)
        case broken(Duration)
    }

    /// Reason of the error where no server is called because all have failed.
    static let circuitOpen = "CIRCUIT_OPEN"

    /// A connection for one call; waits while one is being made, until the deadline.
    func lease(deadline: NIODeadline?) async throws(RPCError) -> Lease {
        while true {
            let (attempt, connect, generation) = state.withLock { state in
                let (attempt, connect) = Self.attempt(&state)
                return (attempt, connect, state.generation)
            }
            for (slot, endpoint) in connect { startConnecting(slot, endpoint) }
            switch attempt {
            case .lease(let lease): return lease
            case .fail(let error): throw error
            case .broken(let wait):
                statistics.breakerRejected.increment()
                throw RPCError(.unavailable, "the calls before failed; the circuit breaker of every server is open")
                    .withErrorInfo(reason: Self.circuitOpen, domain: "rpc")
                    .withRetryInfo(delay: wait)
            case .again: continue
            case .wait:
                if let deadline, deadline <= .now() { throw CallRunner.deadlineExceeded }
                if Task.isCancelled { throw RPCError(.cancelled, "the call was cancelled") }
                await waitForChange(after: generation, until: deadline)
            }
        }
    }

    private static func attempt(_ state: inout State) -> (Attempt, [(Int, Int)]) {
        if state.isShutDown { return (.fail(RPCError(.unavailable, "the client was shut down")), []) }
        for (slot, connection) in state.connections where !connection.isUsable {
            state.connections[slot] = nil
            state.machine.lost(slot)
        }
        let now = NIODeadline.now()
        let (decision, slots) = state.machine.pick(now: now)
        let connect = slots.map { ($0, state.machine.endpoint(of: $0)) }
        switch decision {
        case .use(let slot):
            guard let connection = state.connections[slot], connection.reserve(),
                let permit = state.machine.admit(slot, now: now)
            else { return (.again, connect) }
            let endpoint = state.machine.endpoint(of: slot)
            let lease = Lease(connection: connection, endpoint: endpoint, permit: permit, takenAt: now)
            return (.lease(lease), connect)
        case .wait: return (.wait, connect)
        case .broken(let retryAfter): return (.broken(retryAfter), connect)
        case .unavailable:
            let error = state.lastError ?? RPCError(.unavailable, "no server can be reached")
            return (.fail(error), connect)
        }
    }

    private func waitForChange(after generation: Int, until deadline: NIODeadline?) async {
        let ticket = state.withLock { state in
            state.nextTicket += 1
            return state.nextTicket
        }
        let timer = deadline.map { deadline in
            group.next().scheduleTask(deadline: deadline) { self.wakeWaiters { $0.ticket == ticket } }
        }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let waits = state.withLock { state in
                    guard !Task.isCancelled, state.generation == generation, !state.isShutDown else { return false }
                    state.waiters.append(Waiter(ticket: ticket, continuation: continuation))
                    return true
                }
                if !waits { continuation.resume() }
            }
        } onCancel: {
            wakeWaiters { $0.ticket == ticket }
        }
        timer?.cancel()
    }

    private func wakeWaiters(where condition: (Waiter) -> Bool) {
        let ready = state.withLock { state in
            let ready = state.waiters.filter(condition)
            state.waiters.removeAll(where: condition)
            return ready
        }
        for waiter in ready { waiter.continuation.resume() }
    }

    // MARK: Connecting

    private func startConnecting(_ slot: Int, _ endpoint: Int) {
        Task {
            do throws(RPCError) {
                let connection = try await connect(endpoint)
                connected(slot, connection)
            } catch {
                connectFailed(slot, endpoint, error)
            }
        }
    }

    private func connect(_ endpoint: Int) async throws(RPCError) -> ClientConnection {
        try await ClientConnection.connect(
            to: configuration.endpoints[endpoint],
            configuration: configuration,
            context: context,
            on: group.next(),
            logger: logger
        )
    }

    private func connected(_ slot: Int, _ connection: ClientConnection) {
        let isShutDown = state.withLock { state in
            guard !state.isShutDown else { return true }
            state.machine.connected(slot)
            state.connections[slot] = connection
            state.generation += 1
            return false
        }
        if isShutDown { connection.close() }
        wakeWaiters { _ in true }
    }

    private func connectFailed(_ slot: Int, _ endpoint: Int, _ error: RPCError) {
        logger.notice(
            "cannot connect",
            metadata: ["endpoint": "\(configuration.endpoints[endpoint])", "error": "\(error)"]
        )
        state.withLock { state in
            state.machine.connectFailed(slot, now: .now(), random: Double.random(in: 0..<1))
            state.lastError = error
            state.generation += 1
        }
        wakeWaiters { _ in true }
    }

    /// A connection for one stream alone: with a stock server, a stream that is read slowly stops its connection.
    func dedicatedConnection(endpoint: Int) async throws(RPCError) -> ClientConnection {
        let connection = try await connect(endpoint)
        let isShutDown = state.withLock { state in
            state.dedicated[ObjectIdentifier(connection)] = connection
            return state.isShutDown
        }
        if isShutDown { connection.close() }
        return connection
    }

    func release(_ connection: ClientConnection) {
        state.withLock { _ = $0.dedicated.removeValue(forKey: ObjectIdentifier(connection)) }
        connection.leave()
    }

    // MARK: Health and end

    /// Tells how the call of a lease ended.
    func report(_ lease: Lease, _ outcome: CircuitBreaker.Outcome) {
        let now = NIODeadline.now()
        let new = state.withLock { state -> CircuitBreaker.State? in
            let old = state.machine.breakerState(lease.endpoint)
            let took = Duration.nanoseconds((now - lease.takenAt).nanoseconds)
            state.machine.record(outcome, took: took, permit: lease.permit, on: lease.endpoint, now: now)
            let new = state.machine.breakerState(lease.endpoint)
            return new == old ? nil : new
        }
        guard let new else { return }
        statistics.breaker(goesTo: new)
        logger.notice(
            "circuit breaker changed",
            metadata: ["endpoint": "\(configuration.endpoints[lease.endpoint])", "state": "\(new.rawValue)"]
        )
    }

    /// Takes no new calls; connections close when their calls have ended.
    func shutdown() async {
        let connections = state.withLock { state in
            state.isShutDown = true
            state.generation += 1
            defer { state.connections = [:] }
            return Array(state.connections.values) + Array(state.dedicated.values)
        }
        wakeWaiters { _ in true }
        for connection in connections { connection.leave() }
        for connection in connections { try? await connection.channel.closeFuture.get() }
    }
}
