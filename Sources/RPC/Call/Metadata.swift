/// Ordered key-value pairs that go with a call. Keys are lower-case and may repeat.
public struct Metadata: Sendable, Hashable {
    /// One pair.
    public struct Entry: Sendable, Hashable {
        /// Lower-case.
        public let key: String
        /// Any text.
        public var value: String

        /// Makes a pair; the key is lowered.
        public init(key: String, value: String) {
            self.key = Metadata.normalized(key)
            self.value = value
        }
    }

    private var entries: [Entry]

    /// No metadata.
    public init() { entries = [] }

    /// The pairs in order.
    public init(_ pairs: some Sequence<(String, String)>) {
        entries = pairs.map { Entry(key: $0.0, value: $0.1) }
    }

    /// The first value of the key. Setting replaces every value of it; setting nil removes them.
    public subscript(key: String) -> String? {
        get {
            // What is there is lower-case, and so is nearly every key that is asked for.
            if let found = entries.first(where: { $0.key == key }) { return found.value }
            let lowered = entries.isEmpty ? key : Self.normalized(key)
            return lowered == key ? nil : entries.first { $0.key == lowered }?.value
        }
        set {
            remove(key)
            if let newValue { add(newValue, for: key) }
        }
    }

    /// Every value of the key, in order.
    public func values(for key: String) -> [String] {
        let key = Self.normalized(key)
        return entries.compactMap { $0.key == key ? $0.value : nil }
    }

    /// Adds a value, keeping those the key has.
    public mutating func add(_ value: String, for key: String) {
        entries.append(Entry(key: key, value: value))
    }

    /// Adds every pair of the other.
    public mutating func add(contentsOf other: Metadata) {
        entries.append(contentsOf: other.entries)
    }

    /// This metadata with those pairs of the other whose keys it lacks.
    func completed(by other: Metadata) -> Metadata {
        if other.entries.isEmpty { return self }
        if entries.isEmpty { return other }
        var result = self
        for entry in other.entries where !entries.contains(where: { $0.key == entry.key }) {
            result.entries.append(entry)
        }
        return result
    }

    /// Whether both are the same storage, and so of course equal. Without a look at the pairs.
    func sharesStorage(with other: Metadata) -> Bool {
        guard entries.count == other.entries.count else { return false }
        return entries.isEmpty
            || entries.withUnsafeBufferPointer { own in
                other.entries.withUnsafeBufferPointer { own.baseAddress == $0.baseAddress }
            }
    }

    /// Removes every value of the key.
    public mutating func remove(_ key: String) {
        let key = Self.normalized(key)
        entries.removeAll { $0.key == key }
    }

    /// ASCII letters are lowered; keys are ASCII by convention, and others are left as they are.
    fileprivate static func normalized(_ key: String) -> String {
        let isUpper: (UInt8) -> Bool = { (0x41...0x5A).contains($0) }
        // Nearly every key is lower-case already.
        guard key.utf8.contains(where: isUpper) else { return key }
        return String(decoding: key.utf8.map { isUpper($0) ? $0 | 0x20 : $0 }, as: UTF8.self)
    }
}

extension Metadata: RandomAccessCollection {
    /// Index of the first pair.
    public var startIndex: Int { entries.startIndex }
    /// Past the last pair.
    public var endIndex: Int { entries.endIndex }
    /// The pair at a position.
    public subscript(position: Int) -> Entry { entries[position] }
}

extension Metadata: ExpressibleByDictionaryLiteral {
    /// The pairs in the order they are written.
    public init(dictionaryLiteral elements: (String, String)...) { self.init(elements) }
}
