/// The Universal Scalability Law, `X(N) = λN / (1 + σ(N−1) + κN(N−1))` (Gunther, "Guerrilla Capacity Planning", 2007):
/// throughput by the number of calls in flight, with contention σ and the cost of agreement κ.
///
/// Fitted by least squares of the relative deviations of the throughput: a linear fit of `N/X` for the start, then
/// Levenberg and Marquardt's steps with σ and κ held at 0 or more. The intervals hold the true parameters with 95 %
/// confidence, from the curvature of the fit and Student's t; they take the model and independent deviations for granted.
struct UniversalScalability: Codable, Sendable, Hashable {
    struct Point: Codable, Sendable, Hashable {
        /// Calls in flight (N); by Little's law the rate times the mean latency. Over 0.
        var concurrency: Double
        /// Calls answered a second (X). Over 0.
        var rate: Double
    }

    var points: [Point]
    /// λ: calls a second of one call at a time.
    var lambda: Estimate
    /// σ: the share of the work that cannot be done side by side.
    var sigma: Estimate
    /// κ: the cost that grows with each pair of calls in flight.
    var kappa: Estimate
    /// The share of the variance of the rates that the curve explains.
    var rSquared: Double
    /// The mean of the relative deviations' sizes, 0 to 1.
    var meanDeviation: Double
    /// Why nothing should be foretold from the curve; nothing when the fit is good.
    var poorBecause: String?
    /// The parameters' covariances, in the order λ, σ, κ.
    private var covariance: [[Double]]
    private var quantile: Double

    enum CodingKeys: String, CodingKey {
        case points, lambda, sigma, kappa, covariance
        case rSquared = "r_squared"
        case meanDeviation = "mean_deviation"
        case poorBecause = "poor_because"
        case quantile = "t_quantile"
    }

    var isPoor: Bool { poorBecause != nil }

    /// - Returns: Nothing for fewer than 4 different loads, or loads that do not determine the curve.
    init?(_ points: [Point]) {
        let points = points.filter { $0.concurrency > 0 && $0.rate > 0 && ($0.concurrency * $0.rate).isFinite }
            .sorted { $0.concurrency < $1.concurrency }
        guard Set(points.map(\.concurrency)).count >= 4, let start = Self.linearFit(points) else { return nil }
        let parameters = Self.refine(start, points)
        let degrees = Double(points.count - 3)
        let deviations = Self.deviations(parameters, points)
        let squares = deviations.reduce(0) { $0 + $1 * $1 }
        guard let inverse = LinearSystem.inverse(Self.normal(parameters, points).matrix) else { return nil }
        let variance = degrees > 0 ? squares / degrees : 0
        let covariance = inverse.map { row in row.map { $0 * variance } }
        let quantile = StudentT.quantile(0.975, degrees: max(degrees, 1))
        let errors = (0..<3).map { max(covariance[$0][$0], 0).squareRoot() * quantile }
        func estimate(_ index: Int) -> Estimate {
            let value = parameters[index]
            return Estimate(value: value, low: max(0, value - errors[index]), high: value + errors[index])
        }
        self.points = points
        self.covariance = covariance
        self.quantile = quantile
        lambda = estimate(0)
        sigma = estimate(1)
        kappa = estimate(2)
        let mean = points.map(\.rate).mean
        let unexplained = zip(points, deviations).reduce(0) { $0 + ($1.1 * $1.0.rate) * ($1.1 * $1.0.rate) }
        let total = points.reduce(0) { $0 + ($1.rate - mean) * ($1.rate - mean) }
        rSquared = total > 0 ? 1 - unexplained / total : 0
        meanDeviation = deviations.map(\.magnitude).mean
        poorBecause = nil
        poorBecause = whyPoor()
    }

    /// Calls a second with so many in flight.
    func rate(at concurrency: Double) -> Double {
        Self.rate([lambda.value, sigma.value, kappa.value], concurrency)
    }

    /// The curve with the interval that holds it with 95 % confidence, by the delta method.
    func band(at concurrency: Double) -> Estimate {
        let slope = Self.gradient([lambda.value, sigma.value, kappa.value], concurrency)
        var variance = 0.0
        for row in 0..<3 { for column in 0..<3 { variance += slope[row] * covariance[row][column] * slope[column] } }
        let (value, width) = (rate(at: concurrency), quantile * max(variance, 0).squareRoot())
        return Estimate(value: value, low: max(0, value - width), high: value + width)
    }

    /// The number of calls in flight with the highest throughput; nothing when it only ever grows.
    var peakConcurrency: Double? {
        guard kappa.value > 1e-12, sigma.value < 1 else { return nil }
        return ((1 - sigma.value) / kappa.value).squareRoot()
    }

    /// The highest throughput: at the peak, or what it tends to without one.
    var peakRate: Double? {
        if let peakConcurrency { return rate(at: peakConcurrency) }
        return sigma.value > 1e-12 ? lambda.value / sigma.value : nil
    }

    /// Whether the peak lies far beyond the loads measured, where the curve is a guess.
    var isPeakExtrapolated: Bool { (peakConcurrency ?? .infinity) > 2 * (points.last?.concurrency ?? 0) }

    private func whyPoor() -> String? {
        if points.count < 6 { return "only \(points.count) loads were measured; 6 are needed" }
        if meanDeviation > 0.1 {
            return
                "the measured rates are \(Format.percent(meanDeviation)) from the curve on average; at most 10 % is good"
        }
        if rSquared < 0.95 {
            return "the curve explains \(Format.percent(rSquared)) of the variance; at least 95 % is good"
        }
        if lambda.high - lambda.low > lambda.value {
            return
                "the rate of a single call is known to \(Format.percent((lambda.high - lambda.low) / 2 / lambda.value)) only"
        }
        return nil
    }

    // The fit.

    private static func rate(_ parameters: [Double], _ n: Double) -> Double {
        parameters[0] * n / (1 + parameters[1] * (n - 1) + parameters[2] * n * (n - 1))
    }

    /// The derivatives of the rate by λ, σ, κ.
    private static func gradient(_ parameters: [Double], _ n: Double) -> [Double] {
        let rate = rate(parameters, n)
        let below = 1 + parameters[1] * (n - 1) + parameters[2] * n * (n - 1)
        return [rate / parameters[0], -rate * (n - 1) / below, -rate * n * (n - 1) / below]
    }

    private static func deviations(_ parameters: [Double], _ points: [Point]) -> [Double] {
        points.map { rate(parameters, $0.concurrency) / $0.rate - 1 }
    }

    /// `N/X` is linear in 1/λ, σ/λ and κ/λ.
    private static func linearFit(_ points: [Point]) -> [Double]? {
        var matrix = [[Double]](repeating: [0, 0, 0], count: 3)
        var right = [0.0, 0, 0]
        for point in points {
            let n = point.concurrency
            let weight = point.rate / n
            let row = [1, n - 1, n * (n - 1)].map { $0 * weight }
            for i in 0..<3 {
                for j in 0..<3 { matrix[i][j] += row[i] * row[j] }
                right[i] += row[i]
            }
        }
        guard let solution = LinearSystem.solve(matrix, right) else { return nil }
        let fastest = points.map { $0.rate / $0.concurrency }.max() ?? 1
        let lambda = solution[0] > 0 ? 1 / solution[0] : fastest
        return [lambda, min(max(0, solution[1] * lambda), 0.999), max(0, solution[2] * lambda)]
    }

    /// The normal equations: the matrix JᵀJ and the vector Jᵀr.
    private static func normal(_ parameters: [Double], _ points: [Point]) -> (matrix: [[Double]], right: [Double]) {
        var matrix = [[Double]](repeating: [0, 0, 0], count: 3)
        var right = [0.0, 0, 0]
        for (point, deviation) in zip(points, deviations(parameters, points)) {
            let slope = gradient(parameters, point.concurrency).map { $0 / point.rate }
            for i in 0..<3 {
                for j in 0..<3 { matrix[i][j] += slope[i] * slope[j] }
                right[i] += slope[i] * deviation
            }
        }
        return (matrix, right)
    }

    private static func refine(_ start: [Double], _ points: [Point]) -> [Double] {
        func cost(_ parameters: [Double]) -> Double { deviations(parameters, points).reduce(0) { $0 + $1 * $1 } }
        var (best, bestCost, damping) = (start, cost(start), 1e-3)
        for _ in 0..<200 {
            var (matrix, right) = normal(best, points)
            for index in 0..<3 { matrix[index][index] *= 1 + damping }
            guard let step = LinearSystem.solve(matrix, right) else { break }
            let next = [
                max(best[0] - step[0], best[0] / 10), min(max(best[1] - step[1], 0), 0.999_999),
                max(best[2] - step[2], 0),
            ]
            let nextCost = cost(next)
            if nextCost.isFinite, nextCost < bestCost {
                let gain = bestCost - nextCost
                (best, bestCost, damping) = (next, nextCost, max(damping / 10, 1e-12))
                if gain <= 1e-14 * bestCost { break }
            } else {
                damping *= 10
                if damping > 1e12 { break }
            }
        }
        return best
    }
}
