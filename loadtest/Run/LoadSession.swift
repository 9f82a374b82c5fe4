import CohortAPI
import Foundation
import Histogram
import Logging
import NIOCore
import NIOPosix
import RPC

/// The connections of a generator to one server, for one run after the other. All calls come from one thread.
final class LoadSession: Sendable {
    private let group: MultiThreadedEventLoopGroup
    private let loop: any EventLoop
    private let configuration: ClientConfiguration
    private let connections: NIOLoopBound<ConnectionSet>
    /// For streams, which live in tasks, and for what is asked beside the load.
    private let client: Client
    private let first: ClientConnection

    private init(
        _ group: MultiThreadedEventLoopGroup,
        _ configuration: ClientConfiguration,
        _ connections: NIOLoopBound<ConnectionSet>,
        _ client: Client,
        _ first: ClientConnection
    ) {
        self.group = group
        loop = group.next()
        self.configuration = configuration
        self.connections = connections
        self.client = client
        self.first = first
    }

    /// Connects.
    ///
    /// - Throws: `RPCError` where the server cannot be reached, `TLSSettingsError` where files cannot be used.
    static func open(_ configuration: ClientConfiguration, connections count: Int) async throws -> LoadSession {
        let context = try configuration.tls.makeContext(offering: configuration.applicationProtocols)
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let loop = group.next()
        let connect: @Sendable () async throws(RPCError) -> ClientConnection = { () async throws(RPCError) in
            try await ClientConnection.connect(
                to: configuration.endpoints[0],
                configuration: configuration,
                context: context,
                on: loop,
                logger: Logger(label: "loadtest")
            )
        }
        do {
            var open: [ClientConnection] = []
            for _ in 0..<count { open.append(try await connect()) }
            let frozen = open
            let set = try await loop.submit {
                NIOLoopBound(ConnectionSet(frozen, on: loop, connect: connect), eventLoop: loop)
            }.get()
            let client = try Client(configuration, eventLoopGroup: group)
            return LoadSession(group, configuration, set, client, open[0])
        } catch {
            try? await group.shutdownGracefully()
            throw error
        }
    }

    /// For calls beside the load.
    var api: CohortClient { CohortClient(client) }

    func close() async {
        await client.shutdown()
        try? await loop.submit { [connections] in connections.value.close() }.get()
        try? await group.shutdownGracefully()
    }

    /// Makes one call of each kind, so that what cannot work is told before the load.
    ///
    /// - Throws: `LoadFailure` with the method, why it failed and what to do.
    func check(_ scenario: Scenario) async throws {
        for entry in scenario.mix {
            var source = try RequestSource(entry, scenario, seed: scenario.seed, calls: 1)
            let request = try source.request()
            let timeout = NIODeadline.now() + .seconds(10)
            let error: RPCError?
            if entry.operation.method.kind == .unary {
                let outcome = await first.unary(
                    entry.operation.method,
                    payload: request,
                    deadline: timeout,
                    metadata: Metadata()
                )
                if case .failure(let failure) = outcome { error = failure.error } else { error = nil }
            } else {
                let streams = StreamCalls(api, on: loop)
                error = await streams.once(entry.operation, request, deadline: timeout, metadata: Metadata())
            }
            if let error { throw LoadFailure(error, of: entry.operation.rawValue) }
        }
    }

    /// Runs a load, and waits for its answers.
    ///
    /// - Parameters:
    ///   - readsServer: Whether the server's metrics are read each second.
    ///   - onInterval: Told each second and the calls under way at its end; on the generator's thread, so it must be quick.
    func run(
        _ scenario: Scenario,
        limits: OpenLoop.Limits,
        readsServer: Bool,
        onInterval: @escaping @Sendable (LoadResult.Interval, Int) -> Void = { _, _ in }
    ) async throws -> LoadResult {
        let api = api
        let streams = StreamCalls(api, on: loop)
        let open = try await loop.submit { [loop, connections] in
            let open = try OpenLoop(
                scenario,
                connections: connections.value,
                streams: streams,
                limits: limits,
                on: loop,
                onInterval: onInterval
            )
            return NIOLoopBound(open, eventLoop: loop)
        }.get()
        let start = ContinuousClock.now.advanced(by: .seconds(scenario.warmup))
        let startTime = Date().addingTimeInterval(scenario.warmup)
        let watches = WatchCalls(api, from: startTime, for: scenario.profile.duration)
        let ended = loop.submit { [loop] in
            let result = open.value.result.futureResult
            open.value.run()
            return result.map { NIOLoopBound($0, eventLoop: loop) }
        }.flatMap { $0 }.map { $0.value }
        let beside = Task {
            await withTaskGroup(of: LoadResult.Server?.self) { tasks in
                tasks.addTask {
                    await watches.run(scenario.watches)
                    return nil
                }
                tasks.addTask {
                    guard readsServer else { return nil }
                    var probe = ServerProbe(api)
                    while !Task.isCancelled {
                        await probe.read(start, for: scenario.profile.duration)
                        try? await Task.sleep(for: .seconds(1))
                    }
                    return probe.server
                }
                return await tasks.reduce(nil) { $0 ?? $1 }
            }
        }
        let outcome = try await ended.get()
        beside.cancel()
        let generator = LoadResult.Generator(
            LatencyRecord(outcome.tally.lag),
            cpuRatio: outcome.cpuRatio,
            longest: limits.lag / .milliseconds(1)
        )
        var result = LoadResult(outcome.tally, scenario, configuration.endpoints[0], startTime, generator)
        result.server = await beside.value
        if scenario.watches > 0 { result.methods.append(watches.method) }
        return result
    }

    /// Runs a closed loop of the scenario's only method for as long as its stages last.
    ///
    /// - Parameters:
    ///   - inFlight: Calls under way on each connection.
    ///   - onInterval: As of `run`.
    /// - Throws: `LoadFailure` where no connection is left.
    func runClosed(
        _ scenario: Scenario,
        inFlight: Int,
        onInterval: @escaping @Sendable (LoadResult.Interval, Int) -> Void = { _, _ in }
    ) async throws -> LoadResult {
        let startTime = Date().addingTimeInterval(scenario.warmup)
        let outcome = try await loop.flatSubmit { [loop, connections] in
            do {
                let closed = try ClosedLoop(scenario, on: loop, onInterval: onInterval)
                closed.run(connections.value.open, inFlight: inFlight)
                return closed.result.futureResult.map { NIOLoopBound($0, eventLoop: loop) }
            } catch {
                return loop.makeFailedFuture(error)
            }
        }.map { $0.value }.get()
        let generator = LoadResult.Generator(lagP99: 0, lagMax: 0, cpuRatio: outcome.cpuRatio, isBottleneck: false)
        var result = LoadResult(outcome.tally, scenario, configuration.endpoints[0], startTime, generator)
        result.model = .closed
        result.arrivals = ""
        for index in result.intervals.indices { result.intervals[index].lagP99 = nil }
        result.closed = LoadResult.Closed(
            connections: scenario.connections,
            inFlight: inFlight,
            ended: outcome.ended,
            members: outcome.members
        )
        return result
    }
}

extension LoadResult {
    fileprivate init(
        _ tally: LoadTally,
        _ scenario: Scenario,
        _ endpoint: Endpoint,
        _ startTime: Date,
        _ generator: Generator
    ) {
        var latency = LatencyRecord.makeHistogram()
        var errors: [String: UInt64] = [:]
        for method in tally.methods {
            latency.add(method.latency)
            errors.merge(method.errors, uniquingKeysWith: +)
        }
        let sent = tally.methods.reduce(0) { $0 + $1.sent }
        let answered = sent - errors.values.reduce(0, +)
        let duration = scenario.profile.duration
        self.init(
            toolVersion: CohortRelease.version,
            startTime: startTime,
            endpoint: "\(endpoint)",
            scenario: scenario.name,
            model: .open,
            arrivals: scenario.arrivals.rawValue,
            seed: scenario.seed,
            rateWanted: duration > 0 ? scenario.profile.calls / duration : 0,
            rateReached: duration > 0 ? Double(tally.answeredWithin) / duration : 0,
            duration: duration,
            warmup: scenario.warmup,
            sent: sent,
            answered: answered,
            errors: errors,
            latency: LatencyRecord(latency),
            answeredLatency: LatencyRecord(latency).subtracting(LatencyRecord(tally.failed)),
            methods: zip(scenario.mix, tally.methods).map { entry, method in
                Method(
                    method: entry.operation.rawValue,
                    sent: method.sent,
                    errors: method.errors,
                    latency: LatencyRecord(method.latency)
                )
            },
            intervals: tally.intervals,
            generator: generator,
            server: nil,
            slo: []
        )
    }
}

extension LoadResult.Generator {
    /// - Parameter longest: By how many milliseconds one call of a hundred may be late.
    init(_ lag: LatencyRecord, cpuRatio: Double, longest: Double) {
        let isLate = lag.p99 > longest
        self.init(
            lagP99: lag.p99,
            lagMax: lag.maximum,
            cpuRatio: cpuRatio,
            isBottleneck: isLate,
            reason: isLate
                ? String(
                    format:
                        "one call of a hundred was sent %.3g ms late or later, more than the %.3g ms of --max-lag, with %.0f %% "
                        + "of a processor used: the latencies are the generator's own. Give it a processor of its own or ask for less",
                    lag.p99,
                    longest,
                    cpuRatio * 100
                ) : nil
        )
    }
}
