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
        table.add(["memory", bytes(status.residentBytes) + ", the index " + bytes(status.indexBytes)])
        table.add(["store on disk", bytes(status.storeBytes)])
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

    private static func bytes(_ count: UInt64) -> String {
        let units = ["B", "KiB", "MiB", "GiB", "TiB"]
        var value = Double(count)
        var unit = 0
        while value >= 1024, unit < units.count - 1 {
            value /= 1024
            unit += 1
        }
        return unit == 0 ? "\(count) B" : "\((value * 10).rounded() / 10) \(units[unit])"
    }
}
