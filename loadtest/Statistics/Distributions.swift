import Foundation

/// Student's t distribution.
enum StudentT {
    /// The value that a variable exceeds with probability `1 - probability`.
    ///
    /// - Parameters:
    ///   - probability: Over 0.5, below 1.
    ///   - degrees: Of freedom, over 0.
    static func quantile(_ probability: Double, degrees: Double) -> Double {
        var (low, high) = (0.0, 2.0)
        while cumulative(high, degrees: degrees) < probability, high < 1e9 { high *= 2 }
        for _ in 0..<200 {
            let middle = (low + high) / 2
            if cumulative(middle, degrees: degrees) < probability { low = middle } else { high = middle }
        }
        return (low + high) / 2
    }

    /// For `value` of 0 or more.
    static func cumulative(_ value: Double, degrees: Double) -> Double {
        1 - 0.5 * incompleteBeta(degrees / (degrees + value * value), degrees / 2, 0.5)
    }

    /// The regularised incomplete beta function by its continued fraction (Abramowitz and Stegun 26.5.8), evaluated with
    /// Lentz's method.
    private static func incompleteBeta(_ x: Double, _ a: Double, _ b: Double) -> Double {
        if x <= 0 { return 0 }
        if x >= 1 { return 1 }
        // The fraction converges fast below the mean; above it the complement does.
        if x > (a + 1) / (a + b + 2) { return 1 - incompleteBeta(1 - x, b, a) }
        let logBeta: Double = lgamma(a) + lgamma(b) - lgamma(a + b)
        let front: Double = exp(a * log(x) + b * log(1 - x) - logBeta) / a
        let tiny = 1e-300
        var (f, c, d) = (1.0, 1.0, 0.0)
        for step in 0...300 {
            let m = Double(step / 2)
            let numerator: Double =
                if step == 0 {
                    1
                } else if step.isMultiple(of: 2) {
                    m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
                } else {
                    -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
                }
            d = 1 + numerator * d
            if abs(d) < tiny { d = tiny }
            d = 1 / d
            c = 1 + numerator / c
            if abs(c) < tiny { c = tiny }
            f *= c * d
            if abs(1 - c * d) < 1e-12 { break }
        }
        return front * (f - 1)
    }
}

/// An estimate and the interval that holds the true value with the confidence stated where it is made.
struct Estimate: Codable, Sendable, Hashable {
    var value: Double
    var low: Double
    var high: Double

    func contains(_ other: Double) -> Bool { low <= other && other <= high }
}

extension Collection where Element == Double {
    var mean: Double { isEmpty ? 0 : reduce(0, +) / Double(count) }

    /// By linear interpolation between the neighbours (type 7 of Hyndman and Fan 1996); 0 when empty.
    ///
    /// - Parameter share: 0 to 1.
    func quantile(_ share: Double) -> Double {
        let sorted = self.sorted()
        guard let first = sorted.first else { return 0 }
        let position = share * Double(sorted.count - 1)
        let index = Int(position)
        guard index + 1 < sorted.count else { return sorted.last ?? first }
        return sorted[index] + (position - Double(index)) * (sorted[index + 1] - sorted[index])
    }
}
