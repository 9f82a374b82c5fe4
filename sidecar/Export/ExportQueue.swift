import Foundation

/// One request that waits to be sent.
struct ExportBatch: Sendable {
    /// As it goes out, compressed where that is wanted.
    var body: Data
    /// Spans, or points of metrics.
    var items: Int
    var isCompressed: Bool
    /// When it was made.
    var since: ContinuousClock.Instant
}

/// Requests that wait for a collector, in order, within limits. A value: the time is passed in.
///
/// Where there is no room the oldest go: after an outage the present is worth more than its beginning, and totals of metrics lose
/// nothing by it. The one that is being sent counts and stays.
struct ExportQueue: Sendable {
    /// Most items, and most bytes.
    let items: Int
    let bytes: Int
    /// Age after which a batch is not worth sending.
    let age: Duration
    private var waiting: [ExportBatch] = []
    private var sending: ExportBatch?
    private(set) var size: (items: Int, bytes: Int) = (0, 0)

    init(items: Int, bytes: Int, age: Duration) {
        self.items = items
        self.bytes = bytes
        self.age = age
    }

    var isEmpty: Bool { waiting.isEmpty && sending == nil }

    /// Adds a batch, and returns the number of items for which there was no room.
    mutating func add(_ batch: ExportBatch) -> Int {
        // One that has no room beside what is being sent must not cost the others their place.
        guard (sending?.items ?? 0) + batch.items <= items, (sending?.body.count ?? 0) + batch.body.count <= bytes
        else {
            return batch.items
        }
        var lost = 0
        while !fits(batch), !waiting.isEmpty { lost += forget(waiting.removeFirst()) }
        waiting.append(batch)
        size.items += batch.items
        size.bytes += batch.body.count
        return lost
    }

    private func fits(_ batch: ExportBatch) -> Bool {
        size.items + batch.items <= items && size.bytes + batch.body.count <= bytes
    }

    /// The next to send, and the number of items that have become too old.
    mutating func next(at now: ContinuousClock.Instant) -> (batch: ExportBatch?, expired: Int) {
        var expired = 0
        while let first = waiting.first, first.since.duration(to: now) > age {
            expired += forget(waiting.removeFirst())
        }
        if sending == nil, !waiting.isEmpty { sending = waiting.removeFirst() }
        return (sending, expired)
    }

    /// The one being sent is done with.
    mutating func done() {
        if let batch = sending { _ = forget(batch) }
        sending = nil
    }

    /// The one being sent waits again, before all others, and is no safer than they are.
    mutating func putBack() {
        if let batch = sending { waiting.insert(batch, at: 0) }
        sending = nil
    }

    /// Empties it, and returns the number of items that were in it.
    mutating func clear() -> Int {
        defer {
            waiting = []
            sending = nil
            size = (0, 0)
        }
        return size.items
    }

    private mutating func forget(_ batch: ExportBatch) -> Int {
        size.items -= batch.items
        size.bytes -= batch.body.count
        return batch.items
    }
}
