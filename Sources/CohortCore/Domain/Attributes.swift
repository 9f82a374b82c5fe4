/// The types an attribute can be declared with. Raw values are stored and never change meaning.
package enum AttributeType: UInt8, Sendable, Hashable, CaseIterable {
    case bool = 1
    case int64 = 2
    case double = 3
    case string = 4
    case timestamp = 5
    case stringList = 6

    /// The name used in messages and by the command line.
    package var name: String {
        switch self {
        case .bool: "bool"
        case .int64: "int64"
        case .double: "double"
        case .string: "string"
        case .timestamp: "timestamp"
        case .stringList: "string_list"
        }
    }

    /// The type called `name`, or `nil`.
    package init?(name: String) {
        guard let match = Self.allCases.first(where: { $0.name == name }) else { return nil }
        self = match
    }
}

/// A typed attribute value.
package enum AttributeValue: Sendable, Hashable {
    case bool(Bool)
    case int64(Int64)
    case double(Double)
    case string(String)
    case timestamp(Timestamp)
    case stringList([String])

    package var type: AttributeType {
        switch self {
        case .bool: .bool
        case .int64: .int64
        case .double: .double
        case .string: .string
        case .timestamp: .timestamp
        case .stringList: .stringList
        }
    }

    /// Whether storing `other` in place of this value would change anything. Strings are compared by their UTF-8 bytes
    /// and doubles by their bits, as they are stored; Swift's own `==` takes different bytes for equal.
    package func isIdentical(to other: AttributeValue) -> Bool {
        switch (self, other) {
        case (.bool(let a), .bool(let b)): a == b
        case (.int64(let a), .int64(let b)): a == b
        case (.double(let a), .double(let b)): a.bitPattern == b.bitPattern
        case (.string(let a), .string(let b)): a.utf8.elementsEqual(b.utf8)
        case (.timestamp(let a), .timestamp(let b)): a == b
        case (.stringList(let a), .stringList(let b)):
            a.count == b.count && zip(a, b).allSatisfy { $0.utf8.elementsEqual($1.utf8) }
        default: false
        }
    }
}

/// An attribute that customers may have. Once declared it is never undeclared or retyped.
package struct AttributeDeclaration: Sendable, Hashable {
    package let name: String
    package let type: AttributeType
    /// Position among all declarations in order of declaration, from 0; the slot of the rules' record schema.
    package let slot: Int
    /// The sequence of the log entry that declared it.
    package let declaredAt: UInt64

    package init(name: String, type: AttributeType, slot: Int, declaredAt: UInt64) {
        self.name = name
        self.type = type
        self.slot = slot
        self.declaredAt = declaredAt
    }
}
