import CohortAPI
import Logging
import Metrics
import OTLP
import RPC
import ServiceLifecycle
import SwiftProtobuf
import Synchronization

/// The sidecar's side of the server: asks it how it is at a steady pace, and for its metrics when somebody wants them.
final class ServerLink: Service {
    private let client: Client
    private let api: CohortClient
    private let settings: SidecarSettings
    private let logger: Logger
    private let view: Mutex<ServerView>
    private let scrape = Scrape()
    private let polls: [Bool: Counter]
    private let scrapes: [Bool: Counter]
    private let scrapeTime = Timer(label: "sidecar.scrape.duration")
    private let up = Gauge(label: "sidecar.server.up")

    init(_ settings: SidecarSettings, client: Client, logger: Logger) {
        self.settings = settings
        self.client = client
        self.logger = logger
        api = CohortClient(client)
        view = Mutex(ServerView(since: .now))
        func counters(_ name: String) -> [Bool: Counter] {
            [
                true: Counter(label: name, dimensions: [("outcome", "ok")]),
                false: Counter(label: name, dimensions: [("outcome", "failed")]),
            ]
        }
        polls = counters("sidecar.polls")
        scrapes = counters("sidecar.scrapes")
    }

    var known: ServerView { view.withLock { $0 } }

    func run() async throws {
        await cancelWhenGracefulShutdown { [self] in
            while !Task.isCancelled {
                await poll()
                try? await Task.sleep(for: settings.poll)
            }
        }
        await client.shutdown()
    }

    private func poll() async {
        var options = CallOptions.defaults
        options.timeout = settings.timeout
        let end = ContinuousClock.now + settings.timeout
        do throws(RPCError) {
            let status = try await api.operations.getStatus(.init(), options: options)
            // One time for both: the settings of the probes count on it.
            options.timeout = max(.milliseconds(1), ContinuousClock.now.duration(to: end))
            let health: Grpc_Health_V1_HealthCheckResponse = try await client.unary(
                Self.check,
                Grpc_Health_V1_HealthCheckRequest(),
                options
            )
            let answer = ServerView.Answer(status: status, isServing: health.status == .serving)
            let (wasUp, before) = view.withLock { view in
                defer { view.answered(answer, at: .now) }
                return (view.isUp, view.last?.answer)
            }
            if !wasUp { logger.info("the server answers", metadata: ["version": "\(status.version)"]) }
            if !answer.isServing, before?.isServing != false || before?.status.state != status.state {
                let metadata: Logger.Metadata = [
                    "state": "\(status.state)", "detail": "\(status.stateDetail)",
                ]
                logger.warning("the server does not serve", metadata: metadata)
            }
            polls[true]?.increment()
            up.record(1)
        } catch {
            guard !Task.isCancelled else { return }
            let problem = ServerView.Problem(code: error.code, detail: "\(error.code): \(error.message)")
            if view.withLock({ $0.failed(problem) }) {
                logger.warning("the server does not answer", metadata: ["error": "\(problem.detail)"])
            }
            polls[false]?.increment()
            up.record(0)
        }
    }

    private static let check = MethodDescriptor(service: "grpc.health.v1.Health", method: "Check", kind: .unary)

    /// The server's spans, as they end: until the stream breaks, the server drains or the task is cancelled.
    func spans() async throws(RPCError) -> ResponseStream<OTLPTracesData> {
        try await api.operations.streamSpans(.with { $0.follow = true })
    }

    /// The server's metrics; nil where it does not answer.
    func metrics() async -> OTLPMetricsData? { await reading().data }

    /// The server's metrics, not older than the settings allow: however many ask at once, it is asked once.
    func reading() async -> MetricsReading {
        await scrape.value(notOlderThan: settings.scrapeAge) { [self] in
            let begin = ContinuousClock.now
            var options = CallOptions.defaults
            options.timeout = settings.timeout
            let data = try? await api.operations.scrapeMetrics(.init(), options: options)
            scrapes[data != nil]?.increment()
            scrapeTime.recordNanoseconds(Int64(begin.duration(to: .now) / .nanoseconds(1)))
            return data
        }
    }
}

/// What the server has handed out.
struct MetricsReading: Sendable {
    /// Nil where it has not answered.
    var data: OTLPMetricsData?
    /// When the answer came, or was given up.
    var at: ContinuousClock.Instant
}

/// One question at a time, whose answer serves all who ask meanwhile and a little later. So does it that there was none.
actor Scrape {
    private let now: @Sendable () -> ContinuousClock.Instant
    private var last: MetricsReading?
    private var running: Task<MetricsReading, Never>?
    /// How many wait for the answer that is on its way.
    private(set) var waiting = 0

    init(now: @escaping @Sendable () -> ContinuousClock.Instant = { .now }) { self.now = now }

    func value(
        notOlderThan age: Duration,
        _ ask: @escaping @Sendable () async -> OTLPMetricsData?
    ) async -> MetricsReading {
        if let last, last.at.duration(to: now()) < age { return last }
        waiting += 1
        defer { waiting -= 1 }
        if let running { return await running.value }
        // Not a child of who asks first: that one may give up while others wait.
        let task = Task {
            let data = await ask()
            return MetricsReading(data: data, at: now())
        }
        running = task
        let reading = await task.value
        running = nil
        last = reading
        return reading
    }
}
