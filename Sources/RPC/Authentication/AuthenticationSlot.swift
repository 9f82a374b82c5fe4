import NIOCore
import Synchronization

/// Whom the calls of one connection were last found to be from: the next call with the same credentials costs a comparison.
final class AuthenticationSlot: Sendable {
    private struct Known {
        /// Of the call.
        var metadata = Metadata()
        var entry: VerifiedTokens.Entry?
        /// The method that was last found to be open to the principal, for every resource.
        var open: ObjectIdentifier?
    }

    // Looked at in place: a copy of it would retain what it refers to, for every call.
    private let known = Mutex(Known())

    /// Metadata that shares its storage with what was seen last, as a connection's own does from call to call, is not read.
    ///
    /// - Returns: whether there is one; it is then attached to the call.
    func attach(_ generation: Int, to call: ServerCall) -> Bool {
        known.withLock { known in
            guard known.entry?.generation == generation, let end = known.entry?.end, call.receivedAt < end
            else { return false }
            if !known.metadata.sharesStorage(with: call.metadata) {
                let key = AuthenticationInterceptor.metadataKey
                guard known.metadata[key] == call.metadata[key] else { return false }
                known.metadata = call.metadata
            }
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

    /// Attaches to the call whom it was found to be from, and remembers it.
    func keep(_ entry: VerifiedTokens.Entry, of call: ServerCall) {
        known.withLock { $0 = Known(metadata: call.metadata, entry: entry) }
        call.principal = entry.principal
    }
}
