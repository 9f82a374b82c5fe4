import OTLP

/// Gathers spans until there are enough for a request, or the first has waited long enough. A value: the time is passed in.
struct SpanBatcher: Sendable {
    /// Spans of one request, unless one message of the server has more.
    static let most = 512
    /// Longest time that a span waits for others.
    static let longest = Duration.seconds(1)

    private var spans: [OTLPResourceSpans] = []
    private var count = 0
    private var since: ContinuousClock.Instant?

    /// When the spans that wait are to be sent; nil where there are none.
    var due: ContinuousClock.Instant? { since.map { $0 + Self.longest } }

    /// Adds what the server has handed out, and returns what is to be sent before it.
    mutating func add(_ data: OTLPTracesData, at now: ContinuousClock.Instant) -> (
        spans: [OTLPResourceSpans], count: Int
    )? {
        let added = data.resourceSpans.reduce(0) { $0 + $1.scopeSpans.reduce(0) { $0 + $1.spans.count } }
        guard added > 0 else { return nil }
        let full = count + added > Self.most ? take() : nil
        if since == nil { since = now }
        count += added
        for resource in data.resourceSpans { merge(resource) }
        return full
    }

    /// What has waited long enough.
    mutating func take(at now: ContinuousClock.Instant) -> (spans: [OTLPResourceSpans], count: Int)? {
        guard let due, due <= now else { return nil }
        return take()
    }

    /// All that waits.
    mutating func take() -> (spans: [OTLPResourceSpans], count: Int)? {
        guard count > 0 else { return nil }
        defer { (spans, count, since) = ([], 0, nil) }
        return (spans, count)
    }

    /// The resource is sent once, not with every message of the server.
    private mutating func merge(_ new: OTLPResourceSpans) {
        guard let last = spans.indices.last, spans[last].resource == new.resource,
            new.scopeSpans.count == 1, let scope = spans[last].scopeSpans.indices.last,
            spans[last].scopeSpans[scope].scope == new.scopeSpans[0].scope
        else {
            spans.append(new)
            return
        }
        spans[last].scopeSpans[scope].spans += new.scopeSpans[0].spans
    }
}
