import CohortCore
import Metrics
import Synchronization
import Telemetry

/// The engine's figures as metrics, by the swift-metrics API, brought up to date whenever metrics are read.
final class EngineMetrics: Sendable {
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
        now: @escaping @Sendable () -> Timestamp = { SystemClock.now() }
    ) {
        self.engine = engine
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

    /// Hands on what has changed since the last time.
    func update() {
        let status = engine.status
        let upkeep = status.upkeep
        counted.withLock { counted in
            customersChecked.advance(to: upkeep.drift.customersChecked, from: &counted.customersChecked)
            differences.advance(to: upkeep.drift.differences, from: &counted.differences)
            logEntriesDeleted.advance(to: upkeep.log.entriesDeleted, from: &counted.entriesDeleted)
            historyIntervalsDeleted.advance(to: upkeep.intervalsDeleted, from: &counted.intervalsDeleted)
            scrubEntriesRewritten.advance(to: upkeep.scrub.entriesRewritten, from: &counted.entriesRewritten)
            auditLost.advance(to: status.audit.lost, from: &counted.auditLost)
            auditDeleted.advance(to: upkeep.audit.rowsDeleted, from: &counted.auditDeleted)
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

    /// In seconds; 0 for nothing.
    private func age(_ time: Timestamp?) -> Int64 { time.map { max(0, now().seconds - $0.seconds) } ?? 0 }
}
