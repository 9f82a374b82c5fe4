import Metrics
import NIOCore
import Synchronization

/// The limits of a server against overload: makes their interceptors and tells how they fare.
///
/// Metrics: `rpc.server.overload.admitted`, `rpc.server.overload.waited`, `rpc.server.overload.rejected{reason}`, and by class
/// `rpc.server.overload.limit{class}`, `rpc.server.overload.in_flight{class}`, `rpc.server.overload.queue{class}`; the level of
/// shedding is `rpc.server.overload.level`.
public final class OverloadControl: Sendable {
    /// Whether a method is limited, and as what; nil leaves its calls alone, as those of a health check.
    public typealias Classifier = @Sendable (MethodDescriptor) -> MethodClass?

    let configuration: OverloadConfiguration
    let statistics: OverloadStatistics
    private let limiter: RateLimiter
    private let queues: [MethodClass: CallQueue]
    private let classify: Classifier

    /// Makes the limits.
    public init(_ configuration: OverloadConfiguration, classify: @escaping Classifier) {
        self.configuration = configuration
        self.classify = classify
        let statistics = OverloadStatistics(configuration.metrics)
        self.statistics = statistics
        limiter = RateLimiter(maximumPrincipals: configuration.maximumPrincipals)
        queues = Dictionary(
            uniqueKeysWithValues: [MethodClass.read, .write].map {
                ($0, CallQueue($0, configuration, statistics))
            }
        )
    }

    /// The interceptors, in order; they come after authentication and authorization. None where the mode is off.
    public var interceptors: [any ServerInterceptor] {
        guard configuration.mode != .off else { return [] }
        return [
            RateLimitInterceptor(limiter: limiter, configuration, statistics, classify),
            ConcurrencyInterceptor(queues: queues, configuration, statistics, classify),
        ]
    }

    /// What is done about calls that should be refused.
    public var mode: OverloadConfiguration.Mode { configuration.mode }

    /// Answers the calls that have waited for too long; to be called now and then.
    func expire(at now: NIODeadline) {
        for queue in queues.values { queue.expire(at: now) }
    }

    /// How the limits fare.
    public var counters: OverloadCounters {
        var counters = statistics.snapshot()
        counters.principals = limiter.count
        counters.queues = queues.mapValues(\.figures)
        return counters
    }
}

/// The counters, which every call that is refused or waits writes to.
final class OverloadStatistics: Sendable {
    private let factory: any MetricsFactory
    private let admittedTotal: ServerStatistics.Total
    private let waitedTotal: ServerStatistics.Total
    private let rejections: [String: ServerStatistics.Total]
    private let level: Gauge
    /// By event loop, in thousandths.
    private let levels = Mutex<[ObjectIdentifier: Int]>([:])

    static let reasons = ["rate_limit", "shed"] + AdmissionQueue.Refusal.allCases.map(\.rawValue)

    init(_ factory: (any MetricsFactory)?) {
        let factory = factory ?? MetricsSystem.factory
        self.factory = factory
        admittedTotal = ServerStatistics.Total("overload.admitted", [], factory)
        waitedTotal = ServerStatistics.Total("overload.waited", [], factory)
        rejections = Dictionary(
            uniqueKeysWithValues: Self.reasons.map {
                ($0, ServerStatistics.Total("overload.rejected", [("reason", $0)], factory))
            }
        )
        level = Gauge(label: "rpc.server.overload.level", dimensions: [], factory: factory)
    }

    func admitted() { admittedTotal.increment() }
    func waited() { waitedTotal.increment() }
    func rejected(_ reason: String) { rejections[reason]?.increment() }

    func gauge(_ name: String, _ methodClass: MethodClass) -> Gauge {
        Gauge(label: "rpc.server.overload." + name, dimensions: [("class", methodClass.rawValue)], factory: factory)
    }

    /// A loop sheds at this level now.
    func sheds(_ loop: ObjectIdentifier, thousandths: Int) {
        let highest = levels.withLock { levels in
            levels[loop] = thousandths
            return levels.values.max() ?? 0
        }
        level.record(Double(highest) / 1_000)
    }

    func snapshot() -> OverloadCounters {
        var counters = OverloadCounters()
        counters.admitted = admittedTotal.current
        counters.waited = waitedTotal.current
        counters.rejected = rejections.mapValues(\.current).filter { $0.value > 0 }
        counters.sheddingLevel = Double(levels.withLock { $0.values.max() ?? 0 }) / 1_000
        return counters
    }
}
