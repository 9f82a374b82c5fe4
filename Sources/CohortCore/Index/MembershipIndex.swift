/// One customer's standing in one cohort as the index has it.
struct IndexedMembership {
    /// `nil` for a customer never seen or erased.
    var ordinal: Ordinal?
    var cohort: CohortNumber
    var membership: Membership
    var reason: Reason
    var failPolicy: FailPolicy
    var version: UInt32
    var sequence: UInt64

    /// The answer to a caller that wants a boolean.
    var member: Bool? { failPolicy.member(membership) }
}

/// All that reads are answered from: ids, ordinals and one set of bitmaps a cohort, at one sequence.
///
/// Readers take a stripe of the lock for the length of one lookup. The committer is the only writer: it prepares what it
/// can beside the readers and locks them out for a slice of entries, or one swap, at a time.
final class MembershipIndex: @unchecked Sendable {
    // Unchecked: everything mutable below is guarded by `lock`, or touched by one thread before the first read.

    /// What a read needs of a cohort, without references to count.
    struct CohortSlot {
        var kind: CohortKind
        var failPolicy: FailPolicy
        var state: CohortLifecycle
        var version: UInt32
        var members: ChunkedBitmap.Reader
        var unknown: ChunkedBitmap.Reader
        var include: ChunkedBitmap.Reader
        var exclude: ChunkedBitmap.Reader
    }

    /// The bitmaps that a slot looks into.
    final class CohortBitmaps {
        var members = ChunkedBitmap()
        var unknown = ChunkedBitmap()
        var include = ChunkedBitmap()
        var exclude = ChunkedBitmap()
        var listed = ChunkedBitmap()

        var bytes: Int { members.bytes + unknown.bytes + include.bytes + exclude.bytes + listed.bytes }

        /// What a rule is built from: all but the list.
        func copyForReading() -> CohortBitmaps {
            let result = CohortBitmaps()
            result.members = members.copy()
            result.unknown = unknown.copy()
            result.include = include.copy()
            result.exclude = exclude.copy()
            return result
        }

        func set(_ ordinal: Ordinal, _ membership: Membership) {
            if membership != .in { members.remove(ordinal) }
            if membership != .unknown { unknown.remove(ordinal) }
            switch membership {
            case .in: members.insert(ordinal)
            case .unknown: unknown.insert(ordinal)
            case .out: break
            }
        }

        func membership(of ordinal: Ordinal) -> Membership {
            if members.contains(ordinal) { return .in }
            return unknown.contains(ordinal) ? .unknown : .out
        }

        func assignments(_ kind: AssignmentKind) -> ChunkedBitmap {
            switch kind {
            case .include: include
            case .exclude: exclude
            case .listed: listed
            }
        }

        func replace(_ kind: AssignmentKind, _ bitmap: ChunkedBitmap) {
            switch kind {
            case .include: include = bitmap
            case .exclude: exclude = bitmap
            case .listed: listed = bitmap
            }
        }
    }

    let lock = StripedLock()
    let customers = IdentifierDirectory()
    private let cohortIDs = IdentifierDirectory()
    /// Customers that have been seen and not erased.
    let known = ChunkedBitmap()
    private let view: View
    private var capacity: Int
    private(set) var bitmaps: [CohortBitmaps] = []

    /// What reads go through: nothing in it is counted.
    private struct View {
        struct State {
            var cohortCount = 0
            var sequence: UInt64 = 0
            /// Replaced by a larger one when full, with the readers out.
            var slots: UnsafeMutablePointer<CohortSlot>
        }

        let customers: IdentifierDirectory.Reader
        let cohortIDs: IdentifierDirectory.Reader
        let state: UnsafeMutablePointer<State>

        var slots: UnsafeMutablePointer<CohortSlot> { state.pointee.slots }
    }

    /// - Parameter expectedCohorts: how many there is room for at first; more make it grow.
    init(expectedCohorts: Int) {
        capacity = max(expectedCohorts, 1)
        let state = UnsafeMutablePointer<View.State>.allocate(capacity: 1)
        state.initialize(to: View.State(slots: .allocate(capacity: capacity)))
        view = View(
            customers: customers.reader,
            cohortIDs: cohortIDs.reader,
            state: state
        )
    }

    deinit {
        view.slots.deallocate()
        view.state.deallocate()
    }

    private var slots: UnsafeMutablePointer<CohortSlot> { view.slots }
    private(set) var cohortCount: Int {
        get { view.state.pointee.cohortCount }
        set { view.state.pointee.cohortCount = newValue }
    }
    private(set) var sequence: UInt64 {
        get { view.state.pointee.sequence }
        set { view.state.pointee.sequence = newValue }
    }

    /// Bytes held, and customers known.
    var size: (bytes: Int, customers: UInt64) {
        lock.withReadLock {
            (customers.bytes + cohortIDs.bytes + known.bytes + bitmaps.reduce(0) { $0 + $1.bytes }, customers.count)
        }
    }
}

// MARK: - Reads

extension MembershipIndex {
    /// `nil` where the cohort does not exist or is archived.
    @inline(__always)
    func membership(customer: UnsafeRawBufferPointer, cohort: UnsafeRawBufferPointer) -> IndexedMembership? {
        let view = view
        return lock.withReadLock {
            guard let (number, slot) = serving(cohort) else { return nil }
            var answer = IndexedMembership(
                ordinal: view.customers.ordinal(of: customer),
                cohort: number,
                membership: .out,
                reason: .customerNotFound,
                failPolicy: slot.pointee.failPolicy,
                version: slot.pointee.version,
                sequence: sequence
            )
            if let ordinal = answer.ordinal {
                (answer.membership, answer.reason) = Self.standing(ordinal, in: slot)
            }
            return answer
        }
    }

    /// Calls `each` with every cohort that the customer is IN or UNKNOWN in.
    ///
    /// - Returns: the sequence, and the ordinal if the customer is known.
    func memberships(
        customer: UnsafeRawBufferPointer,
        each: (CohortNumber, UnsafeRawBufferPointer, Membership, UInt32) -> Void
    ) -> (sequence: UInt64, ordinal: Ordinal?) {
        let view = view
        return lock.withReadLock {
            let sequence = view.state.pointee.sequence
            guard let ordinal = view.customers.ordinal(of: customer) else { return (sequence, nil) }
            for number in 0..<view.state.pointee.cohortCount {
                let slot = view.slots + number
                guard slot.pointee.state != .archived else { continue }
                let membership: Membership =
                    if slot.pointee.state == .building {
                        .unknown
                    } else if slot.pointee.members.contains(ordinal) {
                        .in
                    } else if slot.pointee.unknown.contains(ordinal) { .unknown } else { .out }
                guard membership != .out else { continue }
                each(CohortNumber(number), view.cohortIDs.id(Ordinal(number)), membership, slot.pointee.version)
            }
            return (sequence, ordinal)
        }
    }

    func count(cohort: UnsafeRawBufferPointer) -> MemberCount? {
        lock.withReadLock {
            guard let (_, slot) = serving(cohort) else { return nil }
            return MemberCount(
                members: slot.pointee.members.count,
                unknown: slot.pointee.unknown.count,
                sequence: sequence,
                cohortVersion: slot.pointee.version
            )
        }
    }

    /// Counts of a cohort by number; zeros for one that the index does not know yet.
    func counts(_ cohort: CohortNumber) -> (members: UInt64, unknown: UInt64, include: UInt64, exclude: UInt64) {
        lock.withReadLock {
            guard Int(cohort) < cohortCount else { return (0, 0, 0, 0) }
            let slot = slots[Int(cohort)]
            return (slot.members.count, slot.unknown.count, slot.include.count, slot.exclude.count)
        }
    }

    /// A copy of the bitmap of IN or UNKNOWN, with the sequence at which it holds.
    func snapshot(
        cohort: UnsafeRawBufferPointer,
        _ membership: Membership
    ) -> (bitmap: ChunkedBitmap, sequence: UInt64, number: CohortNumber, version: UInt32)? {
        lock.withReadLock {
            guard let (number, slot) = serving(cohort) else { return nil }
            let bitmaps = bitmaps[Int(number)]
            return (
                (membership == .in ? bitmaps.members : bitmaps.unknown).copy(), sequence, number, slot.pointee.version
            )
        }
    }

    /// The number of a cohort that exists and is not archived. Under a lock of the caller's.
    func number(ofServing id: String) -> CohortNumber? {
        var id = id
        return id.withUTF8 { serving(UnsafeRawBufferPointer($0))?.number }
    }

    /// Appends the ids of those ordinals that have not been erased.
    func appendIDs(of ordinals: [Ordinal], to ids: inout [String]) {
        lock.withReadLock {
            for ordinal in ordinals {
                let id = customers.arena.id(ordinal)
                // The bytes of an erased id are zero, which none begins with.
                guard let first = id.first, first != 0 else { continue }
                ids.append(String(decoding: id, as: UTF8.self))
            }
        }
    }

    /// A cohort's number and slot; `nil` where it does not exist or is archived. Under a lock of the caller's.
    @inline(__always)
    func serving(
        _ cohort: UnsafeRawBufferPointer
    ) -> (number: CohortNumber, slot: UnsafeMutablePointer<CohortSlot>)? {
        guard let number = view.cohortIDs.ordinal(of: cohort) else { return nil }
        let slot = view.slots + Int(number)
        return slot.pointee.state == .archived ? nil : (number, slot)
    }

    @inline(__always)
    static func standing(
        _ ordinal: Ordinal,
        in slot: UnsafeMutablePointer<CohortSlot>
    ) -> (Membership, Reason) {
        if slot.pointee.state == .building { return (.unknown, .building) }
        if slot.pointee.members.contains(ordinal) {
            if slot.pointee.include.contains(ordinal) { return (.in, .overrideInclude) }
            return (.in, slot.pointee.kind == .list ? .listed : .ruleMatch)
        }
        if slot.pointee.unknown.contains(ordinal) { return (.unknown, .ruleError) }
        if slot.pointee.exclude.contains(ordinal) { return (.out, .overrideExclude) }
        return (.out, slot.pointee.kind == .list ? .notListed : .ruleNoMatch)
    }
}

// MARK: - Writes: the committer's thread alone

extension MembershipIndex {
    /// Applies one entry. Readers must be out; the entry's bulk changes, and the assignments it refers to, have been prepared.
    func apply(_ entry: LogEntry, bulks: [PreparedBulk], assignments prepared: PreparedAssignments? = nil) {
        switch entry.change {
        case .attributeDeclared, .customerPutScrubbed, .versionDrafted, .versionDiscarded, .approvalRequired,
            .changeRequest:
            break
        case .customerPut(let put):
            if let id = put.newID {
                id.withUnsafeBytes { customers.insert($0, ordinal: put.ordinal) }
                known.insert(put.ordinal)
            }
        case .customerErased(let ordinal):
            for bitmaps in bitmaps {
                for kind in AssignmentKind.allCases { bitmaps.assignments(kind).remove(ordinal) }
                // An entry that has been scrubbed since does not list them.
                bitmaps.set(ordinal, .out)
            }
            customers.remove(ordinal)
            known.remove(ordinal)
        case .cohortCreated(let cohort):
            add(cohort)
        case .ruleUpdated(let update):
            serve(update.version, of: update.cohort)
        case .versionPublished(let cohort, let version):
            serve(version, of: cohort)
        case .cohortArchived(let cohort):
            slots[Int(cohort)].state = .archived
            bitmaps[Int(cohort)] = CohortBitmaps()
            refresh(cohort)
        case .assignmentsChanged(let assignments):
            for assignment in assignments { assign(assignment) }
        case .assignmentsStaged(let reference):
            for (kind, bitmap) in prepared?.bitmaps ?? [] { bitmaps[Int(reference.cohort)].replace(kind, bitmap) }
            refresh(reference.cohort)
        }
        for transition in entry.transitions { set(transition.ordinal, transition.cohort, transition.to) }
        for bulk in bulks {
            bitmaps[Int(bulk.cohort)].members = bulk.members
            bitmaps[Int(bulk.cohort)].unknown = bulk.unknown
            refresh(bulk.cohort)
        }
        sequence = entry.sequence
    }

    /// Splits what has filled, beside the readers. Due after every few hundred new customers.
    func maintain() { customers.splitFullSegments { swap in lock.withWriteLock { swap() } } }

    /// Readers must be out. There may be more cohorts than are allowed by now: the limit refuses new ones alone.
    func add(_ cohort: CohortRecord) {
        precondition(Int(cohort.number) == cohortCount, "cohorts are numbered without gaps")
        if cohortCount == capacity {
            capacity *= 2
            let larger = UnsafeMutablePointer<CohortSlot>.allocate(capacity: capacity)
            larger.moveInitialize(from: slots, count: cohortCount)
            slots.deallocate()
            view.state.pointee.slots = larger
        }
        var id = cohort.id
        id.withUTF8 { cohortIDs.insert(UnsafeRawBufferPointer($0), ordinal: cohort.number) }
        let owned = CohortBitmaps()
        bitmaps.append(owned)
        (slots + cohortCount).initialize(
            to: CohortSlot(
                kind: cohort.kind,
                failPolicy: cohort.failPolicy,
                state: cohort.state,
                version: cohort.version,
                members: owned.members.reader,
                unknown: owned.unknown.reader,
                include: owned.include.reader,
                exclude: owned.exclude.reader
            )
        )
        cohortCount += 1
    }

    func assign(_ assignment: Assignment) {
        let bitmap = bitmaps[Int(assignment.cohort)].assignments(assignment.kind)
        if assignment.present { bitmap.insert(assignment.ordinal) } else { bitmap.remove(assignment.ordinal) }
    }

    func set(_ ordinal: Ordinal, _ cohort: CohortNumber, _ membership: Membership) {
        bitmaps[Int(cohort)].set(ordinal, membership)
    }

    /// Sets the sequence that reads see, after loading.
    func finishLoading(sequence: UInt64) { self.sequence = sequence }

    private func serve(_ version: UInt32, of cohort: CohortNumber) {
        slots[Int(cohort)].version = version
        slots[Int(cohort)].state = .active
    }

    private func refresh(_ cohort: CohortNumber) {
        let owned = bitmaps[Int(cohort)]
        slots[Int(cohort)].members = owned.members.reader
        slots[Int(cohort)].unknown = owned.unknown.reader
        slots[Int(cohort)].include = owned.include.reader
        slots[Int(cohort)].exclude = owned.exclude.reader
    }
}
