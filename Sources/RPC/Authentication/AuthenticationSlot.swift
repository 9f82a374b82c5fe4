import NIOCore
import Synchronization

/// Whom the calls of one connection were last found to be from: the next call with the same credentials costs a comparison.
final class AuthenticationSlot: Sendable {
    private struct Known {
        /// What the call had in its `authorization` metadata.
        var authorization: String?
        var entry: VerifiedTokens.Entry
    }

    private let known = Mutex<Known?>(nil)

    /// Two strings that share their storage, as those of a connection's own metadata do, are equal without being read.
    func find(_ authorization: String?, generation: Int, now: NIODeadline) -> Principal? {
        known.withLock { known in
            guard let known, known.entry.generation == generation, now < known.entry.end,
                known.authorization == authorization
            else { return nil }
            return known.entry.principal
        }
    }

    func keep(_ authorization: String?, _ entry: VerifiedTokens.Entry) {
        known.withLock { $0 = Known(authorization: authorization, entry: entry) }
    }
}
