import CohortAPI
import RPC

/// The methods whose every call has a row in the audit.
enum AdministrativeMethods {
    /// Services for everyday use, with those of their methods that are administrative all the same.
    private static let everyday: [String: Set<String>] = [
        MembershipServiceMethods.service: [],
        CustomerServiceMethods.service: ["EraseCustomer", "DeclareAttribute"],
        HistoryServiceMethods.service: [],
        OperationsServiceMethods.service: [],
        // It notes its calls itself, before it answers.
        AuditServiceMethods.service: [],
        "grpc.health.v1.Health": [],
    ]
    /// Most calls are of this.
    private static let membership = MembershipServiceMethods.service + "/"

    /// - Parameter method: `service/method`.
    @Sendable static func contains(_ method: String) -> Bool {
        if method.hasPrefix(membership) { return false }
        guard let slash = method.firstIndex(of: "/") else { return false }
        let name = method[method.index(after: slash)...]
        if let administrative = everyday[String(method[..<slash])] { return administrative.contains(String(name)) }
        return !name.hasPrefix("Get") && !name.hasPrefix("List")
    }
}
