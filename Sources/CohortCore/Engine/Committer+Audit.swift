/// A membership that is not what rule, list and overrides say.
package struct AuditDifference: Sendable, Hashable {
    package var customer: String
    package var cohort: String
    /// Derived anew from attributes, overrides and list.
    package var expected: Membership
    /// What reads are answered from.
    package var indexed: Membership
    /// What the customer's record says; `nil` for bits of a customer that does not exist.
    package var recorded: Membership?
}

/// What a walk over customers found.
package struct AuditReport: Sendable, Hashable {
    package var customers: UInt64 = 0
    package var differences: UInt64 = 0
    /// The first differences, at most 100.
    package var samples: [AuditDifference] = []

    package init() {}

    mutating func add(_ difference: AuditDifference) {
        differences += 1
        if samples.count < 100 { samples.append(difference) }
    }

    mutating func add(_ other: AuditReport) {
        customers += other.customers
        differences += other.differences
        samples += other.samples.prefix(100 - samples.count)
    }
}

/// Derives memberships anew and compares them with index and records. Between two commits, so that all three are of one
/// sequence.
extension Committer {
    /// Customers looked at before the time is looked at.
    private static var auditSlice: Ordinal { 16 }

    /// Audits customers from an ordinal on, for at most about `duration`.
    ///
    /// - Parameter limit: how many ordinals, rounded up to a slice.
    /// - Returns: what was found, and the ordinal to go on at; `nil` at the end.
    func audit(
        from first: Ordinal,
        limit: Int,
        atMost duration: Duration
    ) throws(StoreError) -> (report: AuditReport, next: Ordinal?) {
        var report = AuditReport()
        var next = first
        let end = ContinuousClock.now + duration
        while next < nextOrdinal {
            let last = next + min(Self.auditSlice, nextOrdinal - next) - 1
            report.add(try audit(next...last))
            next = last + 1
            if Int(next - first) >= limit || ContinuousClock.now >= end { break }
        }
        return (report, next < nextOrdinal ? next : nil)
    }

    private func audit(_ range: ClosedRange<Ordinal>) throws(StoreError) -> AuditReport {
        var report = AuditReport()
        var seen: Set<Ordinal> = []
        let pending = Array(zip(range, shared.pending.lookup(Array(range))))
        var waiting: Set<Ordinal> = []
        for (ordinal, lookup) in pending {
            switch lookup {
            case .absent: break
            case .erased: waiting.insert(ordinal)
            case .record(let bytes):
                waiting.insert(ordinal)
                seen.insert(ordinal)
                try bytes.withUnsafeRecord { (bytes) throws(StoreError) in
                    compare(try decode(bytes, ordinal).record, ordinal, &report)
                }
            }
        }
        try shared.store.scanCustomers(range) { (ordinal, _, bytes) throws(StoreError) in
            guard !waiting.contains(ordinal) else { return }
            seen.insert(ordinal)
            compare(try decode(bytes, ordinal).record, ordinal, &report)
        }
        report.customers = UInt64(seen.count)
        findGhosts(in: range, besides: seen, &report)
        return report
    }

    private func compare(_ record: CustomerRecord, _ ordinal: Ordinal, _ report: inout AuditReport) {
        let derived = memberships(derivedFrom: record, ordinal)
        for cohort in catalog.cohorts where cohort.state == .active {
            let indexed = membership(of: ordinal, in: cohort.number)
            let recorded = record.membership(in: cohort.number)
            let expected = derived[Int(cohort.number)]
            guard indexed != expected || recorded != expected else { continue }
            report.add(
                AuditDifference(
                    customer: customerID(ordinal),
                    cohort: cohort.id,
                    expected: expected,
                    indexed: indexed,
                    recorded: recorded
                )
            )
        }
    }

    /// What the customer should be, by cohort number. Rules read what is derived here of other cohorts, so that one wrong
    /// bit shows in all that follows from it.
    private func memberships(derivedFrom record: CustomerRecord, _ ordinal: Ordinal) -> [Membership] {
        var result = catalog.cohorts.map { cohort -> Membership in
            guard cohort.state == .active else { return .out }
            if let override = override(of: ordinal, in: cohort.number) { return override }
            if cohort.kind == .list {
                return shared.index.bitmaps[Int(cohort.number)].listed.contains(ordinal) ? .in : .out
            }
            // A rule that no longer compiles is a problem of its own; its memberships stand still.
            return membership(of: ordinal, in: cohort.number)
        }
        classifier.load(record.attributes, slots: catalog.attributes.count)
        for rule in rules.active where override(of: ordinal, in: rule.cohort) == nil {
            result[Int(rule.cohort)] = classifier.evaluate(rule) { result[Int($0)] }
        }
        return result
    }

    /// Bits of ordinals that no customer has.
    private func findGhosts(
        in range: ClosedRange<Ordinal>,
        besides seen: Set<Ordinal>,
        _ report: inout AuditReport
    ) {
        for cohort in catalog.cohorts where cohort.state == .active {
            let bitmaps = shared.index.bitmaps[Int(cohort.number)]
            for bitmap in [bitmaps.members, bitmaps.unknown] {
                bitmap.forEach(from: range.lowerBound) { ordinal in
                    guard ordinal <= range.upperBound else { return false }
                    if !seen.contains(ordinal) {
                        report.add(
                            AuditDifference(
                                customer: "#\(ordinal)",
                                cohort: cohort.id,
                                expected: .out,
                                indexed: bitmaps.membership(of: ordinal),
                                recorded: nil
                            )
                        )
                    }
                    return true
                }
            }
        }
    }

    func customerID(_ ordinal: Ordinal) -> String {
        String(decoding: shared.index.customers.arena.id(ordinal), as: UTF8.self)
    }
}

extension Engine {
    /// Derives the membership of every customer in every cohort anew, a step at a time between commits, and reports where
    /// index or records differ. There must be none.
    ///
    /// - Parameter pause: between two steps, for others to write.
    package func audit(pause: Duration = .zero) async throws(DomainError) -> AuditReport {
        var report = AuditReport()
        var next: Ordinal? = 0
        while let first = next {
            let step = try await shared.alone { committer throws(DomainError) in
                do throws(StoreError) {
                    return try committer.audit(from: first, limit: 4_096, atMost: .milliseconds(20))
                } catch {
                    throw committer.answer(to: error)
                }
            }
            report.add(step.report)
            next = step.next
            if next != nil, pause > .zero { try? await Task.sleep(for: pause) }
        }
        return report
    }
}
