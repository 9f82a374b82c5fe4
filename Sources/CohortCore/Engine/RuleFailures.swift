import CEL

/// Customers for whom a rule cannot be decided, by the reason.
///
/// Not thread-safe: an owner guards it.
final class RuleFailures {
    struct Reason: Hashable {
        /// The attribute that is absent; empty if it is none.
        var attribute: String
        var detail: String
    }

    /// A rule has no more reasons than it has expressions; this bounds what a long one may take.
    private static let maximumReasons = 256

    private(set) var customers: [Reason: ChunkedBitmap] = [:]

    func add(_ ordinal: Ordinal, _ error: EvaluationError?) {
        guard let error else { return }
        var reason = Reason(attribute: error.attribute ?? "", detail: error.description)
        if customers[reason] == nil, customers.count >= Self.maximumReasons {
            reason = Reason(attribute: "", detail: "other reasons")
        }
        set(of: reason).insert(ordinal)
    }

    func subtract(_ others: ChunkedBitmap) {
        for set in customers.values { set.subtract(others) }
    }

    func formUnion(_ other: RuleFailures) {
        for (reason, found) in other.customers { set(of: reason).formUnion(found) }
    }

    private func set(of reason: Reason) -> ChunkedBitmap {
        if let set = customers[reason] { return set }
        let set = ChunkedBitmap()
        customers[reason] = set
        return set
    }
}
