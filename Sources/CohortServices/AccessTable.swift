import CohortAPI
package import RPC

extension Role {
    /// Asks who is in which cohort.
    package static let reader = Role(rawValue: "reader")
    /// Delivers customers and erases them.
    package static let writer = Role(rawValue: "writer")
    /// Decides on cohorts, rules and attributes.
    package static let admin = Role(rawValue: "admin")
    /// Watches over the server.
    package static let `operator` = Role(rawValue: "operator")
    /// Reviews what was done, and who may do it.
    package static let auditor = Role(rawValue: "auditor")

    /// Every role there is.
    package static let all: [Role] = [.reader, .writer, .admin, .operator, .auditor]
}

/// What each method takes: the one table, which a test holds against the protos.
package enum AccessTable {
    /// One method.
    package struct Row: Sendable {
        /// The full name.
        package var method: String
        /// Who may call it.
        package var roles: Set<Role>
        /// Whether each call is worth a row of the audit, whatever its outcome.
        package var isAdministrative: Bool

        fileprivate init(_ method: String, _ roles: Set<Role>, administrative: Bool = false) {
            self.method = method
            self.roles = roles
            isAdministrative = administrative
        }
    }

    private static let everyone = Set(Role.all)

    package static let rows: [Row] =
        membership + history + customers + cohorts + approvals + versions + audit + operations + access + health

    private static let membership: [Row] = [
        Row("cohort.v1.MembershipService/CheckMembership", [.reader, .admin]),
        Row("cohort.v1.MembershipService/BatchCheckMembership", [.reader, .admin]),
        Row("cohort.v1.MembershipService/ListCustomerCohorts", [.reader, .admin]),
        Row("cohort.v1.MembershipService/ListMembers", [.reader, .admin]),
        Row("cohort.v1.MembershipService/CountMembers", [.reader, .admin]),
        Row("cohort.v1.MembershipService/CombineCohorts", [.reader, .admin]),
        // Shows values of attributes, which are nobody's business who only asks for memberships.
        Row("cohort.v1.MembershipService/ExplainMembership", [.writer, .admin, .auditor]),
    ]

    private static let history: [Row] = [
        Row("cohort.v1.HistoryService/GetMembershipHistory", [.reader, .admin, .auditor]),
        Row("cohort.v1.HistoryService/WatchMemberships", [.reader, .admin]),
    ]

    private static let customers: [Row] = [
        Row("cohort.v1.CustomerService/PutCustomer", [.writer]),
        Row("cohort.v1.CustomerService/BatchPutCustomers", [.writer]),
        Row("cohort.v1.CustomerService/ImportCustomers", [.writer]),
        Row("cohort.v1.CustomerService/GetCustomer", [.writer, .admin]),
        Row("cohort.v1.CustomerService/EraseCustomer", [.writer, .admin], administrative: true),
        Row("cohort.v1.CustomerService/EraseMembers", [.admin], administrative: true),
        Row("cohort.v1.CustomerService/DeclareAttribute", [.admin], administrative: true),
        Row("cohort.v1.CustomerService/ListAttributes", everyone),
    ]

    private static let cohorts: [Row] = [
        Row("cohort.v1.CohortService/GetCohort", everyone),
        Row("cohort.v1.CohortService/ListCohorts", everyone),
        Row("cohort.v1.CohortService/CreateCohort", [.admin], administrative: true),
        Row("cohort.v1.CohortService/UpdateCohortRule", [.admin], administrative: true),
        Row("cohort.v1.CohortService/SetOverrides", [.admin], administrative: true),
        Row("cohort.v1.CohortService/ModifyStaticMembers", [.admin], administrative: true),
        Row("cohort.v1.CohortService/UploadAssignments", [.admin], administrative: true),
        Row("cohort.v1.CohortService/ArchiveCohort", [.admin], administrative: true),
        Row("cohort.v1.CohortService/SetApprovalRequired", [.admin], administrative: true),
    ]

    private static let approvals: [Row] = [
        Row("cohort.v1.ApprovalService/ListPendingChanges", [.admin, .auditor]),
        Row("cohort.v1.ApprovalService/ApproveChange", [.admin], administrative: true),
        Row("cohort.v1.ApprovalService/RejectChange", [.admin], administrative: true),
    ]

    private static let versions: [Row] = [
        Row("cohort.v1.VersionService/ListVersions", [.reader, .admin, .operator, .auditor]),
        Row("cohort.v1.VersionService/DraftVersion", [.admin], administrative: true),
        Row("cohort.v1.VersionService/DiscardVersion", [.admin], administrative: true),
        Row("cohort.v1.VersionService/PreviewVersion", [.admin]),
        Row("cohort.v1.VersionService/PublishVersion", [.admin], administrative: true),
        Row("cohort.v1.VersionService/RevertCohort", [.admin], administrative: true),
    ]

    private static let operations: [Row] = [
        Row("cohort.v1.OperationsService/GetStatus", [.operator, .admin, .auditor]),
        Row("cohort.v1.OperationsService/GetCapacity", [.operator, .admin]),
        Row("cohort.v1.OperationsService/ScrapeMetrics", [.operator, .admin]),
        // Takes the spans away from whoever else wants them.
        Row("cohort.v1.OperationsService/StreamSpans", [.operator]),
        Row("cohort.v1.OperationsService/SetLogLevel", [.operator, .admin], administrative: true),
    ]

    /// Each of these notes itself, before it is answered.
    private static let audit: [Row] = [
        Row("cohort.v1.AuditService/ListAuditRows", [.auditor]),
        Row("cohort.v1.AuditService/VerifyAudit", [.auditor]),
    ]

    private static let access: [Row] = [
        Row("cohort.v1.AccessService/ListAccess", [.auditor, .admin], administrative: true)
    ]

    private static let health: [Row] = [
        Row("grpc.health.v1.Health/Check", everyone),
        Row("grpc.health.v1.Health/Watch", everyone),
        Row("grpc.health.v1.Health/List", everyone),
    ]

    /// The table as the interceptors take it.
    package static let methods = MethodRoles(
        Dictionary(rows.map { ($0.method, $0.roles) }, uniquingKeysWith: { $0.intersection($1) })
    )

    /// The methods that deliver data.
    private static let writes: Set<String> = Set(
        ["PutCustomer", "BatchPutCustomers", "ImportCustomers", "EraseCustomer"].map {
            "cohort.v1.CustomerService/\($0)"
        }
    )

    /// As what a method is limited: health checks are not.
    package static func methodClass(_ method: MethodDescriptor) -> MethodClass? {
        if method.service == HealthService.Methods.check.service { return nil }
        if writes.contains(method.fullName) { return .write }
        if (operations + audit + access).contains(where: { $0.method == method.fullName }) { return .operator }
        return method.isIdempotent && !administrative.contains(method.fullName) ? .read : .admin
    }

    /// The methods of which each call is worth a row of the audit.
    package static let administrative = Set(rows.filter(\.isAdministrative).map(\.method))
}

extension ServerCall {
    /// Whether the caller may see some cohorts only.
    var isRestricted: Bool { self[AllowedResources.self] != nil }

    /// - Throws: PERMISSION_DENIED where the caller's role does not hold for the cohort; whether it exists is not told.
    func requireCohort(_ cohort: String) throws(RPCError) {
        guard let allowed = self[AllowedResources.self], !allowed.contains(cohort) else { return }
        throw RPCError(.permissionDenied, "'\(principal?.name ?? "")' may not read the cohort '\(cohort)'")
            .withErrorInfo(
                reason: "COHORT_NOT_ALLOWED",
                domain: CohortRelease.errorDomain,
                metadata: ["cohort": cohort, "allowed": allowed.sorted().joined(separator: ",")]
            )
    }
}
