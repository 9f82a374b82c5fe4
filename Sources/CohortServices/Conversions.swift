import CohortAPI
import CohortCore
import RPC
import SwiftProtobuf

// Both sides have types of these names: the bare ones are the domain's, the others say where they come from.

extension CohortAPI.Membership {
    init(_ membership: CohortCore.Membership) {
        self =
            switch membership {
            case .in: .in
            case .out: .out
            case .unknown: .unknown
            }
    }
}

extension CohortAPI.Reason {
    init(_ reason: CohortCore.Reason) {
        self =
            switch reason {
            case .ruleMatch: .ruleMatch
            case .ruleNoMatch: .ruleNoMatch
            case .ruleError: .ruleError
            case .overrideInclude: .overrideInclude
            case .overrideExclude: .overrideExclude
            case .listed: .listed
            case .notListed: .notListed
            case .customerNotFound: .customerNotFound
            case .building: .building
            }
    }
}

extension CohortAPI.Outcome {
    init(_ outcome: PutOutcome) {
        self =
            switch outcome {
            case .created: .created
            case .updated: .updated
            case .unchanged: .unchanged
            case .stale: .stale
            }
    }
}

extension CohortAPI.AttributeType {
    init(_ type: CohortCore.AttributeType) {
        self =
            switch type {
            case .bool: .bool
            case .int64: .int64
            case .double: .double
            case .string: .string
            case .timestamp: .timestamp
            case .stringList: .stringList
            }
    }

    /// - Throws: INVALID_ARGUMENT for no type, or one that this server does not know.
    func domain(field: String) throws(RPCError) -> CohortCore.AttributeType {
        switch self {
        case .bool: .bool
        case .int64: .int64
        case .double: .double
        case .string: .string
        case .timestamp: .timestamp
        case .stringList: .stringList
        case .unspecified:
            throw .invalid(field, "is missing; give one of BOOL, INT64, DOUBLE, STRING, TIMESTAMP, STRING_LIST")
        case .UNRECOGNIZED(let value):
            throw .invalid(
                field,
                "is \(value), which this server does not know; give one of BOOL, INT64, DOUBLE, STRING, "
                    + "TIMESTAMP, STRING_LIST"
            )
        }
    }
}

extension Google_Protobuf_Timestamp {
    init(_ timestamp: CohortCore.Timestamp) {
        self.init(seconds: timestamp.seconds, nanos: timestamp.nanoseconds)
    }

    /// - Throws: INVALID_ARGUMENT outside of years 1 to 9999.
    func domain(field: String) throws(DomainError) -> CohortCore.Timestamp {
        guard let timestamp = CohortCore.Timestamp(seconds: seconds, nanoseconds: nanos) else {
            throw .invalid(field, "is no time of the years 1 to 9999 (\(seconds) s, \(nanos) ns); send a valid one")
        }
        return timestamp
    }
}

extension CohortAPI.AttributeValue {
    init(_ value: CohortCore.AttributeValue) {
        self.init()
        switch value {
        case .bool(let value): boolValue = value
        case .int64(let value): int64Value = value
        case .double(let value): doubleValue = value
        case .string(let value): stringValue = value
        case .timestamp(let value): timestampValue = Google_Protobuf_Timestamp(value)
        case .stringList(let values): stringListValue = .with { $0.values = values }
        }
    }

    /// The value, or nil for null.
    ///
    /// - Throws: INVALID_ARGUMENT when no kind is set.
    func domain(field: String) throws(DomainError) -> CohortCore.AttributeValue? {
        switch kind {
        case .boolValue(let value): .bool(value)
        case .int64Value(let value): .int64(value)
        case .doubleValue(let value): .double(value)
        case .stringValue(let value): .string(value)
        case .timestampValue(let value): .timestamp(try value.domain(field: field))
        case .stringListValue(let list): .stringList(list.values)
        case .nullValue: nil
        case nil: throw .invalid(field, "has no value; set one of the kinds, or null_value to delete the attribute")
        }
    }
}

extension CohortAPI.PutCustomerRequest {
    /// - Throws: INVALID_ARGUMENT for values that the domain cannot hold.
    func domain() throws(DomainError) -> CustomerPut {
        var values: [(name: String, value: CohortCore.AttributeValue?)] = []
        values.reserveCapacity(attributes.count)
        for (name, value) in attributes {
            values.append((name, try value.domain(field: "attributes.\(name)")))
        }
        return CustomerPut(
            customerID: customerID,
            attributes: values,
            eventTime: hasEventTime ? try eventTime.domain(field: "event_time") : nil
        )
    }
}

extension CohortAPI.FailPolicy {
    init(_ policy: CohortCore.FailPolicy) {
        self =
            switch policy {
            case .unknown: .unknown
            case .memberIn: .in
            case .memberOut: .out
            }
    }

    /// - Throws: INVALID_ARGUMENT for a policy that this server does not know.
    func domain(field: String) throws(RPCError) -> CohortCore.FailPolicy {
        switch self {
        case .unknown, .unspecified: .unknown
        case .in: .memberIn
        case .out: .memberOut
        case .UNRECOGNIZED(let value):
            throw .invalid(field, "is \(value), which this server does not know; give one of UNKNOWN, IN, OUT")
        }
    }
}

extension CohortAPI.CohortState {
    init(_ lifecycle: CohortLifecycle) {
        self =
            switch lifecycle {
            case .building: .building
            case .active: .active
            case .archived: .archived
            }
    }
}

extension CohortAPI.Cohort {
    init(_ view: CohortView) {
        self.init()
        cohortID = view.id
        kind = view.kind == .rule ? .rule : .static
        failPolicy = CohortAPI.FailPolicy(view.failPolicy)
        description_p = view.description
        state = CohortAPI.CohortState(view.state)
        version = view.version
        rule = view.rule ?? ""
        members = view.members
        unknown = view.unknown
        included = view.includeCount
        excluded = view.excludeCount
        createdAt = Google_Protobuf_Timestamp(view.createdAt)
        updatedAt = Google_Protobuf_Timestamp(view.updatedAt)
        approvalRequired = view.approvalRequired
    }
}

extension CohortAPI.ListCustomerCohortsResponse.CustomerCohort {
    init(_ membership: CohortMembership) {
        self.init()
        cohortID = membership.cohort
        self.membership = CohortAPI.Membership(membership.membership)
        cohortVersion = membership.version
    }
}

extension ServerCall {
    /// Who writes, for the change log.
    var writeContext: WriteContext {
        WriteContext(principal: principal?.name ?? WriteContext.anonymous, method: fullName)
    }

    /// When the caller stops waiting, as the domain counts time.
    var waitDeadline: ContinuousClock.Instant {
        // The engine has a limit of its own for a call without a deadline.
        ContinuousClock.now + (timeRemaining ?? .seconds(3_600))
    }
}
