import Foundation
import Synchronization
import Testing

@testable import CohortCore

/// A clock that a test moves.
final class TestClock: Sendable {
    private let current = Mutex(Timestamp(seconds: 1_700_000_000)!)

    var now: Timestamp {
        get { current.withLock { $0 } }
        set { current.withLock { $0 = newValue } }
    }

    func advance(seconds: Int64) { current.withLock { $0 = $0.advanced(bySeconds: seconds) } }
}

let tester = WriteContext(principal: "tester", method: "test")

extension ContinuousClock.Instant {
    /// Long enough that only a hang reaches it.
    static var far: ContinuousClock.Instant { .now + .seconds(60) }
}

extension EngineConfiguration {
    /// Small groups and slices, so that tests of a few rows cross their borders.
    static var small: EngineConfiguration {
        var configuration = EngineConfiguration()
        configuration.groupRows = 7
        configuration.publishSlice = 3
        configuration.materializeRows = 20
        configuration.materializeInterval = 5
        configuration.bulkThreshold = 4
        return configuration
    }
}

/// Starts an engine on a thread of its own, as it demands.
func started(
    _ store: any Store,
    configuration: EngineConfiguration = .small,
    clock: TestClock = TestClock()
) async throws -> Engine {
    let engine = Engine(
        store: store,
        configuration: configuration,
        environment: EngineEnvironment(now: { clock.now })
    )
    try await blocking { try engine.start() }
    return engine
}

/// Runs something that blocks off the tasks' threads.
func blocking<R: Sendable>(_ body: @escaping @Sendable () throws -> R) async throws -> R {
    try await withCheckedThrowingContinuation { continuation in
        Thread.detachNewThread { continuation.resume(with: Result { try body() }) }
    }
}

/// Runs `body` with an engine over a fresh memory store, and shuts it down.
func withEngine(
    configuration: EngineConfiguration = .small,
    clock: TestClock = TestClock(),
    _ body: (Engine, TestClock) async throws -> Void
) async throws {
    let engine = try await started(MemoryStore(), configuration: configuration, clock: clock)
    do {
        try await body(engine, clock)
    } catch {
        try await blocking { engine.shutdown() }
        throw error
    }
    try await blocking { engine.shutdown() }
}

extension Engine {
    @discardableResult
    func put(
        _ id: String,
        _ attributes: [String: AttributeValue?],
        at seconds: Int64? = nil
    ) async throws -> PutResult {
        try await put(
            CustomerPut(
                customerID: id,
                attributes: attributes.map { (name: $0.key, value: $0.value) },
                eventTime: seconds.flatMap { Timestamp(seconds: $0) }
            ),
            context: tester
        )
    }

    @discardableResult
    func create(_ id: String, _ rule: String, _ policy: FailPolicy = .unknown) async throws -> CohortChangeResult {
        try await createCohort(
            CohortDefinition(id: id, kind: .rule, rule: rule, failPolicy: policy),
            context: tester
        )
    }

    func check(_ customer: String, _ cohort: String, since: Bool = false) async throws -> MembershipAnswer {
        try await checkMembershipWaiting(customer: customer, cohort: cohort, includeSince: since, deadline: .far)
    }

    func memberIDs(_ cohort: String, _ state: Membership = .in) async throws -> [String] {
        let snapshot = try await members(cohort: cohort, state: state, deadline: .far)
        var ids: [String] = []
        while true {
            let page = snapshot.nextPage(limit: 3)
            if page.isEmpty { return ids }
            ids += page
        }
    }
}

/// The domain error that `body` throws.
func domainError(_ body: () async throws -> some Any) async -> DomainError? {
    do {
        _ = try await body()
        return nil
    } catch {
        return error as? DomainError
    }
}
