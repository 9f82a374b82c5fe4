import CohortCore
import Metrics

/// What the engine does with its store, as it does it.
struct StoreMetrics: Sendable {
    private let commits: Timer
    private let commitEntries: Recorder
    private let entries: Counter
    private let reads: Timer
    private let rows: [EngineObservation.Row: Counter]

    init(factory: any MetricsFactory = MetricsSystem.factory) {
        commits = Timer(label: "cohort.commit.duration", dimensions: [], factory: factory)
        commitEntries = Recorder(label: "cohort.commit.entries", dimensions: [], aggregate: true, factory: factory)
        entries = Counter(label: "cohort.log.entries", dimensions: [], factory: factory)
        reads = Timer(label: "cohort.store.read.duration", dimensions: [], factory: factory)
        rows = Dictionary(
            uniqueKeysWithValues: EngineObservation.Row.allCases.map {
                ($0, Counter(label: "cohort.ingest.rows", dimensions: [("outcome", $0.rawValue)], factory: factory))
            }
        )
    }

    @Sendable
    func observe(_ observation: EngineObservation) {
        switch observation {
        case .committed(let count, let nanoseconds):
            commits.recordNanoseconds(nanoseconds)
            commitEntries.record(count)
            entries.increment(by: count)
        case .read(let nanoseconds): reads.recordNanoseconds(nanoseconds)
        case .rows(let outcomes): for (row, count) in outcomes { rows[row]?.increment(by: count) }
        }
    }
}
