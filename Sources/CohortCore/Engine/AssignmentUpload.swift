import Synchronization

/// What an upload does with the customers it names.
package enum UploadMode: Sendable, Hashable, CaseIterable {
    /// Adds them to a list.
    case listAdd
    /// Takes them off a list.
    case listRemove
    /// Makes them the list: who is not named is taken off.
    case listReplace
    /// Includes them; who is excluded is so no more.
    case include
    /// Excludes them; who is included is so no more.
    case exclude
    /// Takes their overrides away.
    case clear

    var cause: TransitionCause { concernsList ? .list : .override }
    var concernsList: Bool { self == .listAdd || self == .listRemove || self == .listReplace }
    /// Whether who is named has something taken away.
    var removes: Bool { self == .listRemove || self == .clear }
}

/// An id of an upload that changed nothing.
package struct UploadedID: Sendable, Hashable {
    /// Its place in the upload, from 0.
    package var position: UInt64
    /// At most its first 256 bytes.
    package var id: String
}

/// Ids that changed nothing: how many, and the first of them.
package struct UploadedIDs: Sendable, Hashable {
    /// Enough to see what is wrong; a receipt with a million lines helps nobody.
    package static let maximumSamples = 1_000

    package private(set) var count: UInt64 = 0
    package private(set) var samples: [UploadedID] = []

    fileprivate mutating func add(_ id: String, at position: UInt64) {
        count += 1
        guard samples.count < Self.maximumSamples else { return }
        samples.append(UploadedID(position: position, id: String(decoding: id.utf8.prefix(256), as: UTF8.self)))
    }
}

/// The answer to an upload. `received` is the sum of what is added and already present, or for modes that take away
/// removed and not present, of `unknown`, `invalid` and `erased`.
package struct UploadReceipt: Sendable, Hashable {
    package var cohort: CohortView
    /// The upload's own sequence, or the current one if nothing changed.
    package var sequence: UInt64
    package var received: UInt64
    package var added: UInt64
    /// Those that stand twice in the upload included.
    package var alreadyPresent: UInt64
    /// Customers that lost a place on the list or an override; for `listReplace` those not named, for
    /// `include` those excluded before, for `exclude` those included.
    package var removed: UInt64
    package var notPresent: UInt64
    package var unknown: UploadedIDs
    package var invalid: UploadedIDs
    /// Customers that were erased between the arrival of their ids and the end of the upload.
    package var erased: UInt64
    /// How many customers became IN.
    package var entered: UInt64
    /// How many customers stopped being IN.
    package var left: UInt64
}

/// The customers of an upload as the committer takes them.
struct UploadedCustomers: @unchecked Sendable {
    // Unchecked: the bitmap is handed over whole, by an upload that then touches it no more.
    let cohort: String
    let mode: UploadMode
    fileprivate(set) var ordinals = ChunkedBitmap()
    fileprivate(set) var received: UInt64 = 0
    /// Ids of known customers, those that stand twice counted twice.
    fileprivate(set) var known: UInt64 = 0
    fileprivate(set) var unknown = UploadedIDs()
    fileprivate(set) var invalid = UploadedIDs()
}

/// Ids that come in parts and take effect together, or not at all. Ids become ordinals as they come, so that an upload
/// holds a bitmap and not its ids.
///
/// One of a few places for uploads is taken until the last reference is gone.
package final class AssignmentUpload: Sendable {
    private let shared: EngineShared
    /// `nil` once committed.
    private let customers: Mutex<UploadedCustomers?>

    fileprivate init(shared: EngineShared, cohort: String, mode: UploadMode) throws(DomainError) {
        let limit = shared.configuration.maximumUploads
        self.shared = shared
        customers = Mutex(UploadedCustomers(cohort: cohort, mode: mode))
        // Given back by deinit, also when this throws.
        let running = shared.uploads.wrappingAdd(1, ordering: .relaxed).newValue
        guard running <= limit else {
            throw .resourceExhausted(
                limit: "uploads",
                message: "\(limit) uploads run already, the most at once; nothing was changed.",
                retryAfter: .seconds(1)
            )
        }
    }

    deinit { shared.uploads.wrappingSubtract(1, ordering: .relaxed) }

    /// Takes the next ids.
    ///
    /// - Throws: `.invalidArgument` for too many at once or in all.
    package func add(_ ids: [String]) throws(DomainError) {
        let configuration = shared.configuration
        guard ids.count <= configuration.maximumIDsPerChange else {
            throw .invalid(
                "customer_ids",
                "are \(ids.count); send at most \(configuration.maximumIDsPerChange) in a message"
            )
        }
        try customers.withLock { (customers) throws(DomainError) in
            guard var taken = customers else { throw .internal(message: "the upload is over") }
            guard taken.received + UInt64(ids.count) <= UInt64(configuration.maximumUploadIDs) else {
                throw .invalid(
                    "customer_ids",
                    "are more than \(configuration.maximumUploadIDs) in the upload, the most that is allowed; nothing "
                        + "was changed"
                )
            }
            shared.index.forEachOrdinal(of: ids) { i, ordinal in
                if let ordinal {
                    taken.known += 1
                    taken.ordinals.insert(ordinal)
                } else if InputRules.customerID(ids[i], limit: configuration.maximumCustomerIDBytes) == nil {
                    taken.unknown.add(ids[i], at: taken.received + UInt64(i))
                } else {
                    taken.invalid.add(ids[i], at: taken.received + UInt64(i))
                }
            }
            taken.received += UInt64(ids.count)
            customers = taken
        }
    }

    /// Makes it take effect, once.
    package func commit(context: WriteContext) async throws(DomainError) -> UploadReceipt {
        let taken = customers.withLock { customers in
            defer { customers = nil }
            return customers
        }
        guard let taken else { throw .internal(message: "the upload is over") }
        return try await shared.alone { committer throws(DomainError) in
            try committer.finish(taken, context.bounded)
        }
    }
}

extension Engine {
    /// Begins to change the list or the overrides of a cohort by very many customers. Unknown customers are reported, not
    /// refused. Nothing is changed until the upload is committed.
    ///
    /// - Throws: `.notFound`, `.failedPrecondition(NOT_A_LIST)`, `.resourceExhausted` while too many uploads run.
    package func upload(cohort: String, mode: UploadMode) throws(DomainError) -> AssignmentUpload {
        try shared.requireReadable()
        let record = try shared.published.withLock { $0.catalog }.cohort(cohort)
        if mode.concernsList { try record.requireList() }
        return try AssignmentUpload(shared: shared, cohort: cohort, mode: mode)
    }
}

extension MembershipIndex {
    /// Looks ids up, a few at a time: the writer waits as long as that takes.
    func forEachOrdinal(of ids: [String], _ body: (Int, Ordinal?) -> Void) {
        var start = 0
        var found: [Ordinal?] = []
        while start < ids.count {
            let end = min(start + 128, ids.count)
            found.removeAll(keepingCapacity: true)
            lock.withReadLock {
                for i in start..<end {
                    var id = ids[i]
                    found.append(id.withUTF8 { customers.ordinal(of: UnsafeRawBufferPointer($0)) })
                }
            }
            for (i, ordinal) in found.enumerated() { body(start + i, ordinal) }
            start = end
        }
    }
}
