/// The answers to refused calls, made beforehand for waits of 1, 2, 4, … milliseconds up to 35 minutes: to make one costs more
/// than many a call that it refuses.
struct PushbackErrors: Sendable {
    private let errors: [RPCError]

    /// - Parameter make: The error that asks for this wait.
    init(_ make: (Duration) -> RPCError) { errors = (0..<22).map { make(.milliseconds(1 << $0)).serialized() } }

    /// The error for the least such wait that is not shorter than `wait`.
    subscript(wait: Duration) -> RPCError {
        let milliseconds = max(1, Int64((wait / .milliseconds(1)).rounded(.up)))
        return errors[min(64 - (milliseconds - 1).leadingZeroBitCount, errors.count - 1)]
    }
}
