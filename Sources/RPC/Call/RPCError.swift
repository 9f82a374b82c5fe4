public import SwiftProtobuf

/// Why a call failed: a canonical status code, a message fit for the caller and typed details.
///
/// Everything but ``cause`` is sent to the peer, so nothing internal belongs in it.
public struct RPCError: Error, Sendable {
    /// The canonical status code.
    public var code: Code { didSet { serializedStatus = nil } }
    /// For the caller's developer: what is wrong and what to do about it.
    public var message: String { didSet { serializedStatus = nil } }
    /// `google.rpc` messages that a program can act on.
    public var details: [Google_Protobuf_Any] { didSet { serializedStatus = nil } }
    /// Metadata sent with the error, where the peer can receive it (`ttrpc-x1`).
    public var metadata: Metadata
    /// What led to this error here. Logged, never sent.
    public var cause: (any Error)?
    /// What is sent, where that was made beforehand.
    package private(set) var serializedStatus: [UInt8]?

    /// Makes an error.
    public init(
        code: Code,
        message: String,
        details: [Google_Protobuf_Any] = [],
        metadata: Metadata = Metadata(),
        cause: (any Error)? = nil
    ) {
        self.code = code
        self.message = message
        self.details = details
        self.metadata = metadata
        self.cause = cause
    }

    /// Makes an error of the given code; `RPCError(.notFound, "no such cohort")`.
    public init(_ code: Code, _ message: String, cause: (any Error)? = nil) {
        self.init(code: code, message: message, cause: cause)
    }

    /// The error with what is sent of it made already, for one that is thrown many times.
    package func serialized() -> RPCError {
        var copy = self
        copy.serializedStatus = try? status.serializedBytes()
        return copy
    }
}

extension RPCError {
    /// A canonical status code, as in `google.rpc.Code`.
    public struct Code: RawRepresentable, Sendable, Hashable {
        /// The number that is sent.
        public let rawValue: Int

        /// Takes any number; one that is not canonical is ``unknown``.
        public init(rawValue: Int) {
            self.rawValue = (0...16).contains(rawValue) ? rawValue : 2
        }

        private init(_ rawValue: Int) { self.rawValue = rawValue }

        /// Success.
        public static let ok = Code(0)
        /// The caller gave the call up.
        public static let cancelled = Code(1)
        /// Something failed that has no code of its own here.
        public static let unknown = Code(2)
        /// The arguments are wrong whatever the state of the system.
        public static let invalidArgument = Code(3)
        /// The time allowed ran out; the operation may have happened.
        public static let deadlineExceeded = Code(4)
        /// What was asked for does not exist.
        public static let notFound = Code(5)
        /// What was to be created exists.
        public static let alreadyExists = Code(6)
        /// The caller is known and is not allowed.
        public static let permissionDenied = Code(7)
        /// A quota or a limit is used up.
        public static let resourceExhausted = Code(8)
        /// The system is not in a state for this; retrying alone will not help.
        public static let failedPrecondition = Code(9)
        /// A conflict with another caller.
        public static let aborted = Code(10)
        /// Past the valid range, which may change.
        public static let outOfRange = Code(11)
        /// The method does not exist here.
        public static let unimplemented = Code(12)
        /// An invariant is broken.
        public static let internalError = Code(13)
        /// Not available now; retrying later may help.
        public static let unavailable = Code(14)
        /// Data is lost or corrupt.
        public static let dataLoss = Code(15)
        /// The caller is not known.
        public static let unauthenticated = Code(16)

        /// Every canonical code, in numerical order.
        public static let all = (0...16).map { Code($0) }
    }
}

extension RPCError.Code: CustomStringConvertible {
    private static let names = [
        "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
        "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
        "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
    ]

    /// The canonical name, for example `INVALID_ARGUMENT`.
    public var description: String { Self.names[rawValue] }
}

extension RPCError: CustomStringConvertible {
    /// Code and message, and the cause where there is one.
    public var description: String {
        if let cause { return "\(code): \(message) (caused by \(cause))" }
        return "\(code): \(message)"
    }
}
