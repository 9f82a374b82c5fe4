import Foundation
import Testing

@testable import cohort_loadtest

@Suite("The search for the capacity")
struct CapacitySearchTests {
    /// c servers with one queue (M/M/c): the time that 99 % of the calls do not exceed.
    struct QueueModel: Sendable, CustomStringConvertible {
        var servers: Int
        /// Calls a second of one of them.
        var serviceRate: Double

        var description: String { "\(servers) servers" }

        /// Erlang's C formula: the probability of having to wait.
        private func waiting(_ rate: Double) -> Double {
            let load = rate / serviceRate
            var blocked = 1.0
            for count in 1...servers { blocked = load * blocked / (Double(count) + load * blocked) }
            let use = load / Double(servers)
            return blocked / (1 - use * (1 - blocked))
        }

        /// In milliseconds; endless beyond what the servers can do.
        func p99(_ rate: Double) -> Double {
            let spare = Double(servers) * serviceRate - rate
            guard spare > 0 else { return .infinity }
            let wait = waiting(rate)
            // The probability of a time over t: served at once, or after an exponential wait.
            func over(_ t: Double) -> Double {
                let service = exp(-serviceRate * t)
                if abs(spare - serviceRate) < 1e-9 { return service * (1 + wait * serviceRate * t) }
                return service + wait * serviceRate / (serviceRate - spare) * (exp(-spare * t) - service)
            }
            var (low, high) = (0.0, 1_000.0)
            for _ in 0..<100 {
                let middle = (low + high) / 2
                if over(middle) > 0.01 { low = middle } else { high = middle }
            }
            return high * 1_000
        }

        /// The highest rate whose p99 stays below a limit in milliseconds.
        func capacity(_ limit: Double) -> Double {
            var (low, high) = (0.0, Double(servers) * serviceRate)
            for _ in 0..<100 {
                let middle = (low + high) / 2
                if p99(middle) < limit { low = middle } else { high = middle }
            }
            return low
        }
    }

    private func search(
        _ settings: CapacitySearch.Settings = .init(),
        _ run: (CapacitySearch.Step) -> CapacitySearch.Outcome
    ) -> (search: CapacitySearch, steps: [CapacitySearch.Step]) {
        var search = CapacitySearch(settings)
        var steps: [CapacitySearch.Step] = []
        while let step = search.next(), steps.count < 1_000 {
            steps.append(step)
            search.observe(run(step))
        }
        return (search, steps)
    }

    @Test(
        "It finds a queueing server's limit within 5 % in 97 of 100 runs and never misses by 8, with a tenth of noise in the p99",
        arguments: [
            QueueModel(servers: 1, serviceRate: 10_000), QueueModel(servers: 2, serviceRate: 20_000),
            QueueModel(servers: 8, serviceRate: 900),
        ]
    )
    func noisy(model: QueueModel) {
        let limit = 10.0
        let truth = model.capacity(limit)
        var near = 0
        for seed in UInt64(1)...100 {
            var generator = SplitMix64(state: seed)
            let (search, steps) = search { step in
                // A hold is longer, so its figure is better known.
                let noise = step.kind == .hold ? 0.05 : 0.1
                let p99 = model.p99(step.rate) * exp(noise * SampleResult.normal(&generator))
                return p99 < limit ? .met : .missed
            }
            let found = search.capacity ?? 0
            #expect(abs(found / truth - 1) < 0.08, "seed \(seed): \(found) for \(truth)")
            if abs(found / truth - 1) < 0.05 { near += 1 }
            #expect(search.finding == .found)
            #expect(steps.count <= 40 + search.settings.sweep.count)
        }
        #expect(near >= 97)
    }

    @Test("One bad moment at a low rate does not end the search there")
    func oneBadMoment() {
        var isFirst = true
        let (search, steps) = search { step in
            if step.rate == 2_000, isFirst {
                isFirst = false
                return .missed
            }
            return step.rate <= 50_000 ? .met : .missed
        }
        #expect(abs((search.capacity ?? 0) / 50_000 - 1) < 0.02)
        #expect(steps.filter { $0.rate == 2_000 }.map(\.attempt) == [1, 2])
    }

    @Test("A start beyond the limit goes down first")
    func startTooHigh() {
        let (search, _) = search(.init(start: 64_000)) { $0.rate < 3_000 ? .met : .missed }
        #expect(abs((search.capacity ?? 0) / 3_000 - 1) < 0.03)
    }

    @Test("A rate that does not hold is lowered until one does")
    func hold() {
        let (search, steps) = search { step in step.rate < (step.kind == .hold ? 9_000 : 10_000) ? .met : .missed }
        #expect(search.finding == .found)
        let found = search.capacity ?? 0
        #expect(found < 9_000 && found > 8_000)
        #expect(steps.filter { $0.kind == .hold }.count > 1)
        #expect(steps.last { $0.kind == .hold }?.rate == found)
    }

    @Test("A bisection that bad moments ended too low is corrected by holds above it")
    func raised() {
        let (search, steps) = search { step in step.rate < (step.kind == .hold ? 10_000 : 9_200) ? .met : .missed }
        #expect(search.finding == .found)
        let found = search.capacity ?? 0
        #expect(found > 9_500 && found < 10_000)
        let holds = steps.filter { $0.kind == .hold }.map(\.rate)
        #expect(holds.contains(found) && (holds.last ?? 0) > found && search.failed == holds.last)
    }

    @Test("The loads at the end are proportions of what was found")
    func sweep() {
        let (search, steps) = search { $0.rate < 5_000 ? .met : .missed }
        let found = search.capacity ?? 0
        for (step, share) in zip(steps.suffix(search.settings.sweep.count), search.settings.sweep) {
            #expect(abs(step.rate / found - share) < 1e-9)
        }
        #expect(steps.suffix(search.settings.sweep.count).allSatisfy { $0.kind == .sweep })
    }

    @Test("A generator that cannot keep up is named; one that was held up once is not")
    func generator() {
        let (search, steps) = search { $0.rate < 20_000 ? .met : .generatorLimited }
        #expect(search.finding == .generatorLimited)
        #expect((19_000...20_000).contains(search.capacity ?? 0))
        #expect(steps.contains { $0.attempt == 2 })
        #expect(self.search { _ in .generatorLimited }.search.finding == .generatorLimited)
        let heldUp = self.search { $0.rate >= 20_000 ? .missed : $0.attempt == 1 ? .generatorLimited : .met }
        #expect(heldUp.search.finding == .found || heldUp.search.finding == .notConfirmed)
        #expect((19_000...20_000).contains(heldUp.search.passed ?? 0))
    }

    @Test("Without a limit, or without anything that passes, it ends and says so")
    func ends() {
        let all = search(.init(highest: 30_000)) { _ in .met }
        #expect(all.search.finding == .highestPassed && all.search.capacity == 30_000)
        #expect(all.steps.allSatisfy { $0.rate <= 30_000 })
        let none = search { _ in .missed }
        #expect(none.search.finding == .nothingPassed && none.search.capacity == nil && none.steps.count <= 40)
        let never = search { $0.kind == .hold ? .missed : $0.rate < 5_000 ? .met : .missed }
        #expect(never.search.finding == .notConfirmed && never.search.capacity == nil)
        #expect(never.steps.filter { $0.kind == .hold }.count == 5)
        let short = search(.init(maximumSteps: 4)) { $0.rate < 1e6 ? .met : .missed }
        #expect(short.steps.filter { $0.kind == .bracket }.count == 4 && short.search.capacity == 8_000)
    }
}
