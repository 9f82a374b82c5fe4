package import Tracing

extension ServiceContext {
    private enum Key: ServiceContextKey {
        typealias Value = TraceContext
        static var nameOverride: String? { "trace" }
    }

    /// The span that the work is part of; nil where it is not traced.
    package var trace: TraceContext? {
        get { self[Key.self] }
        set { self[Key.self] = newValue }
    }
}

/// The backend of swift-distributed-tracing: makes spans of what is sampled and hands them to a ``SpanBuffer`` when they end.
///
/// A trace is sampled as a whole: the span that begins it decides by chance, the others follow their parent.
package struct SpanTracer: Tracer {
    package typealias Span = TracerSpan

    package let buffer: SpanBuffer
    package let sampler: Sampler

    package static let defaultRatio = 0.01

    package init(buffer: SpanBuffer, sampler: Sampler = Sampler(ratio: defaultRatio)) {
        self.buffer = buffer
        self.sampler = sampler
    }

    /// Runs work as part of a span.
    func running(_ context: TraceContext, _ body: () async -> Void) async {
        var service = ServiceContext.current ?? .topLevel
        service.trace = context
        await ServiceContext.withValue(service, operation: body)
    }

    package func startSpan<Instant: TracerInstant>(
        _ operationName: String,
        context: @autoclosure () -> ServiceContext,
        ofKind kind: SpanKind,
        at instant: @autoclosure () -> Instant,
        function: String,
        file fileID: String,
        line: UInt
    ) -> TracerSpan {
        var context = context()
        let parent = context.trace
        let own: TraceContext
        if let parent {
            own = TraceContext(
                traceID: parent.traceID,
                spanID: parent.isSampled ? .random() : parent.spanID,
                isSampled: parent.isSampled,
                state: parent.state
            )
        } else {
            let traceID = TraceID.random()
            let isSampled = sampler.chooses(traceID.high, traceID.low)
            own = TraceContext(traceID: traceID, spanID: .random(), isSampled: isSampled)
        }
        context.trace = own
        return TracerSpan(
            own,
            service: context,
            parent: parent?.spanID,
            name: operationName,
            kind: kind,
            start: instant().nanosecondsSinceEpoch,
            buffer: own.isSampled ? buffer : nil
        )
    }

    /// Nothing: readers take spans from the buffer.
    package func forceFlush() {}

    package func extract<Carrier, Extract: Extractor>(
        _ carrier: Carrier,
        into context: inout ServiceContext,
        using extractor: Extract
    ) where Extract.Carrier == Carrier {
        guard let parent = extractor.extract(key: TraceContext.parentHeader, from: carrier),
            var trace = TraceContext(parent: parent)
        else { return }
        if let state = extractor.extract(key: TraceContext.stateHeader, from: carrier) {
            trace.state = TraceState.combined([state])
        }
        context.trace = trace
    }

    package func inject<Carrier, Inject: Injector>(
        _ context: ServiceContext,
        into carrier: inout Carrier,
        using injector: Inject
    ) where Inject.Carrier == Carrier {
        guard let trace = context.trace else { return }
        injector.inject(trace.parentText, forKey: TraceContext.parentHeader, into: &carrier)
        if !trace.state.isEmpty { injector.inject(trace.state, forKey: TraceContext.stateHeader, into: &carrier) }
    }
}
