/// One thing wrong with one field of a request.
package struct FieldViolation: Sendable, Hashable {
    /// The path of the field as the caller wrote it, for instance `attributes.daily_spend`.
    package let field: String
    /// What is wrong and how to put it right.
    package let description: String

    package init(field: String, description: String) {
        self.field = field
        self.description = description
    }
}

/// A rule that does not compile.
package struct RuleRejection: Sendable, Hashable {
    package let cohort: String
    /// From 1.
    package let line: Int
    /// From 1, in Unicode scalars.
    package let column: Int
    package let message: String
    /// The message with the source line and a caret under the position.
    package let rendered: String
}

/// What the domain refuses or cannot do. Messages are fit for callers: nothing internal is in them.
package enum DomainError: Error, Sendable, Hashable {
    /// The request is wrong whatever the state; try again only after changing it.
    case invalidArgument([FieldViolation])
    case notFound(resourceType: String, name: String, suggestion: String?)
    case alreadyExists(resourceType: String, name: String, message: String)
    /// The request is fine but the state forbids it. `code` is a stable UPPER_SNAKE_CASE reason.
    case failedPrecondition(code: String, message: String)
    /// The caller may not do this. `code` is a stable UPPER_SNAKE_CASE reason.
    case permissionDenied(code: String, message: String)
    /// `limit` names the configured limit that was reached.
    case resourceExhausted(limit: String, message: String, retryAfter: Duration?)
    /// `reason` is a stable UPPER_SNAKE_CASE word: see the constants of `UnavailableReason`.
    case unavailable(reason: String, message: String, retryAfter: Duration?)
    /// `metadata` tells a program what would be in range.
    case outOfRange(code: String, message: String, metadata: [String: String])
    case ruleRejected(RuleRejection)
    case dataLoss(message: String)
    case `internal`(message: String)
}

/// The reasons that `DomainError.unavailable` carries.
package enum UnavailableReason {
    /// The index is still being loaded at start.
    package static let indexLoading = "INDEX_LOADING"
    /// The sequence that the caller requires has not been applied in time.
    package static let sequenceNotReached = "SEQUENCE_NOT_REACHED"
    /// The store does not answer; whether the write happened is not known unless the message says so.
    package static let storeUnavailable = "STORE_UNAVAILABLE"
    /// The store was not called: too many calls before have failed. Nothing was written.
    package static let circuitOpen = "STORE_CIRCUIT_OPEN"
    /// The engine is stopping or stopped.
    package static let shuttingDown = "SHUTTING_DOWN"
}

extension DomainError {
    /// One violation of one field.
    package static func invalid(_ field: String, _ description: String) -> DomainError {
        .invalidArgument([FieldViolation(field: field, description: description)])
    }
}
