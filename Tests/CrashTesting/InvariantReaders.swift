package import CohortCore
import Foundation
import Synchronization

/// Cohorts of which it is known at every sequence what must hold between them, whatever is written meanwhile.
package enum InvariantCohorts {
    /// Every customer is in exactly one of these two.
    package static let high = "PART_HIGH"
    package static let low = "PART_LOW"
    /// Everyone, and, rule by rule in turn, everyone or no one.
    package static let everyone = "EVERYONE"
    package static let flip = "FLIP"

    package static let highRule = "has(customer.daily_spend) && customer.daily_spend > 5.0"
    package static let lowRule = "!(has(customer.daily_spend) && customer.daily_spend > 5.0)"
}

/// Threads that ask all the time, and note each answer that cannot be: one of an earlier sequence than the answer before,
/// a customer in both or in neither of two halves, a rule change that is half there.
package final class InvariantReaders: Sendable {
    private struct State {
        var stopped = false
        var running = 0
        var checks = 0
        var flips = 0
        var violations: [String] = []
    }

    private let engine: Engine
    private let customers: [String]
    private let state = Mutex(State())
    private let found: @Sendable (String) -> Void

    /// - Parameter found: told of each violation, on the reader's thread.
    package init(
        _ engine: Engine,
        customers: [String],
        threads: Int = 2,
        found: @escaping @Sendable (String) -> Void = { _ in }
    ) {
        self.engine = engine
        self.customers = customers
        self.found = found
        state.withLock { $0.running = threads }
        for i in 0..<threads { Thread.detachNewThread { self.read(from: i) } }
    }

    /// Answers checked, and among them those that compared the sizes of two cohorts at one sequence.
    package var checks: (all: Int, flips: Int) { state.withLock { ($0.checks, $0.flips) } }

    /// Ends the threads, and returns what they have seen that must not be. Blocks for a moment.
    package func stop() -> [String] {
        state.withLock { $0.stopped = true }
        while state.withLock({ $0.running > 0 }) { usleep(200) }
        return state.withLock { $0.violations }
    }

    private func read(from start: Int) {
        var next = start
        var latest: UInt64 = 0
        while !state.withLock({ $0.stopped }) {
            for _ in 0..<8 {
                next = (next + 1) % customers.count
                check(customers[next], &latest)
            }
            checkFlip(&latest)
            usleep(100)
        }
        state.withLock { $0.running -= 1 }
    }

    private func check(_ customer: String, _ latest: inout UInt64) {
        guard case .answer(let answer)? = try? engine.cohorts(ofCustomer: customer) else { return }
        advance(&latest, to: answer.sequence)
        let members = answer.memberships.filter { $0.membership == .in }.map(\.cohort)
        let halves = [InvariantCohorts.high, InvariantCohorts.low].filter { members.contains($0) }
        if halves.count != (answer.found ? 1 : 0) {
            report("\(customer) is in \(halves) at \(answer.sequence), found: \(answer.found)")
        }
        if answer.found != members.contains(InvariantCohorts.everyone) {
            report("\(customer) is not in \(InvariantCohorts.everyone) at \(answer.sequence)")
        }
        state.withLock { $0.checks += 1 }
    }

    /// Two counts say something together only if both are of one sequence.
    private func checkFlip(_ latest: inout UInt64) {
        guard case .answer(let all)? = try? engine.countMembers(cohort: InvariantCohorts.everyone),
            case .answer(let some)? = try? engine.countMembers(cohort: InvariantCohorts.flip)
        else { return }
        advance(&latest, to: all.sequence)
        advance(&latest, to: some.sequence)
        guard all.sequence == some.sequence else { return }
        if some.members != 0, some.members != all.members {
            report("\(some.members) of \(all.members) are in \(InvariantCohorts.flip) at \(all.sequence)")
        }
        state.withLock { $0.flips += 1 }
    }

    private func advance(_ latest: inout UInt64, to sequence: UInt64) {
        if sequence < latest { report("an answer of sequence \(sequence) follows one of \(latest)") }
        latest = max(latest, sequence)
    }

    private func report(_ violation: String) {
        state.withLock { if $0.violations.count < 20 { $0.violations.append(violation) } }
        found(violation)
    }
}
