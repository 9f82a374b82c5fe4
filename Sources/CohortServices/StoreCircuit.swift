import CohortAPI
package import CohortCore
package import RPC
import SwiftProtobuf

/// A circuit breaker of RPC before one side of the engine's store.
package struct StoreCircuit: StoreBreaker {
    private let breaker: DependencyBreaker

    /// Stands before the store by this breaker.
    package init(_ breaker: DependencyBreaker) { self.breaker = breaker }

    package func refusal() -> Duration? { breaker.refusal() }

    package func admit() -> StoreAdmission {
        switch breaker.admit() {
        case .admitted(let permit): .admitted(permit: permit.period)
        case .rejected(let retryAfter): .refused(retryAfter: retryAfter)
        }
    }

    package func record(failed: Bool?, took time: Duration, permit: UInt64) {
        let outcome: CircuitBreaker.Outcome =
            switch failed {
            case true?: .failure
            case false?: .success
            case nil: .ignored
            }
        breaker.record(outcome, took: time, permit: CircuitBreaker.Permit(period: permit))
    }

    package func foundAway() { breaker.foundAway() }

    package var status: StoreBreakerStatus? {
        let status = breaker.status
        return StoreBreakerStatus(
            name: status.name,
            state: status.state == .closed ? .closed : status.state == .open ? .open : .halfOpen,
            failureRatePercent: status.failureRatePercent,
            slowCallRatePercent: status.slowCallRatePercent,
            rejected: UInt64(status.rejected),
            opened: UInt64(status.opened),
            retryAfter: status.retryAfter
        )
    }
}

extension BreakerStatus {
    init(_ status: StoreBreakerStatus) {
        self.init()
        name = status.name
        state =
            switch status.state {
            case .closed: .closed
            case .open: .open
            case .halfOpen: .halfOpen
            }
        failureRatePercent = UInt32(status.failureRatePercent)
        slowCallRatePercent = UInt32(status.slowCallRatePercent)
        rejected = status.rejected
        opened = status.opened
        if let wait = status.retryAfter {
            let (seconds, attoseconds) = wait.components
            retryAfter = .init(seconds: seconds, nanos: Int32(attoseconds / 1_000_000_000))
        }
    }
}

extension OverloadStatus {
    init(_ counters: OverloadCounters, isDryRun: Bool) {
        self.init()
        dryRun = isDryRun
        admitted = UInt64(counters.admitted)
        waited = UInt64(counters.waited)
        rejected = counters.rejected.mapValues { UInt64($0) }
        sheddingLevel = counters.sheddingLevel
        principals = UInt32(counters.principals)
        queues = counters.queues.sorted { $0.key.rawValue < $1.key.rawValue }.map { methodClass, queue in
            .with {
                $0.methodClass = methodClass.rawValue
                $0.limit = UInt32(queue.limit)
                $0.inFlight = UInt32(queue.inFlight)
                $0.waiting = UInt32(queue.waiting)
                $0.capacity = UInt32(queue.capacity)
            }
        }
    }
}
