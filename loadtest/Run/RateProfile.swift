import Foundation

/// How many calls a second are due over time: pieces in which the rate is constant or goes evenly from one to another.
struct RateProfile: Sendable, Equatable {
    struct Piece: Sendable, Equatable {
        /// Calls a second at its begin and at its end.
        var from: Double
        var to: Double
        /// In seconds.
        var duration: Double

        /// Calls due within it.
        var calls: Double { (from + to) / 2 * duration }
    }

    private(set) var pieces: [Piece] = []

    static func constant(_ rate: Double, for duration: Double) -> RateProfile {
        RateProfile(pieces: [Piece(from: rate, to: rate, duration: duration)])
    }

    /// In seconds.
    var duration: Double { pieces.reduce(0) { $0 + $1.duration } }

    /// Calls due in all.
    var calls: Double { pieces.reduce(0) { $0 + $1.calls } }

    mutating func append(_ stage: Stage) { pieces += stage.pieces }

    /// A piece of its own before all others, at the rate with which they begin.
    func preceded(by warmup: Double) -> RateProfile {
        guard warmup > 0, let first = pieces.first else { return self }
        return RateProfile(pieces: [Piece(from: first.from, to: first.from, duration: warmup)] + pieces)
    }
}

/// A stage of a load, as a scenario names it. Durations in seconds, rates in calls a second.
enum Stage: Sendable, Equatable {
    case constant(rate: Double, duration: Double)
    case ramp(from: Double, to: Double, duration: Double)
    /// Equal steps up or down, each held equally long.
    case steps(from: Double, to: Double, count: Int, duration: Double)
    /// The base, a peak in the middle third, the base again.
    case spike(base: Double, peak: Double, duration: Double)
    /// A sine between two rates, lowest at the begin, a whole wave each period.
    case diurnal(low: Double, high: Double, period: Double, duration: Double)

    var pieces: [RateProfile.Piece] {
        switch self {
        case .constant(let rate, let duration): [.init(from: rate, to: rate, duration: duration)]
        case .ramp(let from, let to, let duration): [.init(from: from, to: to, duration: duration)]
        case .steps(let from, let to, let count, let duration):
            (0..<count).map { step in
                let rate = count == 1 ? from : from + (to - from) * Double(step) / Double(count - 1)
                return .init(from: rate, to: rate, duration: duration / Double(count))
            }
        case .spike(let base, let peak, let duration):
            [base, peak, base].map { .init(from: $0, to: $0, duration: duration / 3) }
        case .diurnal(let low, let high, let period, let duration):
            // 24 even pieces to a wave are within 1 % of it.
            Self.pieces(duration, every: period / 24) { time in
                (low + high) / 2 - (high - low) / 2 * cos(2 * .pi * time / period)
            }
        }
    }

    private static func pieces(
        _ duration: Double,
        every step: Double,
        _ rate: (Double) -> Double
    ) -> [RateProfile.Piece] {
        var pieces: [RateProfile.Piece] = []
        var begin = 0.0
        while begin < duration {
            let end = min(begin + step, duration)
            pieces.append(.init(from: rate(begin), to: rate(end), duration: end - begin))
            begin = end
        }
        return pieces
    }
}
