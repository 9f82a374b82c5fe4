package import CohortAPI
import Foundation
package import RPC
import SwiftProtobuf

/// Where the policy in use is from.
package struct PolicyOrigin: Sendable {
    /// The file; empty where there is none.
    package var file: String
    /// Seconds since 1970.
    package var loadedAt: Double
    /// Why the file's present content is not in use; empty where it is.
    package var problem: String

    package init(file: String, loadedAt: Double, problem: String = "") {
        self.file = file
        self.loadedAt = loadedAt
        self.problem = problem
    }
}

/// `cohort.v1.AccessService` over an authenticator.
package struct AccessService: AccessServiceHandler {
    private let authenticator: Authenticator
    private let origin: @Sendable () -> PolicyOrigin
    private let keys: @Sendable () -> [String]

    /// - Parameters:
    ///   - origin: Of the policy in use.
    ///   - keys: Ids of the keys that tokens are verified with.
    package init(
        authenticator: Authenticator,
        origin: @escaping @Sendable () -> PolicyOrigin,
        keys: @escaping @Sendable () -> [String]
    ) {
        self.authenticator = authenticator
        self.origin = origin
        self.keys = keys
    }

    package func listAccess(
        _ request: ListAccessRequest,
        _ call: ServerCall
    ) throws(RPCError) -> InlineResult<ListAccessResponse> {
        let origin = origin()
        let counters = authenticator.counters
        return .reply(
            .with {
                $0.policyFile = origin.file
                $0.loadedAt = Google_Protobuf_Timestamp(roundingTimeIntervalSince1970: origin.loadedAt)
                $0.problem = origin.problem
                $0.rules = authenticator.policy.rules.map { CohortAPI.AccessRule($0) }
                $0.roles = Role.all.sorted { $0.rawValue < $1.rawValue }.map { RoleMethods($0) }
                $0.principals = authenticator.seen.map { CohortAPI.AccessPrincipal($0) }
                $0.tokenKeys = keys()
                $0.tokensVerified = UInt64(counters.succeeded)
                $0.failures = counters.failed.mapValues { UInt64($0) }
                $0.limited = UInt64(counters.limited)
            }
        )
    }
}

extension CohortAPI.AccessRule {
    fileprivate init(_ rule: AccessPolicy.Rule) {
        self.init()
        switch rule.match {
        case .certificate(let name): certificate = name
        case .subject(let name): subject = name
        case .claim(let name, let value): claim = "\(name)=\(value)"
        }
        roles = rule.roles.map(\.rawValue).sorted()
        cohortIds = rule.resources?.sorted() ?? []
    }
}

extension RoleMethods {
    fileprivate init(_ role: Role) {
        self.init()
        self.role = role.rawValue
        methods = AccessTable.rows.filter { $0.roles.contains(role) }.map(\.method).sorted()
    }
}

extension CohortAPI.AccessPrincipal {
    fileprivate init(_ seen: SeenPrincipal) {
        self.init()
        name = seen.name
        credential = seen.hasToken ? .token : .certificate
        roles = seen.roles.map(\.rawValue).sorted()
        firstSeen = Google_Protobuf_Timestamp(roundingTimeIntervalSince1970: seen.first)
        lastSeen = Google_Protobuf_Timestamp(roundingTimeIntervalSince1970: seen.last)
    }
}
