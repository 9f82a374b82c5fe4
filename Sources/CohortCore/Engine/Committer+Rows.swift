/// Puts and erasures: a group of rows becomes one append to the log.
extension Committer {
    func commit(_ requests: [RowsRequest]) {
        var group: RowGroup
        do {
            group = try RowGroup(requests, self)
        } catch {
            let answer = answer(to: error)
            for request in requests { request.complete(.failure(answer)) }
            return
        }
        let results = requests.map { request in request.rows.map { group.process($0, request.context) } }
        if !group.entries.isEmpty {
            do {
                try persist(group.rows)
            } catch {
                for request in requests { request.complete(.failure(error)) }
                return
            }
            publish(group.entries, group.changes())
        }
        observe(requests, results)
        for (request, result) in zip(requests, results) { request.complete(.success(result)) }
    }
}

/// Rows being made into entries. Sees its own earlier rows; nobody else does until it is committed.
private struct RowGroup {
    private struct Working {
        var record: CustomerRecord
        /// The id, if the tables do not hold the customer.
        var newID: [UInt8]?
        var erased = false
        var touched = false
    }

    private let committer: Committer
    private let time: Timestamp
    private var working: [Ordinal: Working] = [:]
    /// Ids that this group gave an ordinal or, with `nil`, erased.
    private var ids: [IDKey: Ordinal?] = [:]
    private var closedByFold: [Ordinal: [ClosedInterval]] = [:]
    private var closed: [ClosedInterval] = []
    private var sequence: UInt64
    private var nextOrdinal: Ordinal
    private var writer = ByteBuffer()
    private(set) var entries: [LogEntry] = []
    private(set) var rows: [LogRow] = []

    init(_ requests: [RowsRequest], _ committer: Committer) throws(StoreError) {
        self.committer = committer
        time = committer.commitTime()
        sequence = committer.sequence
        nextOrdinal = committer.nextOrdinal
        var known: Set<Ordinal> = []
        for request in requests {
            for row in request.rows {
                let id: [UInt8]
                switch row {
                case .put(let put): id = put.id
                case .erase(let erased, _): id = erased
                case .rejected: continue
                }
                if let ordinal = committer.ordinal(of: id) { known.insert(ordinal) }
            }
        }
        guard !known.isEmpty else { return }
        for (ordinal, loaded) in try committer.load(known.sorted()) {
            working[ordinal] = Working(record: loaded.record)
            if !loaded.closed.isEmpty { closedByFold[ordinal] = loaded.closed }
        }
        for ordinal in known where working[ordinal] == nil {
            throw .corrupt("customer \(ordinal) is in the index but not in the store")
        }
    }

    mutating func process(_ row: RowOperation, _ context: WriteContext) -> Result<PutResult, DomainError> {
        switch row {
        case .put(let put): self.put(put, context)
        case .erase(let id, let ordinal): erase(id, only: ordinal, context)
        case .rejected(let error): .failure(error)
        }
    }

    /// What the group changes in the tables.
    func changes() -> PendingChanges {
        var changes = PendingChanges(sequence: sequence, time: time, nextOrdinal: nextOrdinal)
        changes.customers.reserveCapacity(working.count)
        for (ordinal, customer) in working where customer.touched {
            if customer.erased {
                changes.customers.append((ordinal, .delete))
            } else if let id = customer.newID {
                changes.customers.append((ordinal, .insert(id: id, record: customer.record.encoded())))
            } else {
                changes.customers.append((ordinal, .update(record: customer.record.encoded())))
            }
            if let folded = closedByFold[ordinal] { changes.closed += folded }
        }
        changes.closed += closed
        changes.erasures = entries.compactMap(\.erasure)
        return changes
    }

    // MARK: Put

    private mutating func put(_ put: ResolvedPut, _ context: WriteContext) -> Result<PutResult, DomainError> {
        guard let ordinal = ordinal(of: put.id) else { return create(put, context) }
        guard var record = working[ordinal]?.record else {
            return .failure(.internal(message: "a known customer has no record"))
        }
        var accepted: [StoredAttribute] = []
        var changed: [Int] = []
        var stale = 0
        for (slot, value) in put.attributes {
            let next = StoredAttribute(slot: slot, value: value, eventTime: put.eventTime ?? time)
            switch Merge.decide(stored: record.attribute(slot), next: next, timeIsGiven: put.eventTime != nil) {
            case .stale: stale += 1
            case .unchanged: break
            case .newerTime: accepted.append(next)
            case .newValue:
                accepted.append(next)
                changed.append(slot)
            }
        }
        if accepted.isEmpty {
            let allStale = stale > 0 && stale == put.attributes.count
            return .success(PutResult(sequence: sequence, outcome: allStale ? .stale : .unchanged))
        }
        for attribute in accepted { record.set(attribute) }
        if let refusal = refusal(of: record) { return .failure(refusal) }
        let transitions =
            changed.isEmpty
            ? []
            : transitions(of: record, ordinal, isNew: false) { rule in
                changed.contains { rule.reads($0) }
            }
        let change = CustomerChange(ordinal: ordinal, newID: nil, attributes: accepted)
        let result = append(.customerPut(change), transitions, to: &record, .updated, context)
        working[ordinal]?.record = record
        working[ordinal]?.touched = true
        return .success(result)
    }

    private mutating func create(_ put: ResolvedPut, _ context: WriteContext) -> Result<PutResult, DomainError> {
        let limit = committer.configuration.maximumCustomers
        guard nextOrdinal < limit else {
            return .failure(
                .resourceExhausted(
                    limit: "maximum_customers",
                    message: "The store holds \(limit) customers, the most it can.",
                    retryAfter: nil
                )
            )
        }
        let ordinal = nextOrdinal
        var record = CustomerRecord(createdSequence: sequence + 1, createdAt: time)
        let attributes = put.attributes.sorted { $0.slot < $1.slot }.compactMap { slot, value in
            // Deleting what never was, at no particular time, is nothing to remember.
            value == nil && put.eventTime == nil
                ? nil : StoredAttribute(slot: slot, value: value, eventTime: put.eventTime ?? time)
        }
        record.attributes = attributes
        if let refusal = refusal(of: record) { return .failure(refusal) }
        nextOrdinal += 1
        let transitions = transitions(of: record, ordinal, isNew: true) { _ in true }
        let change = CustomerChange(ordinal: ordinal, newID: put.id, attributes: attributes)
        let result = append(.customerPut(change), transitions, to: &record, .created, context)
        working[ordinal] = Working(record: record, newID: put.id, touched: true)
        ids[IDKey(bytes: put.id)] = .some(ordinal)
        return .success(result)
    }

    /// How memberships change when the rules that `concerns` picks are run over the record, and after them those that read
    /// a cohort in which the customer's membership has changed by it.
    private func transitions(
        of record: CustomerRecord,
        _ ordinal: Ordinal,
        isNew: Bool,
        where concerns: (CompiledRule) -> Bool
    ) -> [Transition] {
        var result: [Transition] = []
        var isLoaded = false
        for rule in committer.rules.active {
            var cause = TransitionCause.attribute
            if !concerns(rule) {
                guard rule.hasReferences, result.contains(where: { rule.references.contains($0.cohort) }) else {
                    continue
                }
                cause = .cohort
            }
            // An override decides before the rule, and attributes do not change it.
            if !isNew, committer.override(of: ordinal, in: rule.cohort) != nil { continue }
            if !isLoaded {
                committer.classifier.load(record.attributes, slots: committer.catalog.attributes.count)
                isLoaded = true
            }
            let from = isNew ? .out : record.membership(in: rule.cohort)
            let to = committer.classifier.evaluate(rule) { cohort in
                result.first { $0.cohort == cohort }?.to ?? (isNew ? .out : record.membership(in: cohort))
            }
            guard from != to else { continue }
            result.append(
                Transition(
                    ordinal: ordinal,
                    cohort: rule.cohort,
                    from: from,
                    to: to,
                    version: rule.version,
                    cause: cause
                )
            )
        }
        return result
    }

    private func refusal(of record: CustomerRecord) -> DomainError? {
        let configuration = committer.configuration
        if record.attributes.count > configuration.maximumAttributesPerCustomer {
            return .invalid(
                "attributes",
                "would give the customer \(record.attributes.count) attributes; at most "
                    + "\(configuration.maximumAttributesPerCustomer) are allowed"
            )
        }
        let size = record.estimatedBytes
        if size > configuration.maximumRecordBytes {
            return .invalid(
                "attributes",
                "would make the customer's record about \(size) bytes; at most \(configuration.maximumRecordBytes) "
                    + "are allowed"
            )
        }
        return nil
    }

    // MARK: Erase

    private mutating func erase(
        _ id: [UInt8],
        only meant: Ordinal?,
        _ context: WriteContext
    ) -> Result<PutResult, DomainError> {
        guard let ordinal = ordinal(of: id), meant == nil || meant == ordinal, var record = working[ordinal]?.record
        else {
            return .failure(
                .notFound(resourceType: "customer", name: String(decoding: id, as: UTF8.self), suggestion: nil)
            )
        }
        let transitions = record.intervals.map { open in
            Transition(
                ordinal: ordinal,
                cohort: open.cohort,
                from: open.membership,
                to: .out,
                version: committer.catalog.cohorts[Int(open.cohort)].version,
                cause: .erase
            )
        }
        let result = append(.customerErased(ordinal), transitions, to: &record, .updated, context)
        record.attributes = []
        working[ordinal]?.record = record
        working[ordinal]?.erased = true
        working[ordinal]?.touched = true
        ids[IDKey(bytes: id)] = .some(nil)
        return .success(result)
    }

    // MARK: Entries

    private mutating func append(
        _ change: LogEntry.Change,
        _ transitions: [Transition],
        to record: inout CustomerRecord,
        _ outcome: PutOutcome,
        _ context: WriteContext
    ) -> PutResult {
        sequence += 1
        let entry = LogEntry(
            sequence: sequence,
            time: time,
            principal: context.principal,
            method: context.method,
            change: change,
            transitions: transitions
        )
        record.sequence = sequence
        var result = PutResult(sequence: sequence, outcome: outcome)
        for transition in transitions {
            if let interval = record.move(transition, sequence: sequence, time: time) { closed.append(interval) }
            let cohort = committer.catalog.cohorts[Int(transition.cohort)].id
            if transition.to == .in { result.entered.append(cohort) }
            if transition.from == .in { result.left.append(cohort) }
            if transition.to == .unknown { result.newlyUnknown.append(cohort) }
        }
        rows.append(LogRow(sequence: sequence, time: time, payload: writer.encode(entry)))
        entries.append(entry)
        return result
    }

    private func ordinal(of id: [UInt8]) -> Ordinal? {
        if !ids.isEmpty, let own = ids[IDKey(bytes: id)] { return own }
        return committer.ordinal(of: id)
    }
}

/// What becomes of one attribute of a put.
enum Merge {
    enum Decision { case stale, unchanged, newerTime, newValue }

    /// An older value never replaces a newer one; of equal times the later arrival wins. A repeated value with a newer
    /// event time of its own is remembered, as an older one may yet arrive; without one it changes nothing.
    static func decide(stored: StoredAttribute?, next: StoredAttribute, timeIsGiven: Bool) -> Decision {
        guard let stored else {
            guard next.value == nil else { return .newValue }
            return timeIsGiven ? .newerTime : .unchanged
        }
        if next.eventTime < stored.eventTime { return .stale }
        let same =
            switch (stored.value, next.value) {
            case (nil, nil): true
            case (let a?, let b?): a.isIdentical(to: b)
            default: false
            }
        if !same { return .newValue }
        return timeIsGiven && next.eventTime > stored.eventTime ? .newerTime : .unchanged
    }
}

/// An id as a key: arrays of bytes hash one byte at a time.
private struct IDKey: Hashable {
    let bytes: [UInt8]

    func hash(into hasher: inout Hasher) { bytes.withUnsafeBytes { hasher.combine(bytes: $0) } }
}

/// A byte writer kept between entries for its memory.
private final class ByteBuffer {
    private var writer = ByteWriter(reserving: 1_024)

    func encode(_ entry: LogEntry) -> [UInt8] {
        writer.reset()
        entry.encode(to: &writer)
        return writer.bytes.withUnsafeBytes { Array($0) }
    }
}

extension CustomerRecord {
    /// About the bytes of the encoded record; never less than half of it.
    var estimatedBytes: Int {
        var size = 32 + intervals.count * 16
        for attribute in attributes {
            size += 16
            switch attribute.value {
            case .string(let text): size += text.utf8.count
            case .stringList(let texts): for text in texts { size += text.utf8.count + 2 }
            default: break
            }
        }
        return size
    }

    /// Applies one change of membership.
    mutating func move(_ transition: Transition, sequence: UInt64, time: Timestamp) -> ClosedInterval? {
        move(
            ordinal: transition.ordinal,
            cohort: transition.cohort,
            to: transition.to,
            version: transition.version,
            cause: transition.cause,
            sequence: sequence,
            time: time
        )
    }
}

extension Committer {
    func ordinal(of id: [UInt8]) -> Ordinal? { id.withUnsafeBytes { shared.index.customers.ordinal(of: $0) } }

    /// What the customer is in a cohort, as reads see it.
    func membership(of ordinal: Ordinal, in cohort: CohortNumber) -> Membership {
        shared.index.bitmaps[Int(cohort)].membership(of: ordinal)
    }

    /// What an override makes of the customer; `nil` without one.
    func override(of ordinal: Ordinal, in cohort: CohortNumber) -> Membership? {
        let bitmaps = shared.index.bitmaps[Int(cohort)]
        if bitmaps.include.contains(ordinal) { return .in }
        if bitmaps.exclude.contains(ordinal) { return .out }
        return nil
    }
}
