import ArgumentParser
import CohortAPI
import Foundation
import RPC

struct CapacityCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "capacity",
        abstract: "What the server holds, what rules cost, and how far it is from its limits."
    )

    @ParentCommand var root: Cohortctl

    func run() async throws {
        try await root.session.withClient { client in
            let capacity = try await CohortClient(client).operations.getCapacity(
                .init(),
                options: root.session.callOptions
            )
            try root.session.show(capacity) { Self.table(capacity) }
        }
    }

    private static func table(_ capacity: GetCapacityResponse) -> String {
        var limits = Table(["LIMIT", "USED", "OF", "%"])
        for use in capacity.limits.sorted(by: { $0.fraction > $1.fraction }) {
            limits.add([use.name, String(use.used), String(use.limit), String(Int((use.fraction * 100).rounded()))])
        }
        var sizes = Table(["", ""])
        sizes.add(["change log", byteText(capacity.logBytes) + ", entries " + byteText(capacity.logUsedBytes)])
        sizes.add(["tables", byteText(capacity.tablesBytes)])
        sizes.add(["disk free", byteText(capacity.diskFreeBytes)])
        sizes.add(["index", byteText(capacity.indexBytes) + ", ids " + byteText(capacity.identifierBytes)])
        sizes.add(["not in the tables", byteText(capacity.pendingBytes)])
        sizes.add(["resident", byteText(capacity.residentBytes)])
        let parts = [limits.text, sizes.text.trimmingPrefix("\n").description] + cohorts(capacity.cohorts)
        return parts.joined(separator: "\n\n")
    }

    private static func cohorts(_ cohorts: [CohortCapacity]) -> [String] {
        guard !cohorts.isEmpty else { return [] }
        var table = Table([
            "COHORT", "MEMBERS", "UNKNOWN", "INDEX", "STAGED", "NODES", "INSTRUCTIONS", "COST BOUND", "MEAN COST",
            "SAMPLES",
        ])
        for cohort in cohorts {
            let index =
                cohort.membersBytes + cohort.unknownBytes + cohort.includeBytes + cohort.excludeBytes
                + cohort.listBytes
            let rule = cohort.rule
            table.add(
                [
                    cohort.cohortID, String(cohort.members), String(cohort.unknown), byteText(index),
                    byteText(cohort.stagedBytes),
                ]
                    + (cohort.hasRule
                        ? [
                            String(rule.nodes), String(rule.instructions),
                            rule.costBound == .max ? "unbounded" : String(rule.costBound),
                            rule.samples == 0 ? "-" : String(format: "%.1f", rule.meanCost), String(rule.samples),
                        ] : ["-", "-", "-", "-", "-"])
            )
        }
        return [table.text]
    }
}
