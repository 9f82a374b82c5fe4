/// A CEL value.
///
/// A record handed to ``Program/evaluate(_:lookups:host:)-(UnsafeBufferPointer<Value>,_)`` is a sequence of these, one for each slot of its
/// ``RecordSchema``; `.absent` says that the record does not have the attribute. `.error` is a failure as a value: it
/// is what a host function returns in order to fail, and what a failed sub-expression has in an ``Explanation``.
public enum Value: Sendable {
    /// The record does not have this attribute.
    case absent
    /// The null value.
    case null
    /// A boolean.
    case bool(Bool)
    /// A 64-bit signed integer.
    case int(Int64)
    /// A 64-bit unsigned integer.
    case uint(UInt64)
    /// An IEEE 754 double.
    case double(Double)
    /// Unicode text; CEL sees its code points.
    case string(String)
    /// Bytes.
    case bytes([UInt8])
    /// An instant from 0001-01-01T00:00:00Z to 9999-12-31T23:59:59.999999999Z.
    case timestamp(Timestamp)
    /// A span of time in nanoseconds, which reaches about 292 years either way.
    case duration(nanoseconds: Int64)
    /// A list.
    case list([Value])
    /// A map, its keys bool, int, uint or string.
    case map(MapValue)
    /// A type as a value, by its name: `int`, `list`, `google.protobuf.Timestamp`.
    case type(String)
    /// An optional: a value, or none.
    indirect case optional(Value?)
    /// A failure.
    case error(ErrorValue)
}

/// A failure as a value: its code and where it arose.
public struct ErrorValue: Sendable, Hashable {
    /// What went wrong.
    public var code: EvaluationError.Code
    /// For `.hostFunction`, a number of the host's own; 0 unless it gave one. Otherwise of no meaning to a caller.
    public var detail: Int32
    /// The syntax node that failed, -1 until the interpreter knows it.
    var node: Int32

    /// A failure to be returned from a host function, with a number of the host's own.
    public init(hostCode: Int32) {
        self.init(.hostFunction, detail: hostCode)
    }

    init(_ code: EvaluationError.Code, detail: Int32 = 0, node: Int32 = -1) {
        self.code = code
        self.detail = detail
        self.node = node
    }
}

/// An instant with nanoseconds, in UTC.
public struct Timestamp: Sendable, Hashable, Comparable {
    /// Seconds since 1970-01-01T00:00:00Z, from -62135596800 to 253402300799.
    public let seconds: Int64
    /// Nanoseconds after `seconds`, from 0 to 999,999,999.
    public let nanoseconds: Int32

    static let minimumSeconds: Int64 = -62_135_596_800
    static let maximumSeconds: Int64 = 253_402_300_799

    /// An instant; nil outside years 1 to 9999 or where `nanoseconds` is outside 0 to 999,999,999.
    public init?(seconds: Int64, nanoseconds: Int32 = 0) {
        guard (Self.minimumSeconds...Self.maximumSeconds).contains(seconds), (0..<1_000_000_000).contains(nanoseconds)
        else { return nil }
        self.seconds = seconds
        self.nanoseconds = nanoseconds
    }

    /// Whether `lhs` is the earlier.
    public static func < (lhs: Self, rhs: Self) -> Bool {
        lhs.seconds != rhs.seconds ? lhs.seconds < rhs.seconds : lhs.nanoseconds < rhs.nanoseconds
    }
}

extension Value: Equatable {
    /// Whether both are of the same type and hold the same: strings by code points, NaN unlike itself.
    ///
    /// This is stricter than CEL's `==`, for which `1`, `1u` and `1.0` are equal.
    public static func == (lhs: Value, rhs: Value) -> Bool {
        switch (lhs, rhs) {
        case (.absent, .absent), (.null, .null): true
        case (.bool(let a), .bool(let b)): a == b
        case (.int(let a), .int(let b)): a == b
        case (.uint(let a), .uint(let b)): a == b
        case (.double(let a), .double(let b)): a == b
        case (.string(let a), .string(let b)): sameCodePoints(a, b)
        case (.bytes(let a), .bytes(let b)): a == b
        case (.timestamp(let a), .timestamp(let b)): a == b
        case (.duration(let a), .duration(let b)): a == b
        case (.list(let a), .list(let b)): a == b
        case (.map(let a), .map(let b)): a == b
        case (.type(let a), .type(let b)): a == b
        case (.optional(let a), .optional(let b)): a == b
        case (.error(let a), .error(let b)): a == b
        default: false
        }
    }
}

extension Value {
    /// The name of the value's type as `type(x)` gives it.
    var typeName: String {
        switch self {
        case .absent: "absent"
        case .null: "null_type"
        case .bool: "bool"
        case .int: "int"
        case .uint: "uint"
        case .double: "double"
        case .string: "string"
        case .bytes: "bytes"
        case .timestamp: "google.protobuf.Timestamp"
        case .duration: "google.protobuf.Duration"
        case .list: "list"
        case .map: "map"
        case .type: "type"
        case .optional: "optional_type"
        case .error: "error"
        }
    }

    @inline(__always)
    static func failure(_ code: EvaluationError.Code) -> Value { .error(ErrorValue(code)) }
}

/// Whether two strings have the same code points. `String ==` would also accept canonical equivalents.
@inline(__always)
func sameCodePoints(_ a: String, _ b: String) -> Bool {
    let count = a.utf8.count
    guard count == b.utf8.count else { return false }
    let same = a.utf8.withContiguousStorageIfAvailable { a in
        b.utf8.withContiguousStorageIfAvailable { b in
            equalBytes(a, b)
        }
    }
    if let same, let same { return same }
    return a.utf8.elementsEqual(b.utf8)
}

@inline(__always)
func equalBytes(_ a: UnsafeBufferPointer<UInt8>, _ b: UnsafeBufferPointer<UInt8>) -> Bool {
    var i = 0
    let count = a.count
    guard let x = UnsafeRawPointer(a.baseAddress), let y = UnsafeRawPointer(b.baseAddress) else { return count == 0 }
    while i + 8 <= count {
        if x.loadUnaligned(fromByteOffset: i, as: UInt64.self) != y.loadUnaligned(fromByteOffset: i, as: UInt64.self) {
            return false
        }
        i += 8
    }
    while i < count {
        if a[i] != b[i] { return false }
        i += 1
    }
    return true
}

/// The order of two strings by code points, which is the order of their UTF-8: negative, zero or positive.
func compareCodePoints(_ a: String, _ b: String) -> Int {
    var x = a.utf8.makeIterator()
    var y = b.utf8.makeIterator()
    while true {
        switch (x.next(), y.next()) {
        case (nil, nil): return 0
        case (nil, _): return -1
        case (_, nil): return 1
        case (let p?, let q?): if p != q { return p < q ? -1 : 1 }
        }
    }
}
