/// The calls in flight on a connection, by stream id. Ids are dense, so most lie in a slot of their own and no id is hashed.
struct StreamTable<Value> {
    private var slots: [(id: UInt32, value: Value)?]
    /// Calls whose slot was taken by an older one that is still running.
    private var overflow: [UInt32: Value] = [:]
    private(set) var count = 0

    /// - Parameter capacity: A power of two.
    init(capacity: Int = 512) {
        slots = Array(repeating: nil, count: capacity)
    }

    private func index(_ id: UInt32) -> Int { Int(id >> 1) & (slots.count - 1) }

    mutating func insert(_ value: Value, for id: UInt32) {
        count += 1
        let index = index(id)
        if slots[index] == nil {
            slots[index] = (id, value)
        } else {
            overflow[id] = value
        }
    }

    @discardableResult
    mutating func remove(_ id: UInt32) -> Value? {
        let index = index(id)
        if let slot = slots[index], slot.id == id {
            slots[index] = nil
            count -= 1
            return slot.value
        }
        guard !overflow.isEmpty, let value = overflow.removeValue(forKey: id) else { return nil }
        count -= 1
        return value
    }

    subscript(id: UInt32) -> Value? {
        if let slot = slots[index(id)], slot.id == id { return slot.value }
        return overflow.isEmpty ? nil : overflow[id]
    }

    /// Every call, in no order.
    var all: [(id: UInt32, value: Value)] {
        slots.compactMap { $0 } + overflow.map { ($0.key, $0.value) }
    }
}
