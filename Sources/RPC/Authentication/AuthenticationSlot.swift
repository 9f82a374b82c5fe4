import NIOCore
import Synchronization

/// Whom the calls of one connection were last found to be from: the next call with the same credentials costs a comparison.
final class AuthenticationSlot: Sendable {
    private struct Known {
        /// What the call had in its `authorization` metadata.
        var authorization: String?
        var entry: VerifiedTokens.Entry?
        /// The method that was last found to be open to the principal, for every resource.
        var open: ObjectIdentifier?
    }

    // Looked at in place: a copy of it would retain what it refers to, for every call.
    private let known = Mutex(Known())

    /// Two strings that share their storage, as those of a connection's own metadata do, are equal without being read.
    ///
    /// - Returns: whether there is one; it is then attached to the call.
    func attach(_ authorization: String?, generation: Int, to call: ServerCall) -> Bool {
        known.withLock { known in
            guard known.entry?.generation == generation, let end = known.entry?.end, call.receivedAt < end,
                known.authorization == authorization
            else { return false }
            call.principal = known.entry?.principal
            call.isOpen = known.open == call.methodIdentity
            return true
        }
    }

    /// The call's method is open to its principal, for every resource: the next call of it need not look.
    func opened(_ call: ServerCall) {
        known.withLock { known in
            if known.entry?.principal === call.principal { known.open = call.methodIdentity }
        }
    }

    func keep(_ authorization: String?, _ entry: VerifiedTokens.Entry) {
        known.withLock { $0 = Known(authorization: authorization, entry: entry) }
    }
}
