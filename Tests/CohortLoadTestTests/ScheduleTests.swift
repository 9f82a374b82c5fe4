import Foundation
import Testing

@testable import cohort_loadtest

@Suite("Arrivals")
struct ScheduleTests {
    private func arrivals(_ profile: RateProfile, _ process: ArrivalSchedule.Process, seed: UInt64 = 1) -> [Double] {
        var schedule = ArrivalSchedule(profile, process, seed: seed)
        var times: [Double] = []
        while let time = schedule.next() { times.append(time) }
        return times
    }

    @Test("Constant arrivals are evenly spaced, and as many as the rate says")
    func constant() {
        let times = arrivals(.constant(100, for: 2), .constant)
        #expect(times.count == 200)
        for (index, time) in times.enumerated() { #expect(abs(time - Double(index) / 100) < 1e-9) }
    }

    @Test("A ramp's arrivals follow the integral of its rate")
    func ramp() {
        var profile = RateProfile()
        profile.append(.ramp(from: 0, to: 1_000, duration: 10))
        profile.append(.ramp(from: 1_000, to: 0, duration: 10))
        let times = arrivals(profile, .constant)
        #expect(times.count == 10_000)
        // After t seconds 50 t² are due; the same backwards from the end.
        for (index, time) in times.prefix(5_000).enumerated() {
            #expect(abs(50 * time * time - Double(index)) < 1e-6)
        }
        for (index, time) in times.dropFirst(5_000).enumerated() {
            let left = 20 - time
            #expect(abs(50 * left * left - Double(5_000 - index)) < 1e-6)
        }
        #expect(times == times.sorted() && (times.last ?? 21) < 20)
    }

    @Test("Poisson arrivals have exponential gaps: their number, mean and variance, and independence of neighbours")
    func poisson() {
        let times = arrivals(.constant(1_000, for: 100), .poisson)
        // 100,000 ± 4 standard deviations.
        #expect(abs(Double(times.count) - 100_000) < 4 * 316.3)
        let gaps = zip(times.dropFirst(), times).map { $0 - $1 }
        let mean = gaps.reduce(0, +) / Double(gaps.count)
        let variance = gaps.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(gaps.count)
        #expect(abs(mean * 1_000 - 1) < 0.02 && abs(variance * 1e6 - 1) < 0.04)
        let product = zip(gaps.dropFirst(), gaps).reduce(0) { $0 + ($1.0 - mean) * ($1.1 - mean) }
        #expect(abs(product / Double(gaps.count) / variance) < 0.02)
        // Of exponential gaps 1/e are longer than the mean.
        let long = Double(gaps.count { $0 > mean }) / Double(gaps.count)
        #expect(abs(long - 0.3679) < 0.006)
    }

    @Test("The same seed gives the same arrivals, another one others")
    func seeds() {
        let profile = RateProfile.constant(50, for: 10)
        #expect(arrivals(profile, .poisson, seed: 7) == arrivals(profile, .poisson, seed: 7))
        #expect(arrivals(profile, .poisson, seed: 7) != arrivals(profile, .poisson, seed: 8))
    }

    @Test("Stages last as long and call as often as they say")
    func stages() {
        func profile(_ stage: Stage) -> RateProfile {
            var profile = RateProfile()
            profile.append(stage)
            return profile
        }
        let steps = profile(.steps(from: 100, to: 300, count: 3, duration: 6))
        #expect(steps.pieces.map(\.from) == [100, 200, 300] && steps.duration == 6 && steps.calls == 1_200)
        let spike = profile(.spike(base: 10, peak: 100, duration: 30))
        #expect(spike.pieces.map(\.to) == [10, 100, 10] && spike.calls == 1_200)
        let diurnal = profile(.diurnal(low: 100, high: 300, period: 60, duration: 120))
        #expect(abs(diurnal.calls - 200 * 120) < 1 && abs(diurnal.duration - 120) < 1e-9)
        #expect(
            abs((diurnal.pieces.map(\.to).max() ?? 0) - 300) < 1e-9
                && abs((diurnal.pieces.first?.from ?? 0) - 100) < 1e-9
        )
        let warm = RateProfile.constant(5, for: 10).preceded(by: 2)
        #expect(warm.duration == 12 && warm.calls == 60)
    }
}

@Suite("Keys")
struct KeyTests {
    private func counts(_ distribution: KeyDistribution, _ customers: Int, draws: Int) -> [Int] {
        var sampler = KeySampler(distribution, count: customers)
        var generator = SplitMix64(state: 3)
        var counts = Array(repeating: 0, count: customers)
        for _ in 0..<draws { counts[sampler.next(&generator)] += 1 }
        return counts
    }

    @Test("Zipf's ranks have the weights k^-s", arguments: [0.5, 0.99, 1, 1.5])
    func zipf(exponent: Double) {
        let draws = 400_000
        let counts = counts(.zipf(exponent: exponent), 1_000, draws: draws).sorted(by: >)
        let total = (1...1_000).reduce(0.0) { $0 + pow(Double($1), -exponent) }
        for rank in [1, 2, 3, 10] {
            let expected = Double(draws) * pow(Double(rank), -exponent) / total
            // Sorting favours chance at ranks whose weights are alike, hence the tenth beside the deviation.
            #expect(abs(Double(counts[rank - 1]) - expected) < 5 * expected.squareRoot() + expected / 10)
        }
    }

    @Test("A hot set gets its share, and everybody else is asked for too")
    func hot() {
        let counts = counts(.hot(customers: 0.01, calls: 0.9), 1_000, draws: 200_000).sorted(by: >)
        let hot = Double(counts.prefix(10).reduce(0, +)) / 200_000
        #expect(abs(hot - 0.9) < 0.01)
        #expect(counts.allSatisfy { $0 > 0 })
    }

    @Test("Uniform keys reach everybody alike")
    func uniform() {
        let counts = counts(.uniform, 100, draws: 100_000)
        #expect(counts.allSatisfy { abs($0 - 1_000) < 200 })
    }

    @Test(
        "Texts of distributions",
        arguments: ["", "zipf", "zipf:0", "zipf:x", "hot:1", "hot:0:1", "hot:1:1", "hot:0.1:1.1", "normal"]
    )
    func wrong(text: String) { #expect(KeyDistribution(text) == nil) }

    @Test("What a distribution is written as reads back")
    func texts() {
        for text in ["uniform", "zipf:0.99", "hot:0.01:0.9"] { #expect(KeyDistribution(text)?.description == text) }
    }
}
