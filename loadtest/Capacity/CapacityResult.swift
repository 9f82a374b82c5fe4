import Foundation

/// What a search for the capacity found, and what follows from it: the value behind its JSON file and report, and what
/// `plan` reads. Rates are in calls a second.
struct CapacityResult: Codable, Sendable, Hashable {
    static let format = 1

    /// Tells this file from a run's.
    var kind = "capacity"
    var format = Self.format
    var toolVersion: String
    var startTime: Date
    var endpoint: String
    var scenario: String
    var slo: String
    var finding: CapacitySearch.Finding
    /// The highest rate that met the objective and held; nothing when there is none.
    var capacityRate: Double?
    /// The rate to run an instance at.
    var operatingRate: Double?
    /// The operating rate is at most this share of the capacity.
    var headroom: Double
    var kneeRate: Double?
    var scalability: UniversalScalability?
    var limiting: LimitingResource
    var steps: [Step]
    var target: Target?
    var autoscaling: Autoscaling?
    /// All of it in words.
    var summary: String

    struct Step: Codable, Sendable, Hashable {
        var kind: CapacitySearch.Kind
        var attempt: Int
        var rateWanted: Double
        var rateReached: Double
        var duration: Double
        var isMet: Bool
        var isGeneratorLimited: Bool
        var p50: Double
        var p99: Double
        var mean: Double
        var errorRatio: Double
        var littlesLaw: LittlesLaw
        var littlesLawHolds: Bool
        /// Processors that the server used.
        var processorsUsed: Double?

        enum CodingKeys: String, CodingKey {
            case kind, attempt
            case rateWanted = "rate_wanted"
            case rateReached = "rate_reached"
            case duration = "duration_s"
            case isMet = "is_met"
            case isGeneratorLimited = "is_generator_limited"
            case p50 = "p50_ms"
            case p99 = "p99_ms"
            case mean = "mean_ms"
            case errorRatio = "error_ratio"
            case littlesLaw = "littles_law"
            case littlesLawHolds = "littles_law_holds"
            case processorsUsed = "processors_used"
        }

        init(_ step: CapacitySearch.Step, _ result: LoadResult, slo: SLO) {
            kind = step.kind
            attempt = step.attempt
            rateWanted = result.rateWanted
            rateReached = result.rateReached
            duration = result.duration
            isMet = slo.isMet(by: result)
            isGeneratorLimited = result.generator.isBottleneck
            (p50, p99, mean) = (result.latency.p50, result.latency.p99, result.latency.mean)
            errorRatio = result.errorRatio
            littlesLaw = LittlesLaw(result)
            littlesLawHolds = littlesLaw.holds
            processorsUsed = result.server?.mean(of: LimitingResource.SeriesName.cpu)
        }
    }

    /// The fleet for a rate that is wanted.
    struct Target: Codable, Sendable, Hashable {
        var rate: Double
        /// One of them may fail (N+1).
        var instances: Int
    }

    /// What to put into the deployment.
    struct Autoscaling: Codable, Sendable, Hashable {
        /// Add an instance when each gets more than this.
        var scaleOutRate: Double
        /// Remove one when each gets less: what is left then still stays below the operating rate.
        var scaleInRate: Double
        /// The processors in use at the operating rate, in percent of those there are; nothing if not known.
        var cpuPercent: Double?

        enum CodingKeys: String, CodingKey {
            case scaleOutRate = "scale_out_rate"
            case scaleInRate = "scale_in_rate"
            case cpuPercent = "cpu_percent"
        }
    }

    enum CodingKeys: String, CodingKey {
        case kind, format, endpoint, scenario, slo, finding, headroom, scalability, limiting, steps, target, autoscaling
        case summary
        case toolVersion = "tool_version"
        case startTime = "start_time"
        case capacityRate = "capacity_rate"
        case operatingRate = "operating_rate"
        case kneeRate = "knee_rate"
    }

    /// The instances that carry `rate` when one of them fails.
    static func instances(for rate: Double, operatingRate: Double) -> Int {
        // Rates are measured, so a millionth too many needs no further instance.
        let needed = (rate / operatingRate - 1e-6).rounded(.up)
        // What is no number compares false.
        return needed < 1e9 ? max(0, Int(needed)) + 1 : 1_000_000_000
    }
}

/// Draws the conclusions from the steps of a search.
struct CapacityAnalysis {
    /// The share of the capacity to run at. At 70 % of it a queue is on average 3.3 times as long as an idle server's
    /// service, at 90 % ten times (M/M/1), so beyond it small bursts cost much; and of four instances at 70 % three
    /// carry the load of all at 93 %, within the capacity.
    static let headroom = 0.7

    var search: CapacitySearch
    /// In the order they ran.
    var steps: [(step: CapacitySearch.Step, result: LoadResult)]
    var slo: SLO
    var targetRate: Double?
    var headroom = Self.headroom

    /// - Precondition: There is a step.
    func result() -> CapacityResult {
        let first = steps[0].result
        let rows = steps.map { CapacityResult.Step($0.step, $0.result, slo: slo) }
        let capacity = search.capacity
        let knee = Knee.find(usable.map { ($0.rateReached, $0.latency.p99) })
        // A knee far below the capacity is one of little numbers, not of the server.
        let operating = capacity.map { min($0 * headroom, max(knee ?? .infinity, $0 * headroom / 2)) }
        var result = CapacityResult(
            toolVersion: first.toolVersion,
            startTime: first.startTime,
            endpoint: first.endpoint,
            scenario: first.scenario,
            slo: slo.description,
            finding: search.finding ?? .notConfirmed,
            capacityRate: capacity,
            operatingRate: operating,
            headroom: headroom,
            kneeRate: knee,
            scalability: UniversalScalability(
                usable.map { .init(concurrency: $0.meanInFlight, rate: $0.rateReached) }
            ),
            limiting: LimitingResource(at: limit),
            steps: rows,
            target: nil,
            autoscaling: operating.map { autoscaling($0) },
            summary: ""
        )
        if let targetRate, let operating {
            result.target = CapacityResult.Target(
                rate: targetRate,
                instances: CapacityResult.instances(for: targetRate, operatingRate: operating)
            )
        }
        result.summary = CapacitySummary(result).text
        return result
    }

    /// Steps that say something of the server: sent as wanted and mostly answered.
    private var usable: [LoadResult] {
        steps.map(\.result).filter { !$0.generator.isBottleneck && $0.errorRatio < 0.05 && $0.latency.count > 0 }
    }

    /// The step nearest beyond the capacity, where the limit shows; the highest one when all passed.
    private var limit: LoadResult {
        // Not a bad moment of a step below it.
        let above = search.capacity ?? 0
        let beyond = steps.filter {
            $0.step.rate > above && (!slo.isMet(by: $0.result) || $0.result.generator.isBottleneck)
        }
        return beyond.min { $0.step.rate < $1.step.rate }?.result
            ?? steps.map(\.result).max { $0.rateWanted < $1.rateWanted } ?? steps[0].result
    }

    private func autoscaling(_ operating: Double) -> CapacityResult.Autoscaling {
        CapacityResult.Autoscaling(scaleOutRate: operating, scaleInRate: operating / 2, cpuPercent: cpu(at: operating))
    }

    /// The use of processors at a rate, between the steps on both sides of it.
    private func cpu(at rate: Double) -> Double? {
        let points = usable.compactMap { result -> (rate: Double, share: Double)? in
            guard let used = result.server?.mean(of: LimitingResource.SeriesName.cpu),
                let processors = result.server?.processors, processors > 0
            else { return nil }
            return (result.rateReached, used / Double(processors))
        }.sorted { $0.rate < $1.rate }
        guard let above = points.first(where: { $0.rate >= rate }), let below = points.last(where: { $0.rate <= rate })
        else { return nil }
        let share = above.rate > below.rate ? (rate - below.rate) / (above.rate - below.rate) : 0
        return 100 * (below.share + share * (above.share - below.share))
    }
}

extension CapacitySearch.Outcome {
    /// - Parameter result: Of the step that ran.
    init(_ result: LoadResult, slo: SLO) {
        self = result.generator.isBottleneck ? .generatorLimited : slo.isMet(by: result) ? .met : .missed
    }
}
