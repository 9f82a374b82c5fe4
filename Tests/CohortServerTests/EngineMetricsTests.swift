import CohortCore
import CoreMetrics
import Foundation
import MetricsTestKit
import Synchronization
import Testing

@testable import cohort_server

@Suite("Engine metrics")
struct EngineMetricsTests {
    @Test("Counters count what is new, gauges tell what is")
    func metrics() async throws {
        let time = Mutex(Timestamp(seconds: 1_750_000_000) ?? .epoch)
        let now: @Sendable () -> Timestamp = { time.withLock { $0 } }
        var configuration = EngineConfiguration()
        configuration.upkeepInterval = 0
        configuration.logRetentionAge = 1_000
        let engine = Engine(
            store: MemoryStore(),
            configuration: configuration,
            environment: EngineEnvironment(now: now)
        )
        try await onThread("start") { () throws(DomainError) in try engine.start() }
        let context = WriteContext(principal: "tester", method: "test")
        for id in ["a", "b", "c"] {
            _ = try await engine.put(
                CustomerPut(customerID: id, attributes: [("daily_spend", .double(1))]),
                context: context
            )
        }
        _ = try await engine.erase(customer: "c", context: context)
        let factory = TestMetrics()
        let metrics = EngineMetrics(engine: engine, factory: factory, now: now)
        await onThread("upkeep") {
            engine.materialize()
            engine.upkeep()
        }
        metrics.update()
        metrics.update()
        #expect(try factory.expectCounter("cohort.drift.customers_checked").totalValue == 2)
        #expect(try factory.expectCounter("cohort.drift.differences").totalValue == 0)
        #expect(try factory.expectGauge("cohort.log.oldest_sequence").lastValue == 1)
        #expect(try factory.expectGauge("cohort.scrub.pending").lastValue == 1)
        #expect(try factory.expectGauge("cohort.builds").lastValue == 0)
        #expect(try factory.expectGauge("cohort.builds.limit").lastValue == 64)
        #expect(try factory.expectGauge("cohort.watches.running").lastValue == 0)
        #expect(try factory.expectGauge("cohort.watches.slowest_behind").lastValue == 0)
        // At start: the beginning, and the groups of two attributes.
        #expect(try factory.expectGauge("cohort.audit.rows").lastValue == 3)
        #expect(try factory.expectGauge("cohort.audit.buffered.limit").lastValue == 10_000)
        #expect(try factory.expectCounter("cohort.audit.rows_lost").totalValue == 0)
        #expect(try factory.expectGauge("cohort.audit.findings").lastValue == 0)
        time.withLock { $0 = $0.advanced(bySeconds: 2_000) }
        metrics.update()
        #expect(try factory.expectGauge("cohort.log.oldest_age").lastValue == 2_000)
        #expect(try factory.expectGauge("cohort.scrub.oldest_age").lastValue == 2_000)
        await onThread("upkeep") { engine.upkeep() }
        metrics.update()
        // Two attributes and three customers; the last entry, the erasure, stays.
        #expect(try factory.expectCounter("cohort.log.entries_deleted").totalValue == 5)
        #expect(try factory.expectGauge("cohort.log.oldest_sequence").lastValue == 6)
        #expect(try (factory.expectGauge("cohort.log.bytes").lastValue ?? 0) > 0)
        #expect(try factory.expectGauge("cohort.approvals.pending").lastValue == 0)
        #expect(try factory.expectGauge("cohort.approvals.oldest_age").lastValue == 0)
        #expect(try factory.expectGauge("cohort.erasures.running").lastValue == 0)
        _ = try await engine.createCohort(
            CohortDefinition(id: "LIST", kind: .list, rule: nil, approvalRequired: true),
            context: context
        )
        _ = try await engine.archive(cohort: "LIST", context: context)
        time.withLock { $0 = $0.advanced(bySeconds: 30) }
        metrics.update()
        #expect(try factory.expectGauge("cohort.approvals.pending").lastValue == 1)
        #expect(try factory.expectGauge("cohort.approvals.oldest_age").lastValue == 30)
        await onThread("stop") { engine.shutdown() }
    }
}
