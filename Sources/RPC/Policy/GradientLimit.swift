/// How many calls may run at once, found out from how long they take: Netflix's *gradient2* (concurrency-limits).
///
/// While calls take as long as they did in the long run the limit grows; when they take longer there is a queue somewhere
/// behind, and it shrinks in proportion. What fails by overload has no time that could tell: for these it shrinks by a fixed
/// part, once for all the calls that run together, as TCP does once a round trip.
public struct GradientLimit: Sendable, Hashable {
    /// Its bounds and how it moves.
    public struct Policy: Sendable, Hashable {
        /// Where it begins; 1,024.
        public var initial = 1_024
        /// Never less; 16.
        public var minimum = 16
        /// Never more; 8,192.
        public var maximum = 8_192
        /// How many times the long-run time a call may take before the limit shrinks; 1.5.
        public var tolerance = 1.5
        /// Part of each step that is taken; 0.2.
        public var smoothing = 0.2
        /// Calls that may queue behind, so that the limit can grow; 4.
        public var queue = 4.0
        /// Calls that the long-run time is an average of; 600.
        public var longWindow = 600
        /// What is left of the limit where calls fail by overload; 0.9, as in that library's AIMD limit.
        public var dropFactor = 0.9

        /// The defaults.
        public init() {}
    }

    private let policy: Policy
    private var estimate: Double
    private var samples = 0
    /// In seconds.
    private var longTime = 0.0
    /// Calls that began before the limit last shrank for drops: these say the same again.
    private var echoes = 0

    /// A limit at its beginning.
    public init(_ policy: Policy = Policy()) {
        precondition(policy.minimum > 0 && policy.minimum <= policy.maximum, "a limit has bounds in order")
        self.policy = policy
        estimate = Double(min(max(policy.initial, policy.minimum), policy.maximum))
    }

    /// Calls that may run at once.
    public var limit: Int { Int(estimate) }
    /// What a call takes now, in seconds, an average over about the last 32; 0 before the first. Unlike the long-run time it knows
    /// of calls that failed by overload: those took at least the time they had.
    public private(set) var currentSeconds = 0.0

    /// A call took this long, while so many ran.
    ///
    /// - Parameters:
    ///   - seconds: Without the time that it waited to be let in.
    ///   - inFlight: Those that ran when it ended, itself included.
    public mutating func record(seconds: Double, inFlight: Int) {
        let seconds = max(seconds, 1e-9)
        follow(seconds)
        echoes = max(0, echoes - 1)
        samples += 1
        if samples <= 10 {
            longTime += (seconds - longTime) / Double(samples)
        } else {
            longTime += (seconds - longTime) * 2 / Double(policy.longWindow + 1)
        }
        // After a long time under load the average is that of the load: it must find back quickly.
        if longTime / seconds > 2 { longTime *= 0.95 }
        // What is not used tells nothing about what could be.
        guard Double(inFlight) >= estimate / 2 else { return }
        let gradient = max(0.5, min(1, policy.tolerance * longTime / seconds))
        let next = estimate * gradient + policy.queue
        estimate += (next - estimate) * policy.smoothing
        estimate = min(max(estimate, Double(policy.minimum)), Double(policy.maximum))
    }

    /// A call failed because something behind has too much to do.
    ///
    /// - Parameters:
    ///   - seconds: As in ``record(seconds:inFlight:)``. A call given less than a call takes fails whatever the load, and says
    ///     nothing.
    ///   - inFlight: As there.
    public mutating func dropped(seconds: Double, inFlight: Int) {
        if seconds > currentSeconds { follow(seconds) }
        if echoes > 0 {
            echoes -= 1
            return
        }
        guard seconds >= longTime else { return }
        echoes = inFlight - 1
        estimate = max(estimate * policy.dropFactor, Double(policy.minimum))
    }

    private mutating func follow(_ seconds: Double) {
        currentSeconds =
            samples == 0 && currentSeconds == 0 ? seconds : currentSeconds + (seconds - currentSeconds) / 16
    }
}
