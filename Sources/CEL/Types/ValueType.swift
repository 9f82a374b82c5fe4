/// The type of a record's field, a variable or an expression.
public indirect enum ValueType: Sendable, Hashable {
    /// `bool`.
    case bool
    /// `int`, 64 bits and signed.
    case int
    /// `uint`, 64 bits and unsigned.
    case uint
    /// `double`.
    case double
    /// `string`.
    case string
    /// `bytes`.
    case bytes
    /// `null_type`.
    case null
    /// `google.protobuf.Timestamp`.
    case timestamp
    /// `google.protobuf.Duration`.
    case duration
    /// The type of types.
    case type
    /// Any type: checked only at evaluation.
    case dyn
    /// A list of one type.
    case list(ValueType)
    /// A map from one type to another.
    case map(ValueType, ValueType)
    /// An optional.
    case optional(ValueType)
    /// A record with declared fields.
    case record(RecordSchema)
    /// A type of the host's own, by name, with its parameters.
    case opaque(String, [ValueType])
    /// A type parameter in the declaration of a function.
    case parameter(String)
    /// A type that the checker has yet to find.
    case variable(Int32)
}

/// The fields of a record. A field's place in `fields` is its slot, so a schema may only grow at its end.
public struct RecordSchema: Sendable, Hashable {
    /// A field and its type.
    public struct Field: Sendable, Hashable {
        /// The field's name, an identifier.
        public var name: String
        /// The field's type.
        public var type: ValueType

        /// A field of this name and type.
        public init(name: String, type: ValueType) {
            self.name = name
            self.type = type
        }
    }

    /// The record type's name, for messages.
    public let name: String
    /// The fields by slot.
    public let fields: [Field]
    let slots: [String: Int]

    /// A schema with these fields; of two with the same name the first counts.
    public init(name: String, fields: [Field]) {
        self.name = name
        self.fields = fields
        slots = Dictionary(zip(fields.lazy.map(\.name), 0...)) { first, _ in first }
    }

    /// The slot of a field.
    public func slot(of field: String) -> Int? { slots[field] }
}

extension ValueType: CustomStringConvertible {
    /// The type as CEL writes it: `list(int)`, `map(string, dyn)`.
    public var description: String {
        switch self {
        case .bool: "bool"
        case .int: "int"
        case .uint: "uint"
        case .double: "double"
        case .string: "string"
        case .bytes: "bytes"
        case .null: "null"
        case .timestamp: "timestamp"
        case .duration: "duration"
        case .type: "type"
        case .dyn: "dyn"
        case .list(let element): "list(\(element))"
        case .map(let key, let value): "map(\(key), \(value))"
        case .optional(let wrapped): "optional_type(\(wrapped))"
        case .record(let schema): schema.name
        case .opaque(let name, let parameters):
            parameters.isEmpty ? name : "\(name)(\(parameters.map(\.description).joined(separator: ", ")))"
        case .parameter(let name): name
        case .variable: "dyn"
        }
    }
}
