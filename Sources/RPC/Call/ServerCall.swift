public import NIOCore
import Synchronization

/// A type that names a typed value attached to a ``ServerCall``.
public protocol CallKey {
    /// What is attached.
    associatedtype Value: Sendable
}

/// One call as the server sees it: what interceptors and handlers are told.
public final class ServerCall: Sendable {
    private struct State {
        var responseMetadata = Metadata()
        // The first attached value has a place of its own, so that one interceptor's value costs no array.
        var first: (ObjectIdentifier, any Sendable)?
        var others: [(ObjectIdentifier, any Sendable)] = []
    }

    package let method: Method
    /// The stream id on its connection; 0 in process.
    public let id: UInt32
    /// The caller's metadata.
    public let metadata: Metadata
    /// Who is calling.
    public let peer: Peer
    /// When the request was read from the connection.
    public let receivedAt: NIODeadline
    /// Size of the first request message, in bytes.
    public let requestBytes: Int
    // Unsafe: set once, by the interceptor that authenticates, and read by what runs after it. A lock on each reading would
    // cost a call more than all the rest of the authentication.
    /// Who calls; nil before the authentication, and on servers without one.
    public nonisolated(unsafe) package(set) var principal: Principal?
    // Unsafe: set once, by an interceptor that comes before all that reads it.
    /// What traces the call; nil for nearly every one.
    package nonisolated(unsafe) var span: (any CallSpan)?
    // Unsafe: only touched when the call ends, which it does once, on one thread.
    private nonisolated(unsafe) var endedAt: NIODeadline?
    /// Whether the connection remembers that the method is open to the principal. As the principal.
    nonisolated(unsafe) var isOpen = false
    /// What it is to the queue of its class. Written before the handler runs and read after it.
    nonisolated(unsafe) var admission = CallQueue.Admission.none
    private let cancelled = Atomic<Bool>(false)
    /// Uptime in nanoseconds, `noDeadline` for none.
    private let deadlineNanoseconds: Atomic<UInt64>
    /// Whether anything was put into `state`: most calls never lock it.
    private let isStateUsed = Atomic<Bool>(false)
    private let state = Mutex(State())

    /// The largest signed number: `min` of an unsigned atomic was seen to compare as if signed.
    private static let noDeadline = UInt64(Int64.max)

    package init(
        method: Method,
        id: UInt32,
        metadata: Metadata,
        peer: Peer,
        receivedAt: NIODeadline,
        deadline: NIODeadline?,
        requestBytes: Int
    ) {
        self.method = method
        self.id = id
        self.metadata = metadata
        self.peer = peer
        self.receivedAt = receivedAt
        self.requestBytes = requestBytes
        deadlineNanoseconds = Atomic(deadline?.uptimeNanoseconds ?? Self.noDeadline)
    }

    /// Makes a call that no transport carries; for tests of interceptors and handlers.
    public convenience init(
        descriptor: MethodDescriptor,
        metadata: Metadata = Metadata(),
        peer: Peer = Peer(address: "test"),
        principal: Principal? = nil,
        deadline: NIODeadline? = nil
    ) {
        self.init(
            method: Method(descriptor: descriptor, isKnown: true),
            id: 0,
            metadata: metadata,
            peer: peer,
            receivedAt: .now(),
            deadline: deadline,
            requestBytes: 0
        )
        self.principal = principal
    }

    /// The method that is called.
    public var descriptor: MethodDescriptor { method.descriptor }
    /// `service/method`.
    public var fullName: String { method.descriptor.fullName }
    var methodIdentity: ObjectIdentifier { ObjectIdentifier(method) }
    /// Whether the server has this method; interceptors also see calls of unknown ones.
    public var isKnownMethod: Bool { method.isKnown }

    /// When the caller stops waiting; nil where it never does.
    public var deadline: NIODeadline? {
        let nanoseconds = deadlineNanoseconds.load(ordering: .relaxed)
        return nanoseconds == Self.noDeadline ? nil : .uptimeNanoseconds(nanoseconds)
    }

    /// When the call ended. For `end` of interceptors: the clock is read once, by the first that asks.
    package func ended() -> NIODeadline {
        if let endedAt { return endedAt }
        let now = NIODeadline.now()
        endedAt = now
        return now
    }

    /// What is left until the deadline, never negative; nil where there is none. Pass it on to the next hop.
    public var timeRemaining: Duration? {
        guard let deadline else { return nil }
        let left = (deadline - .now()).nanoseconds
        return .nanoseconds(max(0, left))
    }

    /// Moves the deadline nearer; a later one is ignored.
    public func shortenDeadline(to new: NIODeadline) {
        deadlineNanoseconds.min(new.uptimeNanoseconds, ordering: .relaxed)
    }

    /// Whether the caller is gone or has given up. Handlers that run in a task have it cancelled as well.
    public var isCancelled: Bool { cancelled.load(ordering: .relaxed) }

    package func markCancelled() { cancelled.store(true, ordering: .relaxed) }

    /// Metadata for the response; sent where the peer can receive it (`ttrpc-x1`), dropped elsewhere.
    public var responseMetadata: Metadata {
        get { isStateUsed.load(ordering: .acquiring) ? state.withLock { $0.responseMetadata } : Metadata() }
        set {
            isStateUsed.store(true, ordering: .releasing)
            state.withLock { $0.responseMetadata = newValue }
        }
    }

    /// The value attached under a key.
    public subscript<Key: CallKey>(key: Key.Type) -> Key.Value? {
        get {
            guard isStateUsed.load(ordering: .acquiring) else { return nil }
            let id = ObjectIdentifier(key)
            return state.withLock { state in
                if let first = state.first, first.0 == id { return first.1 as? Key.Value }
                return state.others.first { $0.0 == id }?.1 as? Key.Value
            }
        }
        set {
            let id = ObjectIdentifier(key)
            isStateUsed.store(true, ordering: .releasing)
            state.withLock { state in
                if state.first == nil || state.first?.0 == id {
                    state.first = newValue.map { (id, $0) }
                } else {
                    state.others.removeAll { $0.0 == id }
                    if let newValue { state.others.append((id, newValue)) }
                }
            }
        }
    }
}

/// How a call ended, as interceptors are told.
public struct CallOutcome: Sendable {
    /// Why it failed; nil on success.
    public let error: RPCError?
    /// Size of the response message, in bytes; 0 for streams and failures.
    public let responseBytes: Int

    /// Makes an outcome; for tests of interceptors.
    public init(error: RPCError? = nil, responseBytes: Int = 0) {
        self.error = error
        self.responseBytes = responseBytes
    }

    /// The status code, ``RPCError/Code/ok`` on success.
    public var code: RPCError.Code { error?.code ?? .ok }
}
