import Synchronization

/// Writes: durable and visible when they return.
extension Engine {
    package func put(_ put: CustomerPut, context: WriteContext) async throws(DomainError) -> PutResult {
        let resolved = try resolver().resolve(put)
        return try await submit([.put(resolved)], context)[0].get()
    }

    /// Each row is a change of its own, in order; one bad row does not hold back the others.
    ///
    /// - Throws: only what concerns the whole batch: too many rows, a full queue, the store, shutdown.
    package func put(
        batch: [CustomerPut],
        context: WriteContext
    ) async throws(DomainError) -> [Result<PutResult, DomainError>] {
        let limit = configuration.maximumBatchRows
        guard batch.count <= limit else {
            throw .invalid("customers", "\(batch.count) rows in one batch; at most \(limit) are allowed")
        }
        guard !batch.isEmpty else { return [] }
        let resolver = try resolver()
        let rows = batch.map { put in
            do throws(DomainError) {
                return RowOperation.put(try resolver.resolve(put))
            } catch {
                return .rejected(error)
            }
        }
        return try await submit(rows, context)
    }

    /// Removes a customer with attributes, overrides and memberships. A later put is a new customer.
    ///
    /// - Throws: `.notFound` for a customer never seen or already erased.
    package func erase(customer: String, context: WriteContext) async throws(DomainError) -> EraseResult {
        try shared.requireReadable()
        if let problem = InputRules.customerID(customer, limit: configuration.maximumCustomerIDBytes) {
            throw .invalid("customer_id", problem)
        }
        let result = try await submit([.erase(Array(customer.utf8))], context)[0].get()
        return EraseResult(sequence: result.sequence, left: result.left)
    }

    /// - Throws: `.alreadyExists` when it is declared with another type.
    package func declareAttribute(
        name: String,
        type: AttributeType,
        context: WriteContext
    ) async throws(DomainError) -> DeclareResult {
        let context = context.bounded
        return try await alone { committer throws(DomainError) in
            try committer.declareAttribute(name: name, type: type, context)
        }
    }

    /// Adds to the customers that are IN (`include`) or OUT (`exclude`) whatever the rule or the list says, or gives
    /// them back to it (`clear`). A customer has at most one override in a cohort; naming one twice is refused.
    package func setOverrides(
        cohort: String,
        include: [String],
        exclude: [String],
        clear: [String],
        context: WriteContext
    ) async throws(DomainError) -> CohortChangeResult {
        let context = context.bounded
        return try await alone { committer throws(DomainError) in
            try committer.setOverrides(cohort: cohort, include: include, exclude: exclude, clear: clear, context)
        }
    }

    /// Adds to and removes from a static cohort's list. Ids of no known customer are reported, not refused.
    package func changeList(
        cohort: String,
        add: [String],
        remove: [String],
        context: WriteContext
    ) async throws(DomainError) -> ListChangeResult {
        let context = context.bounded
        return try await alone { committer throws(DomainError) in
            try committer.changeList(cohort: cohort, add: add, remove: remove, context)
        }
    }

    // MARK: The way to the committer

    private func resolver() throws(DomainError) -> PutResolver {
        try shared.requireReadable()
        return PutResolver(
            catalog: shared.published.withLock { $0.catalog },
            configuration: configuration,
            now: shared.environment.now()
        )
    }

    private func submit(
        _ rows: [RowOperation],
        _ context: WriteContext
    ) async throws(DomainError) -> [Result<PutResult, DomainError>] {
        if let refusal = shared.writeRefusal() { throw refusal }
        return try await traced("cohort.commit") { () async throws(DomainError) in
            let result = await withCheckedContinuation { continuation in
                let request = RowsRequest(rows: rows, context: context.bounded) { continuation.resume(returning: $0) }
                if let refusal = shared.queue.submit(.rows(request)) {
                    continuation.resume(returning: .failure(refusal))
                }
            }
            return try result.get()
        }
    }

    /// Runs a change on the committer's thread with everything before it committed.
    func alone<R: Sendable>(
        _ body: @escaping @Sendable (Committer) throws(DomainError) -> R
    ) async throws(DomainError) -> R {
        if let refusal = shared.writeRefusal() { throw refusal }
        return try await shared.alone(body)
    }
}

extension EngineShared {
    func alone<R: Sendable>(
        _ body: @escaping @Sendable (Committer) throws(DomainError) -> R
    ) async throws(DomainError) -> R {
        try requireReadable()
        return try await traced("cohort.commit") { () async throws(DomainError) in
            let result: Result<R, DomainError> = await withCheckedContinuation { continuation in
                let request = BarrierRequest { committer in
                    continuation.resume(returning: Result { () throws(DomainError) in try body(committer) })
                }
                if let refusal = queue.submit(.barrier(request)) {
                    continuation.resume(returning: .failure(refusal))
                }
            }
            return try result.get()
        }
    }
}

extension WriteContext {
    /// Each part cut to 256 bytes, at a character.
    var bounded: WriteContext {
        WriteContext(principal: principal.cut(bytes: 256), method: method.cut(bytes: 256))
    }
}

extension String {
    /// The longest beginning of at most this many bytes that ends between two characters.
    func cut(bytes limit: Int) -> String {
        guard utf8.count > limit else { return self }
        var result = ""
        var size = 0
        for character in unicodeScalars {
            size += character.utf8.count
            if size > limit { break }
            result.unicodeScalars.append(character)
        }
        return result
    }
}
