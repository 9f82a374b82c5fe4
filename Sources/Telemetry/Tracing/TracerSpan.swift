import Synchronization
package import Tracing

/// A span while it goes on, as swift-distributed-tracing sees it.
package final class TracerSpan: Tracing.Span {
    private struct State {
        var name: String
        var attributes = SpanAttributes()
        var links: [TraceContext] = []
        var failure: String?
        var hasEnded = false
    }

    package let context: ServiceContext
    private let trace: TraceContext
    private let parent: SpanID?
    private let kind: SpanKind
    private let start: UInt64
    /// nil where the span is not sampled.
    private let buffer: SpanBuffer?
    private let state: Mutex<State>

    init(
        _ trace: TraceContext,
        service: ServiceContext,
        parent: SpanID?,
        name: String,
        kind: SpanKind,
        start: UInt64,
        buffer: SpanBuffer?
    ) {
        self.trace = trace
        context = service
        self.parent = parent
        self.kind = kind
        self.start = start
        self.buffer = buffer
        state = Mutex(State(name: name))
    }

    package var operationName: String {
        get { state.withLock { $0.name } }
        set { state.withLock { $0.name = newValue } }
    }

    package var attributes: SpanAttributes {
        get { state.withLock { $0.attributes } }
        set { if isRecording { state.withLock { $0.attributes = newValue } } }
    }

    package var isRecording: Bool { buffer != nil && state.withLock { !$0.hasEnded } }

    package func setStatus(_ status: SpanStatus) {
        guard case .error = status.code else { return }
        state.withLock { $0.failure = status.message ?? "" }
    }

    /// Events are not kept.
    package func addEvent(_ event: SpanEvent) {}

    /// Keeps what kind of error it was, and not its text: that may hold what a trace must not.
    package func recordError<Instant: TracerInstant>(
        _ error: any Error,
        attributes: SpanAttributes,
        at instant: @autoclosure () -> Instant
    ) {
        let kind = "\(type(of: error))"
        state.withLock { $0.failure = $0.failure ?? kind }
    }

    package func addLink(_ link: SpanLink) {
        guard let trace = link.context.trace else { return }
        state.withLock { $0.links.append(trace) }
    }

    /// Hands the span to the buffer; once.
    package func end<Instant: TracerInstant>(at instant: @autoclosure () -> Instant) {
        guard let buffer else { return }
        let ended = state.withLock { state -> State? in
            defer { state.hasEnded = true }
            return state.hasEnded ? nil : state
        }
        guard let ended, buffer.reserve() else { return }
        var attributes: [(String, SpanRecord.Value)] = []
        ended.attributes.forEach { key, value in
            if let value = SpanRecord.Value(value) { attributes.append((key, value)) }
        }
        buffer.addReserved(
            SpanRecord(
                context: trace,
                parent: parent,
                name: ended.name,
                kind: kind == .server ? .server : kind == .client ? .client : .internal,
                start: start,
                end: max(start, instant().nanosecondsSinceEpoch),
                attributes: attributes.sorted { $0.0 < $1.0 },
                links: ended.links,
                failure: ended.failure
            )
        )
    }
}

extension SpanRecord.Value {
    fileprivate init?(_ attribute: SpanAttribute) {
        switch attribute {
        case .int32(let value): self = .whole(Int64(value))
        case .int64(let value): self = .whole(value)
        case .double(let value): self = .number(value)
        case .bool(let value): self = .flag(value)
        case .string(let value): self = .text(value)
        case .stringConvertible(let value): self = .text("\(value)")
        default: return nil
        }
    }
}
