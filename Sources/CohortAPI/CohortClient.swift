public import RPC

/// Typed stubs for every service of a Cohort server, over one transport.
///
/// ```swift
/// let transport = try Client(
///     ClientConfiguration(
///         endpoints: [Endpoint(host: "127.0.0.1", port: 7443)], tls: ClientTLS(trustRootsPath: "ca.pem")),
///     eventLoopGroup: .singletonMultiThreadedEventLoopGroup)
/// let cohort = CohortClient(transport)
/// let answer = try await cohort.membership.checkMembership(
///     .with {
///         $0.customerID = "C00042"
///         $0.cohortID = "PREMIUM"
///     })
/// ```
public struct CohortClient: Sendable {
    /// Who is in which cohort.
    public let membership: MembershipServiceClient
    /// Customers and their attributes.
    public let customers: CustomerServiceClient
    /// Administration of cohorts.
    public let cohorts: CohortServiceClient
    /// How the rule of a cohort changes.
    public let versions: VersionServiceClient
    /// What memberships were, and how they change.
    public let history: HistoryServiceClient
    /// Changes that another principal has to approve.
    public let approvals: ApprovalServiceClient
    /// Who did what, and whether that is still as it was written.
    public let audit: AuditServiceClient
    /// Status for operators.
    public let operations: OperationsServiceClient
    /// Who may do what.
    public let access: AccessServiceClient

    /// Stubs whose calls go through `transport`.
    public init(_ transport: any CallTransport) {
        membership = MembershipServiceClient(transport)
        customers = CustomerServiceClient(transport)
        cohorts = CohortServiceClient(transport)
        versions = VersionServiceClient(transport)
        history = HistoryServiceClient(transport)
        approvals = ApprovalServiceClient(transport)
        audit = AuditServiceClient(transport)
        operations = OperationsServiceClient(transport)
        access = AccessServiceClient(transport)
    }
}
