/// The state of one evaluation: what it may still cost, and whom it may call.
///
/// Work is charged before it is done. Charging past the budget makes it negative, which ends the evaluation at the next
/// instruction, whatever `&&` or `||` would have made of an error.
struct Evaluation {
    var budget: Int
    let limits: Limits
    let host: (any HostFunctions)?
    /// The values of lookups by number.
    var lookups = UnsafeBufferPointer<LookupValue>(start: nil, count: 0)

    /// Charges units; false where they are not to be had.
    @inline(__always)
    mutating func charge(_ units: Int) -> Bool {
        budget -= units
        return budget >= 0
    }

    /// Charges for going through that many bytes.
    @inline(__always)
    mutating func charge(bytes: Int) -> Bool { charge(bytes >> 4) }

    static let costExceeded = Value.failure(.costLimit)
}

/// A place of a host function's call in a program.
public struct HostCall: Sendable, Equatable {
    /// The function's name.
    public var function: String
    /// The arguments that are literals, nil for the computed ones.
    public var constants: [Value?]
    /// Where in the source.
    public var position: SourcePosition
}

/// The host functions of an evaluation.
///
/// An object rather than a closure, so that calling it allocates nothing: a caller keeps one per thread and gives it
/// what the functions need before each evaluation.
public protocol HostFunctions: AnyObject {
    /// Calls a function.
    ///
    /// - Parameters:
    ///   - function: The number of its declaration in ``Environment/functions``.
    ///   - site: The number of the call in ``Program/hostCalls``, by which literal arguments can be looked up once per
    ///     program instead of at every call.
    ///   - arguments: The arguments, valid during the call. None is an error.
    /// - Returns: The result; `.error(ErrorValue(hostCode:))` to fail.
    func call(_ function: Int, site: Int, arguments: UnsafeBufferPointer<Value>) -> Value
}
