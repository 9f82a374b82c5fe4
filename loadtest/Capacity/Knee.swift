/// The rate from which latency grows out of proportion: Kneedle (Satopää and others, "Finding a 'Kneedle' in a
/// Haystack", 2011) on a rising, convex curve, without its smoothing, for which load steps are too few.
enum Knee {
    /// - Parameters:
    ///   - points: Rate and latency.
    ///   - sensitivity: How much of a fall behind the candidate it takes, in mean distances between points.
    /// - Returns: The rate of the knee; nothing when the curve has none.
    static func find(_ points: [(rate: Double, latency: Double)], sensitivity: Double = 1) -> Double? {
        let sorted = points.sorted { $0.rate < $1.rate }
        guard sorted.count >= 4, let first = sorted.first, let last = sorted.last, last.rate > first.rate else {
            return nil
        }
        let low = sorted.map(\.latency).min() ?? 0
        let high = sorted.map(\.latency).max() ?? 0
        guard high > low else { return nil }
        let x = sorted.map { ($0.rate - first.rate) / (last.rate - first.rate) }
        // How far the curve stays below the straight line between its ends.
        let below = zip(x, sorted).map { $0 - ($1.latency - low) / (high - low) }
        guard let candidate = below.indices.max(by: { below[$0] < below[$1] }) else { return nil }
        // Less than a tenth below is as good as straight.
        guard below[candidate] > 0.1 else { return nil }
        let threshold = below[candidate] - sensitivity / Double(sorted.count - 1)
        return below[candidate...].contains { $0 < threshold } ? sorted[candidate].rate : nil
    }
}
