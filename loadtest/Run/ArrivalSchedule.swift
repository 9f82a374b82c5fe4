import Foundation

/// When calls are due, one after the other: evenly, or as a Poisson process, whose gaps are exponential.
///
/// Arrivals of a rate that changes are those of the rate 1 at the times at which the profile has reached their number
/// (the time-change theorem: Cox and Lewis, The Statistical Analysis of Series of Events, 1966).
struct ArrivalSchedule: Sendable {
    enum Process: String, Sendable, CaseIterable {
        case constant
        case poisson
    }

    private let pieces: [RateProfile.Piece]
    private let process: Process
    private var generator: SplitMix64
    private var piece = 0
    /// Where the piece begins: in seconds, and in calls due before it.
    private var begin = (time: 0.0, calls: 0.0)
    private var reached = 0.0

    init(_ profile: RateProfile, _ process: Process, seed: UInt64) {
        pieces = profile.pieces
        self.process = process
        generator = SplitMix64(state: seed)
        if process == .poisson { reached = gap() }
    }

    /// The next, in seconds from the start; nil after the last.
    mutating func next() -> Double? {
        while piece < pieces.count {
            let current = pieces[piece]
            let within = reached - begin.calls
            // An arrival on the border belongs to the next piece.
            if within < current.calls {
                reached += gap()
                return begin.time + Self.time(of: within, in: current)
            }
            begin = (begin.time + current.duration, begin.calls + current.calls)
            piece += 1
        }
        return nil
    }

    private mutating func gap() -> Double {
        switch process {
        case .constant: 1
        case .poisson: -log1p(-Double.random(in: 0..<1, using: &generator))
        }
    }

    /// When so many calls have become due in a piece: the root of `from t + (to - from) t² / 2 duration = calls`.
    private static func time(of calls: Double, in piece: RateProfile.Piece) -> Double {
        guard calls > 0 else { return 0 }
        let slope = (piece.to - piece.from) / piece.duration
        // This form of the root loses no digits where the slope is small.
        let root = max(0, piece.from * piece.from + 2 * slope * calls).squareRoot()
        return min(2 * calls / (piece.from + root), piece.duration)
    }
}
