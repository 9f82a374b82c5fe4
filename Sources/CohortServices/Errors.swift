import CohortAPI
import CohortCore
import RPC

extension RPCError {
    /// What a caller is told of a domain error: canonical code, message and google.rpc details.
    init(_ error: DomainError) {
        let domain = CohortRelease.errorDomain
        switch error {
        case .invalidArgument(let violations):
            let message = violations.map { "\($0.field): \($0.description)" }.joined(separator: "; ")
            var error = RPCError(.invalidArgument, message)
            for violation in violations {
                error = error.withBadRequest(field: violation.field, description: violation.description)
            }
            self = error
        case .notFound(let type, let name, let suggestion):
            let hint = suggestion.map { "; did you mean '\($0)'?" } ?? ""
            self = RPCError(.notFound, "there is no \(type) '\(name)'\(hint)")
                .withErrorInfo(
                    reason: "NOT_FOUND",
                    domain: domain,
                    metadata: ["resource_type": type, "resource_name": name]
                )
        case .alreadyExists(let type, let name, let message):
            self = RPCError(.alreadyExists, message)
                .withErrorInfo(
                    reason: "ALREADY_EXISTS",
                    domain: domain,
                    metadata: ["resource_type": type, "resource_name": name]
                )
        case .failedPrecondition(let code, let message):
            self = RPCError(.failedPrecondition, message).withErrorInfo(reason: code, domain: domain)
        case .permissionDenied(let code, let message):
            self = RPCError(.permissionDenied, message).withErrorInfo(reason: code, domain: domain)
        case .resourceExhausted(let limit, let message, let retryAfter):
            self = RPCError(.resourceExhausted, message)
                .withQuotaFailure(subject: limit, description: message)
                .withRetry(after: retryAfter)
        case .unavailable(let reason, let message, let retryAfter):
            self = RPCError(.unavailable, message)
                .withErrorInfo(reason: reason, domain: domain)
                .withRetry(after: retryAfter)
        case .outOfRange(let code, let message, let metadata):
            self = RPCError(.outOfRange, message).withErrorInfo(reason: code, domain: domain, metadata: metadata)
        case .ruleRejected(let rejection):
            let message = "line \(rejection.line), column \(rejection.column): \(rejection.message)"
            self = RPCError(.invalidArgument, "the rule of \(rejection.cohort) does not compile: \(message)")
                .withBadRequest(field: "rule", description: message)
                .withErrorInfo(
                    reason: "RULE_REJECTED",
                    domain: domain,
                    metadata: [
                        "line": String(rejection.line), "column": String(rejection.column),
                        "rendered": rejection.rendered,
                    ]
                )
        case .dataLoss(let message):
            self = RPCError(.dataLoss, message)
        case .internal(let message):
            // The text is the domain's own and fit for callers; a cause stays in the server's log.
            self = RPCError(.internalError, message)
        }
    }

    private func withRetry(after delay: Duration?) -> RPCError {
        guard let delay else { return self }
        return withRetryInfo(delay: delay)
    }

    /// One violation of one field.
    static func invalid(_ field: String, _ description: String) -> RPCError {
        RPCError(.invalid(field, description))
    }
}

/// Runs `body`, turning what the domain throws into what a caller is told.
func answering<Result>(_ body: () throws(DomainError) -> Result) throws(RPCError) -> Result {
    do { return try body() } catch { throw RPCError(error) }
}

/// As the synchronous form.
func answering<Result>(
    _ body: () async throws(DomainError) -> sending Result
) async throws(RPCError) -> sending Result {
    do { return try await body() } catch { throw RPCError(error) }
}
