/// Finds the highest rate that meets an objective, one step of load at a time: doubles from a start until a rate fails
/// (or halves until one passes), bisects to a tolerance, holds the rate found for longer, and then steps through loads
/// around it for the analysis. It decides; who runs the steps tells it the outcomes.
///
/// A failed step is tried once more before it counts, because one bad moment fails a step but none makes it pass. A
/// failed hold is not: its rate is lowered instead. When the first hold passes, a little more is held as well, until that
/// fails: bad moments may have ended the bisection too low.
struct CapacitySearch: Sendable {
    struct Settings: Sendable, Hashable {
        /// Calls a second.
        var start = 1_000.0
        var lowest = 1.0
        var highest = 1_000_000.0
        /// How far the lowest failed rate may be above the highest passed one, in proportion.
        var tolerance = 0.02
        /// Most steps up to and with the hold; the steps through loads come on top.
        var maximumSteps = 40
        var maximumHolds = 5
        /// Most holds above the first that passed.
        var maximumRaises = 3
        /// The loads stepped through in the end, in proportion to the capacity. One beyond it shows how the server fails, unless
        /// `highest` forbids it.
        var sweep = [0.1, 0.25, 0.4, 0.55, 0.7, 0.8, 0.9, 0.95, 1.05]
    }

    enum Kind: String, Codable, Sendable { case bracket, bisect, hold, sweep }

    struct Step: Sendable, Hashable {
        /// Calls a second.
        var rate: Double
        var kind: Kind
        /// From 1; 2 is the second try.
        var attempt: Int
    }

    enum Outcome: Sendable {
        case met
        case missed
        /// The generator could not send at this rate, so that the server was not asked.
        case generatorLimited
    }

    enum Finding: String, Codable, Sendable {
        /// A rate was found and held.
        case found
        /// The generator was the limit: the server can do more than was found.
        case generatorLimited = "generator_limited"
        /// The highest rate allowed passed.
        case highestPassed = "highest_passed"
        /// Not even the lowest rate passed.
        case nothingPassed = "nothing_passed"
        /// No rate held, or the steps ran out.
        case notConfirmed = "not_confirmed"
    }

    private enum Phase { case bracket, bisect, hold, sweep, done }

    let settings: Settings
    private(set) var finding: Finding?
    /// The highest rate that passed, in calls a second; once found, the rate that held.
    private(set) var passed: Double?
    /// The lowest rate that failed.
    private(set) var failed: Double?
    private var phase = Phase.bracket
    private var rate: Double
    private var attempt = 1
    private var steps = 0
    private var holds = 0
    private var raises = 0
    private var isLimitedByGenerator = false
    private var swept = 0

    init(_ settings: Settings = Settings()) {
        self.settings = settings
        rate = min(max(settings.start, settings.lowest), settings.highest)
    }

    /// The rate that was found, in calls a second.
    var capacity: Double? {
        switch finding {
        case .found, .generatorLimited, .highestPassed: passed
        default: nil
        }
    }

    /// What to run next; nothing when the search is over.
    func next() -> Step? {
        switch phase {
        case .bracket: Step(rate: rate, kind: .bracket, attempt: attempt)
        case .bisect: Step(rate: rate, kind: .bisect, attempt: attempt)
        case .hold: Step(rate: rate, kind: .hold, attempt: 1)
        case .sweep:
            Step(rate: min(settings.sweep[swept] * (passed ?? rate), settings.highest), kind: .sweep, attempt: 1)
        case .done: nil
        }
    }

    /// Takes the outcome of the step that `next` gave.
    mutating func observe(_ outcome: Outcome) {
        switch phase {
        case .done: return
        case .sweep:
            swept += 1
            if swept == settings.sweep.count { phase = .done }
        case .hold: observeHold(outcome)
        case .bracket, .bisect: observeSearch(outcome)
        }
    }

    private mutating func observeSearch(_ outcome: Outcome) {
        steps += 1
        if outcome != .met, attempt == 1, steps < settings.maximumSteps {
            attempt = 2
            return
        }
        attempt = 1
        switch outcome {
        case .met:
            passed = max(rate, passed ?? rate)
        case .missed:
            failed = min(rate, failed ?? rate)
            isLimitedByGenerator = false
        case .generatorLimited:
            failed = min(rate, failed ?? rate)
            isLimitedByGenerator = true
        }
        switch (passed, failed) {
        case (let low?, let high?) where high / low <= 1 + settings.tolerance: beginHold(low)
        case (let low?, _) where steps >= settings.maximumSteps: beginHold(low)
        case (let low?, let high?):
            phase = .bisect
            // The geometric middle, since the tolerance is a proportion.
            rate = (low * high).squareRoot()
        case (let low?, nil):
            if low >= settings.highest { beginHold(low) } else { rate = min(low * 2, settings.highest) }
        case (nil, _):
            if rate <= settings.lowest || steps >= settings.maximumSteps {
                finish(isLimitedByGenerator ? .generatorLimited : .nothingPassed)
            } else {
                rate = max(rate / 2, settings.lowest)
            }
        }
    }

    private mutating func beginHold(_ rate: Double) {
        phase = .hold
        self.rate = rate
    }

    private mutating func observeHold(_ outcome: Outcome) {
        steps += 1
        holds += 1
        if outcome == .met {
            passed = rate
            if isLimitedByGenerator {
                finish(.generatorLimited)
            } else if rate >= settings.highest {
                finish(.highestPassed)
            } else if holds == raises + 1, raises < settings.maximumRaises, steps < settings.maximumSteps {
                raises += 1
                rate = min(rate * (1 + 2 * settings.tolerance), settings.highest)
            } else {
                finish(.found)
            }
            return
        }
        if raises > 0 {
            failed = rate
            return finish(outcome == .generatorLimited ? .generatorLimited : .found)
        }
        isLimitedByGenerator = outcome == .generatorLimited
        failed = min(rate, failed ?? rate)
        guard holds < settings.maximumHolds, rate > settings.lowest else { return finish(.notConfirmed) }
        // Each failure goes down further: 1, 2, 4, … times the tolerance.
        rate = max(rate / (1 + settings.tolerance * Double(1 << (holds - 1))), settings.lowest)
    }

    private mutating func finish(_ finding: Finding) {
        self.finding = finding
        phase = capacity == nil || settings.sweep.isEmpty ? .done : .sweep
    }
}
