import NIOCore
import Synchronization

/// Refuses what cannot be done in time: calls that run in tasks by a limit on how many do, calls answered on the event loop
/// by how late that is.
struct ConcurrencyInterceptor: ServerInterceptor {
    private let queues: [MethodClass: CallQueue]
    private let configuration: OverloadConfiguration
    private let statistics: OverloadStatistics
    private let classify: OverloadControl.Classifier

    init(
        queues: [MethodClass: CallQueue],
        _ configuration: OverloadConfiguration,
        _ statistics: OverloadStatistics,
        _ classify: @escaping OverloadControl.Classifier
    ) {
        self.queues = queues
        self.configuration = configuration
        self.statistics = statistics
        self.classify = classify
    }

    func specialized(for method: MethodDescriptor, isInline: Bool) -> (any ServerInterceptor)? {
        guard let methodClass = classify(method), let queue = queues[methodClass] else { return nil }
        if isInline {
            return InlineShedding(
                isDryRun: configuration.mode == .dryRun,
                statistics: statistics,
                error: RPCError(.resourceExhausted, "the server has more calls than it can answer in time")
                    .withErrorInfo(reason: "OVERLOADED", domain: configuration.errorDomain, metadata: ["cause": "shed"])
                    .withPushback(.milliseconds(200))
                    .serialized()
            )
        }
        // A stream lasts as long as its client likes; how many there may be has limits of its own.
        return method.kind == .unary ? TaskAdmission(queue: queue) : nil
    }

    func begin(_ call: ServerCall) throws(RPCError) -> InterceptDecision { .proceed }
}

private struct TaskAdmission: ServerInterceptor {
    let queue: CallQueue

    func begin(_ call: ServerCall) throws(RPCError) -> InterceptDecision {
        try queue.begin(call, Criticality(of: call.metadata))
    }

    func end(_ call: ServerCall, _ outcome: CallOutcome) { queue.end(call, outcome) }
}

private struct InlineShedding: ServerInterceptor {
    let isDryRun: Bool
    let statistics: OverloadStatistics
    let error: RPCError

    var hooks: InterceptorHooks { InterceptorHooks(begin: { call throws(RPCError) in try begin(call) }) }

    func begin(_ call: ServerCall) throws(RPCError) -> InterceptDecision {
        guard let load = call.peer.load else { return .proceed }
        let level = load.level
        guard level > 0 else { return .proceed }
        // The fractional parts of the multiples of the golden ratio are as even as can be, and cost no generator.
        let random = Double(call.id >> 1) * 0.618_033_988_749_895
        let isShed = LoadShedder.sheds(
            Criticality(of: call.metadata),
            level: level,
            random: random - random.rounded(.down)
        )
        guard isShed else { return .proceed }
        statistics.rejected("shed")
        if isDryRun { return .proceed }
        throw error
    }
}

/// How late an event loop is: the time between when a timer was due and when it fired is about what everything that came
/// meanwhile has waited.
package final class LoopLoad: Sendable {
    /// Time between two looks.
    static let interval = TimeAmount.milliseconds(20)

    /// Of the ``LoadShedder``, in thousandths.
    private let thousandths = Atomic<Int>(0)

    package init() {}

    package var level: Double {
        let level = thousandths.load(ordering: .relaxed)
        return level == 0 ? 0 : Double(level) / 1_000
    }

    package func set(level: Double) { thousandths.store(Int(level * 1_000), ordering: .relaxed) }

    /// Looks until the task is cancelled.
    static func watch(
        _ loop: any EventLoop,
        _ policy: LoadShedder.Policy,
        told: @escaping @Sendable (Double) -> Void
    ) -> (LoopLoad, RepeatedTask) {
        let load = LoopLoad()
        let state = Mutex((shedder: LoadShedder(policy), due: NIODeadline.now() + interval))
        let task = loop.scheduleRepeatedTask(initialDelay: interval, delay: interval) { _ in
            let now = NIODeadline.now()
            let (old, level) = state.withLock { state in
                let old = state.shedder.level
                state.shedder.observe(.nanoseconds(max(0, (now - state.due).nanoseconds)))
                state.due = now + interval
                return (old, state.shedder.level)
            }
            guard level != old else { return }
            load.set(level: level)
            told(level)
        }
        return (load, task)
    }
}
