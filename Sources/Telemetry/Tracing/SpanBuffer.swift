import Synchronization

/// Spans that wait for their reader, in one place for each of a few groups of threads.
///
/// Adding never waits: a span that finds no room, or finds every place busy, is dropped and counted.
package final class SpanBuffer: Sendable {
    private final class Place: Sendable {
        let spans = Mutex<[SpanRecord]>([])
    }

    package static let defaultCapacity = 8_192

    /// Most spans that wait.
    package let capacity: Int
    private let places: [Place]
    private let waiting = Atomic<Int>(0)
    private let lost = Atomic<UInt64>(0)
    private let reader = Mutex<(isReading: Bool, isClosed: Bool)>((false, false))

    package init(capacity: Int = defaultCapacity) {
        self.capacity = capacity
        places = (0..<4).map { _ in Place() }
    }

    /// Spans that wait, and spans lost since the start.
    package var size: (waiting: Int, dropped: UInt64) {
        (max(0, waiting.load(ordering: .relaxed)), lost.load(ordering: .relaxed))
    }

    /// Makes room for one span, or counts it as lost. Asked before the span is made, so that a full buffer costs nothing.
    func reserve() -> Bool {
        if waiting.load(ordering: .relaxed) < capacity {
            if waiting.wrappingAdd(1, ordering: .relaxed).newValue <= capacity { return true }
            waiting.wrappingSubtract(1, ordering: .relaxed)
        }
        lost.wrappingAdd(1, ordering: .relaxed)
        return false
    }

    /// Adds a span that there was room for.
    func addReserved(_ span: SpanRecord) {
        let start = Int(truncatingIfNeeded: span.context.spanID.value) & (places.count - 1)
        for offset in places.indices {
            let place = places[(start + offset) & (places.count - 1)]
            if place.spans.withLockIfAvailable({ $0.append(span) }) != nil { return }
        }
        waiting.wrappingSubtract(1, ordering: .relaxed)
        lost.wrappingAdd(1, ordering: .relaxed)
    }

    package func add(_ span: SpanRecord) { if reserve() { addReserved(span) } }

    /// Takes up to `limit` spans, in no particular order. Nobody gets them again.
    package func take(_ limit: Int) -> [SpanRecord] {
        var taken: [SpanRecord] = []
        for place in places where taken.count < limit {
            // Swapped out, so that the lock is held for a moment whatever there is.
            var spans = place.spans.withLock { spans in
                defer { spans = [] }
                return spans
            }
            let fit = min(spans.count, limit - taken.count)
            taken += spans.prefix(fit)
            spans.removeFirst(fit)
            if !spans.isEmpty { place.spans.withLock { $0 = spans + $0 } }
        }
        waiting.wrappingSubtract(taken.count, ordering: .relaxed)
        return taken
    }

    // MARK: The reader

    /// Becomes the only reader; false where there is one.
    package func beginReading() -> Bool {
        reader.withLock { reader in
            defer { reader.isReading = true }
            return !reader.isReading
        }
    }

    package func endReading() { reader.withLock { $0.isReading = false } }

    /// Whether readers that wait for more are to end.
    package var isClosed: Bool { reader.withLock { $0.isClosed } }
    package func close() { reader.withLock { $0.isClosed = true } }
}
