import Testing

@testable import cohort_server

@Suite("Administrative methods")
struct AdministrativeMethodsTests {
    @Test("Data is written and read without a row; changes of cohorts, erasures and future services have rows")
    func administrativeMethods() {
        let contains = AdministrativeMethods.contains
        for method in [
            "CohortService/CreateCohort", "CohortService/ArchiveCohort", "CohortService/UploadAssignments",
            "VersionService/PublishVersion", "VersionService/PreviewVersion", "CustomerService/EraseCustomer",
            "CustomerService/DeclareAttribute", "TokenService/CreateToken",
        ] { #expect(contains("cohort.v1." + method), "\(method)") }
        for method in [
            "MembershipService/CheckMembership", "CustomerService/PutCustomer", "CustomerService/ImportCustomers",
            "CohortService/GetCohort", "CohortService/ListCohorts", "VersionService/ListVersions",
            "OperationsService/GetStatus", "HistoryService/WatchMemberships", "AuditService/VerifyAudit",
        ] { #expect(!contains("cohort.v1." + method), "\(method)") }
        #expect(!contains("grpc.health.v1.Health/Check") && !contains(""))
    }
}
