public import NIOCore

/// Stops calling what fails, and tries again after a while: closed, open, half-open, as in resilience4j with a window that
/// counts calls. Reads no clock; the time is passed in.
///
/// Each admitted call is told back once by ``record(_:took:permit:at:)``. What was admitted in one state is not counted in
/// another, so a late failure does not open what has closed since.
///
/// Where nothing else could be called in its place, ``admitProbe(at:)`` lets single calls through an open one: a success of
/// these half-opens it before its time.
public struct CircuitBreaker: Sendable {
    /// When it opens, and for how long.
    public struct Policy: Sendable, Hashable {
        /// Latest calls that are counted; 100.
        public var window = 100
        /// Calls in the window before a rate means anything; 100, at most `window`.
        public var minimumCalls = 100
        /// Failed calls of the window that open it, in percent; 50.
        public var failureRatePercent = 50
        /// Slow calls of the window that open it, in percent; 100.
        public var slowCallRatePercent = 100
        /// From here on a call is slow; 60 s.
        public var slowCall: Duration = .seconds(60)
        /// Failures in a row that open it whatever the window holds, as in Envoy's outlier detection; nil never does. 5.
        ///
        /// What is called seldom, or was well for a hundred calls, would else be waited for long after it is gone.
        public var consecutiveFailures: Int? = 5
        /// How long it stays open; 30 s.
        public var openTime: Duration = .seconds(30)
        /// Calls that are tried when that is over, and judged together by the same rates; 10. It opens again as soon as the
        /// failures among them are too many whatever the others will be.
        public var halfOpenPermits = 10
        /// Time between probes of an open one, from the end of one to the next; 1 s.
        public var probeInterval: Duration = .seconds(1)

        /// The defaults.
        public init() {}
    }

    /// What it does with calls.
    public enum State: String, Sendable, Hashable, CaseIterable {
        /// Lets them pass.
        case closed
        /// Refuses them.
        case open
        /// Lets a few pass, to see.
        case halfOpen = "half_open"
    }

    /// How an admitted call ended.
    public enum Outcome: Sendable, Hashable {
        /// It was answered, with whatever.
        case success
        /// What is protected failed.
        case failure
        /// It was not answered in the time that its caller gave it, which may have been too short for anyone: a failure if
        /// no call that is judged with it succeeded, else nothing. It neither makes nor breaks a row of failures.
        case timeout
        /// It says nothing, as a call that its caller gave up.
        case ignored
    }

    /// Goes with an admitted call.
    public struct Permit: Sendable, Hashable {
        package let period: UInt64
        let isProbe: Bool
        package init(period: UInt64) { self.init(period: period, isProbe: false) }

        init(period: UInt64, isProbe: Bool) {
            self.period = period
            self.isProbe = isProbe
        }
    }

    /// What a call is told.
    public enum Decision: Sendable, Hashable {
        /// Make it, and record its outcome.
        case admitted(Permit)
        /// Do not; it may be worth another try after this.
        case rejected(retryAfter: Duration)
    }

    private struct Mark: OptionSet {
        let rawValue: UInt8
        static let failed = Mark(rawValue: 1)
        static let slow = Mark(rawValue: 2)
        static let timedOut = Mark(rawValue: 4)
    }

    /// The calls that are judged: a ring.
    private struct Window {
        var marks: [Mark] = []
        var next = 0
        private(set) var failed = 0
        private var timedOut = 0
        private(set) var slow = 0

        var failures: Int {
            let hasSuccess = failed + timedOut < marks.count
            return hasSuccess ? failed : failed + timedOut
        }

        mutating func add(_ mark: Mark, capacity: Int) {
            if marks.count < capacity {
                marks.append(mark)
            } else {
                count(marks[next], -1)
                marks[next] = mark
            }
            next = (next + 1) % capacity
            count(mark, 1)
        }

        private mutating func count(_ mark: Mark, _ amount: Int) {
            if mark.contains(.failed) { failed += amount }
            if mark.contains(.timedOut) { timedOut += amount }
            if mark.contains(.slow) { slow += amount }
        }
    }

    /// When it opens.
    public let policy: Policy
    /// What it does now; what is open is so until a call finds its time over.
    public private(set) var state = State.closed
    private var openUntil = NIODeadline.distantPast
    private var window = Window()
    private var failuresInRow = 0
    private var permitsTaken = 0
    private var isProbing = false
    private var nextProbe = NIODeadline.distantPast
    /// Counts the states it was in, so that outcomes are told to the one that admitted them.
    private var period: UInt64 = 0

    /// A closed one.
    public init(_ policy: Policy = Policy()) {
        precondition(policy.window > 0 && policy.halfOpenPermits > 0, "a breaker counts at least one call")
        self.policy = policy
    }

    /// Failed calls among those that are judged, in percent; 0 where there is none.
    public var failureRatePercent: Int { percent(window.failures) }
    /// Slow calls among those that are judged, in percent.
    public var slowCallRatePercent: Int { percent(window.slow) }

    private func percent(_ part: Int) -> Int { window.marks.isEmpty ? 0 : part * 100 / window.marks.count }

    /// The time to wait where a call would be refused now; nil where it would be admitted. Changes nothing.
    public func wait(at now: NIODeadline) -> Duration? {
        switch state {
        case .closed: nil
        case .open: now < openUntil ? .nanoseconds((openUntil - now).nanoseconds) : nil
        case .halfOpen: permitsTaken < policy.halfOpenPermits ? nil : min(policy.openTime, .seconds(1))
        }
    }

    /// Asks for a call.
    public mutating func admit(at now: NIODeadline) -> Decision {
        if let wait = wait(at: now) { return .rejected(retryAfter: wait) }
        if state == .open { enter(.halfOpen) }
        if state == .halfOpen { permitsTaken += 1 }
        return .admitted(Permit(period: period))
    }

    /// As ``wait(at:)``, for ``admitProbe(at:)``.
    public func probeWait(at now: NIODeadline) -> Duration? {
        guard state == .open, now < openUntil else { return wait(at: now) }
        if isProbing { return policy.probeInterval }
        return now < nextProbe ? .nanoseconds((nextProbe - now).nanoseconds) : nil
    }

    /// Asks for a call though it is open: one at a time, and not one after the other. For what is better tried than refused
    /// for the whole time, as the only server that there is.
    public mutating func admitProbe(at now: NIODeadline) -> Decision {
        guard state == .open, now < openUntil else { return admit(at: now) }
        if let wait = probeWait(at: now) { return .rejected(retryAfter: wait) }
        isProbing = true
        return .admitted(Permit(period: period, isProbe: true))
    }

    /// What is behind it was found to be away by other means than a call: it is open from now on for its whole time, unless
    /// it is closed, where a single finding opens nothing.
    public mutating func foundAway(at now: NIODeadline) {
        if state != .closed { open(at: now) }
    }

    /// Tells how an admitted call ended.
    public mutating func record(_ outcome: Outcome, took time: Duration, permit: Permit, at now: NIODeadline) {
        guard permit.period == period else { return }
        if state == .open {
            guard permit.isProbe else { return }
            isProbing = false
            nextProbe = now + TimeAmount(clamping: policy.probeInterval)
            if outcome == .success { enter(.halfOpen) }
            return
        }
        if outcome == .ignored {
            // Another is tried in its place.
            if state == .halfOpen { permitsTaken -= 1 }
            return
        }
        var mark: Mark =
            switch outcome {
            case .failure: .failed
            case .timeout: .timedOut
            case .success, .ignored: []
            }
        if time >= policy.slowCall { mark.insert(.slow) }
        switch outcome {
        case .failure: failuresInRow += 1
        case .success: failuresInRow = 0
        case .timeout, .ignored: break
        }
        if state == .halfOpen {
            window.add(mark, capacity: policy.halfOpenPermits)
            let isJudged = window.marks.count == policy.halfOpenPermits
            // Those that timed out are not known to be failures before the last has ended.
            if isOver(failed: isJudged ? window.failures : window.failed, of: policy.halfOpenPermits) {
                open(at: now)
            } else if isJudged {
                enter(.closed)
            }
        } else {
            window.add(mark, capacity: policy.window)
            let isRateKnown = window.marks.count >= min(policy.minimumCalls, policy.window)
            let isRowOver = policy.consecutiveFailures.map { failuresInRow >= $0 } ?? false
            let isRateOver = isOver(failed: window.failures, of: window.marks.count)
            if isRowOver || (isRateKnown && isRateOver) { open(at: now) }
        }
    }

    private func isOver(failed: Int, of calls: Int) -> Bool {
        failed * 100 >= policy.failureRatePercent * calls
            || window.slow * 100 >= policy.slowCallRatePercent * calls
    }

    private mutating func open(at now: NIODeadline) {
        enter(.open)
        openUntil = now + TimeAmount(clamping: policy.openTime)
        nextProbe = now + TimeAmount(clamping: policy.probeInterval)
    }

    private mutating func enter(_ new: State) {
        state = new
        period += 1
        // What opened it stays to be seen while it is open.
        if new != .open { window = Window() }
        failuresInRow = 0
        permitsTaken = 0
        isProbing = false
        nextProbe = .distantPast
    }
}
