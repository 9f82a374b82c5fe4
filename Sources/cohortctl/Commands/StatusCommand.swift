import ArgumentParser
import CohortAPI
import RPC
import SwiftProtobuf

struct StatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "How the server is: state, sequence, sizes."
    )

    @Option(help: ArgumentHelp("Wait until it serves, at most this long.", valueName: "seconds")) var wait: Double?
    @ParentCommand var root: Cohortctl

    func run() async throws {
        try await root.session.withClient { client in
            let status = try await status(CohortClient(client).operations)
            try root.session.show(status) { Self.table(status) }
        }
    }

    private func status(_ operations: OperationsServiceClient) async throws -> GetStatusResponse {
        let deadline = ContinuousClock.now + .milliseconds(Int64((wait ?? 0) * 1_000))
        while true {
            let last: Result<GetStatusResponse, RPCError>
            do throws(RPCError) {
                last = .success(try await operations.getStatus(.init(), options: root.session.callOptions))
            } catch {
                last = .failure(error)
            }
            if case .success(let status) = last, status.state == .serving { return status }
            let isOver = ContinuousClock.now >= deadline
            switch last {
            case .success(let status) where wait == nil: return status
            case .success(let status) where isOver:
                throw CommandFailure.failed("the server is still \(status.state.text) after \(wait ?? 0) s")
            case .failure(let error) where isOver || error.code != .unavailable: throw error
            default: try await Task.sleep(for: .milliseconds(100))
            }
        }
    }

    private static func table(_ status: GetStatusResponse) -> String {
        var table = Table(["", ""])
        let detail = status.stateDetail.isEmpty ? "" : ": \(status.stateDetail)"
        table.add(["state", status.state.text + detail])
        table.add(["version", status.version])
        table.add(["uptime", status.uptime.text])
        table.add(["store", status.storeID])
        table.add(["sequence", "\(status.sequence) (in the tables: \(status.appliedSequence))"])
        table.add(["customers", String(status.customers)])
        table.add(["attributes", String(status.attributes)])
        table.add(["write queue", "\(status.queueDepth) of \(status.queueLimit) rows"])
        table.add(["memory", byteText(status.residentBytes) + ", the index " + byteText(status.indexBytes)])
        table.add(["store on disk", byteText(status.storeBytes) + ", the change log " + byteText(status.log.bytes)])
        table.add(["log from", "\(status.log.firstSequence) (\(status.log.firstTime.text))"])
        table.add(["drift", drift(status.drift)])
        table.add([
            "watches", "\(status.watches.running), the slowest \(status.watches.slowestBehind) sequences behind",
        ])
        table.add(["to scrub", scrub(status.scrub)])
        table.add(["to approve", approvals(status.approvals)])
        table.add(["audit", audit(status.audit)])
        for breaker in status.breakers { table.add([breaker.label, self.breaker(breaker)]) }
        if status.hasOverload {
            for queue in status.overload.queues { table.add(["\(queue.methodClass) calls", self.queue(queue)]) }
            table.add(["overload", overload(status.overload)])
        }
        for build in status.builds {
            let what = build.preview ? "preview of \(build.cohortID)" : "\(build.cohortID) version \(build.version)"
            table.add(["build", "\(what): \(BuildWatch.note(build))"])
        }
        guard !status.cohorts.isEmpty else { return table.text.trimmingPrefix("\n").description }
        var cohorts = Table(["COHORT", "STATE", "VERSION", "MEMBERS", "UNKNOWN"])
        for cohort in status.cohorts {
            cohorts.add([
                cohort.cohortID, cohort.state.text, String(cohort.version), String(cohort.members),
                String(cohort.unknown),
            ])
        }
        return table.text.trimmingPrefix("\n") + "\n\n" + cohorts.text
    }

    private static func drift(_ drift: DriftStatus) -> String {
        var parts: [String] = []
        if drift.hasCompleted {
            let walk = drift.completed
            parts.append(
                "\(walk.differences) differences in \(walk.customers) customers at \(walk.completedAt.text)"
            )
            for sample in walk.samples.prefix(1) {
                parts.append(
                    "first \(sample.customerID) in \(sample.cohortID): \(sample.indexed.text), should be "
                        + sample.expected.text
                )
            }
        }
        if drift.hasCurrent {
            parts.append("\(drift.current.differences) in \(drift.current.customers) customers of a walk that goes on")
        }
        return parts.isEmpty ? "not walked yet" : parts.joined(separator: "; ")
    }

    private static func breaker(_ breaker: BreakerStatus) -> String {
        let state =
            switch breaker.state {
            case .open:
                breaker.hasRetryAfter ? "open, tried again in \(breaker.retryAfter.text)" : "open, about to be tried"
            case .halfOpen: "half open"
            default: "closed"
            }
        return
            "\(state); \(breaker.failureRatePercent) % failed; opened \(breaker.opened) times, \(breaker.rejected) refused"
    }

    private static func queue(_ queue: CallQueueStatus) -> String {
        "\(queue.inFlight) of \(queue.limit) run, \(queue.waiting) of \(queue.capacity) wait"
    }

    private static func overload(_ overload: OverloadStatus) -> String {
        let reasons = overload.rejected.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }
        let refused = reasons.isEmpty ? "nothing" : reasons.joined(separator: ", ")
        let level = overload.sheddingLevel > 0 ? "; shedding at \(overload.sheddingLevel) of 3" : ""
        return (overload.dryRun ? "would have refused " : "refused ") + refused + level
    }

    private static func approvals(_ approvals: ApprovalStatus) -> String {
        let oldest = approvals.pending == 0 ? "" : ", the first of \(approvals.oldestAt.text)"
        let erasing = approvals.erasuresRunning == 0 ? "" : "; \(approvals.erasuresRunning) erasures of members run"
        return "\(approvals.pending) changes\(oldest)\(erasing)"
    }

    private static func audit(_ audit: AuditStatus) -> String {
        var parts = ["\(audit.rows) rows, \(audit.rowsLost) lost, key \(audit.keyID)"]
        if audit.verifying { parts.append("being verified") }
        parts.append(
            audit.hasVerifiedAt
                ? "\(audit.findings) findings at \(audit.verifiedAt.text)" : "not verified since the start"
        )
        return parts.joined(separator: "; ")
    }

    private static func scrub(_ scrub: ScrubStatus) -> String {
        scrub.pending == 0 ? "0 erasures" : "\(scrub.pending) erasures, the first of \(scrub.oldestAt.text)"
    }
}

extension BreakerStatus {
    /// What it stands before, for people.
    fileprivate var label: String { name.replacing("_", with: " ") }
}
