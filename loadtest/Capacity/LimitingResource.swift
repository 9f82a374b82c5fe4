/// What keeps the server from doing more, with the figures that say so.
struct LimitingResource: Codable, Sendable, Hashable {
    enum Resource: String, Codable, Sendable, CaseIterable {
        /// The generator, so the server was not at its limit.
        case client
        /// The server's own limits turned calls away.
        case limits
        case commit
        case cpu
        case eventLoop = "event_loop"
        /// No figure of the server was near a limit, or it gave none.
        case unknown
    }

    var resource: Resource
    /// A sentence for each figure looked at, the deciding one first.
    var evidence: [String]

    var words: String {
        switch resource {
        case .client: "the load generator"
        case .limits: "the server's own limits on load"
        case .commit: "the commit of writes to the store"
        case .cpu: "the server's processors"
        case .eventLoop: "an event loop of the server"
        case .unknown: "not known"
        }
    }

    /// Names of the series that are looked at, as a run records them from the server's metrics.
    enum SeriesName {
        /// Processors in use, on average.
        static let cpu = "process.cpu.time rate"
        /// In seconds.
        static let eventLoopLag = "cohort.eventloop.lag p99"
        /// In seconds.
        static let commitMean = "cohort.commit.duration mean"
        /// Commits a second.
        static let commitRate = "cohort.commit.duration rate"
        static let queue = "cohort.queue.rows"
        static let queueLimit = "cohort.queue.rows.limit"
    }

    /// A figure near 1 says that the resource is used up.
    private struct Candidate {
        var resource: Resource
        var use: Double
        var sentence: String
    }

    /// From this use on a resource is a limit.
    private static let threshold = 0.8

    /// - Parameter result: Of the step at the limit: the first that missed, or the highest that passed.
    init(at result: LoadResult) {
        let candidates = Self.candidates(result)
        // In the order of causes: a processor that is used up makes event loops late, not the other way round.
        let order = Resource.allCases
        let limiting = order.lazy.compactMap { resource in
            candidates.first { $0.resource == resource && $0.use >= Self.threshold }
        }.first
        let resource = limiting?.resource ?? .unknown
        self.resource = resource
        evidence =
            candidates.filter { $0.resource == resource }.map(\.sentence)
            + candidates.filter { $0.resource != resource }.map(\.sentence)
        if result.server == nil { evidence.append("the server was not asked for its metrics") }
    }

    private static func candidates(_ result: LoadResult) -> [Candidate] {
        var candidates: [Candidate] = []
        let generator = result.generator
        candidates.append(
            Candidate(
                resource: .client,
                use: generator.isBottleneck ? 1 : 0,
                sentence: "the generator used \(Format.percent(generator.cpuRatio)) of its processor and sent "
                    + "\(Format.milliseconds(generator.lagP99)) late at p99"
            )
        )
        let refused = result.errors["RESOURCE_EXHAUSTED", default: 0]
        if refused > 0, result.failed > 0 {
            let share = Double(refused) / Double(result.failed)
            candidates.append(
                Candidate(
                    resource: .limits,
                    // A stray refusal among good answers limits nothing.
                    use: Double(refused) >= 0.001 * Double(result.sent) ? share : 0,
                    sentence: "\(Format.percent(share)) of the errors were RESOURCE_EXHAUSTED"
                )
            )
        }
        candidates += [commit(result), queue(result), cpu(result), eventLoop(result)].compactMap { $0 }
        return candidates
    }

    /// One committer: its use is commits a second times their mean duration (the utilisation law).
    private static func commit(_ result: LoadResult) -> Candidate? {
        guard let mean = result.server?.mean(of: SeriesName.commitMean),
            let rate = result.server?.mean(of: SeriesName.commitRate)
        else { return nil }
        return Candidate(
            resource: .commit,
            use: mean * rate,
            sentence: "the committer was busy \(Format.percent(mean * rate)) of the time, "
                + "\(Format.milliseconds(mean * 1_000)) for a commit"
        )
    }

    private static func queue(_ result: LoadResult) -> Candidate? {
        guard let waiting = result.server?.mean(of: SeriesName.queue),
            let limit = result.server?.mean(of: SeriesName.queueLimit), limit > 0
        else { return nil }
        return Candidate(
            resource: .commit,
            use: waiting / limit,
            sentence: "the queue of writes was \(Format.percent(waiting / limit)) full"
        )
    }

    private static func cpu(_ result: LoadResult) -> Candidate? {
        guard let cores = result.server?.mean(of: SeriesName.cpu) else { return nil }
        guard let processors = result.server?.processors, processors > 0 else {
            return Candidate(
                resource: .cpu,
                use: 0,
                sentence: "the server used \(Format.number(cores)) processors; how many it has is not known"
            )
        }
        return Candidate(
            resource: .cpu,
            use: cores / Double(processors),
            sentence: "the server used \(Format.number(cores)) of \(processors) processors"
        )
    }

    /// A lag of half the p99 explains it.
    private static func eventLoop(_ result: LoadResult) -> Candidate? {
        guard let lag = result.server?.mean(of: SeriesName.eventLoopLag), result.latency.p99 > 0 else { return nil }
        return Candidate(
            resource: .eventLoop,
            use: min(1, lag * 1_000 / (result.latency.p99 / 2)),
            sentence: "the event loops were \(Format.milliseconds(lag * 1_000)) late at p99"
        )
    }
}

extension LoadResult.Server {
    /// The mean of a series over the run; nothing when it has no points.
    func mean(of name: String) -> Double? {
        guard let points = series.first(where: { $0.name == name })?.points, !points.isEmpty else { return nil }
        return points.map(\.value).mean
    }
}
