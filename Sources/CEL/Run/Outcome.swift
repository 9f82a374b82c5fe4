/// What a rule says of a record.
public enum Outcome: Sendable, Hashable {
    /// The rule is true.
    case match
    /// The rule is false.
    case noMatch
    /// The rule failed: neither true nor false.
    case error(EvaluationError)
}

/// Why an evaluation failed.
public struct EvaluationError: Error, Sendable, Hashable, CustomStringConvertible {
    /// What went wrong. The names are stable and fit for machines.
    public enum Code: String, Sendable, Hashable, CaseIterable {
        /// A declared attribute that the record does not have was read.
        case attributeAbsent = "ATTRIBUTE_ABSENT"
        /// A map has no such key.
        case noSuchKey = "NO_SUCH_KEY"
        /// A value has no such field, or no fields at all.
        case noSuchField = "NO_SUCH_FIELD"
        /// An operator or function does not take values of these types.
        case noSuchOverload = "NO_SUCH_OVERLOAD"
        /// A name that is not declared was read.
        case unknownVariable = "UNKNOWN_VARIABLE"
        /// A function that is not declared was called.
        case unknownFunction = "UNKNOWN_FUNCTION"
        /// An integer was divided by zero.
        case divisionByZero = "DIVISION_BY_ZERO"
        /// A number, timestamp or duration left its range.
        case overflow = "OVERFLOW"
        /// A conversion is not possible.
        case invalidConversion = "INVALID_CONVERSION"
        /// An index is outside its list or string.
        case indexOutOfRange = "INDEX_OUT_OF_RANGE"
        /// An argument is not acceptable.
        case invalidArgument = "INVALID_ARGUMENT"
        /// A map has the same key twice.
        case duplicateKey = "DUPLICATE_KEY"
        /// A map has a key that is neither bool, int, uint nor string.
        case unsupportedKey = "UNSUPPORTED_KEY"
        /// The value of an empty optional was read.
        case noValue = "NO_VALUE"
        /// The result is not of the type that the rule must have.
        case wrongResult = "WRONG_RESULT"
        /// The evaluation used up its cost units.
        case costLimit = "COST_LIMIT"
        /// A string or list would have become longer than allowed.
        case sizeLimit = "SIZE_LIMIT"
        /// A host function failed, or none was given.
        case hostFunction = "HOST_FUNCTION"
        /// A lookup whose value the host does not know was read.
        case lookupUnknown = "LOOKUP_UNKNOWN"
    }

    /// What went wrong.
    public var code: Code
    /// The attribute whose absence is the cause.
    public var attribute: String?
    /// Where in the source.
    public var position: SourcePosition
    /// The number that a host function gave for its failure, or 0.
    public var hostCode: Int32
    /// The name of the variable, function or key at fault, or the lookup with its literal, where there is one.
    public var subject: String?

    /// What went wrong, in words.
    public var message: String {
        switch code {
        case .attributeAbsent: "attribute '\(attribute ?? "")' is absent"
        case .noSuchKey: subject.map { "no such key: '\($0)'" } ?? "no such key"
        case .noSuchField: subject.map { "no such field: '\($0)'" } ?? "no such field"
        case .noSuchOverload: subject.map { "'\($0)' does not take values of these types" } ?? "no such overload"
        case .unknownVariable: "unknown variable '\(subject ?? "")'"
        case .unknownFunction: "unknown function '\(subject ?? "")'"
        case .divisionByZero: "division by zero"
        case .overflow: "result out of range"
        case .invalidConversion: "value cannot be converted"
        case .indexOutOfRange: "index out of range"
        case .invalidArgument: "invalid argument"
        case .duplicateKey: "duplicate key in map"
        case .unsupportedKey: "unsupported type of map key"
        case .noValue: "the optional has no value"
        case .wrongResult: "the result is of the wrong type"
        case .costLimit: "the evaluation exceeds its cost limit"
        case .sizeLimit: "a string or list exceeds its size limit"
        case .hostFunction: "function '\(subject ?? "")' failed"
        case .lookupUnknown: "\(subject ?? "a lookup") is unknown"
        }
    }

    /// The position and the message.
    public var description: String { "\(position.line):\(position.column): \(message)" }
}
