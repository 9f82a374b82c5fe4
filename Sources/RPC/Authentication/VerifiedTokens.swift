import NIOCore
import Synchronization

/// Tokens that were verified, until they expire: one that is known costs no verification and no task.
///
/// Bounded: where it is full, those that are over go first, and then any.
final class VerifiedTokens: Sendable {
    struct Entry: Sendable {
        var principal: Principal
        var end: NIODeadline
        /// Of the keys and the policy by which it was verified.
        var generation: Int
    }

    private let capacity: Int
    private let entries = Mutex<[String: Entry]>([:])

    init(capacity: Int) { self.capacity = capacity }

    var count: Int { entries.withLock { $0.count } }

    /// Nil where the token is not known, is over, or was verified by older keys or another policy.
    func find(_ token: String, generation: Int, now: NIODeadline) -> Entry? {
        entries.withLock { entries in
            guard let entry = entries[token] else { return nil }
            if entry.generation == generation, now < entry.end { return entry }
            entries[token] = nil
            return nil
        }
    }

    func insert(_ token: String, _ entry: Entry, now: NIODeadline) {
        guard capacity > 0 else { return }
        entries.withLock { entries in
            if entries.count >= capacity, entries[token] == nil {
                entries = entries.filter { $0.value.end > now && $0.value.generation == entry.generation }
                // In no order: whoever fills it with tokens of his own cannot choose whom it drives out.
                while entries.count >= capacity, let any = entries.keys.randomElement() { entries[any] = nil }
            }
            entries[token] = entry
        }
    }
}
