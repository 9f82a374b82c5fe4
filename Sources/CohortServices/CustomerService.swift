package import CohortAPI
package import CohortCore
package import RPC
import SwiftProtobuf

/// `cohort.v1.CustomerService` over an engine.
package struct CustomerService: CustomerServiceHandler {
    private let engine: Engine

    package init(engine: Engine) {
        self.engine = engine
    }

    package func putCustomer(
        _ request: PutCustomerRequest,
        _ call: ServerCall
    ) async throws(RPCError) -> PutCustomerResponse {
        let result = try await answering { () async throws(DomainError) in
            try await engine.put(request.domain(), context: call.writeContext)
        }
        return PutCustomerResponse(result)
    }

    package func batchPutCustomers(
        _ request: BatchPutCustomersRequest,
        _ call: ServerCall
    ) async throws(RPCError) -> BatchPutCustomersResponse {
        let rows = try await CustomerRows(request.rows, engine, call.writeContext)
        return BatchPutCustomersResponse(rows, current: engine.status.sequence)
    }

    package func getCustomer(
        _ request: GetCustomerRequest,
        _ call: ServerCall
    ) async throws(RPCError) -> GetCustomerResponse {
        let view = try await answering { () async throws(DomainError) in
            try await engine.customer(
                id: request.customerID,
                minSequence: request.minSequence,
                deadline: call.waitDeadline
            )
        }
        return .with {
            $0.customerID = view.id
            for attribute in view.attributes {
                $0.attributes[attribute.name] = .with {
                    $0.value = CohortAPI.AttributeValue(attribute.value)
                    $0.eventTime = Google_Protobuf_Timestamp(attribute.eventTime)
                }
            }
            $0.cohorts = view.cohorts.map(ListCustomerCohortsResponse.CustomerCohort.init)
                .sorted { $0.cohortID < $1.cohortID }
            $0.sequence = view.sequence
        }
    }

    package func eraseCustomer(
        _ request: EraseCustomerRequest,
        _ call: ServerCall
    ) async throws(RPCError) -> EraseCustomerResponse {
        call.audited(customer: request.customerID)
        let result = try await answering { () async throws(DomainError) in
            try await engine.erase(customer: request.customerID, context: call.writeContext)
        }
        call.audited(sequence: result.sequence)
        return .with {
            $0.sequence = result.sequence
            $0.left = result.left
        }
    }

    package func eraseMembers(
        _ request: EraseMembersRequest,
        _ call: ServerCall
    ) async throws(RPCError) -> EraseMembersResponse {
        call.audited(cohort: request.cohortID)
        let selection = MemberSelection(expected: request.expectedMembers, limit: request.limit)
        let result = try await answering { () async throws(DomainError) in
            try await engine.eraseMembers(cohort: request.cohortID, selection, context: call.writeContext)
        }
        call.audited(sequence: result.sequence)
        return .with {
            $0.erased = result.erasure.erased
            $0.alreadyGone = result.erasure.alreadyGone
            $0.sequence = result.sequence
            if let pending = result.pending { $0.pendingChange = PendingChange(pending) }
        }
    }

    package func declareAttribute(
        _ request: DeclareAttributeRequest,
        _ call: ServerCall
    ) async throws(RPCError) -> DeclareAttributeResponse {
        let type = try request.type.domain(field: "type")
        let result = try await answering { () async throws(DomainError) in
            try await engine.declareAttribute(name: request.name, type: type, context: call.writeContext)
        }
        if result.created { call.audited(sequence: result.sequence) }
        return .with { $0.sequence = result.sequence }
    }

    package func listAttributes(
        _ request: ListAttributesRequest,
        _ call: ServerCall
    ) throws(RPCError) -> InlineResult<ListAttributesResponse> {
        let sequence = engine.status.sequence
        let attributes = try engine.loadedCatalog().attributes
        return .reply(
            .with {
                $0.attributes = attributes.map { attribute in
                    .with {
                        $0.name = attribute.name
                        $0.type = CohortAPI.AttributeType(attribute.type)
                    }
                }
                $0.sequence = sequence
            }
        )
    }

    package func importCustomers(
        _ requests: RequestStream<ImportCustomersRequest>,
        _ responses: ResponseWriter<ImportCustomersResponse>,
        _ call: ServerCall
    ) async throws(RPCError) {
        var session = ImportSession(engine: engine, context: call.writeContext)
        for try await request in requests {
            try await responses.write(session.take(request))
        }
        try await responses.write(session.receipt())
    }
}

extension Engine {
    /// The catalogue, once there is one.
    ///
    /// - Throws: UNAVAILABLE while the index is being loaded, so that an empty list never stands for "not known yet".
    func loadedCatalog() throws(RPCError) -> Catalog {
        switch status.state {
        case .failed:
            throw RPCError(
                .unavailable(
                    reason: UnavailableReason.storeUnavailable,
                    message: "the store was refused at start; GetStatus says why",
                    retryAfter: nil
                )
            )
        case .loading:
            throw RPCError(
                .unavailable(
                    reason: UnavailableReason.indexLoading,
                    message: "the server is loading its index; try again",
                    retryAfter: .milliseconds(250)
                )
            )
        case .serving, .storeUnavailable, .stopping, .stopped: return catalog
        }
    }
}
