import CohortCore
import Metrics
import ServiceLifecycle
import Synchronization

/// The engine's figures as metrics, by the swift-metrics API: whichever backend is set up takes them.
final class EngineMetrics: Service {
    private struct Counted {
        var customersChecked: UInt64 = 0
        var differences: UInt64 = 0
        var entriesDeleted: UInt64 = 0
        var intervalsDeleted: UInt64 = 0
        var entriesRewritten: UInt64 = 0
        var auditLost: UInt64 = 0
        var auditDeleted: UInt64 = 0
    }

    private let engine: Engine
    private let interval: Duration
    private let now: @Sendable () -> Timestamp
    private let counted = Mutex(Counted())

    private let customersChecked: Counter
    private let differences: Counter
    private let logBytes: Gauge
    private let logOldestSequence: Gauge
    private let logOldestAge: Gauge
    private let logEntriesDeleted: Counter
    private let historyIntervalsDeleted: Counter
    private let builds: Gauge
    private let buildsLimit: Gauge
    private let scrubPending: Gauge
    private let scrubOldestAge: Gauge
    private let scrubEntriesRewritten: Counter
    private let watchesRunning: Gauge
    private let watchesSlowestBehind: Gauge
    private let approvalsPending: Gauge
    private let approvalsOldestAge: Gauge
    private let erasuresRunning: Gauge
    private let auditRows: Gauge
    private let auditOldestAge: Gauge
    private let auditBuffered: Gauge
    private let auditBufferLimit: Gauge
    private let auditLost: Counter
    private let auditDeleted: Counter
    private let auditVerifiedAge: Gauge
    private let auditFindings: Gauge
    private let customers: Gauge
    private let sequence: Gauge
    private let appliedSequence: Gauge
    private let queueRows: Gauge
    private let queueRowsLimit: Gauge
    private let indexBytes: Gauge
    private let storeBytes: Gauge
    private let diskFree: Gauge
    private let diskSize: Gauge

    init(
        engine: Engine,
        factory: any MetricsFactory = MetricsSystem.factory,
        interval: Duration = .seconds(5),
        now: @escaping @Sendable () -> Timestamp = { SystemClock.now() }
    ) {
        self.engine = engine
        self.interval = interval
        self.now = now
        func counter(_ name: String) -> Counter { Counter(label: name, dimensions: [], factory: factory) }
        func gauge(_ name: String) -> Gauge { Gauge(label: name, dimensions: [], factory: factory) }
        customersChecked = counter("cohort.drift.customers_checked")
        differences = counter("cohort.drift.differences")
        logBytes = gauge("cohort.log.bytes")
        logOldestSequence = gauge("cohort.log.oldest_sequence")
        logOldestAge = gauge("cohort.log.oldest_age")
        logEntriesDeleted = counter("cohort.log.entries_deleted")
        historyIntervalsDeleted = counter("cohort.history.intervals_deleted")
        builds = gauge("cohort.builds")
        buildsLimit = gauge("cohort.builds.limit")
        scrubPending = gauge("cohort.scrub.pending")
        scrubOldestAge = gauge("cohort.scrub.oldest_age")
        scrubEntriesRewritten = counter("cohort.scrub.entries_rewritten")
        watchesRunning = gauge("cohort.watches.running")
        watchesSlowestBehind = gauge("cohort.watches.slowest_behind")
        approvalsPending = gauge("cohort.approvals.pending")
        approvalsOldestAge = gauge("cohort.approvals.oldest_age")
        erasuresRunning = gauge("cohort.erasures.running")
        auditRows = gauge("cohort.audit.rows")
        auditOldestAge = gauge("cohort.audit.oldest_age")
        auditBuffered = gauge("cohort.audit.buffered")
        auditBufferLimit = gauge("cohort.audit.buffered.limit")
        auditLost = counter("cohort.audit.rows_lost")
        auditDeleted = counter("cohort.audit.rows_deleted")
        auditVerifiedAge = gauge("cohort.audit.verified_age")
        auditFindings = gauge("cohort.audit.findings")
        customers = gauge("cohort.customers")
        sequence = gauge("cohort.sequence")
        appliedSequence = gauge("cohort.sequence.applied")
        queueRows = gauge("cohort.queue.rows")
        queueRowsLimit = gauge("cohort.queue.rows.limit")
        indexBytes = gauge("cohort.index.bytes")
        storeBytes = gauge("cohort.store.bytes")
        diskFree = gauge("cohort.disk.free")
        diskSize = gauge("cohort.disk.size")
    }

    func run() async throws {
        await cancelWhenGracefulShutdown { [self] in
            while !Task.isCancelled {
                update()
                try? await Task.sleep(for: interval)
            }
        }
    }

    /// Hands on what has changed since the last time.
    func update() {
        let status = engine.status
        let upkeep = status.upkeep
        counted.withLock { counted in
            Self.count(upkeep.drift.customersChecked, &counted.customersChecked, customersChecked)
            Self.count(upkeep.drift.differences, &counted.differences, differences)
            Self.count(upkeep.log.entriesDeleted, &counted.entriesDeleted, logEntriesDeleted)
            Self.count(upkeep.intervalsDeleted, &counted.intervalsDeleted, historyIntervalsDeleted)
            Self.count(upkeep.scrub.entriesRewritten, &counted.entriesRewritten, scrubEntriesRewritten)
            Self.count(status.audit.lost, &counted.auditLost, auditLost)
            Self.count(upkeep.audit.rowsDeleted, &counted.auditDeleted, auditDeleted)
        }
        logBytes.record(upkeep.log.bytes)
        logOldestSequence.record(upkeep.log.firstSequence)
        logOldestAge.record(age(upkeep.log.firstTime))
        builds.record(status.builds.count)
        buildsLimit.record(engine.configuration.maximumBuilds)
        scrubPending.record(upkeep.scrub.pending)
        scrubOldestAge.record(age(upkeep.scrub.oldest))
        watchesRunning.record(status.watches.running)
        watchesSlowestBehind.record(status.watches.slowestBehind)
        approvalsPending.record(status.approvals.pending)
        approvalsOldestAge.record(age(status.approvals.oldest))
        erasuresRunning.record(status.approvals.erasuresRunning)
        auditRows.record(upkeep.audit.rows)
        auditOldestAge.record(age(upkeep.audit.oldest))
        auditBuffered.record(status.audit.buffered)
        auditBufferLimit.record(status.audit.bufferLimit)
        auditVerifiedAge.record(age(upkeep.audit.verification?.completedAt))
        auditFindings.record(upkeep.audit.verification?.findings ?? 0)
        customers.record(status.customers)
        sequence.record(status.sequence)
        appliedSequence.record(status.appliedSequence)
        queueRows.record(status.queueDepth)
        queueRowsLimit.record(status.queueCapacity)
        indexBytes.record(status.indexBytes)
        storeBytes.record(status.storeBytes)
        diskFree.record(upkeep.disk.freeBytes)
        diskSize.record(upkeep.disk.bytes)
    }

    private static func count(_ total: UInt64, _ counted: inout UInt64, _ counter: Counter) {
        // An increment of 0 makes a backend show the counter from the start.
        counter.increment(by: Int64(clamping: total - min(counted, total)))
        counted = max(counted, total)
    }

    /// In seconds; 0 for nothing.
    private func age(_ time: Timestamp?) -> Int64 { time.map { max(0, now().seconds - $0.seconds) } ?? 0 }
}
