public import RPC
import SwiftProtobuf

/// Asks whether customers are in cohorts, and answers by a fail policy where the service cannot be reached.
///
/// For callers on a hot path who need an answer in any case. What the server answers is passed on as it is; what it refuses
/// (NOT_FOUND, PERMISSION_DENIED, INVALID_ARGUMENT and the like) is thrown, for a fail policy must not hide a mistake.
///
/// ```swift
/// let checker = MembershipChecker(CohortClient(transport), policies: ["VIP": .out, "FRAUD": .unknown])
/// let answer = try await checker.check("C00042", in: "VIP")
/// if answer.member == true { … }
/// if let problem = answer.problem { … }   // not from the server
/// ```
public struct MembershipChecker: Sendable {
    /// An answer of the server, or one in its place.
    public struct Answer: Sendable {
        /// The three-valued state; UNKNOWN where the server did not answer.
        public let membership: Membership
        /// The state as a boolean after the fail policy; nil where the caller has to decide.
        public let member: Bool?
        /// All that the server answered; nil where it did not.
        public let response: CheckMembershipResponse?
        /// Why the server did not answer; nil where it did.
        public let problem: RPCError?

        /// Whether this was made up by the fail policy because the service could not be reached.
        public var isFallback: Bool { problem != nil }
    }

    private let client: CohortClient
    private let policies: [String: FailPolicy]
    private let standard: FailPolicy

    /// - Parameters:
    ///   - policies: By cohort, what is answered where the service cannot be reached; as a rule the policy that the cohort has.
    ///   - standard: For all other cohorts.
    public init(_ client: CohortClient, policies: [String: FailPolicy] = [:], standard: FailPolicy = .unknown) {
        self.client = client
        self.policies = policies
        self.standard = standard
    }

    /// Whether the customer is in the cohort. Give it a timeout: until it is over, a server that is silent is waited for.
    ///
    /// - Throws: ``RPCError`` for everything but UNAVAILABLE and DEADLINE_EXCEEDED.
    public func check(
        _ customerID: String,
        in cohortID: String,
        options: CallOptions = .defaults
    ) async throws(RPCError) -> Answer {
        let request = CheckMembershipRequest.with {
            $0.customerID = customerID
            $0.cohortID = cohortID
        }
        do throws(RPCError) {
            let response = try await client.membership.checkMembership(request, options: options)
            return Answer(
                membership: response.membership,
                member: response.hasMember ? response.member : nil,
                response: response,
                problem: nil
            )
        } catch {
            guard error.code == .unavailable || error.code == .deadlineExceeded else { throw error }
            return Answer(membership: .unknown, member: member(cohortID), response: nil, problem: error)
        }
    }

    private func member(_ cohortID: String) -> Bool? {
        switch policies[cohortID] ?? standard {
        case .in: true
        case .out: false
        default: nil
        }
    }
}
