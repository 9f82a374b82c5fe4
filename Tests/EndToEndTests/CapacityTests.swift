import CohortAPI
import Foundation
import SwiftProtobuf
import Testing

@Suite("Capacity")
struct CapacityTests {
    @Test("GetCapacity tells what cohorts and rules take and how far the limits are, and cohortctl prints it")
    func capacity() async throws {
        let directory = try TemporaryDirectory()
        let server = try await TestServer(
            dataDirectory: directory.path,
            arguments: ["--limits-cohorts", "40", "--log-retention-bytes", "2000000"]
        )
        try await server.cohortctl("cohorts", "create", "BIG", "--rule", "customer.daily_spend > 10.0")
        try await server.cohortctl("cohorts", "create", "PAID", "--rule", "customer.user_type == \"PAID\"")
        try await server.cohortctl("cohorts", "create", "GUESTS", "--static")
        try await server.withClient { client in
            let cohort = CohortClient(client)
            try await forEachConcurrently(Array(0..<600)) { i in
                _ = try await cohort.customers.putCustomer(
                    .with {
                        $0.customerID = "c\(i)"
                        $0.attributes["daily_spend"] = .with { $0.doubleValue = Double(i % 20) }
                    }
                )
            }
            _ = try await cohort.cohorts.setOverrides(
                .with {
                    $0.cohortID = "BIG"
                    $0.include = ["c1"]
                }
            )
            let capacity = try await cohort.operations.getCapacity(.init())
            #expect(capacity.cohorts.map(\.cohortID) == ["BIG", "GUESTS", "PAID"])
            let big = capacity.cohorts[0]
            #expect(big.members == 271 && big.unknown == 0 && big.membersBytes > 8_000 && big.includeBytes > 8_000)
            #expect(big.unknownBytes < 1_000 && big.excludeBytes < 1_000 && big.hasRule)
            #expect(big.rule.version == 1 && big.rule.nodes >= 3 && big.rule.instructions > 0)
            #expect(big.rule.costBound > 0 && big.rule.costBound < 100)
            #expect(!capacity.cohorts[1].hasRule)
            let paid = capacity.cohorts[2]
            #expect(paid.unknown == 600 && paid.members == 0)
            // 1,200 evaluations of two rules in turn, the first and every 257th sampled.
            #expect(big.rule.samples + paid.rule.samples >= 4)
            #expect(big.rule.meanCost > 0 && big.rule.meanCost <= Double(big.rule.costBound))
            #expect(capacity.indexBytes > capacity.identifierBytes && capacity.identifierBytes > 1_000)
            #expect(capacity.logBytes > 0 && capacity.logUsedBytes > 0 && capacity.tablesBytes > 0)
            #expect(capacity.residentBytes > 1 << 20 && capacity.diskFreeBytes > 0)
            let limits = Dictionary(uniqueKeysWithValues: capacity.limits.map { ($0.name, $0) })
            #expect(
                Set(limits.keys) == [
                    "limits.cohorts", "limits.attributes", "customers", "limits.builds", "limits.watches",
                    "limits.queue.rows", "limits.pending.bytes", "limits.approvals.pending", "limits.erasures",
                    "limits.audit.rows",
                    "bulk changes", "bulk change bytes", "limits.connections", "log.retention.bytes", "disk",
                ]
            )
            #expect(limits["limits.cohorts"]?.used == 3 && limits["limits.cohorts"]?.limit == 40)
            #expect(limits["limits.cohorts"]?.fraction == 3.0 / 40)
            #expect(limits["limits.connections"].map { $0.used >= 1 && $0.limit == 10_000 } == true)
            #expect(limits["log.retention.bytes"]?.limit == 2_000_000)
            #expect(limits["disk"].map { $0.used > 0 && $0.fraction <= 1 } == true)
            let status = try await cohort.operations.getStatus(.init())
            #expect(status.log.firstSequence == 1 && status.log.hasFirstTime)
            #expect(status.scrub.pending == 0 && status.drift.differences == 0)
        }
        let table = try await server.cohortctl("capacity").output
        #expect(table.contains("limits.cohorts") && table.contains("MEAN COST") && table.contains("PAID"), "\(table)")
        let json = try await server.cohortctl("--output", "json", "capacity").output
        let message = try GetCapacityResponse(jsonString: json)
        #expect(message.cohorts.count == 3 && message.limits.count == 15)
        let status = try await server.cohortctl("status").output
        #expect(
            status.contains("log from") && status.contains("drift") && status.contains("to scrub")
                && status.contains("0 lost"),
            "\(status)"
        )
        #expect(try await server.stop() == 0)
    }
}
