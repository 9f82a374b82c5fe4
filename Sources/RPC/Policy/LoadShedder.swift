/// Which part of the calls is refused so that the others are answered in time: more while work waits longer than it should,
/// less while it does not, the least critical first.
///
/// The level is the sum of errors (an integral controller). Up to 1 it is the part of the `sheddable` calls that is refused,
/// from 1 to 2 all of those and that part of the `sheddablePlus`, from 2 to 3 the `critical`, of which a tenth always passes.
public struct LoadShedder: Sendable, Hashable {
    /// When it sheds.
    public struct Policy: Sendable, Hashable {
        /// The wait that is no reason to shed; 50 ms.
        public var target: Duration = .milliseconds(50)
        /// The most that the level moves by one observation; 0.05.
        public var step = 0.05

        /// The defaults.
        public init() {}
    }

    private let policy: Policy
    /// 0–3.
    public private(set) var level = 0.0

    /// Sheds nothing.
    public init(_ policy: Policy = Policy()) { self.policy = policy }

    /// Work waited this long.
    public mutating func observe(_ wait: Duration) {
        let error = wait / policy.target - 1
        level = min(max(level + policy.step * min(max(error, -1), 1), 0), 3)
    }

    /// Whether to refuse a call.
    ///
    /// - Parameters:
    ///   - level: As ``level``.
    ///   - random: Uniform in 0..<1.
    public static func sheds(_ criticality: Criticality, level: Double, random: Double) -> Bool {
        let part = level - Double(criticality.rawValue)
        switch criticality {
        case .criticalPlus: return false
        case .critical: return random < min(part, 0.9)
        case .sheddable, .sheddablePlus: return random < part
        }
    }
}
