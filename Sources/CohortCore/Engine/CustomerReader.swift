import Synchronization

/// Reads single customers from what is pending or stored. Blocks on the store.
struct CustomerReader: Sendable {
    let shared: EngineShared

    enum Detail: Sendable {
        case found(since: Timestamp?, detail: String)
        /// The record is of a later sequence than the answer it was to explain.
        case newer(UInt64)
    }

    /// The latest record, bulk changes not folded in; `nil` for a customer erased.
    func record(_ ordinal: Ordinal) -> Result<CustomerRecord?, DomainError> {
        shared.reading { () throws(StoreError) in try read(ordinal) }
    }

    /// Since when a membership lasts, and why it is UNKNOWN if it is.
    func detail(of found: IndexedMembership, _ ordinal: Ordinal) -> Result<Detail, DomainError> {
        record(ordinal).map { record in
            guard var record else { return .newer(found.sequence + 1) }
            if record.sequence > found.sequence { return .newer(record.sequence) }
            let published = shared.published.withLock { $0 }
            _ = record.fold(published.bulks.filter { $0.sequence <= found.sequence }, ordinal: ordinal)
            let open = record.intervals.first { $0.cohort == found.cohort && $0.membership == found.membership }
            guard let open else { return .newer(found.sequence + 1) }
            guard found.reason == .ruleError else { return .found(since: open.time, detail: "") }
            guard let rule = published.rules.rule(of: found.cohort), rule.version == found.version else {
                return .newer(found.sequence + 1)
            }
            let classifier = Classifier()
            classifier.load(record.attributes, slots: published.catalog.attributes.count)
            // The record says as well what the customer was in other cohorts at that sequence.
            let failure = classifier.failure(of: rule) { record.membership(in: $0) }
            return .found(since: open.time, detail: failure ?? "")
        }
    }

    private func read(_ ordinal: Ordinal) throws(StoreError) -> CustomerRecord? {
        switch shared.pending.lookup(ordinal) {
        case .erased: return nil
        case .record(let bytes):
            return try bytes.withUnsafeRecord { (bytes) throws(StoreError) in try Self.decode(bytes, ordinal) }
        case .absent:
            var record: CustomerRecord?
            let begin = ContinuousClock.now
            defer { shared.environment.observed(.read(nanoseconds: begin.nanosecondsSince)) }
            try shared.store.readCustomers([ordinal]) { (_, bytes) throws(StoreError) in
                record = try Self.decode(bytes, ordinal)
            }
            return record
        }
    }

    static func decode(_ bytes: UnsafeRawBufferPointer, _ ordinal: Ordinal) throws(StoreError) -> CustomerRecord {
        do throws(CodecError) {
            return try CustomerRecord(decoding: bytes)
        } catch {
            throw .corrupt("the record of customer \(ordinal) cannot be read: \(error.message)")
        }
    }
}

extension EngineShared {
    /// Reads the store for a caller, and turns what fails into what a caller is told.
    ///
    /// - Parameters:
    ///   - failure: what the log says of a failure.
    ///   - damage: what the caller is told of something damaged.
    func reading<R>(
        orLog failure: String = "reading a customer failed",
        damage: String = "The stored record cannot be read.",
        _ body: () throws(StoreError) -> R
    ) -> Result<R, DomainError> {
        do throws(StoreError) {
            return .success(try environment.readBreaker.call(body))
        } catch {
            if case .circuitOpen(let wait) = error { return .failure(circuitOpen(wait)) }
            log(.error, failure, [("error", error.message)])
            if case .corrupt = error {
                setProblem(.damage, error.message)
                return .failure(.dataLoss(message: damage))
            }
            return .failure(
                .unavailable(
                    reason: UnavailableReason.storeUnavailable,
                    message: "The store does not answer.",
                    retryAfter: configuration.retryAfter
                )
            )
        }
    }
}
