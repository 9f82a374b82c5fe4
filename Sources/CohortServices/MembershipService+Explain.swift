package import CohortAPI
import CohortCore
package import RPC

extension MembershipService {
    package func explainMembership(
        _ request: ExplainMembershipRequest,
        _ call: ServerCall
    ) async throws(RPCError) -> ExplainMembershipResponse {
        let explanation = try await answering { () async throws(DomainError) in
            try await engine.explain(
                customer: request.customerID,
                cohort: request.cohortID,
                version: request.version,
                minSequence: request.minSequence,
                deadline: call.waitDeadline
            )
        }
        return ExplainMembershipResponse(explanation)
    }
}

extension ExplainMembershipResponse {
    init(_ explanation: MembershipExplanation) {
        self.init()
        membership = CohortAPI.Membership(explanation.membership)
        reason = CohortAPI.Reason(explanation.reason)
        detail = explanation.detail
        sequence = explanation.sequence
        cohortVersion = explanation.cohortVersion
        rule = explanation.rule
        expressions = explanation.expressions.map { ExplainedExpression($0) }
        if let change = explanation.since { since = CohortAPI.MembershipChange(change) }
        attributes = explanation.attributes
        summary = explanation.summary
    }
}

extension ExplainedExpression {
    fileprivate init(_ expression: MembershipExplanation.Expression) {
        self.init()
        source = expression.source
        value = expression.value
        error = expression.error
        offset = UInt32(clamping: expression.offset)
        depth = UInt32(clamping: expression.depth)
        deciding = expression.isDeciding
        evaluations = UInt32(clamping: expression.evaluations)
    }
}
