import NIOCore
import RPC

/// The span of a call that is traced while it runs.
final class ServerSpan: CallSpan {
    let context: TraceContext
    let parent: SpanID?
    private let tracer: SpanTracer

    init(_ context: TraceContext, parent: SpanID?, tracer: SpanTracer) {
        self.context = context
        self.parent = parent
        self.tracer = tracer
    }

    func run(_ body: () async -> Void) async { await tracer.running(context, body) }
}

extension ServerCall {
    /// The span of the call; nil where it is not traced.
    @inline(__always)
    var traced: ServerSpan? { span.flatMap { $0 as? ServerSpan } }
}
