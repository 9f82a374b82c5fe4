/// Rows on their way to the store: what waits, what is the same again, what has no room. A value: time is passed in.
struct AuditBuffer {
    /// What is written together.
    struct Batch {
        fileprivate var items: [Item]
        fileprivate var loss: AuditLoss?
        /// Everything that was added up to this number is written with it.
        let through: UInt64?

        var records: [AuditRecord] { (loss.map { [$0.record] } ?? []) + items.map(\.event.record) }
    }

    fileprivate struct Item {
        var number: UInt64
        var event: AuditEvent
    }

    /// Seconds in which the same denial again is counted with the first.
    private static let mergeSeconds: Int64 = 1

    private let capacity: Int
    private var numbers: UInt64 = 0
    private var items: [Item] = []
    /// Denials that may come again, under what they have in common.
    private var denials: [AuditEvent: Item] = [:]
    private var loss: AuditLoss?
    /// Since the start.
    private(set) var lost: UInt64 = 0

    init(capacity: Int) { self.capacity = capacity }

    var count: Int { items.count + denials.count }
    var isEmpty: Bool { count == 0 && loss == nil }

    /// - Returns: the number to wait for; `nil` if there is no room, which is counted.
    mutating func add(_ event: AuditEvent) -> UInt64? {
        var key = event
        (key.time, key.count) = (.epoch, 1)
        if event.kind == .denial, let first = denials[key] {
            if event.time < first.event.time.advanced(bySeconds: Self.mergeSeconds) {
                denials[key]?.event.count += event.count
                return first.number
            }
            denials[key] = nil
            items.append(first)
        }
        guard count < capacity else {
            lost += event.count
            let earlier = loss ?? AuditLoss(count: 0, since: event.time)
            loss = AuditLoss(count: earlier.count + event.count, since: earlier.since)
            return nil
        }
        numbers += 1
        let item = Item(number: numbers, event: event)
        if event.kind == .denial { denials[key] = item } else { items.append(item) }
        return numbers
    }

    /// Takes what is to be written now, in order.
    ///
    /// - Parameter all: also denials that may come again.
    /// - Returns: `nil` for nothing.
    mutating func take(_ now: Timestamp, all: Bool, limit: Int) -> Batch? {
        for (key, item) in denials where all || now >= item.event.time.advanced(bySeconds: Self.mergeSeconds) {
            denials[key] = nil
            items.append(item)
        }
        guard !items.isEmpty || loss != nil else { return nil }
        items.sort { $0.number < $1.number }
        let taken = Array(items.prefix(limit))
        items.removeFirst(taken.count)
        defer { loss = nil }
        return Batch(items: taken, loss: loss, through: all ? taken.last?.number : nil)
    }

    /// Takes back what could not be written.
    mutating func restore(_ batch: Batch) {
        items = batch.items + items
        guard let first = batch.loss else { return }
        loss = AuditLoss(count: first.count + (loss?.count ?? 0), since: first.since)
    }
}
