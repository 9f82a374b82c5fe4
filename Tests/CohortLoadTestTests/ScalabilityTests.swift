import Foundation
import Testing

@testable import cohort_loadtest

@Suite("The Universal Scalability Law")
struct ScalabilityTests {
    private static let loads = [1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64].map(Double.init)

    private static func points(
        _ lambda: Double,
        _ sigma: Double,
        _ kappa: Double,
        noise: Double = 0,
        seed: UInt64 = 1
    ) -> [UniversalScalability.Point] {
        var generator = SplitMix64(state: seed)
        return loads.map { n in
            let rate = lambda * n / (1 + sigma * (n - 1) + kappa * n * (n - 1))
            return .init(concurrency: n, rate: rate * exp(noise * SampleResult.normal(&generator)))
        }
    }

    @Test("Without noise the parameters come back exactly", arguments: [(0.05, 0.001), (0.3, 0), (0, 0.0004), (0, 0)])
    func exact(sigma: Double, kappa: Double) throws {
        let law = try #require(UniversalScalability(Self.points(1_000, sigma, kappa)))
        #expect(abs(law.lambda.value / 1_000 - 1) < 1e-6)
        #expect(abs(law.sigma.value - sigma) < 1e-6)
        #expect(abs(law.kappa.value - kappa) < 1e-7)
        #expect(law.rSquared > 0.999_999 && !law.isPoor)
    }

    @Test("The intervals hold the planted parameters as often as they promise")
    func coverage() throws {
        let truth = (lambda: 1_500.0, sigma: 0.06, kappa: 0.0008)
        var held = (lambda: 0, sigma: 0, kappa: 0, band: 0)
        let runs = 400
        for seed in UInt64(1)...UInt64(runs) {
            let points = Self.points(truth.lambda, truth.sigma, truth.kappa, noise: 0.03, seed: seed)
            let law = try #require(UniversalScalability(points))
            if law.lambda.contains(truth.lambda) { held.lambda += 1 }
            if law.sigma.contains(truth.sigma) { held.sigma += 1 }
            if law.kappa.contains(truth.kappa) { held.kappa += 1 }
            let exact = truth.lambda * 20 / (1 + truth.sigma * 19 + truth.kappa * 20 * 19)
            if law.band(at: 20).contains(exact) { held.band += 1 }
            #expect(!law.isPoor)
        }
        // 95 % of 400 are 380, give or take 4.4; five times that is beyond chance.
        for count in [held.lambda, held.sigma, held.kappa, held.band] {
            #expect((358...400).contains(count), "\(held)")
        }
    }

    @Test("The peak is where the curve is highest")
    func peak() throws {
        let law = try #require(UniversalScalability(Self.points(1_000, 0.04, 0.001)))
        let peak = try #require(law.peakConcurrency)
        #expect(abs(peak - (0.96 / 0.001).squareRoot()) < 0.01)
        #expect(law.rate(at: peak) > law.rate(at: peak * 1.05) && law.rate(at: peak) > law.rate(at: peak / 1.05))
        #expect(!law.isPeakExtrapolated)
        #expect(try #require(UniversalScalability(Self.points(1_000, 0.04, 1e-6))).isPeakExtrapolated)
    }

    @Test("A poor fit says so, and why")
    func poor() throws {
        let few = try #require(UniversalScalability(Array(Self.points(1_000, 0.1, 0.001).prefix(5))))
        #expect(few.poorBecause?.contains("6 are needed") == true)
        // A server that falls over is no curve of this kind.
        let cliff = Self.loads.map { UniversalScalability.Point(concurrency: $0, rate: $0 < 20 ? 1_000 * $0 : 900) }
        #expect(try #require(UniversalScalability(cliff)).poorBecause?.contains("%") == true)
        let noise = try #require(UniversalScalability(Self.points(1_000, 0.05, 0.001, noise: 0.6)))
        #expect(noise.isPoor)
    }

    @Test("Loads that determine nothing are refused")
    func refused() {
        #expect(UniversalScalability([]) == nil)
        #expect(UniversalScalability([.init(concurrency: 2, rate: 5)]) == nil)
        #expect(UniversalScalability((0..<9).map { _ in .init(concurrency: 3, rate: 100) }) == nil)
        #expect(UniversalScalability([1.0, 2, 3].map { .init(concurrency: $0, rate: .nan) }) == nil)
    }

    @Test("Student's t has the values of its tables")
    func studentT() {
        for (degrees, value) in [(1.0, 12.7062), (2, 4.3027), (5, 2.5706), (10, 2.2281), (30, 2.0423), (1_000, 1.9623)]
        {
            #expect(abs(StudentT.quantile(0.975, degrees: degrees) - value) < 1e-4, "\(degrees)")
        }
    }
}
