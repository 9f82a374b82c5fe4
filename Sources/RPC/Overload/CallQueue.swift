import Metrics
import NIOCore
import Synchronization

/// An ``AdmissionQueue`` whose calls are real: they wait in their tasks.
final class CallQueue: Sendable {
    /// What a call is to the queue.
    enum Admission: Sendable {
        /// Not counted.
        case none
        /// It waits under this number, or has been released and does not know yet.
        case waiting(UInt64)
        /// It runs since.
        case running(NIODeadline)
    }

    fileprivate enum Waiter {
        /// Released, or cancelled, before it could suspend.
        case released(AdmissionQueue.Refusal?)
        case suspended(CheckedContinuation<AdmissionQueue.Refusal?, Never>)
    }

    fileprivate struct State {
        var queue: AdmissionQueue
        var waiters: [UInt64: Waiter] = [:]
    }

    private let state: Mutex<State>
    private let statistics: OverloadStatistics
    private let isDryRun: Bool
    private let errors: [AdmissionQueue.Refusal: PushbackErrors]
    private let limit: Gauge
    private let inFlight: Gauge
    private let waiting: Gauge

    init(_ methodClass: MethodClass, _ configuration: OverloadConfiguration, _ statistics: OverloadStatistics) {
        state = Mutex(State(queue: AdmissionQueue(configuration.concurrency)))
        self.statistics = statistics
        isDryRun = configuration.mode == .dryRun
        errors = Dictionary(
            uniqueKeysWithValues: AdmissionQueue.Refusal.allCases.map {
                ($0, Self.errors($0, configuration.errorDomain))
            }
        )
        limit = statistics.gauge("limit", methodClass)
        inFlight = statistics.gauge("in_flight", methodClass)
        waiting = statistics.gauge("queue", methodClass)
    }

    var figures: OverloadCounters.Queue {
        state.withLock {
            let queue = $0.queue
            return OverloadCounters.Queue(
                limit: queue.limit,
                inFlight: queue.inFlight,
                waiting: queue.waiting,
                capacity: queue.capacity
            )
        }
    }

    /// Lets a call in, has it wait, or refuses it.
    func begin(_ call: ServerCall, _ criticality: Criticality) throws(RPCError) -> InterceptDecision {
        let now = NIODeadline.now()
        let deadline = call.deadline
        let (arrival, retryAfter, displaced, late) = state.withLock { state in
            let late = state.release(state.queue.expire(at: now))
            let arrival = state.queue.arrive(criticality, deadline: deadline, at: now)
            var displaced: CheckedContinuation<AdmissionQueue.Refusal?, Never>?
            if case .wait(let id, let lesser) = arrival {
                if let lesser { displaced = state.release(lesser, .displaced) }
                // What its wait would have come to is not known: it is counted as one that waits, and runs uncounted. Before
                // anybody can release it, for nobody would give its place back.
                if isDryRun { _ = state.queue.cancel(id) }
            }
            return (arrival, state.queue.retryAfter, displaced, late)
        }
        displaced?.resume(returning: .displaced)
        resume(late)
        switch arrival {
        case .run:
            admitted(call, at: now)
            return .proceed
        case .refuse(let refusal):
            statistics.rejected(refusal.rawValue)
            if isDryRun { return .proceed }
            throw error(refusal, retryAfter)
        case .wait(let id, _):
            statistics.waited()
            if isDryRun { return .proceed }
            call.admission = .waiting(id)
            return .park { [self] () async throws(RPCError) in try await wait(id, call) }
        }
    }

    private func wait(_ id: UInt64, _ call: ServerCall) async throws(RPCError) {
        let refusal = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let released = state.withLock { state -> AdmissionQueue.Refusal?? in
                    if case .released(let refusal)? = state.waiters.removeValue(forKey: id) { return .some(refusal) }
                    state.waiters[id] = .suspended(continuation)
                    return .none
                }
                if let released { continuation.resume(returning: released) }
            }
        } onCancel: {
            // Its deadline is over, or its caller is gone.
            let waiter = state.withLock { state in
                state.queue.cancel(id) ? state.release(id, .deadline) : nil
            }
            waiter?.resume(returning: .deadline)
        }
        if let refusal {
            call.admission = .none
            statistics.rejected(refusal.rawValue)
            throw error(refusal, state.withLock { $0.queue.retryAfter })
        }
        admitted(call, at: .now())
    }

    private func admitted(_ call: ServerCall, at now: NIODeadline) {
        call.admission = .running(now)
        statistics.admitted()
    }

    /// The call has ended; those that may run now are woken.
    func end(_ call: ServerCall, _ outcome: CallOutcome) {
        let now = NIODeadline.now()
        let (woken, figures) = state.withLock { state in
            let releases: [AdmissionQueue.Release] =
                switch call.admission {
                case .none: []
                case .running(let began): state.queue.ended(Self.ending(outcome, began), at: now)
                // Refused by a limit that comes after this one, before it could wait in a task.
                case .waiting(let id): state.leave(id, at: now)
                }
            return (state.release(releases), (state.queue.limit, state.queue.inFlight, state.queue.waiting))
        }
        call.admission = .none
        resume(woken)
        limit.record(figures.0)
        inFlight.record(figures.1)
        waiting.record(figures.2)
    }

    /// Answers those that have waited for too long.
    func expire(at now: NIODeadline) { resume(state.withLock { $0.release($0.queue.expire(at: now)) }) }

    private func resume(_ woken: [Woken]) {
        for woken in woken { woken.continuation.resume(returning: woken.refusal) }
    }

    /// By overload fails what something behind has no room for, and what was not done in its time.
    private static func ending(_ outcome: CallOutcome, _ began: NIODeadline) -> AdmissionQueue.Ending {
        switch outcome.error?.code {
        case nil: .measured(since: began)
        case .resourceExhausted?, .deadlineExceeded?: .dropped(since: began)
        default: .untold
        }
    }

    private func error(_ refusal: AdmissionQueue.Refusal, _ retryAfter: Duration) -> RPCError {
        // There is one for each.
        errors[refusal]?[retryAfter] ?? RPCError(.resourceExhausted, "the server has more calls than it can run")
    }

    private static func errors(_ refusal: AdmissionQueue.Refusal, _ domain: String) -> PushbackErrors {
        let message =
            switch refusal {
            case .queueFull: "the server has more calls than it can run, and too many wait"
            case .deadline: "the server has more calls than it can run; this one would not be answered in time"
            case .waitedTooLong: "the server has more calls than it can run; this one has waited for too long"
            case .displaced: "the server has more calls than it can run; a more critical one took the place of this one"
            }
        return PushbackErrors { wait in
            RPCError(.resourceExhausted, message)
                .withErrorInfo(reason: "OVERLOADED", domain: domain, metadata: ["cause": refusal.rawValue])
                .withPushback(wait)
        }
    }
}

private struct Woken {
    let continuation: CheckedContinuation<AdmissionQueue.Refusal?, Never>
    let refusal: AdmissionQueue.Refusal?
}

extension CallQueue.State {
    fileprivate mutating func release(_ releases: [AdmissionQueue.Release]) -> [Woken] {
        releases.compactMap { release in
            let (id, refusal): (UInt64, AdmissionQueue.Refusal?) =
                switch release {
                case .run(let id): (id, nil)
                case .refuse(let id, let why): (id, why)
                }
            return self.release(id, refusal).map { Woken(continuation: $0, refusal: refusal) }
        }
    }

    /// A call that has not suspended, and will not, gives up its place: in the queue, or among those that run if it was
    /// released meanwhile.
    fileprivate mutating func leave(_ id: UInt64, at now: NIODeadline) -> [AdmissionQueue.Release] {
        if queue.cancel(id) { return [] }
        guard case .released(nil)? = waiters.removeValue(forKey: id) else { return [] }
        return queue.ended(.untold, at: now)
    }

    /// The continuation to resume; nil where the call has not suspended yet and finds its release when it does.
    fileprivate mutating func release(
        _ id: UInt64,
        _ refusal: AdmissionQueue.Refusal?
    ) -> CheckedContinuation<AdmissionQueue.Refusal?, Never>? {
        if case .suspended(let continuation)? = waiters.removeValue(forKey: id) { return continuation }
        waiters[id] = .released(refusal)
        return nil
    }
}
