/// A CEL map in the order in which its entries were written.
///
/// Keys are bool, int, uint and string; equal numbers are the same key whatever their type.
public struct MapValue: Sendable, Equatable {
    /// The keys, in order.
    public private(set) var keys: [Value] = []
    /// The values, each at the place of its key.
    public private(set) var values: [Value] = []
    private var index: [MapKey: Int] = [:]

    /// An empty map.
    public init() {}

    /// A map of these entries; nil where a key is of another type or appears twice.
    public init?(_ entries: [(Value, Value)]) {
        for (key, value) in entries {
            guard let mapKey = MapKey(key, lookup: false), insert(mapKey, key, value) else { return nil }
        }
    }

    /// How many entries there are.
    public var count: Int { keys.count }

    /// The value of a key; a double looks up the integer that it equals.
    public subscript(key: Value) -> Value? {
        guard let key = MapKey(key, lookup: true), let place = index[key] else { return nil }
        return values[place]
    }

    /// Adds an entry; false where the key is there already.
    mutating func insert(_ mapKey: MapKey, _ key: Value, _ value: Value) -> Bool {
        guard index[mapKey] == nil else { return false }
        index[mapKey] = keys.count
        keys.append(key)
        values.append(value)
        return true
    }

    /// Whether both have equal entries, in any order.
    public static func == (lhs: Self, rhs: Self) -> Bool {
        guard lhs.count == rhs.count else { return false }
        for (place, key) in lhs.keys.enumerated() {
            guard let mapKey = MapKey(key, lookup: false), let other = rhs.index[mapKey],
                rhs.keys[other] == key, rhs.values[other] == lhs.values[place]
            else { return false }
        }
        return true
    }
}

/// A map's key with numbers brought to one form, so that 1, 1u and 1.0 are the same.
enum MapKey: Hashable, Sendable {
    case bool(Bool)
    case int(Int64)
    /// Above `Int64.max`.
    case uint(UInt64)
    case string(String)

    /// - Parameter lookup: doubles may look a key up, but not be one.
    init?(_ value: Value, lookup: Bool) {
        switch value {
        case .bool(let b): self = .bool(b)
        case .int(let i): self = .int(i)
        case .uint(let u):
            if let i = Int64(exactly: u) { self = .int(i) } else { self = .uint(u) }
        case .double(let d):
            guard lookup else { return nil }
            if let i = Int64(exactly: d) {
                self = .int(i)
            } else if let u = UInt64(exactly: d) {
                self = .uint(u)
            } else {
                return nil
            }
        case .string(let s): self = .string(s)
        default: return nil
        }
    }

    static func == (lhs: Self, rhs: Self) -> Bool {
        switch (lhs, rhs) {
        case (.bool(let a), .bool(let b)): a == b
        case (.int(let a), .int(let b)): a == b
        case (.uint(let a), .uint(let b)): a == b
        case (.string(let a), .string(let b)): sameCodePoints(a, b)
        default: false
        }
    }

    func hash(into hasher: inout Hasher) {
        switch self {
        case .bool(let b): hasher.combine(b)
        case .int(let i): hasher.combine(i)
        case .uint(let u): hasher.combine(u)
        case .string(var s): s.withUTF8 { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
        }
    }
}
