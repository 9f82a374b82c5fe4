public import NIOCore

/// Lets as many calls run as a ``GradientLimit`` says. The others wait, the most critical first, as many as there is room for
/// and no longer than they have.
///
/// A value; whoever holds it runs, or answers, the calls it names. Time is passed in.
public struct AdmissionQueue: Sendable {
    /// Its bounds.
    public struct Policy: Sendable, Hashable {
        /// Calls that run.
        public var limit = GradientLimit.Policy()
        /// Calls that wait; 1,024.
        public var capacity = 1_024
        /// The longest that one waits; 1 s.
        public var longestWait: Duration = .seconds(1)
        /// Part of the time left to a call within which it must be answered by the estimate, or it gets no place; 0.5. Estimates
        /// err, under load the way there and back is long, and a call that is answered late has taken the place of another.
        public var usableTime = 0.5

        /// The defaults.
        public init() {}
    }

    /// Why a call is not run.
    public enum Refusal: String, Sendable, Hashable, CaseIterable {
        /// Too many wait that are as critical.
        case queueFull = "queue_full"
        /// It would not be answered before its deadline.
        case deadline
        /// It waited for too long.
        case waitedTooLong = "queue_time"
        /// A more critical one took its place.
        case displaced
    }

    /// What a call that comes is told.
    public enum Arrival: Sendable, Hashable {
        /// Run it, and tell when it has ended.
        case run
        /// It waits under this number. `displaced` is answered in its place.
        case wait(UInt64, displaced: UInt64?)
        /// Answer it.
        case refuse(Refusal)
    }

    /// What has become of one that waited.
    public enum Release: Sendable, Hashable {
        /// Run it, and tell when it has ended.
        case run(UInt64)
        /// Answer it.
        case refuse(UInt64, Refusal)
    }

    private struct Waiter {
        let id: UInt64
        let since: NIODeadline
        let deadline: NIODeadline?
    }

    private let policy: Policy
    private var gradient: GradientLimit
    /// By criticality, each in order of arrival.
    private var waiters: [[Waiter]]
    private var nextID: UInt64 = 0
    /// Calls that run.
    public private(set) var inFlight = 0
    /// Calls that wait.
    public private(set) var waiting = 0

    /// An empty one.
    public init(_ policy: Policy = Policy()) {
        self.policy = policy
        gradient = GradientLimit(policy.limit)
        waiters = Array(repeating: [], count: Criticality.allCases.count)
    }

    /// Calls that may run at once now.
    public var limit: Int { gradient.limit }
    /// Calls that may wait.
    public var capacity: Int { policy.capacity }
    /// A time after which trying again is reasonable: until those that wait now have run.
    public var retryAfter: Duration { .seconds(max(0.01, min(waitSeconds(behind: waiting), 10))) }

    /// A call comes.
    public mutating func arrive(_ criticality: Criticality, deadline: NIODeadline?, at now: NIODeadline) -> Arrival {
        if inFlight < limit, waiting == 0 {
            inFlight += 1
            return .run
        }
        let ahead = waiters[Int(criticality.rawValue)...].reduce(0) { $0 + $1.count }
        if let deadline {
            let left = Double((deadline - now).nanoseconds) / 1e9
            let needed = waitSeconds(behind: ahead) + gradient.currentSeconds
            if needed > left * policy.usableTime { return .refuse(.deadline) }
        }
        var displaced: UInt64?
        if waiting >= policy.capacity {
            guard let lesser = waiters[..<Int(criticality.rawValue)].firstIndex(where: { !$0.isEmpty }) else {
                return .refuse(.queueFull)
            }
            // The newest: it has waited least.
            displaced = waiters[lesser].removeLast().id
            waiting -= 1
        }
        nextID += 1
        waiters[Int(criticality.rawValue)].append(Waiter(id: nextID, since: now, deadline: deadline))
        waiting += 1
        return .wait(nextID, displaced: displaced)
    }

    /// What the end of a call says of the load.
    public enum Ending: Sendable, Hashable {
        /// Its time, from when it was let in at this point, is that of a call.
        case measured(since: NIODeadline)
        /// Something behind had too much to do; let in at this point.
        case dropped(since: NIODeadline)
        /// Nothing: a failure that comes at once would make the calls look fast.
        case untold
    }

    /// A call that ran has ended.
    public mutating func ended(_ ending: Ending, at now: NIODeadline) -> [Release] {
        switch ending {
        case .measured(let began):
            gradient.record(seconds: Double((now - began).nanoseconds) / 1e9, inFlight: inFlight)
        case .dropped(let began):
            gradient.dropped(seconds: Double((now - began).nanoseconds) / 1e9, inFlight: inFlight)
        case .untold: break
        }
        inFlight -= 1
        var releases: [Release] = []
        while inFlight < limit, let (id, refusal) = takeFirst(at: now) {
            if let refusal {
                releases.append(.refuse(id, refusal))
            } else {
                inFlight += 1
                releases.append(.run(id))
            }
        }
        return releases
    }

    /// Those that have waited for too long. Asked with every arrival and now and then: where nothing ends, nobody's turn
    /// comes.
    public mutating func expire(at now: NIODeadline) -> [Release] {
        guard waiting > 0 else { return [] }
        var releases: [Release] = []
        for index in waiters.indices {
            let late = waiters[index].prefix { isLate($0, at: now) }
            releases += late.map { .refuse($0.id, .waitedTooLong) }
            waiters[index].removeFirst(late.count)
            waiting -= late.count
        }
        return releases
    }

    /// One that waits is gone. False where it does not wait any more: it has been released.
    public mutating func cancel(_ id: UInt64) -> Bool {
        for index in waiters.indices {
            guard let place = waiters[index].firstIndex(where: { $0.id == id }) else { continue }
            waiters[index].remove(at: place)
            waiting -= 1
            return true
        }
        return false
    }

    private mutating func takeFirst(at now: NIODeadline) -> (UInt64, Refusal?)? {
        guard let index = waiters.lastIndex(where: { !$0.isEmpty }) else { return nil }
        let waiter = waiters[index].removeFirst()
        waiting -= 1
        if let deadline = waiter.deadline, now + seconds(gradient.currentSeconds) > deadline {
            return (waiter.id, .deadline)
        }
        return (waiter.id, isLate(waiter, at: now) ? .waitedTooLong : nil)
    }

    private func isLate(_ waiter: Waiter, at now: NIODeadline) -> Bool {
        now - waiter.since > TimeAmount(clamping: policy.longestWait)
    }

    /// Until as many have ended as wait before it, and one more.
    private func waitSeconds(behind ahead: Int) -> Double {
        Double(ahead + 1) * gradient.currentSeconds / Double(max(1, limit))
    }

    private func seconds(_ seconds: Double) -> TimeAmount { .nanoseconds(Int64(min(seconds, 1e9) * 1e9)) }
}
