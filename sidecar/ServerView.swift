import CohortAPI
import RPC

/// What is known of the server, from what it last answered. A value: the time is passed in.
struct ServerView: Sendable {
    /// An answer to the sidecar's questions.
    struct Answer: Sendable {
        var status: GetStatusResponse
        /// What `grpc.health.v1.Health/Check` says of the server as a whole.
        var isServing: Bool
    }

    /// Why a question had no answer.
    struct Problem: Sendable, Equatable {
        var code: RPCError.Code
        /// As the error says, which may name addresses and files: for the log, and for who may ask for the server's state.
        var detail: String

        /// For everybody.
        var plain: String {
            switch code {
            case .unavailable: "it cannot be reached"
            case .deadlineExceeded: "it gave no answer in time"
            case .unauthenticated, .permissionDenied: "it does not let the sidecar in"
            default: "it answered with an error"
            }
        }
    }

    /// Since when the sidecar runs.
    private(set) var since: ContinuousClock.Instant
    private(set) var last: (answer: Answer, at: ContinuousClock.Instant)?
    /// Why the last question had no answer; nil where it had one.
    private(set) var problem: Problem?
    /// Codes of the problems since the last answer.
    private var codes: Set<RPCError.Code> = []
    /// Questions that are over, so that two views can be told apart.
    private(set) var polls = 0
    /// Whether the server, as it has run since it last started, has been ready once.
    private(set) var hasServed = false

    init(since: ContinuousClock.Instant) { self.since = since }

    mutating func answered(_ answer: Answer, at now: ContinuousClock.Instant) {
        // Another start time is another run, which has to become ready by itself.
        if let last, last.answer.status.startedAt != answer.status.startedAt { hasServed = false }
        hasServed = hasServed || answer.isServing
        last = (answer, now)
        problem = nil
        codes = []
        polls += 1
    }

    /// Returns whether it is a problem of another kind than those since the last answer, and so worth a line in the log.
    mutating func failed(_ problem: Problem) -> Bool {
        self.problem = problem
        polls += 1
        return codes.insert(problem.code).inserted
    }

    /// Time since the last answer, or since the start where there was none.
    func silence(at now: ContinuousClock.Instant) -> Duration { (last?.at ?? since).duration(to: now) }

    var isUp: Bool { problem == nil && last != nil }
}

/// What a probe answers: fine, or why not.
struct ProbeAnswer: Sendable, Equatable, Encodable {
    var ok: Bool
    var reasons: [String]

    init(reasons: [String]) {
        ok = reasons.isEmpty
        self.reasons = reasons
    }
}

/// Answers the probes of an orchestrator from what is known of the server; it is not asked again, so nobody waits for it.
///
/// Probes are for everybody, so reasons are fixed texts: what the server or an error says is in the log and on the dashboard.
struct Probes: Sendable {
    /// Silence after which the server counts as stalled.
    var stall: Duration
    /// Silence after which it gets no more traffic.
    var stale: Duration

    /// Whether the process should go on running: it answers, or has not been silent for long.
    func live(_ view: ServerView, at now: ContinuousClock.Instant) -> ProbeAnswer {
        let silence = view.silence(at: now)
        return ProbeAnswer(reasons: silence > stall ? [Self.silent(silence, view)] : [])
    }

    /// Whether it should get traffic: it has answered just now that it serves, and its store takes writes.
    func ready(_ view: ServerView, at now: ContinuousClock.Instant) -> ProbeAnswer {
        var reasons: [String] = []
        let silence = view.silence(at: now)
        guard let answer = view.last?.answer else { return ProbeAnswer(reasons: [Self.silent(silence, view)]) }
        if silence > stale { reasons.append(Self.silent(silence, view)) }
        if !answer.isServing { reasons.append(Self.notServing(answer.status)) }
        for breaker in answer.status.breakers where breaker.state == .open {
            reasons.append("the circuit breaker \(breaker.name) is open")
        }
        return ProbeAnswer(reasons: reasons)
    }

    /// Whether it has become ready once since it started: until then it is not to be judged by the others.
    func started(_ view: ServerView, at now: ContinuousClock.Instant) -> ProbeAnswer {
        if view.hasServed { return ProbeAnswer(reasons: []) }
        guard let answer = view.last?.answer else {
            return ProbeAnswer(reasons: [Self.silent(view.silence(at: now), view)])
        }
        return ProbeAnswer(reasons: [Self.notServing(answer.status)])
    }

    private static func silent(_ silence: Duration, _ view: ServerView) -> String {
        let seconds = silence.components.seconds
        let start =
            view.last == nil
            ? "the server has not answered since the sidecar started, \(seconds) s ago"
            : "the server has not answered for \(seconds) s"
        return view.problem.map { "\(start): \($0.plain)" } ?? start
    }

    private static func notServing(_ status: GetStatusResponse) -> String {
        switch status.state {
        case .starting: "the server is loading its index"
        case .draining: "the server is draining"
        case .degraded: "the server is degraded"
        default: "the server does not serve"
        }
    }
}
