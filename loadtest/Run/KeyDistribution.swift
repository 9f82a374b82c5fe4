import Foundation

/// Which customers are asked for, and how often.
enum KeyDistribution: Sendable, Equatable, CustomStringConvertible {
    /// All alike.
    case uniform
    /// The k-th most frequent with a weight of `k^-exponent`.
    case zipf(exponent: Double)
    /// A share of the calls (0 to 1) goes to a share of the customers, the others to the rest.
    case hot(customers: Double, calls: Double)

    /// - Parameter text: `uniform`, `zipf:0.99`, or `hot:0.01:0.9`, where 1 % of the customers get 90 % of the calls.
    init?(_ text: String) {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        let numbers = parts.dropFirst().map { Double($0) }
        switch (parts.first, numbers.count) {
        case ("uniform", 0): self = .uniform
        case ("zipf", 1):
            guard let exponent = numbers[0], exponent > 0, exponent <= 10 else { return nil }
            self = .zipf(exponent: exponent)
        case ("hot", 2):
            guard let customers = numbers[0], let calls = numbers[1], customers > 0, customers < 1, calls >= 0,
                calls <= 1
            else { return nil }
            self = .hot(customers: customers, calls: calls)
        default: return nil
        }
    }

    static let expected = "uniform, zipf:EXPONENT (over 0, up to 10) or hot:CUSTOMERS:CALLS (shares between 0 and 1)"

    var description: String {
        switch self {
        case .uniform: "uniform"
        case .zipf(let exponent): "zipf:\(exponent)"
        case .hot(let customers, let calls): "hot:\(customers):\(calls)"
        }
    }
}

/// Draws numbers of customers, 0 to below their count.
struct KeySampler: Sendable {
    private let distribution: KeyDistribution
    private let count: Int
    private let zipf: ZipfRanks?
    private let hotCount: Int

    init(_ distribution: KeyDistribution, count: Int) {
        self.distribution = distribution
        self.count = count
        if case .zipf(let exponent) = distribution {
            zipf = ZipfRanks(count: count, exponent: exponent)
        } else {
            zipf = nil
        }
        if case .hot(let share, _) = distribution {
            hotCount = min(max(1, Int(Double(count) * share)), count)
        } else {
            hotCount = 0
        }
    }

    mutating func next(_ generator: inout SplitMix64) -> Int {
        switch distribution {
        case .uniform: return Int.random(in: 0..<count, using: &generator)
        case .zipf: return scattered((zipf?.next(&generator) ?? 1) - 1)
        case .hot(_, let calls):
            let isHot = hotCount == count || Double.random(in: 0..<1, using: &generator) < calls
            return scattered(Int.random(in: isHot ? 0..<hotCount : hotCount..<count, using: &generator))
        }
    }

    /// The customer of a rank, so that frequent ones do not lie side by side: a multiplication that is one to one because the
    /// factor is prime and greater than the count of customers can be a multiple of.
    private func scattered(_ rank: Int) -> Int {
        let prime: UInt64 = 2_654_435_761
        guard UInt64(count) % prime != 0 else { return rank }
        let product = UInt64(rank).multipliedFullWidth(by: prime)
        return Int(UInt64(count).dividingFullWidth(product).remainder)
    }
}

/// Ranks of Zipf's distribution, 1 to the count, by rejection-inversion: Hörmann and Derflinger, Rejection-inversion to
/// generate variates from monotone discrete distributions, 1996.
struct ZipfRanks: Sendable {
    private let count: Double
    private let exponent: Double
    private let low: Double
    private let high: Double
    private let shortcut: Double

    init(count: Int, exponent: Double) {
        self.count = Double(count)
        self.exponent = exponent
        low = Self.integral(1.5, exponent) - 1
        high = Self.integral(Double(count) + 0.5, exponent)
        shortcut = 2 - Self.inverse(Self.integral(2.5, exponent) - pow(2, -exponent), exponent)
    }

    func next(_ generator: inout SplitMix64) -> Int {
        while true {
            let drawn = high + Double.random(in: 0..<1, using: &generator) * (low - high)
            let point = Self.inverse(drawn, exponent)
            let rank = min(max(point.rounded(), 1), count)
            if rank - point <= shortcut || drawn >= Self.integral(rank + 0.5, exponent) - pow(rank, -exponent) {
                return Int(rank)
            }
        }
    }

    /// The integral of `x^-exponent` from 1.
    private static func integral(_ x: Double, _ exponent: Double) -> Double {
        let logarithm = log(x)
        return quotient((1 - exponent) * logarithm) * logarithm
    }

    private static func inverse(_ y: Double, _ exponent: Double) -> Double {
        let t = max(-1, y * (1 - exponent))
        return exp((abs(t) > 1e-8 ? log1p(t) / t : 1 - t / 2) * y)
    }

    /// `(e^x - 1) / x`, also where x is about 0.
    private static func quotient(_ x: Double) -> Double { abs(x) > 1e-8 ? expm1(x) / x : 1 + x / 2 }
}
