import Foundation
import RPC
import Testing

@testable import CohortServices

@Suite("Access table")
struct AccessTableTests {
    /// Every method of the protos, by full name.
    private static func declared() throws -> Set<String> {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appending(path: "../../Protos")
            .standardized
        var names: Set<String> = []
        for directory in ["cohort/v1", "grpc/health/v1"] {
            let path = root.appending(path: directory).path
            for file in try FileManager.default.contentsOfDirectory(atPath: path) where file.hasSuffix(".proto") {
                let text = try String(contentsOfFile: path + "/" + file, encoding: .utf8)
                let package = try #require(text.firstMatch(of: #/\npackage ([a-z0-9.]+);/#)).1
                var service: Substring?
                for line in text.split(separator: "\n") {
                    if let match = line.firstMatch(of: #/^service (\w+) \{/#) { service = match.1 }
                    if let match = line.firstMatch(of: #/^  rpc (\w+)\(/#) {
                        names.insert("\(package).\(try #require(service))/\(match.1)")
                    }
                }
            }
        }
        return names
    }

    @Test("has one row for every method of the protos, and no other")
    func complete() throws {
        let declared = try Self.declared()
        #expect(declared.count > 30)
        let rows = AccessTable.rows.map(\.method)
        #expect(Set(rows).count == rows.count, "a method has two rows")
        #expect(declared.subtracting(rows).sorted() == [], "methods without a row")
        #expect(Set(rows).subtracting(declared).sorted() == [], "rows without a method")
    }

    @Test("every method is open to somebody, and what changes data is neither a reader's nor an operator's")
    func leastPrivilege() {
        let changes = [
            "Put", "Import", "Erase", "Declare", "Create", "Update", "Set", "Modify", "Upload", "Archive", "Publish",
        ]
        for row in AccessTable.rows {
            #expect(!row.roles.isEmpty, "\(row.method)")
            let name = row.method.split(separator: "/")[1]
            // How the server itself behaves is for the operator.
            guard !row.method.hasPrefix("cohort.v1.OperationsService/") else { continue }
            guard changes.contains(where: { name.contains($0) }) else { continue }
            #expect(row.roles.isDisjoint(with: [.reader, .operator, .auditor]), "\(row.method)")
        }
    }

    @Test("what changes a cohort, erases or approves is worth a row of the audit; everyday reading and writing is not")
    func administrative() {
        for method in [
            "CohortService/CreateCohort", "CohortService/UploadAssignments", "CohortService/SetApprovalRequired",
            "VersionService/PublishVersion", "CustomerService/EraseCustomer", "CustomerService/EraseMembers",
            "CustomerService/DeclareAttribute", "ApprovalService/ApproveChange", "AccessService/ListAccess",
            "OperationsService/SetLogLevel",
        ] { #expect(AccessTable.administrative.contains("cohort.v1." + method), "\(method)") }
        for method in [
            "MembershipService/CheckMembership", "CustomerService/PutCustomer", "CustomerService/ImportCustomers",
            "CohortService/GetCohort", "VersionService/ListVersions", "OperationsService/GetStatus",
            "HistoryService/WatchMemberships", "AuditService/VerifyAudit",
        ] { #expect(!AccessTable.administrative.contains("cohort.v1." + method), "\(method)") }
        #expect(!AccessTable.administrative.contains("grpc.health.v1.Health/Check"))
    }
}
